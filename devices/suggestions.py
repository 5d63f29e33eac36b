"""What an application's people are like, to offer while rules are written: from its newest people, which is cheap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.core.cache import cache

from devices.models import Device, Event, Subscriber

PEOPLE, DEVICES, WHO_DID = 1000, 1000, 500  # looked at
MOST = 30  # values offered of one thing
LONGEST = 40  # characters
REMEMBERED = 60


def of(application_id: int) -> dict[str, Any]:
    """attributes: name → values; fields: name of segment_fields → values; events: names. The most frequent first."""
    key = f"carillon:suggestions:{application_id}"
    found: dict[str, Any] | None = cache.get(key)
    if found is None:
        people: list[Any] = list(
            Subscriber.objects.filter(application_id=application_id)
            .order_by("-id")
            .values("id", "attributes", "country", "locale", "time_zone")[:PEOPLE]
        )
        found = {
            "attributes": _attributes([row["attributes"] for row in people]),
            "fields": {**_of_people(people), **_of_devices(application_id)},
            "events": _events(application_id, [row["id"] for row in people[:WHO_DID]]),
        }
        cache.set(key, found, timeout=REMEMBERED)
    return found


def _attributes(rows: Iterable[Any]) -> dict[str, list[str]]:
    seen: dict[str, Counter[str]] = {}
    for attributes in rows:
        for name, value in attributes.items() if isinstance(attributes, dict) else ():
            counted = seen.setdefault(name, Counter())
            if isinstance(value, str | bool | int | float) and len(said := _said(value)) <= LONGEST:
                counted[said] += 1
    return {
        name: [] if _is_personal(counted) else _frequent(counted) for name, counted in sorted(seen.items())
    }


def _said(value: str | bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_personal(counted: Counter[str]) -> bool:
    """Names, numbers, addresses: nearly everybody has one of their own, and it is nobody's to list."""
    return len(counted) > MOST and len(counted) > counted.total() / 2


def _frequent(counted: Counter[str]) -> list[str]:
    return [value for value, _ in counted.most_common(MOST) if value]


def _of_people(rows: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    rows = list(rows)
    return {
        "subscriber.country": _frequent(Counter(row["country"] for row in rows)),
        "subscriber.time_zone": _frequent(Counter(row["time_zone"] for row in rows)),
        **_locales("subscriber", [row["locale"] for row in rows]),
    }


def _of_devices(application_id: int) -> dict[str, list[str]]:
    rows: list[Any] = list(
        Device.objects.filter(application_id=application_id, retired_at=None)
        .order_by("-id")
        .values("app_version", "os_version", "model", "locale", "time_zone")[:DEVICES]
    )
    names = ("app_version", "os_version", "model", "time_zone")
    return {
        **{f"device.{name}": _frequent(Counter(row[name] for row in rows)) for name in names},
        **_locales("device", [row["locale"] for row in rows]),
    }


def _locales(of: str, said: list[str]) -> dict[str, list[str]]:
    spelled = [locale.replace("_", "-") for locale in said]
    return {
        f"{of}.locale": _frequent(Counter(spelled)),
        f"{of}.language": _frequent(Counter(locale.partition("-")[0].lower() for locale in spelled)),
    }


def _events(application_id: int, people: list[int]) -> list[str]:
    """Events are found by who did them."""
    found = Event.objects.filter(application_id=application_id, subscriber_id__in=people)
    return sorted(found.values_list("name", flat=True).distinct())[: 2 * MOST]
