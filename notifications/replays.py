"""Dead letters: which there are, and sending them again. What may be replayed and how, is in pipeline/replay.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import structlog
from django.db import connection

from devices.models import Device
from notifications.models import Delivery, Notification
from notifications.pipeline import replay
from notifications.pipeline.replay import Criteria, Found

__all__ = ["Criteria", "Found", "count", "find", "latest", "lines", "reasons", "start"]

log = structlog.get_logger(__name__)


def find(criteria: Criteria) -> Iterator[list[Found]]:
    """What a replay would do, some notifications at a time."""
    for ids in replay.chunks(criteria):
        yield [found for found in replay.find(ids, criteria) if found.recipients or found.gone]


def start(criteria: Criteria, *, requested_by: str) -> Iterator[list[Found]]:
    """Send them again, some notifications at a time; each lot is committed before it is told. Stopped or called
    again half-way, it goes on with what is left."""
    for ids in replay.chunks(criteria):
        replayed = replay.dead_letters(ids, criteria, requested_by=requested_by)
        if replayed:
            log.info(
                "replayed",
                action="replay.started",
                application=criteria.application_id,
                notifications=len(replayed),
                recipients=sum(row.recipients for row in replayed),
            )
            yield replayed


# --- to look at -------------------------------------------------------------------------------

# Failures no later replay has asked for: replays are few, so no other line of the ledger need be looked at.
# (Of 1 M failures a page takes 1 ms; 1 to 3 s when every one of them was replayed and has to be passed over.)
LETTERS = """
    FROM notifications_delivery d
    WHERE application_id = %(application)s AND device_id IS NOT NULL {where}
        AND (outcome <> 'unregistered' OR EXISTS (
            SELECT FROM devices_device v WHERE v.id = d.device_id AND v.retired_at IS NULL))
        AND NOT EXISTS (
            SELECT FROM notifications_replay r
            WHERE r.notification_id = d.notification_id AND r.created_at > d.at
                AND coalesce(r.criteria ->> 'reason', d.reason) = d.reason
                AND d.lane LIKE coalesce(r.criteria ->> 'provider', '') || '%%'
                AND d.at >= coalesce((r.criteria ->> 'since')::timestamptz, '-infinity')
                AND d.at < coalesce((r.criteria ->> 'until')::timestamptz, 'infinity')
                AND coalesce(r.criteria -> 'device_ids' @> to_jsonb(d.device_id), true)
                AND (d.outcome <> 'unregistered' OR r.criteria ? 'notification_id'))
"""


def latest(criteria: Criteria, *, most: int, before: tuple[datetime, int] | None = None) -> list[Delivery]:
    """Dead letters, the newest first. before: (at, id) of a line; from there on into the past."""
    at, id = before or (None, None)
    where = criteria.where
    if before:
        where += " AND (at, id) < (%(before_at)s::timestamptz, %(before_id)s::bigint)"
    found = Delivery.objects.raw(
        f"SELECT d.* {LETTERS.format(where=where)} ORDER BY at DESC, id DESC LIMIT %(most)s",
        {**criteria.parameters, "before_at": at, "before_id": id, "most": most},
    )
    return list(found)


def count(criteria: Criteria, *, most: int) -> int:
    """How many dead letters, counted no further than `most`."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM (SELECT {LETTERS.format(where=criteria.where)} LIMIT %(most)s) AS counted",
            {**criteria.parameters, "most": most},
        )
        return int(cursor.fetchone()[0])


def lines(notification: Notification, device_id: int) -> list[Delivery]:
    """All that happened to one recipient, in order. By its person, if it has one: a large notification has
    millions of lines, a person few."""
    found = Delivery.objects.filter(
        application_id=notification.application_id, notification_id=notification.id, device_id=device_id
    )
    device = Device.objects.filter(application_id=notification.application_id, id=device_id).first()
    if device and device.subscriber_id:
        found = found.filter(subscriber_id=device.subscriber_id)
    return list(found.order_by("at", "id"))


def reasons(application_id: int, *, most: int = 10_000) -> list[str]:
    """Why the application's latest dead letters failed, the most frequent reason first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reason FROM (SELECT reason FROM notifications_delivery"
            " WHERE application_id = %s AND outcome IN ('failed', 'rejected') ORDER BY at DESC LIMIT %s) AS latest"
            " GROUP BY reason ORDER BY count(*) DESC, reason",
            [application_id, most],
        )
        return [reason for (reason,) in cursor.fetchall()]
