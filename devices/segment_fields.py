"""What a rule of a segment may ask about: the whitelist of fields, with their SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from devices import segment_values as values
from devices.models import Device
from devices.segment_operators import Kind, Takes


@dataclass(frozen=True, slots=True)
class Field:
    """sql: of aliases `d` and `s`; NULL where nothing is known."""

    words: str
    kind: Kind
    sql: str
    choices: Mapping[str, str] = field(default_factory=dict)
    spelled: Callable[[str], str] = str  # how `sql` spells a value


def _locale(words: str, column: str) -> Field:
    sql = f"nullif(lower(replace({column}, '_', '-')), '')"
    return Field(words, Kind.TEXT, sql, spelled=lambda value: value.lower().replace("_", "-"))


def _language(words: str, column: str) -> Field:
    sql = f"nullif(lower(split_part(replace({column}, '_', '-'), '-', 1)), '')"
    return Field(words, Kind.TEXT, sql, spelled=str.lower)


FIELDS: dict[str, Field] = {
    "subscriber.external_id": Field("Id", Kind.TEXT, "s.external_id"),
    "subscriber.country": Field("Country", Kind.TEXT, "nullif(s.country, '')", spelled=str.upper),
    "subscriber.language": _language("Language", "s.locale"),
    "subscriber.locale": _locale("Locale", "s.locale"),
    "subscriber.time_zone": Field("Time zone", Kind.TEXT, "nullif(s.time_zone, '')"),
    "subscriber.created_at": Field("Known since", Kind.TIME, "s.created_at"),
    "subscriber.unsubscribed": Field(
        "Unsubscribed from marketing", Kind.FLAG, "(s.unsubscribed_at IS NOT NULL)"
    ),
    "device.platform": Field("Platform", Kind.CHOICE, "d.platform", dict(Device.Platform.choices)),
    "device.app_version": Field("App version", Kind.VERSION, "nullif(d.app_version, '')"),
    "device.os_version": Field("System version", Kind.VERSION, "nullif(d.os_version, '')"),
    "device.model": Field("Model", Kind.TEXT, "nullif(d.model, '')"),
    "device.language": _language("Language", "d.locale"),
    "device.locale": _locale("Locale", "d.locale"),
    "device.time_zone": Field("Time zone", Kind.TEXT, "nullif(d.time_zone, '')"),
    "device.permission": Field(
        "Permission", Kind.CHOICE, "nullif(d.permission, '')", dict(Device.Permission.choices)
    ),
    "device.registered_at": Field("Registered", Kind.TIME, "d.registered_at"),
    "device.last_seen_at": Field("Last seen", Kind.TIME, "d.last_seen_at"),
}


def checked(field: Field, takes: Takes, value: Any) -> Any:
    """What a rule compares with, ready to be a parameter. Raises values.Invalid."""
    match takes:
        case Takes.VALUE:
            return _one(field, value)
        case Takes.LIST:
            return values.listed(value, lambda one: _one(field, one))
        case Takes.ORDER:
            return values.version(value) if field.kind is Kind.VERSION else values.number(value)
        case Takes.TEXT:
            return field.spelled(values.text(value))
        case Takes.DATE:
            return values.instant(value)
        case Takes.DAYS:
            return values.days(value)
    return values.flag(value)


def _one(field: Field, value: Any) -> Any:
    match field.kind:
        case Kind.CHOICE:
            if not isinstance(value, str) or value not in field.choices:
                raise values.Invalid(f"has to be one of {', '.join(field.choices)}")
            return value
        case Kind.VERSION:
            return values.version(value)
        case Kind.FLAG:
            return values.flag(value)
        case Kind.TEXT:
            return field.spelled(values.text(value))
    return values.scalar(value)
