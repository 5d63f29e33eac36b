"""Values that rules of segments compare with, checked: what comes out is ready to be a parameter."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

LONGEST_TEXT = 1000
LONGEST_NAME = 128
MOST_VALUES = 1000
MOST_DAYS = 3650
LARGEST_NUMBER = 10**15
FIRST_YEAR, LAST_YEAR = 1900, 2200


class Invalid(ValueError):
    """A value a rule cannot have; `at` is where in it, as a JSON pointer."""

    def __init__(self, message: str, at: str = "") -> None:
        super().__init__(message)
        self.at = at


def text(value: Any, longest: int = LONGEST_TEXT) -> str:
    if not isinstance(value, str):
        raise Invalid("has to be text")
    if not 0 < len(value) <= longest:
        raise Invalid(f"has to have 1 to {longest} characters")
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Invalid("holds a character that cannot be stored")
    return value


def number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid("has to be a number")
    if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise Invalid(f"has to lie between -{LARGEST_NUMBER} and {LARGEST_NUMBER}")
    return Decimal(repr(value))


def whole(value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Invalid(f"has to be a whole number from {least} to {most}")
    return value


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Invalid("has to be true or false")
    return value


def scalar(value: Any) -> str | Decimal | bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return number(value)
    if not isinstance(value, str):
        raise Invalid("has to be text, a number, true or false")
    return text(value)


_WHEN = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d))?", re.ASCII)


def instant(value: Any) -> datetime:
    """A date (its first moment in UTC), or a date and time with its offset."""
    if isinstance(value, str) and _WHEN.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
            if FIRST_YEAR <= moment.year <= LAST_YEAR:
                return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except ValueError:
            pass
    raise Invalid("has to be a date such as 2026-01-31, or a time such as 2026-01-31T18:00:00Z")


def days(value: Any) -> timedelta:
    return timedelta(days=whole(value, 1, MOST_DAYS))


_VERSION = re.compile(r"[vV]?([0-9]{1,9}(?:[.][0-9]{1,9}){0,5})")


def version(value: Any) -> list[int]:
    """3.10 and 3.10.0 are the same."""
    found = _VERSION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise Invalid("has to be a version such as 3.10.2")
    return _trimmed([int(part) for part in found[1].split(".")])


def _trimmed(parts: list[int]) -> list[int]:
    while len(parts) > 1 and not parts[-1]:
        parts = parts[:-1]
    return parts


def listed(value: Any, one: Callable[[Any], Any]) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_VALUES:
        raise Invalid(f"has to be a list of 1 to {MOST_VALUES} values")
    found = []
    for at, member in enumerate(value):
        try:
            found.append(one(member))
        except Invalid as error:
            raise Invalid(str(error), f"/{at}") from error
    return found


def period(value: Any) -> tuple[datetime, datetime]:
    """[from, to]: a date as the end is that whole day."""
    if not isinstance(value, list) or len(value) != 2:
        raise Invalid("has to be [from, to]")
    first, last = listed(value, instant)
    if len(value[1]) == len("2026-01-31"):
        last += timedelta(days=1)
    if first >= last:
        raise Invalid("ends before it begins")
    return first, last
