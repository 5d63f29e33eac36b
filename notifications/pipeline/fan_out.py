"""A large audience, shard by shard: a range of device ids each, resolved by one statement (resolve.py)."""

from __future__ import annotations

import contextlib
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from config.problems import InvalidField
from notifications import lanes
from notifications.models import Notification, Shard
from notifications.pipeline import audience, resolve, terms, wake
from notifications.pipeline.resolve import Resolved

log = structlog.get_logger(__name__)


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
    begin = (
        first - first % size
    )  # the same ranges for every fan-out, so that each finds what another has found
    return [
        Shard(notification=notification, number=number, lower=lower, upper=min(lower + size, last + 1))
        for number, lower in enumerate(range(begin, last + 1, size))
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
        if row is None or not _may_run(row.notification):
            return
        resolved = _resolve_shard(row)
        _close(row, resolved.recipients.get(row.notification_id, 0))
        transaction.on_commit(lambda: wake.lanes(resolved.lanes))


def _may_run(notification: Notification) -> bool:
    """What is left undone here is found by the next tick."""
    if notification.status != Notification.Status.FANNING_OUT or notification.paused_at:
        return False
    # Where caps count, the last place is for what is urgent.
    return (
        notification.priority == Notification.Priority.HIGH
        or not resolve.is_capped(notification.category_id)
        or not Notification.objects.filter(
            application_id=notification.application_id,
            status=Notification.Status.FANNING_OUT,
            priority=Notification.Priority.HIGH,
            paused_at=None,
        ).exists()
    )


def _resolve_shard(row: Shard) -> Resolved:
    notification = row.notification
    source, filters = _audience(notification, row)
    return resolve.relation(
        source,
        {**filters, "notification": notification.id, "lower": row.lower, "upper": row.upper},
        application_id=notification.application_id,
        category_id=notification.category_id,
        lane_kind=lanes.kind_of(category_kind=notification.category.kind, is_mass=True),
        timed=terms.timing_of(notification),
        throttle=notification.throttle_per_second,
        is_mass=True,
        first_turn=row.number * settings.SHARD_SIZE // settings.BATCH_SIZE,
        slot=row.number % 8,
        people=_people(row),
    )


# + 0: the planner would look for the lowest in the index by subscriber, from the lowest of all.
PEOPLE = """
    SELECT min(subscriber_id + 0), max(subscriber_id + 0) FROM devices_device
    WHERE application_id = %s AND retired_at IS NULL AND id >= %s AND id < %s
"""


def _people(row: Shard) -> tuple[int, int]:
    """The lowest and the highest subscriber with a device in the shard."""
    with connection.cursor() as cursor:
        cursor.execute(PEOPLE, [row.notification.application_id, row.lower, row.upper])
        first, last = cursor.fetchone()
    return first or 0, last or 0


def _audience(notification: Notification, row: Shard) -> tuple[str, dict[str, Any]]:
    asked = notification.send_at or notification.created_at  # the same for all shards
    try:
        return audience.in_shard(
            notification.audience, notification.application_id, now=asked, within=(row.lower, row.upper)
        )
    except InvalidField as error:  # its segment was deleted meanwhile: there is nobody in it
        log.error(
            "segment_gone", action="fan_out.segment_gone", notification=str(notification.id), error=str(error)
        )
        return audience.NOBODY, {}


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
