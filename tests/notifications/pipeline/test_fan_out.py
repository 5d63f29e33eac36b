"""Audience and policy become batches; who is left out is on record with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from django.test import override_settings
from django.utils import timezone

from devices.models import Device, Preference, Segment, Subscriber
from notifications.models import Batch, Notification
from notifications.pipeline import fan_out
from tests.notifications.pipeline.conftest import Pipeline

Make = Callable[..., Device]


def test_marketing_goes_only_to_those_who_opted_in(pipeline: Pipeline, make_device: Make) -> None:
    yes, no, never = (make_device(pipeline.tenant, name) for name in ("yes", "no", "never"))
    anonymous = make_device(pipeline.tenant)
    pipeline.opt_in("yes")
    Preference.objects.create(
        subscriber=no.subscriber, category=pipeline.category("marketing"), is_allowed=False
    )

    notification = pipeline.accept({"all": True}, category="marketing")
    pipeline.resolve(notification)

    assert [batch.device_ids for batch in Batch.objects.all()] == [[yes.id]]
    assert pipeline.ledger(notification) == {
        no.id: [("suppressed", "opted_out")],
        never.id: [("suppressed", "not_opted_in")],
        anonymous.id: [("suppressed", "not_opted_in")],
    }
    assert (notification.status, notification.recipient_count) == ("sending", 4)
    pipeline.assert_sum(notification.id)


def test_a_transactional_message_needs_no_opt_in_but_respects_an_opt_out(
    pipeline: Pipeline, make_device: Make
) -> None:
    fine, out = make_device(pipeline.tenant, "fine"), make_device(pipeline.tenant, "out")
    Preference.objects.create(
        subscriber=out.subscriber, category=pipeline.category("transactional"), is_allowed=False
    )

    notification = pipeline.accept({"subscribers": ["fine", "out"]})

    assert [batch.device_ids for batch in Batch.objects.all()] == [[fine.id]]
    assert pipeline.ledger(notification) == {out.id: [("suppressed", "opted_out")]}


def test_a_critical_message_ignores_preferences(pipeline: Pipeline, make_device: Make) -> None:
    device = make_device(pipeline.tenant, "out")
    Preference.objects.create(
        subscriber=device.subscriber, category=pipeline.category("critical"), is_allowed=False
    )

    pipeline.accept({"subscribers": ["out"]}, category="critical")

    assert [batch.device_ids for batch in Batch.objects.all()] == [[device.id]]


def test_every_address_that_leads_nowhere_is_on_record(pipeline: Pipeline, make_device: Make) -> None:
    retired = make_device(pipeline.tenant, "gone", retired_at=timezone.now())
    denied = make_device(pipeline.tenant, "denied", permission="denied")

    notification = pipeline.accept({"subscribers": ["gone", "denied", "nobody"]})

    assert Counter(reason for lines in pipeline.ledger(notification).values() for _, reason in lines) == {
        "no_device": 1,
        "unknown_subscriber": 1,
        "permission_denied": 1,
    }
    assert notification.recipient_count == 3
    by_device = pipeline.accept({"devices": [str(retired.public_id), str(denied.public_id)]})
    assert pipeline.ledger(by_device)[retired.id] == [("suppressed", "device_retired")]
    pipeline.assert_sum(by_device.id)


def test_another_tenants_devices_are_unknown(
    pipeline: Pipeline, make_device: Make, make_tenant: Callable[[str], object]
) -> None:
    foreign = make_device(make_tenant("Rival"), "mia")

    notification = pipeline.accept({"devices": [str(foreign.public_id)]})
    to_all = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(to_all)

    assert pipeline.ledger(notification) == {None: [("suppressed", "unknown_device")]}
    assert to_all.recipient_count == 0
    assert not Batch.objects.exists()


def test_running_a_shard_again_changes_nothing(pipeline: Pipeline, make_device: Make) -> None:
    for number in range(5):
        make_device(pipeline.tenant, f"user-{number}")
    notification = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(notification)
    pipeline.resolve(notification)

    assert notification.recipient_count == 5
    assert sum(len(batch.device_ids) for batch in Batch.objects.all()) == 5


def test_a_device_registered_after_the_launch_is_not_in_it(pipeline: Pipeline, make_device: Make) -> None:
    before = make_device(pipeline.tenant, "before")
    notification = pipeline.accept({"all": True}, category="critical")
    make_device(pipeline.tenant, "after")

    pipeline.resolve(notification)

    assert [batch.device_ids for batch in Batch.objects.all()] == [[before.id]]


@override_settings(SHARD_SIZE=10, BATCH_SIZE=4)
def test_shards_and_batches_partition_the_audience(pipeline: Pipeline, make_device: Make) -> None:
    devices = [
        make_device(pipeline.tenant, f"user-{number}", platform="ios" if number % 2 else "android").id
        for number in range(35)
    ]
    notification = pipeline.accept({"all": True}, category="critical")
    assert notification.shards.count() > 1
    pipeline.resolve(notification)

    batches = list(Batch.objects.all())
    assert sorted(id for batch in batches for id in batch.device_ids) == sorted(devices)
    assert max(len(batch.device_ids) for batch in batches) <= 4
    assert all(batch.turn_at >= batch.due_at for batch in batches)


@pytest.mark.parametrize(
    ("audience", "reached"),
    [
        ({"all": True, "platforms": ["ios"]}, {"gold-ios"}),
        ({"all": True, "attribute": {"name": "plan", "value": "gold"}}, {"gold-ios", "gold-android"}),
        ({"all": True, "platforms": ["ios"], "attribute": {"name": "plan", "value": "free"}}, set()),
    ],
)
def test_a_mass_audience_can_be_narrowed(
    pipeline: Pipeline, make_device: Make, audience: dict[str, object], reached: set[str]
) -> None:
    for name, platform, plan in (
        ("gold-ios", "ios", "gold"),
        ("gold-android", "android", "gold"),
        ("free-android", "android", "free"),
    ):
        device = make_device(pipeline.tenant, name, platform=platform)
        device.subscriber.attributes = {"plan": plan}
        device.subscriber.save()
    notification = pipeline.accept(audience, category="critical")
    pipeline.resolve(notification)

    ids = [id for batch in Batch.objects.all() for id in batch.device_ids]
    assert set(Device.objects.filter(id__in=ids).values_list("subscriber__external_id", flat=True)) == reached


def test_a_cancelled_notification_is_not_resolved_further(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"all": True}, category="critical")
    Notification.objects.filter(id=notification.id).update(status="cancelled")

    for shard in notification.shards.all():
        fan_out.shard(shard.id)

    assert not Batch.objects.exists()


def test_a_segment_is_resolved_as_it_is_at_launch(
    pipeline: Pipeline, make_device: Callable[..., Device]
) -> None:
    application = pipeline.tenant.application
    devices = [make_device(pipeline.tenant, name) for name in ("mia", "tom")]
    Subscriber.objects.filter(external_id="mia").update(attributes={"plan": "gold"})
    Segment.objects.create(
        application=application,
        slug="gold",
        name="Gold",
        rules={"all": [{"field": "attribute.plan", "is": "equal", "value": "gold"}]},
    )
    notification = pipeline.accept({"segment": "gold"})
    pipeline.resolve(notification)
    assert pipeline.ledger(notification) == {}
    assert Batch.objects.get().device_ids == [devices[0].id]


def test_a_segment_that_was_deleted_meanwhile_is_nobody(
    pipeline: Pipeline, make_device: Callable[..., Device]
) -> None:
    make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"segment": "gone"})
    pipeline.resolve(notification)
    assert (notification.status, notification.recipient_count) == ("sending", 0)
