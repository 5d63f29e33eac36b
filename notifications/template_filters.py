"""The filters of templates: Liquid's own for text, numbers and lists, and dates, numbers and money as a locale
writes them. Each is bounded in what it makes; `templating` bounds them all together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError, dates, numbers
from liquid.builtin.filters import array, math, misc, string
from liquid.exceptions import FilterArgumentError, ResourceLimitError
from liquid.filter import string_filter, with_context, with_environment
from liquid.undefined import Undefined

from config.types import time_zones

LONGEST, COMPARED = 16_384, 200
STYLES = ("short", "medium", "long", "full")
# The name under which a text's own locale is among its values; no template can name it.
LOCALE = "\0locale"


@string_filter
def replace(value: str, old: object, new: object = "") -> str:
    before, after = str(old), str(new)
    if len(value) + value.count(before) * len(after) > LONGEST:
        raise ResourceLimitError("a value is too long", token=None)
    return value.replace(before, after)


@with_environment
def join(value: Any, separator: object = " ", *, environment: Any) -> str:
    members = len(value) if isinstance(value, (list, tuple)) else 1
    if members * len(str(separator)) > LONGEST:
        raise ResourceLimitError("a value is too long", token=None)
    return array.join(value, separator, environment=environment)


def uniq(value: Any, *key: Any) -> Any:
    """Of dicts each is compared with each."""
    if isinstance(value, (list, tuple)) and len(value) > COMPARED:
        raise ResourceLimitError("a list is too long", token=None)
    return array.uniq(value, *key)


@with_context
def date(value: object, style: object = "medium", zone: object = "UTC", *, context: Any) -> str:
    """{{ variables.at | date: "long", "Europe/Berlin" }}. style: short, medium, long, full, or as of strftime."""
    if isinstance(value, Undefined):
        return str(value)
    if not isinstance(zone, str) or zone not in time_zones():
        raise FilterArgumentError(f"date: there is no time zone “{zone}”", token=None)
    moment = _moment(value).astimezone(ZoneInfo(zone))
    if style in STYLES:
        return dates.format_date(moment, style, locale=_locale(context))
    if not isinstance(style, str) or not 0 < len(style) <= 64 or any(c.isdigit() for c in _directives(style)):
        raise FilterArgumentError("date: expected short, medium, long, full, or a pattern", token=None)
    return moment.strftime(style)


def _directives(pattern: str) -> str:
    """What follows each %: a width there would make the text as long as anybody likes."""
    return "".join(part[:1] for part in pattern.split("%")[1:])


@with_context
def time(value: object, zone: object = "UTC", *, context: Any) -> str:
    """{{ variables.at | time: "Europe/Berlin" }}: 18:30, or 6:30 PM."""
    if isinstance(value, Undefined):
        return str(value)
    if not isinstance(zone, str) or zone not in time_zones():
        raise FilterArgumentError(f"time: there is no time zone “{zone}”", token=None)
    return dates.format_time(_moment(value), "short", tzinfo=ZoneInfo(zone), locale=_locale(context))


@with_context
def number(value: object, *, context: Any) -> str:
    """1234.5 → 1,234.5 or 1.234,5"""
    if isinstance(value, Undefined):
        return str(value)
    return numbers.format_decimal(_decimal(value), locale=_locale(context))


@with_context
def money(value: object, currency: object, *, context: Any) -> str:
    """{{ variables.total | money: "EUR" }} → €12.50 or 12,50 €"""
    if isinstance(value, Undefined):
        return str(value)
    if not isinstance(currency, str) or not numbers.is_currency(currency):
        raise FilterArgumentError(f"money: there is no currency “{currency}”", token=None)
    return numbers.format_currency(_decimal(value), currency, locale=_locale(context))


def _moment(value: object) -> datetime:
    """Of ISO 8601 (without an offset: UTC) or seconds since 1970."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise FilterArgumentError("date: this is no date", token=None) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _decimal(value: object) -> Decimal:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite() or abs(found.adjusted()) > 30:
        raise FilterArgumentError("this is no number", token=None)
    return found


def _locale(context: Any) -> Locale:
    try:
        return Locale.parse(str(context.globals[LOCALE]), sep="-")
    except (KeyError, UnknownLocaleError, ValueError):
        return Locale("en")


FILTERS: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(string, name) for name in ("append", "capitalize", "downcase", "escape", "lstrip")},
    **{
        name: getattr(string, name)
        for name in ("prepend", "remove", "remove_first", "replace_first", "rstrip")
    },
    **{name: getattr(string, name) for name in ("split", "squish", "strip", "strip_newlines", "truncate")},
    **{name: getattr(string, name) for name in ("truncatewords", "upcase", "url_encode")},
    **{name: getattr(math, name) for name in ("at_least", "at_most", "ceil", "divided_by", "floor", "minus")},
    **{name: getattr(math, name) for name in ("modulo", "plus", "times")},
    **{name: getattr(array, name) for name in ("compact", "concat", "first", "last", "reverse", "sort")},
    **{name: getattr(array, name) for name in ("sort_natural", "where")},
    "abs": math.abs_,
    "date": date,
    "default": misc.default,
    "join": join,
    "map": array.map_,
    "money": money,
    "number": number,
    "replace": replace,
    "round": math.round_,
    "size": misc.size,
    "slice": string.slice_,
    "sum": array.sum_,
    "time": time,
    "uniq": uniq,
}
