"""Monthly partitions of the append-only tables, made ahead of the month that needs them."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

MONTHS_AHEAD = 3
# By the month a time-ordered id was made in; all others by `at`.
BY_ID = frozenset({"notifications_engagement"})


def ensure(table: str, today: date | None = None, *, months_back: int = 0) -> list[str]:
    """Make the partitions of `table` for this month, the next ones and some before; says which were
    missing. May be called any time."""
    month = (today or datetime.now(UTC).date()).replace(day=1)
    for _ in range(months_back):
        month = (month - timedelta(days=1)).replace(day=1)
    made = []
    for _ in range(months_back + MONTHS_AHEAD + 1):
        following = (month.replace(day=28) + timedelta(days=4)).replace(day=1)
        name = f"{table}_{month:%Y_%m}"
        if _create(table, name, month, following):
            made.append(name)
        month = following
    return made


def _create(table: str, name: str, first: date, following: date) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0]:
            return False
        # Waiting for a long reader it would make every writer wait behind it; the next hour tries again.
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        # Utility statements take no parameters; all values are ours.
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table}"
            f" FOR VALUES FROM ('{_bound(table, first)}') TO ('{_bound(table, following)}')"
        )
    return True


def _bound(table: str, month: date) -> str:
    return str(first_id(month)) if table in BY_ID else f"{month:%Y-%m-%d} 00:00+00"


def first_id(day: date) -> uuid.UUID:
    """No version 7 UUID made from this day (UTC) on is smaller (RFC 9562 §5.7)."""
    milliseconds = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
    return uuid.UUID(int=milliseconds << 80)


def months(table: str) -> list[date]:
    """Those there are partitions of, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table]
        )
        names = [re.search(r"_(\d{4})_(\d{2})$", name) for (name,) in cursor.fetchall()]
    return sorted(date(int(name[1]), int(name[2]), 1) for name in names if name)


def drop(table: str, month: date) -> None:
    """With all that is in it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        cursor.execute(f"DROP TABLE IF EXISTS {table}_{month:%Y_%m}")
