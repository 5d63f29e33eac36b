"""What the clock calls: fixed ticks, each safe to run twice, late, or not at all for a while."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.utils import timezone

from config import partitions
from notifications import checks
from notifications.models import Notification, RetirementCount, Rollup, Shard
from notifications.pipeline import (
    accept,
    cancel,
    conclude,
    expire,
    incidents,
    pause,
    reap,
    roll_up,
    verify,
    wake,
)

log = structlog.get_logger(__name__)

Status = Notification.Status

# How many months back each table is written to.
PARTITIONED = {"notifications_delivery": 0, "notifications_engagement": 0, "devices_event": 1}


def start_due() -> None:
    """Begin what was scheduled for now."""
    # Where two begin at once, what is urgent resolves its audience first: caps have a last place.
    due = Notification.objects.filter(
        status=Status.SCHEDULED, send_at__lte=timezone.now(), paused_at=None
    ).order_by("priority", "send_at")
    for id in due.values_list("id", flat=True)[:500]:
        try:
            _start(id)
        except Exception:  # one that cannot start must not keep the others from it
            log.exception("start_failed", action="periodic.start_failed", notification=str(id))


def _start(id: UUID) -> None:
    with transaction.atomic():
        notification = (
            Notification.objects.select_for_update(of=("self",), skip_locked=True)
            .select_related("category")
            .filter(id=id, status=Status.SCHEDULED, paused_at=None)
            .first()
        )
        if notification is None:
            return
        if not notification.audience.keys() & {"subscribers", "devices"}:
            notification.status = Status.FANNING_OUT
            notification.save(update_fields=["status"])
            accept.start(notification)
        else:
            resolved = accept.resolve(notification)
            notification.status = Status.SENDING
            notification.recipient_count = resolved.recipients.get(notification.id, 0)
            notification.save(update_fields=["status", "recipient_count"])
            transaction.on_commit(lambda: wake.lanes(resolved.lanes))


def wake_shards() -> None:
    """Ask again for shards whose message was lost."""
    wake.fan_out(
        Shard.objects.filter(
            done_at__isnull=True, notification__status=Status.FANNING_OUT, notification__paused_at=None
        )
        .order_by("notification_id", "number")
        .values_list("id", flat=True)[:100]
    )


FINISH = """
    UPDATE notifications_notification n SET status = 'done', finished_at = now()
    WHERE n.status IN ('sending', 'fanning_out')
        AND NOT EXISTS (SELECT FROM notifications_shard s WHERE s.notification_id = n.id AND s.done_at IS NULL)
        AND NOT EXISTS (SELECT FROM notifications_batch b WHERE b.notification_id = n.id)
        -- Having waited for a replay to commit, the row is looked at anew, the batches are not.
        AND n.replay_count = (SELECT m.replay_count FROM notifications_notification m WHERE m.id = n.id)
"""


def finish() -> None:
    """Completion is derived: a notification with no open shard and no batch is done."""
    with connection.cursor() as cursor:
        cursor.execute(FINISH)


def keep_paused() -> None:
    """What comes back of a paused notification waits with the rest."""
    pause.keep()


def settle_cancelled() -> None:
    """The rest of large notifications that were cancelled, and retries that came back after that."""
    cancelled = Notification.objects.raw(
        "SELECT n.id, n.category_id FROM notifications_notification n WHERE n.status = 'cancelled'"
        " AND n.finished_at > now() - interval '30 days' AND EXISTS ("
        "SELECT FROM notifications_batch b WHERE b.notification_id = n.id AND b.status <> 'sending')"
    )
    for notification in cancelled:
        cancel.open_batches(notification)


def reap_dead() -> None:
    """Settle what dead senders left behind."""
    for lane, is_sent_again, count in reap.expired_leases():
        log.warning(
            "sender_died", action="reap.settled", lane=lane, sent_again=is_sent_again, recipients=count
        )
        if is_sent_again:
            wake.lanes([lane])


def end_incidents() -> None:
    """Give up what has outlived its time behind an incident; end those of which nothing was met any more."""
    if count := expire.stopped():
        log.warning("expired_behind_incident", action="expire.stopped", recipients=count)
    with connection.cursor() as cursor:
        cursor.execute(incidents.END_PARTIAL)
        cursor.execute(incidents.END_IDLE)


# How long one run may go on counting: the worker has fan-outs and the next tick to serve.
VERIFY_SECONDS = 5.0


def verify_open() -> None:
    """Look whether what is being sent adds up."""
    conclude.checks(verify.open_sums())


def verify_finished() -> None:
    """Count again from the ledger what has finished; what is left over waits for the next run."""
    until = time.monotonic() + VERIFY_SECONDS
    while time.monotonic() < until:
        if not conclude.checks(verify.finished()):
            return


def verify_again() -> None:
    """Look again at what did not add up: its alarm ends when it does."""
    until = time.monotonic() + VERIFY_SECONDS
    after = verify.FIRST
    while time.monotonic() < until and (found := verify.in_trouble(after=after)):
        conclude.checks(found)
        after = found[-1].id


def check_credentials() -> None:
    """Ask providers about the credentials whose check is due."""
    checks.run()


# What is left over waits for the next run, as with VERIFY_SECONDS.
ROLL_UP_SECONDS = 5.0


def roll_up_closed() -> None:
    """Count what was recorded and told in minutes that are over, oldest first."""
    until = time.monotonic() + ROLL_UP_SECONDS
    while time.monotonic() < until:
        if not any([roll_up.ledger(), roll_up.engagement()]):
            return


def make_partitions() -> None:
    """Keep the partitions ahead of the calendar, and no counts of hours long past."""
    RetirementCount.objects.filter(hour__lt=timezone.now() - timedelta(days=1)).delete()
    for table, months_back in PARTITIONED.items():
        for name in partitions.ensure(table, months_back=months_back):
            log.info("partition_made", action="partitions.made", partition=name)
    drop_with_ledger()


# Some of them may be on their way still: made then, and scheduled for much later.
IS_IN_USE = """
    SELECT EXISTS (
        SELECT FROM notifications_notification
        WHERE id >= %(first)s AND id < %(following)s AND (finished_at IS NULL OR finished_at >= %(start)s))
"""


def drop_with_ledger() -> None:
    """What is kept about months of which the ledger has been dropped goes too; counts by day stay."""
    start = next(iter(partitions.months("notifications_delivery")), None)
    if start is None:
        return
    kept = partitions.months("notifications_engagement")
    for month, following in pairwise(kept):
        if month < start and not _is_in_use(month, following, start):
            partitions.drop("notifications_engagement", month)
            log.info("partition_dropped", action="partitions.dropped", month=str(month))
    Rollup.objects.filter(at__lt=datetime(start.year, start.month, 1, tzinfo=UTC)).delete()


def _is_in_use(month: date, following: date, start: date) -> bool:
    ids = {"first": partitions.first_id(month), "following": partitions.first_id(following)}
    with connection.cursor() as cursor:
        cursor.execute(IS_IN_USE, {**ids, "start": start})
        return bool(cursor.fetchone()[0])
