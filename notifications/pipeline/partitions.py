"""Monthly partitions of the delivery ledger, made ahead of the month that needs them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

MONTHS_AHEAD = 3


def ensure(today: date | None = None) -> list[str]:
    """Make the partitions of this month and the next ones; says which were missing. May be called any time."""
    first = (today or datetime.now(UTC).date()).replace(day=1)
    made = []
    for _ in range(MONTHS_AHEAD + 1):
        following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
        if _create(first, following):
            made.append(_name(first))
        first = following
    return made


def _name(month: date) -> str:
    return f"notifications_delivery_{month:%Y_%m}"


def _create(first: date, following: date) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [_name(first)])
        if cursor.fetchone()[0]:
            return False
        # Waiting for a long reader it would make every sender's COPY wait behind it; the next hour tries again.
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        # Utility statements take no parameters; both values are dates of ours.
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {_name(first)} PARTITION OF notifications_delivery"
            f" FOR VALUES FROM ('{first:%Y-%m-%d} 00:00+00') TO ('{following:%Y-%m-%d} 00:00+00')"
        )
    return True
