"""Frequency caps: a recipient's recent messages in one row, so that taking a place is one upsert, exact whoever
else does the same at that moment: PostgreSQL locks the row and looks at its latest version.

Days and weeks are those of the recipient's calendar on which the message is due. A message takes one place
however many devices it goes to, and however often its audience is resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from notifications.pipeline.terms import Limit

# Taking entries apart costs more than all the rest, so old ones stay until there are this many.
MOST_KEPT = 30

APPENDED = """CASE
            WHEN excluded.notification_ids[1] = ANY (r.notification_ids) THEN r.{column}
            WHEN cardinality(r.days) < {most} THEN r.{column} || excluded.{column}
            ELSE excluded.{column} || ARRAY(
                SELECT v FROM unnest(r.{column}, r.days) AS k (v, d)
                WHERE d > least(excluded.days[1], current_date) - {kept}
            ) END"""

# Longer than any period, counted back from today or from the day the message is due.
KEPT_DAYS = 8

# `wanted`: one row per recipient and statement; an upsert cannot meet the same row twice.
RESERVE = """,
    wanted AS (
        SELECT DISTINCT ON (recipient) recipient, notification_id, day FROM (
            SELECT coalesce(subscriber_id, -device_id) AS recipient, notification_id, day
            FROM judged WHERE reason IS NULL
        ) AS eligible ORDER BY recipient, day
    ),
    reserved AS (
        INSERT INTO notifications_recent AS r (recipient, application_id, notification_ids, category_ids, days)
        SELECT recipient, %(application)s, ARRAY[notification_id], ARRAY[%(category)s::bigint], ARRAY[day]
        FROM wanted ORDER BY recipient
        ON CONFLICT (recipient) DO UPDATE SET
            notification_ids = {notification_ids}, category_ids = {category_ids}, days = {days}
        WHERE cardinality(r.days) < %(least)s OR excluded.notification_ids[1] = ANY (r.notification_ids) OR (
            SELECT {allowed} FROM unnest(r.category_ids, r.days) AS k (c, d)
        )
        RETURNING recipient
    ),
    settled AS MATERIALIZED (
        SELECT j.notification_id, j.subscriber_id, j.device_id, j.asked, j.lane, j.due_at,
            CASE WHEN j.reason IS NULL AND x.recipient IS NULL THEN 'capped' ELSE j.reason END AS reason
        FROM judged j LEFT JOIN reserved x ON x.recipient = coalesce(j.subscriber_id, -j.device_id)
    )
"""

# The same without taking a place: `spent` are those among `judged` who have none left just now.
LOOK = """,
    spent AS (
        SELECT r.recipient FROM (
            SELECT coalesce(subscriber_id, -device_id) AS recipient, min(day) AS day
            FROM judged WHERE reason IS NULL GROUP BY 1
        ) AS w JOIN notifications_recent r ON r.recipient = w.recipient
        WHERE cardinality(r.days) >= %(least)s
            AND NOT (SELECT {allowed} FROM unnest(r.category_ids, r.days) AS k (c, d))
    ),
    settled AS (
        SELECT j.platform, j.is_later,
            CASE WHEN j.reason IS NULL AND x.recipient IS NOT NULL THEN 'capped' ELSE j.reason END AS reason
        FROM judged j LEFT JOIN spent x ON x.recipient = coalesce(j.subscriber_id, -j.device_id)
    )
"""

# The places of those who will not get it after all; `taken`: their batches. Not of who got it on another device.
GIVE_BACK = """,
    given_up AS (
        SELECT DISTINCT coalesce(d.subscriber_id, -x.device_id) AS recipient
        FROM taken t CROSS JOIN LATERAL unnest(t.device_ids) AS x (device_id)
        LEFT JOIN devices_device d ON d.id = x.device_id
    ),
    under_way AS (
        SELECT coalesce(d.subscriber_id, -x.device_id) AS recipient
        FROM notifications_batch b CROSS JOIN LATERAL unnest(b.device_ids) AS x (device_id)
        LEFT JOIN devices_device d ON d.id = x.device_id
        WHERE b.notification_id = %(id)s AND b.status = 'sending'
    ),
    places AS (
        SELECT r.recipient FROM notifications_recent r JOIN given_up g ON g.recipient = r.recipient
        WHERE %(id)s = ANY (r.notification_ids)
            -- NOT IN, not NOT EXISTS: these are hashed, whatever the planner expects of them.
            AND r.recipient NOT IN (SELECT recipient FROM under_way)
            AND r.recipient NOT IN (
                SELECT subscriber_id FROM notifications_delivery WHERE notification_id = %(id)s
                    AND subscriber_id IS NOT NULL AND outcome IN ('accepted', 'uncertain')
            )
        ORDER BY r.recipient FOR UPDATE OF r
    ),
    given_back AS (
        UPDATE notifications_recent r SET (notification_ids, category_ids, days) = (
            SELECT coalesce(array_agg(n), '{}'), coalesce(array_agg(c), '{}'), coalesce(array_agg(d), '{}')
            FROM unnest(r.notification_ids, r.category_ids, r.days) AS k (n, c, d) WHERE n <> %(id)s
        ) FROM places WHERE r.recipient = places.recipient
    )
"""


def reserve(limits: Sequence[Limit]) -> tuple[str, dict[str, Any]]:
    """The steps between `judged` and `settled`, and their parameters."""
    allowed, parameters = _allowed(limits, day="excluded.days[1]")
    columns = {
        column: APPENDED.format(column=column, most=MOST_KEPT, kept=KEPT_DAYS)
        for column in ("notification_ids", "category_ids", "days")
    }
    return RESERVE.format(allowed=allowed, **columns), parameters


def look(limits: Sequence[Limit]) -> tuple[str, dict[str, Any]]:
    """The same for a message that is only thought of: reads, and takes no place."""
    allowed, parameters = _allowed(limits, day="w.day")
    return LOOK.format(allowed=allowed), parameters


def _allowed(limits: Sequence[Limit], *, day: str) -> tuple[str, dict[str, Any]]:
    """Whether all limits leave a place on that day: over `k (c, d)`, the recipient's recent messages."""
    monday = f"{day} - (extract(isodow FROM {day})::int - 1)"
    same = {False: f"d = {day}", True: f"d >= {monday} AND d < {monday} + 7"}
    allowed: list[str] = []
    parameters: dict[str, Any] = {}
    for number, limit in enumerate(limits):
        allowed.append(
            f"count(*) FILTER (WHERE c = ANY (%(capped_{number})s) AND {same[limit.is_weekly]})"
            f" < %(most_{number})s"
        )
        parameters |= {f"capped_{number}": list(limit.category_ids), f"most_{number}": limit.most}
    parameters["least"] = min(limit.most for limit in limits)  # so few cannot be too many
    return " AND ".join(allowed), parameters
