"""What devices report of messages: received, opened, clicked; and conversions. In batches, one statement each.

Each is counted once for a device, a conversion once for a person and goal, however often it is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import orjson
from django.db import connection
from django.db.models import Sum

from config.problems import InvalidField
from config.types import ExternalId, text
from devices import events
from devices.models import Subscriber
from notifications.models import Engagement, EngagementTally
from notifications.pipeline.record import SLOTS

Kind = Engagement.Kind
Unset = msgspec.UnsetType
UNSET = msgspec.UNSET


class Told(msgspec.Struct, forbid_unknown_fields=True):
    """device: its id, as registering gave it. subscriber: of conversions, in place of a device. at: absent, now.
    action or url: what was clicked. goal and value: what a conversion came to, and how much it was worth."""

    name: Literal["received", "opened", "clicked", "converted"]
    notification: UUID
    device: UUID | Unset = UNSET
    subscriber: ExternalId | Unset = UNSET
    at: Annotated[datetime, msgspec.Meta(tz=True)] | Unset = UNSET
    action: Annotated[str, text(64, shortest=1)] | Unset = UNSET
    url: Annotated[str, text(2048, shortest=1)] | Unset = UNSET
    goal: Annotated[str, text(64)] | Unset = UNSET
    value: Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)] | Unset = UNSET


ONLY_WITH = {
    "subscriber": Kind.CONVERTED,
    "goal": Kind.CONVERTED,
    "value": Kind.CONVERTED,
    "action": Kind.CLICKED,
    "url": Kind.CLICKED,
}


def check(told: Told, now: datetime) -> None:
    """Raises InvalidField."""
    for field, kind in ONLY_WITH.items():
        if told.name != kind and getattr(told, field) is not UNSET:
            raise InvalidField(f"/{field}", f"only with “{kind.value}”")
    if told.subscriber is not UNSET and told.device is not UNSET:
        raise InvalidField("/subscriber", "either a device or a subscriber")
    if told.subscriber is UNSET and told.device is UNSET:
        raise InvalidField("/device", "missing")
    if told.at is not UNSET:
        events.check_time(told.at, now)


# Was it sent there? The ledger knows, or a batch that is being sent: a phone may answer before its sender has
# written down that it was reached. Whose it was is what the ledger says; a phone may have changed hands since.
# Each line is looked up by itself, by an index; a person's not by that of the notification, which may have millions.
STORE = """
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
            AS g (n int, kind text, notification uuid, device uuid, subscriber text, at timestamptz, action text,
                url text, name text, value numeric)
    ),
    sending AS MATERIALIZED (
        SELECT DISTINCT notification_id, unnest(device_ids) AS device_id FROM notifications_batch
        WHERE status = 'sending' AND application_id = %(application)s
    ),
    found AS MATERIALIZED (
        SELECT g.*, n.id AS notification_id, d.id AS device_id,
            coalesce(s.id, CASE WHEN l.is_sent THEN l.subscriber_id ELSE d.subscriber_id END) AS subscriber_id,
            CASE
                WHEN n.id IS NULL THEN 'unknown_notification'
                WHEN d.id IS NULL AND g.device IS NOT NULL THEN 'unknown_device'
                WHEN s.id IS NULL AND g.subscriber IS NOT NULL THEN 'unknown_subscriber'
                WHEN coalesce(l.is_sent, p.is_sent, o.device_id IS NOT NULL) IS NOT TRUE THEN 'not_sent'
                WHEN to_regclass('notifications_engagement_' || to_char(
                    uuid_extract_timestamp(n.id) AT TIME ZONE 'UTC', 'YYYY_MM')) IS NULL THEN 'not_kept'
            END AS refused
        FROM given g
        LEFT JOIN notifications_notification n ON n.id = g.notification AND n.application_id = %(application)s
        LEFT JOIN devices_device d ON d.public_id = g.device AND d.application_id = %(application)s
        LEFT JOIN devices_subscriber s ON s.application_id = %(application)s AND s.external_id = g.subscriber
        LEFT JOIN LATERAL (
            SELECT true AS is_sent, y.subscriber_id FROM notifications_delivery y
            WHERE y.notification_id = n.id AND y.device_id = d.id AND {sent} LIMIT 1
        ) l ON true
        LEFT JOIN LATERAL (
            SELECT true AS is_sent FROM notifications_delivery y
            WHERE y.subscriber_id = s.id AND (y.notification_id = n.id) IS TRUE AND {sent} LIMIT 1
        ) p ON true
        LEFT JOIN sending o ON o.notification_id = n.id AND o.device_id = d.id
    ),
    numbered AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY notification_id, kind, counted_for, name ORDER BY at, n) AS number
        FROM (
            SELECT *, CASE WHEN kind = 'converted' THEN coalesce(subscriber_id, -device_id) ELSE -device_id END
                AS counted_for
            FROM found WHERE refused IS NULL
        ) AS f
    ),
    stored AS (
        INSERT INTO notifications_engagement
            (at, told_at, application_id, notification_id, device_id, subscriber_id, kind, counted_for, name, action,
             url, value)
        SELECT greatest(at, uuid_extract_timestamp(notification_id)), now(), %(application)s, notification_id,
            device_id, subscriber_id, kind, counted_for, coalesce(name, ''), coalesce(action, ''), coalesce(url, ''),
            value
        FROM numbered WHERE number = 1 ORDER BY notification_id, kind, counted_for, name
        ON CONFLICT DO NOTHING
        RETURNING notification_id, kind, counted_for, name, value
    ),
    tallied AS (
        INSERT INTO notifications_engagementtally AS t (notification_id, slot, kind, name, count, value)
        SELECT notification_id, %(slot)s, kind, name, count(*), coalesce(sum(value), 0)
        FROM stored GROUP BY notification_id, kind, name ORDER BY notification_id, kind, name
        ON CONFLICT (notification_id, slot, kind, name)
            DO UPDATE SET count = t.count + excluded.count, value = t.value + excluded.value
    )
    SELECT n, refused FROM found WHERE refused IS NOT NULL
    UNION ALL
    SELECT n, 'repeated' FROM numbered u
    WHERE number > 1 OR NOT EXISTS (
        SELECT FROM stored t WHERE (t.notification_id, t.kind, t.counted_for, t.name)
            = (u.notification_id, u.kind, u.counted_for, coalesce(u.name, '')))
