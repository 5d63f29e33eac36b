"""Frequency caps: exact whoever sends at the same time, and nobody is forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from devices.models import Cap, Category, Device
from notifications import services
from notifications.models import Delivery, Notification
from notifications.pipeline import accept, fan_out
from tests.conftest import Tenant
from tests.notifications.pipeline.conftest import Pipeline

Make = Callable[..., Device]


@pytest.fixture
def two_a_day(pipeline: Pipeline) -> Cap:
    return Cap.objects.create(
        application=pipeline.tenant.application,
        category=pipeline.category("transactional"),
        most=2,
        period="day",
    )


def outcomes(*notifications: Notification) -> list[str]:
    """suppressed for a reason, or pending."""
    found = []
    for notification in notifications:
        line = Delivery.objects.filter(notification_id=notification.id).first()
        found.append(line.reason if line else "pending")
    return found


def test_the_third_of_a_day_is_recorded_as_capped(
    pipeline: Pipeline, make_device: Make, two_a_day: Cap
) -> None:
    make_device(pipeline.tenant, "mia")
    sent = [pipeline.accept({"subscribers": ["mia"]}) for _ in range(3)]
    assert outcomes(*sent) == ["pending", "pending", "capped"]
    for notification in sent:
        pipeline.assert_sum(notification.id)


def test_a_person_counts_once_however_many_devices(
    pipeline: Pipeline, make_device: Make, two_a_day: Cap
) -> None:
    for _ in range(3):
        make_device(pipeline.tenant, "mia")
    sent = [pipeline.accept({"subscribers": ["mia"]}) for _ in range(3)]
    assert [Delivery.objects.filter(notification_id=one.id).count() for one in sent] == [0, 0, 3]


def test_a_person_with_devices_in_several_shards_counts_once(
    pipeline: Pipeline, make_device: Make, two_a_day: Cap, settings: Any
) -> None:
    settings.SHARD_SIZE = 1
    for _ in range(3):
        make_device(pipeline.tenant, "mia")
    sent = [pipeline.accept({"all": True}) for _ in range(3)]
    for notification in sent:
        pipeline.resolve(notification)
    assert [Delivery.objects.filter(notification_id=one.id).count() for one in sent] == [0, 0, 3]


def test_one_call_with_many_for_the_same_person_is_exact(
    pipeline: Pipeline, make_device: Make, two_a_day: Cap
) -> None:
    for name in ("mia", "tom"):
        make_device(pipeline.tenant, name)
    category = pipeline.category("transactional")
    drafts = [
        accept.Draft(category=category, content={"title": "x", "body": ""}, audience={"subscribers": names})
        for names in (["mia"], ["mia", "tom"], ["mia"], ["tom"], ["tom", "mia"])
    ]
    accepted = services.accept(drafts, application_id=pipeline.tenant.id, requested_by="test")
    capped = Delivery.objects.filter(
        notification_id__in=[one.id for one in accepted], reason="capped"
    ).count()
    assert capped == 3  # mia is asked for four times, tom three times


def test_eight_writers_at_once_give_each_exactly_what_the_cap_allows(
    pipeline: Pipeline, make_device: Make, two_a_day: Cap
) -> None:
    for number in range(20):
        make_device(pipeline.tenant, f"user-{number}")
    masses = [pipeline.accept({"all": True}) for _ in range(3)]
    shards = [shard.id for notification in masses for shard in notification.shards.all()]

    def campaign(shard_id: int) -> None:
        fan_out.shard(shard_id)
        connection.close()

    def orders(number: int) -> None:
        for person in range(20):
            pipeline.accept({"subscribers": [f"user-{(person + number) % 20}"]})
        connection.close()

    with ThreadPoolExecutor(8) as writers:
        for done in [
            *(writers.submit(campaign, id) for id in shards),
            *(writers.submit(orders, n) for n in range(5)),
        ]:
            done.result()
    taken: Counter[int] = Counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT unnest(device_ids) FROM notifications_batch")
        taken.update(device for (device,) in cursor.fetchall())
    assert set(taken.values()) == {2}
    assert len(taken) == 20


def test_what_is_cancelled_gives_its_places_back(
    pipeline: Pipeline, make_device: Make, two_a_day: Cap
) -> None:
    make_device(pipeline.tenant, "mia")
    first, second, third = (pipeline.accept({"subscribers": ["mia"]}) for _ in range(3))
    services.cancel(first)
    fourth, fifth = (pipeline.accept({"subscribers": ["mia"]}) for _ in range(2))
    assert outcomes(second, third, fourth, fifth) == ["pending", "capped", "pending", "capped"]


def test_what_was_sent_keeps_its_place(pipeline: Pipeline, make_device: Make, two_a_day: Cap) -> None:
    make_device(pipeline.tenant, "mia")
    first = pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()
    services.cancel(first)
    rest = [pipeline.accept({"subscribers": ["mia"]}) for _ in range(2)]
    assert outcomes(*rest) == ["pending", "capped"]


def test_the_last_place_is_for_what_is_urgent(pipeline: Pipeline, make_device: Make, two_a_day: Cap) -> None:
    two_a_day.most = 1
    two_a_day.save()
    make_device(pipeline.tenant, "mia")
    usual = pipeline.accept({"all": True})
    urgent = pipeline.accept({"all": True}, priority="high")
    for notification in (usual, urgent, usual):
        pipeline.resolve(notification)
    assert outcomes(usual, urgent) == ["capped", "pending"]


def test_another_applications_messages_do_not_count(
    pipeline: Pipeline, make_device: Make, two_a_day: Cap, rival: Tenant
) -> None:
    for tenant in (pipeline.tenant, rival):
        make_device(tenant, "mia")
    for _ in range(3):
        Pipeline(rival).accept({"subscribers": ["mia"]})
    assert outcomes(*(pipeline.accept({"subscribers": ["mia"]}) for _ in range(2))) == ["pending", "pending"]


def test_critical_messages_are_never_held_back_by_a_cap_on_all(pipeline: Pipeline, make_device: Make) -> None:
    Cap.objects.create(application=pipeline.tenant.application, most=1, period="week")
    make_device(pipeline.tenant, "mia")
    kinds = ("critical", "transactional", "critical", "transactional", "critical")
    sent = [pipeline.accept({"subscribers": ["mia"]}, category=kind) for kind in kinds]
    assert outcomes(*sent) == ["pending", "pending", "pending", "capped", "pending"]


def test_categories_and_kinds_are_counted_apart(
    pipeline: Pipeline, make_device: Make, two_a_day: Cap
) -> None:
    make_device(pipeline.tenant, "mia")
    Category.objects.filter(slug="marketing").update(default="on")
    for _ in range(2):
        pipeline.accept({"subscribers": ["mia"]}, category="marketing")
    assert outcomes(pipeline.accept({"subscribers": ["mia"]})) == ["pending"]
