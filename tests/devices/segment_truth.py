"""What a segment's rules mean, said slowly and obviously for one device at a time; and whom it is asked about."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from devices.models import Device, Event, Subscriber

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@dataclass(slots=True)
class Person:
    """What the reference knows of a device and whoever has it; person is None for an anonymous one."""

    device: Device
    person: Subscriber | None
    events: list[Event] = field(default_factory=list)
    said: dict[str, bool] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)


def truth(rule: dict[str, Any], one: Person, stored: dict[str, Any]) -> bool:
    if "all" in rule:
        return all(truth(each, one, stored) for each in rule["all"])
    if "any" in rule:
        return any(truth(each, one, stored) for each in rule["any"])
    if "not" in rule:
        return not truth(rule["not"], one, stored)
    if "segment" in rule:
        slug = rule["segment"]
        return truth(stored[slug], one, stored) if slug in stored else slug in one.lists
    if "consent" in rule:
        return consents(rule["consent"], one) is rule["is"]
    if "event" in rule:
        return did(rule, one)
    value, kind = known(rule["field"], one)
    return compare(rule["is"], value, rule["value"], kind)


def consents(slug: str, one: Person) -> bool:
    if slug == "critical":
        return True
    if slug == "marketing":
        return one.said.get(slug, False) and not (one.person and one.person.unsubscribed_at)
    return one.said.get(slug, True)


def did(rule: dict[str, Any], one: Person) -> bool:
    events = [event for event in one.events if event.name == rule["event"]]
    if "within_days" in rule:
        events = [event for event in events if event.at >= ago(rule["within_days"])]
    if "between" in rule:
        first, last = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in rule["between"])
        events = [event for event in events if first <= event.at < last + timedelta(days=1)]
    for where in rule.get("where", []):
        events = [
            event
            for event in events
            if compare(where["is"], event.properties.get(where["property"]), where["value"], "json")
        ]
    if not rule["did"]:
        return not events
    times = rule.get("times", {"at_least": 1})
    least, most = times.get("at_least", 0), times.get("at_most", len(events))
    exactly = times.get("exactly", len(events))
    return least <= len(events) <= most and len(events) == exactly


def known(name: str, one: Person) -> tuple[Any, str]:
    owner, _, column = name.partition(".")
    if owner == "attribute":
        return (one.person.attributes.get(column) if one.person else None), "json"
    row = one.person if owner == "subscriber" else one.device
    if column == "unsubscribed":
        return bool(one.person and one.person.unsubscribed_at), "flag"
    if row is None:
        return None, "text"
    if column == "language":
        return row.locale.replace("_", "-").split("-")[0].lower() or None, "text"
    if column == "locale":
        return row.locale.replace("_", "-").lower() or None, "text"
    return getattr(row, column) or None, "version" if column.endswith("version") else "text"


NEGATIVE = {"not_equal": "equal", "not_in": "in", "not_contains": "contains", "has_not": "has"}


def compare(operator: str, value: Any, wanted: Any, kind: str) -> bool:
    if operator in NEGATIVE:
        return not compare(NEGATIVE[operator], value, wanted, kind)
    if operator == "exists":
        return (value is not None) is wanted
    if value is None:
        return False
    if operator == "in":
        return any(compare("equal", value, each, kind) for each in wanted)
    if kind == "version":
        return ordered(operator, version(value), version(wanted))
    if operator == "has":
        return isinstance(value, list) and any(is_same(each, wanted) for each in value)
    if operator in ("before", "after", "in_last_days", "over_days_ago", "in_next_days"):
        return in_time(operator, value if isinstance(value, datetime) else moment(value), wanted)
    return compare_scalars(operator, value, wanted)


def compare_scalars(operator: str, value: Any, wanted: Any) -> bool:
    if operator in ("contains", "starts_with"):
        text, part = (written(value) or "").lower(), wanted.lower()
        return part in text if operator == "contains" else text.startswith(part)
    if operator == "equal" and isinstance(wanted, bool):
        return (written(value) or "").lower() == str(wanted).lower()
    if operator == "equal" and isinstance(wanted, str):
        return written(value) == wanted
    return ordered(operator, number(value), Decimal(repr(wanted)))


def written(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    return value if isinstance(value, str) else None


def number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return Decimal(repr(value))
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", value):
        return Decimal(value)
    return None


def version(value: str) -> list[int] | None:
    found = re.search(r"[0-9]+(\.[0-9]+)*", value)
    if not found:
        return None
    parts = [int(part) for part in found[0].split(".")]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return parts


def moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) and len(value) > 9 else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found and not found.tzinfo else found


def in_time(operator: str, value: datetime | None, wanted: Any) -> bool:
    if value is None:
        return False
    match operator:
        case "before" | "after":
            limit = moment(wanted)
            assert limit
            return value < limit if operator == "before" else value >= limit
        case "in_last_days":
            return ago(wanted) <= value <= NOW
        case "over_days_ago":
            return value < ago(wanted)
    return NOW <= value <= ago(-wanted)


def is_same(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return bool(value == wanted) and isinstance(value, str) == isinstance(wanted, str)


def ordered(operator: str, left: Any, right: Any) -> bool:
    if left is None:
        return False
    return {
        "equal": left == right,
        "greater": left > right,
        "at_least": left >= right,
        "less": left < right,
        "at_most": left <= right,
    }[operator]