""".format(
    # Not the months before the notification. Clocks of senders differ a little.
    sent="""y.outcome NOT IN ('suppressed', 'cancelled')
                AND y.at >= uuid_extract_timestamp(n.id) - interval '1 minute' AND y.at < now() + interval '1 hour'"""
)

# Of a line that was refused: the field and what is wrong with it.
REFUSED = {
    "unknown_notification": ("notification", "there is no such notification"),
    "unknown_device": ("device", "there is no such device"),
    "unknown_subscriber": ("subscriber", "there is no such subscriber"),
    "not_kept": ("notification", "from a month that is not kept any more"),
    "not_sent": ("device", "this notification was not sent there"),
}


def store(told: Sequence[tuple[int, Told]], *, application_id: int, now: datetime) -> dict[int, str]:
    """Store checked lines, by number. Of those that were not: "repeated", or a key of REFUSED."""
    if not told:
        return {}
    rows = orjson.dumps([_row(number, line, now) for number, line in told]).decode()
    with connection.cursor() as cursor:
        cursor.execute(STORE, {"rows": rows, "application": application_id, "slot": os.getpid() % SLOTS})
        return dict(cursor.fetchall())


def _row(number: int, told: Told, now: datetime) -> dict[str, Any]:
    row = {
        "n": number,
        "kind": told.name,
        "notification": told.notification,
        "device": told.device,
        "subscriber": told.subscriber,
        "at": now if told.at is UNSET else told.at,
        "action": told.action,
        "url": told.url,
        "name": told.goal,
        "value": told.value,
    }
    return {name: value for name, value in row.items() if value is not UNSET}


# --- Reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Goal:
    name: str
    count: int
    value: Decimal


def goals(notification_ids: Iterable[UUID]) -> list[Goal]:
    """Conversions that were told of these notifications together, by goal, the most frequent first."""
    rows = EngagementTally.objects.filter(notification_id__in=list(notification_ids), kind=Kind.CONVERTED)
    sums = rows.values_list("name").annotate(Sum("count"), Sum("value"))
    return sorted((Goal(*row) for row in sums), key=lambda goal: (-goal.count, goal.name))


@dataclass(frozen=True, slots=True)
class Converted:
    """People, and how many of them converted within the window. held_out: those who were not sent to so that
    the others can be compared with them."""

    people: int = 0
    converted: int = 0
    held_out: int = 0
    held_out_converted: int = 0


# Who did it is found among all who did in that time, not by a look at each of the people.
CONVERSIONS = """
    WITH people AS MATERIALIZED (
        SELECT notification_id, subscriber_id, outcome = 'suppressed' AS is_held_out, min(at) AS since
        FROM notifications_delivery
        WHERE notification_id = ANY (%(ids)s) AND subscriber_id IS NOT NULL
            AND (outcome = 'accepted' OR outcome = 'suppressed' AND reason = 'holdout')
        GROUP BY 1, 2, 3
    ),
    period AS (SELECT min(since) AS first, max(since) + make_interval(secs => %(window)s) AS last FROM people),
    done AS (
        SELECT DISTINCT p.notification_id, p.subscriber_id, p.is_held_out
        FROM people p
        JOIN notifications_notification n ON n.id = p.notification_id
        JOIN devices_event e ON e.subscriber_id = p.subscriber_id AND e.application_id = n.application_id
            AND e.at > p.since AND e.at <= p.since + make_interval(secs => %(window)s)
        WHERE e.name = %(name)s
            AND e.at > (SELECT first FROM period) AND e.at <= (SELECT last FROM period)
    )
    SELECT p.notification_id,
        count(*) FILTER (WHERE NOT p.is_held_out), count(d.subscriber_id) FILTER (WHERE NOT p.is_held_out),
        count(*) FILTER (WHERE p.is_held_out), count(d.subscriber_id) FILTER (WHERE p.is_held_out)
    FROM people p LEFT JOIN done d USING (notification_id, subscriber_id, is_held_out)
    GROUP BY 1
