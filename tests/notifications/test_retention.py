"""What goes with months of the ledger that were dropped: what phones told of them, and the counts by minute."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import timezone

from config import partitions
from devices.models import Category
from notifications import periodic
from notifications.models import Notification, Rollup, RollupDay
from tests.conftest import Tenant

LEDGER, TOLD = "notifications_delivery", "notifications_engagement"


def month(back: int) -> date:
    found = timezone.now().date().replace(day=1)
    for _ in range(back):
        found = (found - timedelta(days=1)).replace(day=1)
    return found


@pytest.fixture(autouse=True)
def ledger_of_this_month(db: None) -> None:
    """The months before have been dropped, as an operator does; what phones told of four is there."""
    partitions.ensure(LEDGER)
    partitions.ensure(TOLD, months_back=4)
    for past in partitions.months(LEDGER):
        if past < month(0):
            partitions.drop(LEDGER, past)


def notified(tenant: Tenant, made_in: date, status: str, finished_at: datetime | None) -> Notification:
    return Notification.objects.create(
        id=uuid.UUID(int=partitions.first_id(made_in).int + (7 << 76)),
        application=tenant.application,
        category=Category.objects.get(application=tenant.application, slug="marketing"),
        content={"title": "x"},
        audience={"all": True},
        priority="normal",
        status=status,
        finished_at=finished_at,
    )


def test_what_was_told_of_dropped_months_is_dropped() -> None:
    periodic.drop_with_ledger()
    assert partitions.months(TOLD)[0] == month(0)
    periodic.drop_with_ledger()
    assert partitions.months(TOLD)[0] == month(0)


def test_a_month_of_which_messages_are_still_on_their_way_stays(shop: Tenant) -> None:
    notified(shop, month(1), "scheduled", None)
    notified(shop, month(2), "done", timezone.now())  # made long ago, sent this month: its lines are there
    notified(shop, month(3), "done", datetime.combine(month(2), datetime.min.time(), UTC))

    periodic.drop_with_ledger()

    kept = [one for one in partitions.months(TOLD) if one < month(0)]
    assert kept == [month(2), month(1)]


def test_counts_by_minute_go_and_those_by_day_stay(shop: Tenant) -> None:
    message = notified(shop, month(1), "done", timezone.now() - timedelta(days=40))
    before, since = (
        datetime.combine(month(0), datetime.min.time(), UTC) - timedelta(minutes=1),
        timezone.now(),
    )
    for at in (before, since):
        Rollup.objects.create(
            notification_id=message.pk,
            application_id=shop.application.pk,
            at=at,
            platform="ios",
            language="en",
            outcome="accepted",
            count=1,
        )
    RollupDay.objects.create(
        application_id=shop.application.pk, day=before.date(), outcome="accepted", count=1
    )

    periodic.drop_with_ledger()

    assert list(Rollup.objects.values_list("at", flat=True)) == [since]
    assert RollupDay.objects.filter(day=before.date()).count() == 1
