"""Monthly partitions of the append-only tables, made ahead of the month that needs them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

MONTHS_AHEAD = 3


def ensure(table: str, today: date | None = None, *, months_back: int = 0) -> list[str]:
    """Make the partitions of `table`, by its `at`, for this month, the next ones and some before; says which were
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
            f" FOR VALUES FROM ('{first:%Y-%m-%d} 00:00+00') TO ('{following:%Y-%m-%d} 00:00+00')"
        )
    return True