"""


def conversions(
    notification_ids: Sequence[UUID], event_name: str, window: timedelta
) -> dict[UUID, Converted]:
    """Of each notification: people to whom it was accepted (or who were held out), and of them those who did
    `event_name` (a custom event) within `window` after it. Reads the ledger: for background work, not for pages."""
    with connection.cursor() as cursor:
        cursor.execute(
            CONVERSIONS, {"ids": list(notification_ids), "name": event_name, "window": window.total_seconds()}
        )
        found = {id: Converted(*counts) for id, *counts in cursor.fetchall()}
    return {id: found.get(id, Converted()) for id in notification_ids}


# --- Erasing ------------------------------------------------------------------------------------

# By the ledger, which says which messages and devices were this person's: before it forgets.
FORGET = """
    UPDATE notifications_engagement e
    SET device_id = NULL, subscriber_id = NULL, counted_for = NULL, action = '', url = ''
    FROM (
        SELECT DISTINCT notification_id, unnest(ARRAY[subscriber_id, -device_id]) AS counted_for
        FROM notifications_delivery WHERE application_id = %(application)s AND subscriber_id = %(subscriber)s
    ) m
    WHERE e.notification_id = m.notification_id AND e.counted_for = m.counted_for
        AND e.kind = ANY (%(kinds)s) AND e.application_id = %(application)s AND e.subscriber_id = %(subscriber)s
"""


def forget(subscriber: Subscriber) -> None:
    """What an erased person did still counts, for nobody."""
    with connection.cursor() as cursor:
        cursor.execute(
            FORGET,
            {
                "application": subscriber.application_id,
                "subscriber": subscriber.pk,
                "kinds": Kind.values,
            },
        )
