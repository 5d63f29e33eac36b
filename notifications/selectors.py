"""Reads of notifications and their ledger. Counts come from tallies, never from the ledger's rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from devices.models import Category
from notifications.models import Delivery, Notification
from tenants.selectors import remembered

Outcome = Delivery.Outcome

FAILURES = (Outcome.UNREGISTERED, Outcome.REJECTED, Outcome.FAILED)


@remembered
def category(application_id: int, slug: str) -> Category | None:
    return Category.objects.filter(application_id=application_id, slug=slug).first()


def notification(application_id: int, id: UUID) -> Notification | None:
    return Notification.objects.select_related("category").filter(application_id=application_id, id=id).first()


def counts(notifications: Sequence[Notification]) -> dict[UUID, dict[str, Any]]:
    """The sum of each notification (law 2): recipients = pending + accepted + suppressed + failed + uncertain + cancelled.

    One query for all. `received`, `opened` and `clicked` are what devices reported, not part of the sum.
    """
    found = {notification.id: _empty(notification.recipient_count) for notification in notifications}
    for id, outcome, reason, count in _tallies(list(found)):
        _add(found[id], outcome, reason, count)
    for row in found.values():
        settled = row["accepted"] + row["uncertain"] + row["cancelled"]
        settled += sum(row["suppressed"].values()) + sum(row["failed"].values())
        row["pending"] = max(0, row["recipients"] - settled)
    return found


def _empty(recipients: int) -> dict[str, Any]:
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
    }


def _add(row: dict[str, Any], outcome: str, reason: str, count: int) -> None:
    if outcome in FAILURES:
        row["failed"][reason] = row["failed"].get(reason, 0) + count
    elif outcome == Outcome.SUPPRESSED:
        row["suppressed"][reason] = row["suppressed"].get(reason, 0) + count
    else:
        row[outcome] += count


def _tallies(ids: Iterable[UUID]) -> list[tuple[UUID, str, str, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT notification_id, outcome, reason, sum(count)::bigint FROM notifications_tally"
            " WHERE notification_id = ANY (%s) GROUP BY 1, 2, 3 ORDER BY 1, 2, 4 DESC",
            [list(ids)],
        )
        return cursor.fetchall()


def status(notification: Notification, counts: dict[str, Any]) -> str:
    """The stored status lags by up to a second; the counts do not."""
    is_sending = notification.status == Notification.Status.SENDING
    return Notification.Status.DONE if is_sending and not counts["pending"] else notification.status


def deliveries(application_id: int, notification_id: UUID) -> QuerySet[Delivery]:
    """The ledger of one notification, newest line first."""
    return Delivery.objects.filter(application_id=application_id, notification_id=notification_id).order_by("-id")
