"""Count the ledger and what devices told by minute, once and in the background; rollups.py reads it.

A minute of the ledger is counted when nobody can write into it any more. Engagement is counted as it arrives and
added to the minute it happened in, which may be long past. How far that has come commits together with the counts, so
that each line is added once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from notifications.models import Delivery, RollupProgress

LEDGER, ENGAGEMENT = "notifications_delivery", "notifications_engagement"
TIME = {LEDGER: "at", ENGAGEMENT: "told_at"}
MINUTE = timedelta(minutes=1)
# Before the first line of any installation.
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
# Under which the lines of all notifications that are not to a mass audience are counted.
NIL = UUID(int=0)
# Between the start of a transaction, whose time its lines have, and its first line.
GRACE_SECONDS = 20
# One that has been open for longer is stuck; it does not hold up everybody's charts.
PATIENCE_SECONDS = 900

IS_MASS = "NOT n.audience ?| array['subscribers', 'devices']"
LANGUAGE = """lower(left(split_part(translate(coalesce(nullif(s.locale, ''), d.locale, ''), '_', '-'), '-', 1), 8))"""
# A replay takes back the outcome it names.
NET = f"""
    CASE l.outcome WHEN '{Delivery.Outcome.REPLAYED}' THEN l.detail ELSE l.outcome END AS outcome,
    CASE l.outcome WHEN '{Delivery.Outcome.REPLAYED}' THEN -1 ELSE 1 END AS count"""

# No line of before this moment will come to be any more: every transaction that writes to the table is younger.
CLOSED = """
    SELECT greatest(now() - make_interval(secs => %(patience)s),
        least(now() - make_interval(secs => %(grace)s), min(a.xact_start)))
    FROM pg_locks k JOIN pg_stat_activity a ON a.pid = k.pid
    WHERE k.relation = %(table)s::regclass AND k.mode = 'RowExclusiveLock' AND k.pid <> pg_backend_pid()
        AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# What is added to days, given `counted` (application_id, at, outcome, count).
DAYS = """
    INSERT INTO notifications_rollupday AS r (application_id, day, outcome, count)
    SELECT application_id, (at AT TIME ZONE 'UTC')::date, outcome, sum(count)
    FROM counted GROUP BY 1, 2, 3 HAVING sum(count) <> 0 ORDER BY 1, 2, 3
    ON CONFLICT (application_id, day, outcome) DO UPDATE SET count = r.count + excluded.count
"""

# {lines}: rows of notification, application, device, subscriber, at, outcome and count. Of whom a notification was
# for, platform and language are asked only where they are kept.
COUNT = f"""
    WITH counted AS MATERIALIZED (
        SELECT CASE WHEN n.is_mass THEN l.notification_id ELSE '{NIL}' END AS notification_id, l.application_id,
            {{bucket}} AS at, coalesce(d.platform, '') AS platform, {LANGUAGE} AS language, l.outcome,
            sum(l.count)::bigint AS count
        FROM ({{lines}}) AS l
        JOIN (SELECT n.id, n.created_at, n.send_at, {IS_MASS} AS is_mass FROM notifications_notification n) AS n
            ON n.id = l.notification_id
        LEFT JOIN devices_device d ON d.id = l.device_id AND n.is_mass
        LEFT JOIN devices_subscriber s ON s.id = l.subscriber_id AND n.is_mass
        GROUP BY 1, 2, 3, 4, 5, 6
    ),
    kept AS (
        INSERT INTO notifications_rollup AS r
            (notification_id, application_id, at, platform, language, outcome, count)
        SELECT notification_id, application_id, at, platform, language, outcome, count
        FROM counted WHERE count <> 0 ORDER BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (notification_id, application_id, at, platform, language, outcome)
            DO UPDATE SET count = r.count + excluded.count
    )
    {DAYS}
"""

COUNT_LEDGER = COUNT.format(
    bucket="%(since)s::timestamptz",
    lines=f"""
        SELECT l.notification_id, l.application_id, l.device_id, l.subscriber_id, {NET}
        FROM notifications_delivery l WHERE l.at >= %(since)s AND l.at < %(until)s""",
)
# What comes later than a day after the message comes in drops, for weeks.
COUNT_ENGAGEMENT = COUNT.format(
    bucket="""date_trunc(CASE WHEN l.at < coalesce(n.send_at, n.created_at) + interval '1 day'
                THEN 'minute' ELSE 'hour' END, l.at, 'UTC')""",
    lines="""
        SELECT notification_id, application_id, device_id, subscriber_id, at, kind AS outcome, 1 AS count
        FROM notifications_engagement WHERE told_at >= %(since)s AND told_at < %(until)s""",
)


def ledger() -> bool:
    """Count the next closed minute that has lines; False: there is none, or another is at it."""
    return _step(LEDGER)


def engagement() -> bool:
    """Add what was told in the next such minute."""
    return _step(ENGAGEMENT)


def _step(table: str) -> bool:
    RollupProgress.objects.get_or_create(source=table, defaults={"until": BEGINNING})
    with transaction.atomic(), connection.cursor() as cursor:
        progress = RollupProgress.objects.select_for_update(skip_locked=True).filter(source=table).first()
        if progress is None:
            return False
        closed = _closed(cursor, table)
        minute = _next(cursor, table, progress.until)
        has_lines = minute is not None and minute < closed
        if minute is not None and has_lines:
            _count(cursor, table, minute)
        progress.until = minute + MINUTE if minute is not None and has_lines else max(progress.until, closed)
        progress.save(update_fields=["until"])
    return has_lines


def _closed(cursor: CursorWrapper, table: str) -> datetime:
    """The beginning of the first minute that may still grow."""
    cursor.execute(CLOSED, {"table": table, "grace": GRACE_SECONDS, "patience": PATIENCE_SECONDS})
    closed: datetime = cursor.fetchone()[0]
    return closed.replace(second=0, microsecond=0)


def _next(cursor: CursorWrapper, table: str, since: datetime) -> datetime | None:
    """The minute of the first line since; by the index on time, whatever lies between."""
    time = TIME[table]
    cursor.execute(f"SELECT {time} FROM {table} WHERE {time} >= %s ORDER BY {time} LIMIT 1", [since])
    row = cursor.fetchone()
    return row[0].replace(second=0, microsecond=0) if row else None


def _count(cursor: CursorWrapper, table: str, since: datetime) -> None:
    cursor.execute(
        COUNT_LEDGER if table == LEDGER else COUNT_ENGAGEMENT, {"since": since, "until": since + MINUTE}
    )
