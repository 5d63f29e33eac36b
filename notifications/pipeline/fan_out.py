"""Audience → policy → batches: one SQL statement for a listed audience or a shard of a large one.

Suppressed recipients are recorded by the same statement, so that what is resolved is accounted for
from its first moment (law 2).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection, transaction

from notifications import lanes
from notifications.models import Notification, Shard
from notifications.pipeline import policy, wake
from tenants import selectors as tenants

# How far apart the turns of a notification's batches are. The slower this pace is against the real
# one, the sooner a small notification gets past a large one that started before it.
TURN = "interval '250 milliseconds'"

# An audience is a relation of: notification_id, asked (the address as listed, for the ledger),
# unreachable (why there is no device, or NULL), and the device's columns the policy looks at.
_DEVICE = "d.id AS device_id, d.subscriber_id, d.platform, d.permission, d.retired_at"

# Lists come as JSON (psycopg dumps an array ten times slower) and go through ARRAY(): of a set from JSON the
# planner expects 100 rows, and for 10 000 it would rather read all subscribers than look one up.
_PAIRS = """unnest(
        ARRAY(SELECT n::uuid FROM jsonb_array_elements_text(%(notifications)s::jsonb) AS n),
        ARRAY(SELECT jsonb_array_elements_text(%(addresses)s::jsonb))
    ) AS a (notification_id, address)"""

LISTED_SUBSCRIBERS = f"""
    SELECT a.notification_id, a.address AS asked,
        CASE WHEN s.id IS NULL THEN 'unknown_subscriber' WHEN d.id IS NULL THEN 'no_device' END AS unreachable,
        d.id AS device_id, s.id AS subscriber_id, d.platform, d.permission, d.retired_at
    FROM {_PAIRS}
    LEFT JOIN devices_subscriber s ON s.application_id = %(application)s AND s.external_id = a.address
    LEFT JOIN devices_device d ON d.subscriber_id = s.id AND d.retired_at IS NULL
"""

LISTED_DEVICES = f"""
    SELECT a.notification_id, a.address AS asked,
        CASE WHEN d.id IS NULL THEN 'unknown_device' END AS unreachable, {_DEVICE}
    FROM {_PAIRS}
    LEFT JOIN devices_device d ON d.application_id = %(application)s AND d.public_id = a.address::uuid
"""

IN_SHARD = f"""
    SELECT %(notification)s::uuid AS notification_id, NULL::text AS asked, NULL::text AS unreachable, {_DEVICE}
    FROM devices_device d {{joins}}
    WHERE d.application_id = %(application)s AND d.retired_at IS NULL
        AND d.id >= %(lower)s AND d.id < %(upper)s {{filters}}
"""

_LANE = (
    "CASE d.platform "
    + " ".join(f"WHEN '{platform}' THEN %(lane_{platform})s::text" for platform in lanes.PROVIDER_OF_PLATFORM)
    + " END"
)

RESOLVE = f"""
    WITH judged AS MATERIALIZED (
        SELECT d.notification_id, d.subscriber_id, d.device_id, d.asked, {_LANE} AS lane,
            coalesce(d.unreachable, {policy.SUPPRESSED_BECAUSE}) AS reason
        FROM ({{audience}}) AS d {policy.JOIN_CONSENT}
    ),
    numbered AS (
        SELECT notification_id, lane, device_id,
            (row_number() OVER (PARTITION BY notification_id, lane ORDER BY device_id) - 1) / %(batch_size)s AS part
        FROM judged WHERE reason IS NULL
    ),
    batches AS (
        INSERT INTO notifications_batch
            (application_id, notification_id, lane, status, device_ids, attempt, due_at, turn_at)
        SELECT %(application)s, notification_id, lane, 'ready', array_agg(device_id), 1, now(),
            now() + (%(first_turn)s + part) * {TURN}
        FROM numbered GROUP BY notification_id, lane, part
    ),
    suppressed AS (
        INSERT INTO notifications_delivery
            (at, application_id, notification_id, device_id, subscriber_id, lane, outcome, reason, attempt,
             provider_id, detail)
        SELECT now(), %(application)s, notification_id, device_id, subscriber_id, coalesce(lane, ''),
            'suppressed', reason, 0, '', coalesce(asked, '')
        FROM judged WHERE reason IS NOT NULL
    ),
    tallied AS (
        INSERT INTO notifications_tally AS t (notification_id, slot, outcome, reason, count)
        SELECT notification_id, %(slot)s, 'suppressed', reason, count(*)
        FROM judged WHERE reason IS NOT NULL GROUP BY notification_id, reason ORDER BY notification_id, reason
        ON CONFLICT (notification_id, slot, outcome, reason) DO UPDATE SET count = t.count + excluded.count
    ) {{also}}
    SELECT notification_id, CASE WHEN reason IS NULL THEN lane END, count(*) FROM judged GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Resolved:
    """recipients: how many each notification has. lanes: where their batches wait."""

    recipients: dict[UUID, int]
    lanes: set[str]


