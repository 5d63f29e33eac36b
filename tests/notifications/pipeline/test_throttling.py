"""Rate limits at work: what goes now, what waits for its slot, and what does not wait behind it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from devices.models import Device
from notifications.models import Batch
from tests.notifications.pipeline.conftest import Pipeline

Make = Callable[..., Device]


def test_a_throttled_campaign_goes_out_at_its_pace_and_each_batch_waits_once(
    pipeline: Pipeline, make_device: Make
) -> None:
    devices = [make_device(pipeline.tenant, f"user-{number}").id for number in range(70)]
    notification = pipeline.accept({"all": True}, category="critical", throttle_per_second=10)
    pipeline.resolve(notification)
    assert {len(batch.device_ids) for batch in Batch.objects.all()} == {10}
    began = timezone.now()
    pipeline.send()

    waiting = list(Batch.objects.order_by("slot_at"))
    sent = len(pipeline.provider.sent)
    assert sent + 10 * len(waiting) == 70
    assert sent <= 10 * ((timezone.now() - began).total_seconds() + 2)
    assert {batch.attempt for batch in waiting} == {1}
    gaps = {
        round((later.slot_at - earlier.slot_at).total_seconds(), 1)
        for earlier, later in itertools.pairwise(waiting)
    }
    assert gaps == {1.0}
    pipeline.assert_sum(notification.id)

    # Their moment has come: they are not put back again.
    Batch.objects.update(due_at=timezone.now(), slot_at=timezone.now())
    pipeline.send()
    assert sorted(target.device_id for _, target in pipeline.provider.sent) == sorted(devices)
    assert not Batch.objects.exists()


def test_a_slot_long_past_is_asked_for_anew_so_that_a_pause_does_not_end_in_a_burst(
    pipeline: Pipeline, make_device: Make
) -> None:
    for number in range(50):
        make_device(pipeline.tenant, f"user-{number}")
    notification = pipeline.accept({"all": True}, category="critical", throttle_per_second=5)
    pipeline.resolve(notification)
    pipeline.send()
    before = len(pipeline.provider.sent)
    Batch.objects.update(due_at=timezone.now(), slot_at=timezone.now() - timedelta(minutes=1))
    pipeline.send()

    assert len(pipeline.provider.sent) <= before + 15
    assert Batch.objects.filter(slot_at__gt=timezone.now()).exists()


def test_an_applications_limit_holds_its_campaign_and_not_its_one_off_messages(
    pipeline: Pipeline, make_device: Make
) -> None:
    pipeline.tenant.application.messages_per_second = 20
    pipeline.tenant.application.save(update_fields=["messages_per_second"])
    for number in range(300):
        make_device(pipeline.tenant, f"user-{number}")
    campaign = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(campaign)
    one_off = pipeline.accept({"subscribers": ["user-7"]})
    pipeline.send()

    sent = [message.notification_id for message, _ in pipeline.provider.sent]
    assert sent.count(str(one_off.id)) == 1
    assert 0 < sent.count(str(campaign.id)) < 300
    assert set(Batch.objects.values_list("attempt", flat=True)) == {1}
    pipeline.assert_sum(campaign.id)
