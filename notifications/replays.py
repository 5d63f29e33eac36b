"""Dead letters: which there are, and sending them again. What may be replayed and how, is in pipeline/replay.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from django.db import connection

from devices.models import Device
from notifications import selectors
from notifications.models import Delivery, Notification
from notifications.pipeline import replay
from notifications.pipeline.replay import Criteria, Found

__all__ = ["Criteria", "Found", "count", "find", "latest", "lines", "reasons", "stands", "start"]

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

# How many failures are looked through for a page; after a large replay there may be many that stand no more.
LOOK = 50_000

FAILURES = """
    SELECT * FROM notifications_delivery
    WHERE application_id = %(application)s AND device_id IS NOT NULL {where}
"""
NEWEST = "ORDER BY at DESC, id DESC"

# Those no later replay has asked for: replays are few, so no other line of the ledger need be looked at.
LETTERS = f"""
    FROM ({FAILURES} {{order}} LIMIT %(look)s) AS d
    WHERE (outcome <> 'unregistered' OR EXISTS (
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


Place = tuple[datetime, int]  # (at, id) of a line


class Page(NamedTuple):
    """older: the last line looked at, if there are more; the next page begins there."""

    lines: list[Delivery]
    older: Place | None


def latest(criteria: Criteria, *, most: int, before: Place | None = None) -> Page:
    """Dead letters, the newest first, from a place on into the past. May be fewer than `most` though there are
    more: what has been replayed is passed over, and no more than LOOK failures are looked at."""
    where, parameters = _where(criteria, before)
    found = list(
        Delivery.objects.raw(
            f"SELECT d.* {LETTERS.format(where=where, order=NEWEST)} {NEWEST} LIMIT %(most)s",
            {**parameters, "most": most + 1},
        )
    )
    if len(found) > most:
        return Page(found[:most], (found[most - 1].at, found[most - 1].id))
    return Page(found, _end(where, NEWEST, parameters))


def count(criteria: Criteria, *, most: int) -> tuple[int, bool]:
    """How many dead letters, counted no further than `most`, and whether that is all of them."""
    where, parameters = _where(criteria)
    # By time there is an index over all notifications; the failures of one would have to be sorted.
    order = "" if criteria.notification_id else NEWEST
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM (SELECT {LETTERS.format(where=where, order=order)} LIMIT %(most)s) AS counted",
            {**parameters, "most": most + 1},
        )
        (counted,) = cursor.fetchone()
    return min(counted, most), counted <= most and _end(where, order, parameters) is None


def _where(criteria: Criteria, before: Place | None = None) -> tuple[str, dict[str, Any]]:
    parameters = {**criteria.parameters, "look": LOOK}
    if before is None:
        return criteria.where, parameters
    earlier = " AND (at, id) < (%(before_at)s::timestamptz, %(before_id)s::bigint)"
    return criteria.where + earlier, {**parameters, "before_at": before[0], "before_id": before[1]}


def _end(where: str, order: str, parameters: dict[str, Any]) -> Place | None:
    """The last failure looked at, where there may be more behind it."""
    with connection.cursor() as cursor:
        failures = FAILURES.format(where=where)
        last = f"SELECT at, id FROM ({failures} {order} OFFSET %(look)s - 1 LIMIT 1) AS last"
        cursor.execute(last, parameters)
        found: Place | None = cursor.fetchone()
    return found


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


def stands(lines: Sequence[Delivery]) -> bool:
    """Of one recipient's lines: whether a failure stands that no replay has taken back."""
    failures: Counter[tuple[str, str]] = Counter()
    for line in lines:
        if line.outcome == Delivery.Outcome.REPLAYED:
            failures[line.detail, line.reason] -= 1
        elif line.outcome in selectors.FAILURES:
            failures[line.outcome, line.reason] += 1
    return any(count > 0 for count in failures.values())


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