def listed(
    kind: str,
    pairs: Sequence[tuple[UUID, str]],
    *,
    application_id: int,
    category_id: int,
    lane_kind: str,
    throttle: int | None = None,
    also: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> Resolved:
    """Resolve listed audiences of one category, all in one statement.

    kind: "subscribers" (external ids) or "devices" (public ids). pairs: (notification, address), no
    address twice in a notification. throttle: the lowest of theirs. also: a further `, name AS (…)` of the
    same statement, with its parameters; it can read `judged`.
    """
    return _resolve(
        LISTED_SUBSCRIBERS if kind == "subscribers" else LISTED_DEVICES,
        {**(parameters or {}), **listing(pairs)},
        application_id=application_id,
        category_id=category_id,
        lane_kind=lane_kind,
        throttle=throttle,
        also=also,
    )


def listing(pairs: Sequence[tuple[UUID | None, str]]) -> dict[str, str]:
    """The parameters of the LISTED_… audiences."""
    return {
        "notifications": orjson.dumps([notification for notification, _ in pairs]).decode(),
        "addresses": orjson.dumps([address for _, address in pairs]).decode(),
    }


def shards(notification: Notification) -> list[Shard]:
    """The ranges of one fan-out, unsaved. The upper bound is frozen here: who registers later is not in it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(id), max(id) FROM devices_device WHERE application_id = %s AND retired_at IS NULL",
            [notification.application_id],
        )
        first, last = cursor.fetchone()
    if first is None:
        return []
    size = settings.SHARD_SIZE
    return [
        Shard(notification=notification, number=number, lower=lower, upper=min(lower + size, last + 1))
        for number, lower in enumerate(range(first, last + 1, size))
    ]


class Cancelled(Exception):
    """The notification was cancelled while a shard of it was being resolved; the shard is rolled back."""


def shard(shard_id: int) -> None:
    """Turn one shard into batches. Running it again, or twice at once, changes nothing."""
    with contextlib.suppress(Cancelled), transaction.atomic():
        row = (
            Shard.objects.select_for_update(of=("self",), skip_locked=True)
            .select_related("notification__category")
            .filter(id=shard_id, done_at__isnull=True)
            .first()
        )
        if row is None or row.notification.status != Notification.Status.FANNING_OUT:
            return
        resolved = _resolve_shard(row)
        _close(row, resolved.recipients.get(row.notification_id, 0))
        transaction.on_commit(lambda: wake.lanes(resolved.lanes))


def _resolve_shard(row: Shard) -> Resolved:
    notification = row.notification
    source, filters = in_shard(notification.audience)
    return _resolve(
        source,
        {**filters, "notification": notification.id, "lower": row.lower, "upper": row.upper},
        application_id=notification.application_id,
        category_id=notification.category_id,
        lane_kind=lanes.kind_of(category_kind=notification.category.kind, is_mass=True),
        throttle=notification.throttle_per_second,
        first_turn=row.number * settings.SHARD_SIZE // settings.BATCH_SIZE,
        slot=row.number % 8,
    )


def in_shard(audience: Mapping[str, Any], *, sample: str = "") -> tuple[str, dict[str, Any]]:
    """SQL and parameters of the mass audience described by {"all": true, "platforms"?, "attribute"?}.

    sample: a TABLESAMPLE clause, to estimate rather than count.
    """
    joins, filters, parameters = sample, "", {}
    if platforms := audience.get("platforms"):
        filters += " AND d.platform = ANY (%(platforms)s)"
        parameters["platforms"] = platforms
    if attribute := audience.get("attribute"):
        joins += " JOIN devices_subscriber s ON s.id = d.subscriber_id"
        filters += " AND s.attributes ->> %(attribute)s::text = %(value)s::text"
        parameters |= {"attribute": attribute["name"], "value": str(attribute["value"])}
    return IN_SHARD.format(joins=joins, filters=filters), parameters


def _close(row: Shard, recipients: int) -> None:
    with connection.cursor() as cursor:
        # One shard closes at a time, so that the last one sees that it is the last.
        cursor.execute(
            "SELECT FROM notifications_notification WHERE id = %s FOR NO KEY UPDATE", [row.notification_id]
        )
        cursor.execute(
            "UPDATE notifications_shard SET done_at = now(), recipient_count = %s WHERE id = %s",
            [recipients, row.id],
        )
        cursor.execute(
            """
            UPDATE notifications_notification SET recipient_count = recipient_count + %s,
                status = CASE WHEN EXISTS (
                    SELECT FROM notifications_shard
                    WHERE notification_id = %s AND done_at IS NULL
                ) THEN status ELSE 'sending' END
            WHERE id = %s AND status = 'fanning_out'
            """,
            [recipients, row.notification_id, row.notification_id],
        )
        if not cursor.rowcount:
            raise Cancelled


def _resolve(
    source: str,
    audience: Mapping[str, Any],
    *,
    application_id: int,
    category_id: int,
    lane_kind: str,
    throttle: int | None = None,
    first_turn: int = 0,
    slot: int = 0,
    also: str = "",
) -> Resolved:
    lane_of = lanes.lanes_of(lane_kind, tenants.configured_providers(application_id))
    parameters = {
        **audience,
        **{f"lane_{platform}": lane for platform, lane in lane_of.items()},
        "application": application_id,
        "category": category_id,
        # A batch goes out as a whole: one second's worth at most.
        "batch_size": min(settings.BATCH_SIZE, throttle or settings.BATCH_SIZE),
        "first_turn": first_turn,
        "slot": slot,
    }
    recipients: Counter[UUID] = Counter()
    woken = set()
    with connection.cursor() as cursor:
        cursor.execute(RESOLVE.format(audience=source, also=also), parameters)
        for notification_id, lane, count in cursor.fetchall():
            recipients[notification_id] += count
            woken.add(lane)
    return Resolved(recipients, woken - {None})
