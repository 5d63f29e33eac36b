"""Reads of notifications and their ledger. Counts come from tallies, never from the ledger's rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet, Sum

from devices.models import Category, Device, Subscriber
from notifications.models import Batch, Delivery, EngagementTally, Notification
from tenants.selectors import remembered

Outcome = Delivery.Outcome

PAUSED = "paused"  # shown in place of the stored status

FAILURES = (Outcome.UNREGISTERED, Outcome.REJECTED, Outcome.FAILED)
# What a provider had a part in.
BY_PROVIDER = (Outcome.ACCEPTED, Outcome.UNCERTAIN, *FAILURES)


@remembered
def category(application_id: int, slug: str) -> Category | None:
    return Category.objects.filter(application_id=application_id, slug=slug).first()


def notification(application_id: int, id: UUID) -> Notification | None:
    return (
        Notification.objects.select_related("category", "template_version__template")
        .filter(application_id=application_id, id=id)
        .first()
    )


def notifications(application_id: int) -> QuerySet[Notification]:
    return Notification.objects.select_related("category", "template_version__template").filter(
        application_id=application_id
    )


def fingerprints(application_id: int, idempotency_keys: Sequence[str]) -> dict[str, bytes]:
    """Which of these keys were used, and for what."""
    rows = Notification.objects.filter(application_id=application_id, idempotency_key__in=idempotency_keys)
    return {
        key: bytes(value)
        for key, value in rows.values_list("idempotency_key", "fingerprint")
        if key and value
    }


def counts(notifications: Sequence[Notification]) -> dict[UUID, dict[str, Any]]:
    """recipients = pending + accepted + suppressed + failed + uncertain + cancelled, for each (law 2).

    Two queries for all. `received`, `opened`, `clicked` and `converted` are what was told, not part of the sum.
    `providers`: accepted, failed and uncertain by provider; what was counted before that was told apart is in none.
    """
    found = {notification.id: empty_counts(notification.recipient_count) for notification in notifications}
    for id, recipients, outcome, reason, provider, count in _tallies(list(found)):
        row = found[id]
        row["recipients"] = recipients
        if outcome is None or reason is None:
            continue
        _add(row, outcome, reason, count)
        if provider and outcome in BY_PROVIDER:
            own = row["providers"].setdefault(provider, {"accepted": 0, "failed": {}, "uncertain": 0})
            _add(own, outcome, reason, count)
    for row in found.values():
        _tidy(row)
        settled = row["accepted"] + row["uncertain"] + row["cancelled"]
        settled += sum(row["suppressed"].values()) + sum(row["failed"].values())
        row["pending"] = max(0, row["recipients"] - settled)
    told = EngagementTally.objects.filter(notification_id__in=list(found))
    for id, kind, count in told.values_list("notification_id", "kind").annotate(Sum("count")):
        found[id][kind] = count
    return found


def empty_counts(recipients: int = 0) -> dict[str, Any]:
    return {
        "recipients": recipients,
        "pending": 0,
        "accepted": 0,
        "suppressed": {},
        "failed": {},
        "uncertain": 0,
        "cancelled": 0,
        "received": 0,
        "opened": 0,
        "clicked": 0,
        "converted": 0,
        "providers": {},
    }


def added(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of several notifications as those of one."""
    total: dict[str, Any] = empty_counts()
    for row in rows:
        _add_all(total, row)
    return total


def _add_all(total: dict[str, Any], row: Mapping[str, Any]) -> None:
    for key, value in row.items():
        if isinstance(value, Mapping):
            _add_all(total.setdefault(key, {}), value)
        else:
            total[key] = total.get(key, 0) + value


def _add(row: dict[str, Any], outcome: str, reason: str, count: int) -> None:
    if outcome in FAILURES:
        row["failed"][reason] = row["failed"].get(reason, 0) + count
    elif outcome == Outcome.SUPPRESSED:
        row["suppressed"][reason] = row["suppressed"].get(reason, 0) + count
    else:
        row[outcome] += count


def _tidy(row: dict[str, Any]) -> None:
    """Largest first, without what replays have taken back."""
    for kind in ("suppressed", "failed"):
        row[kind] = _largest_first(row[kind])
    for own in row["providers"].values():
        # Below zero: counted before providers were, and taken back since.
        own["failed"] = _largest_first({reason: max(0, count) for reason, count in own["failed"].items()})
    row["providers"] = {provider: own for provider, own in row["providers"].items() if any(own.values())}


def _largest_first(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counts.items(), key=lambda item: -item[1]) if count}


def _tallies(ids: Iterable[UUID]) -> list[tuple[UUID, int, str | None, str | None, str | None, int]]:
    """Recipients and outcomes as of one instant, so that they add up while the audience is being resolved."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n.id, n.recipient_count, t.outcome, t.reason, t.provider, sum(t.count)::bigint"
            " FROM notifications_notification n LEFT JOIN notifications_tally t ON t.notification_id = n.id"
            " WHERE n.id = ANY (%s) GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 3, 4, 5",
            [list(ids)],
        )
        return cursor.fetchall()


def status(notification: Notification, counts: dict[str, Any]) -> str:
    """The stored status lags by up to a second; the counts do not."""
    if notification.paused_at:
        return PAUSED
    is_sending = notification.status == Notification.Status.SENDING
    return Notification.Status.DONE if is_sending and not counts["pending"] else notification.status


def deliveries(application_id: int, notification_id: UUID) -> QuerySet[Delivery]:
    """The ledger of one notification, newest line first."""
    return Delivery.objects.filter(application_id=application_id, notification_id=notification_id).order_by(
        "-id"
    )


def ledger_lines(application_id: int, lines: Sequence[Delivery]) -> list[dict[str, Any]]:
    """Lines with the names callers know: the device's public id, the subscriber's external id. Two queries."""
    devices = dict(
        Device.objects.filter(
            application_id=application_id, id__in={line.device_id for line in lines if line.device_id}
        ).values_list("id", "public_id")
    )
    subscribers = dict(
        Subscriber.objects.filter(
            application_id=application_id, id__in={line.subscriber_id for line in lines if line.subscriber_id}
        ).values_list("id", "external_id")
    )
    return [
        {
            "at": line.at,
            "device": devices.get(line.device_id or 0),
            "subscriber": subscribers.get(line.subscriber_id or 0),
            "lane": line.lane,
            "outcome": line.outcome,
            "reason": line.reason,
            "attempt": line.attempt,
            "provider_id": line.provider_id,
            "detail": line.detail,
        }
        for line in lines
    ]


def explanation(notification: Notification, subscriber: Subscriber) -> dict[str, list[dict[str, Any]]]:
    """What the ledger says of this person, and which of their devices are still to be sent to."""
    lines = deliveries(notification.application_id, notification.id).filter(subscriber_id=subscriber.id)[:500]
    devices = dict(
        Device.objects.filter(application_id=notification.application_id, subscriber=subscriber).values_list(
            "id", "public_id"
        )
    )
    batches = Batch.objects.filter(notification_id=notification.id, device_ids__overlap=list(devices))
    return {
        "deliveries": ledger_lines(notification.application_id, list(lines)),
        "pending": [
            {
                "device": devices[device],
                "lane": batch.lane,
                "status": batch.status,
                "attempt": batch.attempt,
                "due_at": batch.due_at,
            }
            for batch in batches
            for device in batch.device_ids
            if device in devices
        ],
    }
