"""Counts by minute and day: what a slow recount of the ledger comes to, however the work is cut or repeated."""

from __future__ import annotations

import itertools
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from config import partitions
from devices.models import Category, Device, Subscriber
from notifications import periodic, rollups
from notifications.models import Delivery, Engagement, Notification, Rollup, RollupDay, RollupProgress
from notifications.pipeline import roll_up
from tests.conftest import Tenant

OUTCOMES = (
    "accepted",
    "accepted",
    "accepted",
    "unregistered",
    "rejected",
    "uncertain",
    "suppressed",
    "retry",
)


@pytest.fixture(autouse=True)
def tables(db: None) -> None:
    partitions.ensure("notifications_delivery", months_back=1)
    partitions.ensure("notifications_engagement", months_back=1)


@pytest.fixture
def people(shop: Tenant, make_device: Callable[..., Device]) -> list[Device]:
    found = [
        make_device(shop, name, platform=platform)
        for name, platform in (("ada", "ios"), ("bob", "android"), ("cy", "android"))
    ]
    for device, locale in zip(found, ("de-AT", "en", ""), strict=True):
        Subscriber.objects.filter(pk=device.subscriber_id).update(locale=locale)
    return found


def notified(
    tenant: Tenant, *, audience: dict[str, Any], ago: timedelta = timedelta(hours=2)
) -> Notification:
    category = Category.objects.get(application=tenant.application, slug="marketing")
    made = Notification.objects.create(
        id=uuid.UUID(
            int=(int((timezone.now() - ago).timestamp() * 1000) << 80) | (7 << 76) | random.getrandbits(62)
        ),
        application=tenant.application,
        category=category,
        content={"title": "x"},
        audience=audience,
        priority="normal",
        status="sending",
    )
    Notification.objects.filter(pk=made.pk).update(created_at=timezone.now() - ago)
    return made


def record(notification: Notification, device: Device, outcome: str, at: datetime, detail: str = "") -> None:
    Delivery.objects.create(
        at=at,
        application_id=notification.application_id,
        notification_id=notification.pk,
        device_id=device.pk,
        subscriber_id=device.subscriber_id,
        lane="",
        outcome=outcome,
        reason="",
        attempt=1,
        provider_id="",
        detail=detail,
    )


def tell(notification: Notification, device: Device, kind: str, at: datetime, told_at: datetime) -> None:
    Engagement.objects.create(
        at=at,
        told_at=told_at,
        application_id=notification.application_id,
        notification_id=notification.pk,
        device_id=device.pk,
        subscriber_id=device.subscriber_id,
        kind=kind,
        counted_for=-device.pk,
        name="",
        action="",
        url="",
    )


def recount() -> Counter[tuple[Any, ...]]:
    """By application, day and outcome, one line after the other."""
    found: Counter[tuple[Any, ...]] = Counter()
    for line in Delivery.objects.all():
        key = line.application_id, line.at.astimezone(UTC).date()
        if line.outcome == "replayed":
            found[(*key, line.detail)] -= 1
        else:
            found[(*key, line.outcome)] += 1
    for told in Engagement.objects.all():
        found[(told.application_id, told.at.astimezone(UTC).date(), told.kind)] += 1
    return Counter({key: count for key, count in found.items() if count})


def by_day() -> Counter[tuple[Any, ...]]:
    rows = RollupDay.objects.values_list("application_id", "day", "outcome", "count")
    return Counter({(application, day, outcome): count for application, day, outcome, count in rows if count})


def test_days_are_what_a_slow_recount_comes_to(
    shop: Tenant, rival: Tenant, people: list[Device], make_device: Callable[..., Device]
) -> None:
    lot = random.Random(4)
    messages = [
        notified(shop, audience={"all": True}),
        notified(shop, audience={"subscribers": ["ada"]}),
        notified(rival, audience={"all": True}),
    ]
    owners = {shop.id: people, rival.id: [make_device(rival, "eve")]}
    begins = timezone.now() - timedelta(hours=1)
    for _ in range(120):
        message = lot.choice(messages)
        at = begins + timedelta(seconds=lot.randrange(2400))
        record(message, lot.choice(owners[message.application_id]), lot.choice(OUTCOMES), at)
    record(messages[0], people[0], "replayed", begins + timedelta(minutes=50), detail="rejected")
    minutes = 0
    while roll_up.ledger():
        minutes += 1
    assert minutes == len(
        {at.replace(second=0, microsecond=0) for at in Delivery.objects.values_list("at", flat=True)}
    )
    assert by_day() == recount()
    before = by_day(), Rollup.objects.count()
    periodic.roll_up_closed()  # again: nothing is added
    assert (by_day(), Rollup.objects.count()) == before
    # Of messages to a list there is one row for all of them.
    assert Rollup.objects.filter(notification_id=messages[1].pk).count() == 0
    assert Rollup.objects.filter(notification_id=roll_up.NIL).exists()


