"""How a rule of a segment compares: the operators, with their SQL.

Every comparison with a value that is absent, or of another type than asked for, is false; none can fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

_numbers = itertools.count()


class Kind(StrEnum):
    JSON = "json"  # an attribute, or an event's property: of any type
    TEXT = "text"
    CHOICE = "choice"
    VERSION = "version"
    TIME = "time"
    FLAG = "flag"


@dataclass(slots=True)
class Parameters:
    """Of one statement; called with a value and its SQL type it gives the placeholder. Names are never the same
    twice in a process, so that conditions can be put together."""

    now: datetime
    given: dict[str, Any] = field(default_factory=dict)

    def __call__(self, value: Any, type_: str) -> str:
        name = f"rule_{next(_numbers)}"
        self.given[name] = value
        return f"%({name})s::{type_}"


ToSql = Callable[[str, Kind, Any, Parameters], str]


# A value of a row as one type; NULL where it is of another.


def _written(x: str) -> str:
    return f"CASE WHEN jsonb_typeof({x}) IN ('string', 'number', 'boolean') THEN {x} #>> '{{}}' END"


def _number(x: str) -> str:
    return (
        f"CASE jsonb_typeof({x}) WHEN 'number' THEN ({x})::numeric WHEN 'string' THEN"
        f" CASE WHEN {x} #>> '{{}}' ~ '^-?[0-9]{{1,15}}([.][0-9]{{1,15}})?$' THEN ({x} #>> '{{}}')::numeric END END"
    )


# The pattern keeps out words PostgreSQL takes for times ("now", "infinity"); the second check, 31 February.
_ISO = "^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$"


def _instant(x: str) -> str:
    return (
        f"CASE WHEN jsonb_typeof({x}) = 'string' THEN CASE WHEN {x} #>> '{{}}' ~ '{_ISO}' THEN"
        f" CASE WHEN pg_input_is_valid({x} #>> '{{}}', 'timestamptz') THEN ({x} #>> '{{}}')::timestamptz END END END"
    )


def _version(x: str) -> str:
    """Of "3.10.0-beta (77)" and "Android 14" the first run of numbers."""
    run = f"substring({x} from '[0-9]{{1,9}}(?:[.][0-9]{{1,9}}){{0,5}}')"
    return f"string_to_array(regexp_replace({run}, '([.]0+)+$', ''), '.')::bigint[]"


def _itself(x: str) -> str:
    return x


AS_TEXT: Mapping[Kind, Callable[[str], str]] = {Kind.JSON: _written, Kind.TEXT: _itself, Kind.CHOICE: _itself}
AS_TIME: Mapping[Kind, Callable[[str], str]] = {Kind.JSON: _instant, Kind.TIME: _itself}


def _equal(x: str, kind: Kind, value: Any, put: Parameters) -> str:
    if kind is Kind.VERSION:
        return f"{_version(x)} = {put(value, 'bigint[]')}"
    if kind is Kind.FLAG:
        return f"{x} = {put(value, 'boolean')}"
    if isinstance(value, Decimal):
        return f"{_number(x)} = {put(value, 'numeric')}"
    if isinstance(value, bool):
        return f"lower({_written(x)}) = {put(str(value).lower(), 'text')}"
    return f"{AS_TEXT[kind](x)} = {put(value, 'text')}"


def _in(x: str, kind: Kind, wanted: list[Any], put: Parameters) -> str:
    numbers = [value for value in wanted if isinstance(value, Decimal)]
    flags = [value for value in wanted if isinstance(value, bool)]
    texts = [value for value in wanted if isinstance(value, str)]
    found = [_equal(x, kind, value, put) for value in dict.fromkeys(flags)]
    if numbers:
        found.append(f"{_number(x)} = ANY ({put(numbers, 'numeric[]')})")
    if texts:
        found.append(f"{AS_TEXT[kind](x)} = ANY ({put(texts, 'text[]')})")
    return " OR ".join(f"({one}) IS TRUE" for one in found)


def _contains(x: str, kind: Kind, value: str, put: Parameters) -> str:
    return f"strpos(lower({AS_TEXT[kind](x)}), lower({put(value, 'text')})) > 0"


def _starts_with(x: str, kind: Kind, value: str, put: Parameters) -> str:
    return f"starts_with(lower({AS_TEXT[kind](x)}), lower({put(value, 'text')}))"


def _has(x: str, kind: Kind, value: Any, put: Parameters) -> str:
    type_ = {Decimal: "numeric", bool: "boolean"}.get(type(value), "text")
    return f"jsonb_typeof({x}) = 'array' AND {x} @> to_jsonb({put(value, type_)})"


def _exists(x: str, kind: Kind, value: bool, put: Parameters) -> str:
    is_there = f"({x} IS NOT NULL" + (f" AND jsonb_typeof({x}) <> 'null')" if kind is Kind.JSON else ")")
    return is_there if value else f"NOT {is_there}"


def _compared(sign: str) -> ToSql:
    def compare(x: str, kind: Kind, value: Any, put: Parameters) -> str:
        if kind is Kind.VERSION:
            return f"{_version(x)} {sign} {put(value, 'bigint[]')}"
        return f"{_number(x)} {sign} {put(value, 'numeric')}"

    return compare


def _at(sign: str) -> ToSql:
    return lambda x, kind, value, put: f"{AS_TIME[kind](x)} {sign} {put(value, 'timestamptz')}"


def _in_last(x: str, kind: Kind, value: timedelta, put: Parameters) -> str:
    since, now = put(put.now - value, "timestamptz"), put(put.now, "timestamptz")
    return f"{AS_TIME[kind](x)} BETWEEN {since} AND {now}"


def _over_ago(x: str, kind: Kind, value: timedelta, put: Parameters) -> str:
    return f"{AS_TIME[kind](x)} < {put(put.now - value, 'timestamptz')}"


def _in_next(x: str, kind: Kind, value: timedelta, put: Parameters) -> str:
    now, until = put(put.now, "timestamptz"), put(put.now + value, "timestamptz")
    return f"{AS_TIME[kind](x)} BETWEEN {now} AND {until}"


class Takes(StrEnum):
    """What an operator compares with; a form asks for it accordingly."""

    VALUE = "value"  # of the field's own kind
    LIST = "list"  # of such values
    TEXT = "text"
    ORDER = "order"  # a number, or a version
    DATE = "date"
    DAYS = "days"
    YES = "yes"  # true or false


@dataclass(frozen=True, slots=True)
class Operator:
    words: str
    kinds: tuple[Kind, ...]
    takes: Takes
    sql: ToSql  # true, false or NULL
    is_negative: bool = False  # exactly what its positive is not: people without a value included


_TEXTS = (Kind.JSON, Kind.TEXT)
_SETS = (*_TEXTS, Kind.CHOICE)
_EQUALS = (*_SETS, Kind.VERSION)
_ORDERED = (Kind.JSON, Kind.VERSION)
_TIMES = (Kind.JSON, Kind.TIME)

OPERATORS: dict[str, Operator] = {
    "equal": Operator("is", (*_EQUALS, Kind.FLAG), Takes.VALUE, _equal),
    "not_equal": Operator("is not", _EQUALS, Takes.VALUE, _equal, is_negative=True),
    "in": Operator("is one of", _SETS, Takes.LIST, _in),
    "not_in": Operator("is none of", _SETS, Takes.LIST, _in, is_negative=True),
    "contains": Operator("contains", _TEXTS, Takes.TEXT, _contains),
    "not_contains": Operator("does not contain", _TEXTS, Takes.TEXT, _contains, is_negative=True),
    "starts_with": Operator("starts with", _TEXTS, Takes.TEXT, _starts_with),
    "greater": Operator("is more than", _ORDERED, Takes.ORDER, _compared(">")),
    "at_least": Operator("is at least", _ORDERED, Takes.ORDER, _compared(">=")),
    "less": Operator("is less than", _ORDERED, Takes.ORDER, _compared("<")),
    "at_most": Operator("is at most", _ORDERED, Takes.ORDER, _compared("<=")),
    "before": Operator("is before", _TIMES, Takes.DATE, _at("<")),
    "after": Operator("is on or after", _TIMES, Takes.DATE, _at(">=")),
    "in_last_days": Operator("is in the last … days", _TIMES, Takes.DAYS, _in_last),
    "over_days_ago": Operator("is more than … days ago", _TIMES, Takes.DAYS, _over_ago),
    "in_next_days": Operator("is in the next … days", _TIMES, Takes.DAYS, _in_next),
    "has": Operator("is a list that has", (Kind.JSON,), Takes.VALUE, _has),
    "has_not": Operator("is no list that has", (Kind.JSON,), Takes.VALUE, _has, is_negative=True),
    "exists": Operator("is known", (*_EQUALS, Kind.TIME), Takes.YES, _exists),
}


def sql(operator: Operator, kind: Kind, x: str, value: Any, put: Parameters) -> str:
    """True or false, never NULL, in parentheses."""
    found = f"(({operator.sql(x, kind, value, put)}) IS TRUE)"
    return f"(NOT {found})" if operator.is_negative else found