def test_a_minute_that_may_still_grow_is_not_counted(shop: Tenant, people: list[Device]) -> None:
    message = notified(shop, audience={"all": True})
    record(message, people[0], "accepted", timezone.now())
    periodic.roll_up_closed()
    assert not RollupDay.objects.exists()


def test_what_is_told_late_is_added_where_it_happened(shop: Tenant, people: list[Device]) -> None:
    message, now = notified(shop, audience={"all": True}, ago=timedelta(days=3)), timezone.now()
    opened = now - timedelta(days=3) + timedelta(minutes=5)
    tell(message, people[0], "opened", opened, now - timedelta(minutes=30))
    assert roll_up.engagement()
    tell(message, people[1], "opened", opened, now - timedelta(minutes=10))
    tell(message, people[2], "opened", now - timedelta(hours=1), now - timedelta(minutes=10))
    periodic.roll_up_closed()
    assert by_day() == recount()
    first = Rollup.objects.filter(notification_id=message.pk, at=opened.replace(second=0, microsecond=0))
    assert sum(first.values_list("count", flat=True)) == 2
    # More than a day after the message: by the hour.
    hour = (now - timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    assert Rollup.objects.get(notification_id=message.pk, at=hour).count == 1


def test_counts_and_how_far_they_came_are_kept_together(shop: Tenant, people: list[Device]) -> None:
    """A worker that ends in the middle has counted nothing; whoever comes next counts it once."""
    message = notified(shop, audience={"all": True})
    record(message, people[0], "accepted", timezone.now() - timedelta(minutes=10))
    with transaction.atomic():
        assert roll_up.ledger()
        transaction.set_rollback(True)
    assert not RollupDay.objects.exists()
    periodic.roll_up_closed()
    assert by_day() == recount()


@pytest.mark.django_db(transaction=True)
def test_one_at_a_time(shop: Tenant, people: list[Device]) -> None:
    message = notified(shop, audience={"all": True})
    record(message, people[0], "accepted", timezone.now() - timedelta(minutes=10))
    RollupProgress.objects.create(source=roll_up.LEDGER, until=roll_up.BEGINNING)
    counted: list[bool] = []

    def other() -> None:
        try:
            counted.append(roll_up.ledger())
        finally:
            connection.close()

    with transaction.atomic():
        RollupProgress.objects.select_for_update().get(source=roll_up.LEDGER)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
    assert counted == [False]
    assert roll_up.ledger()
    assert by_day() == recount()


def test_what_charts_read(shop: Tenant, people: list[Device]) -> None:
    message, begins = notified(shop, audience={"all": True}), timezone.now() - timedelta(minutes=40)
    for device, outcome in zip(people, ("accepted", "unregistered", "accepted"), strict=True):
        record(message, device, outcome, begins)
    record(message, people[2], "suppressed", begins + timedelta(minutes=3))
    tell(message, people[0], "opened", begins + timedelta(minutes=2), begins + timedelta(minutes=2))
    periodic.roll_up_closed()

    points = rollups.timeline([message.pk])
    assert [(one["accepted"], one["failed"], one["opened"], one["suppressed"]) for one in points] == [
        (2, 1, 0, 0),
        (0, 0, 0, 0),
        (0, 0, 1, 0),
        (0, 0, 0, 1),
    ]
    assert {later["at"] - one["at"] for one, later in itertools.pairwise(points)} == {timedelta(minutes=1)}
    assert len(rollups.timeline([message.pk], most_points=2)) <= 2

    split = {one["platform"]: one for one in rollups.split([message.pk], by="platform")}
    assert (split["android"]["recipients"], split["ios"]["opened"]) == (3, 1)
    assert [one["language"] for one in rollups.split([message.pk], by="language")] == ["", "de", "en"]
    with pytest.raises(ValueError, match="at"):
        rollups.split([message.pk], by="at")  # type: ignore[arg-type]

    days = rollups.days(shop.id, days=7)
    assert len(days) == 7
    assert sum(one["accepted"] for one in days) == 2
    assert sum(count for _, count in rollups.retirements(shop.id, days=7)) == 1
    assert rollups.days(shop.id + 1, days=7)[-1]["accepted"] == 0


def test_a_message_to_a_list_has_charts_too(shop: Tenant, people: list[Device]) -> None:
    message, at = notified(shop, audience={"subscribers": ["ada"]}), timezone.now() - timedelta(minutes=10)
    record(message, people[0], "accepted", at)
    tell(message, people[0], "opened", at + timedelta(minutes=1), at + timedelta(minutes=1))
    first, second = rollups.timeline([message.pk])
    assert (first["accepted"], second["opened"]) == (1, 1)
    (ios,) = rollups.split([message.pk], by="platform")
    assert (ios["platform"], ios["recipients"], ios["opened"]) == ("ios", 1, 1)
