"""The guard over retirements: a wrong setting of ours must not cost an application its devices (law 5)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from devices.models import Device
from notifications.models import Incident, RetirementCount, SuspendedRetirement
from notifications.pipeline import retire
from notifications.providers.base import Outcome, Verdict
from tests.conftest import apns_token
from tests.notifications.pipeline.conftest import Pipeline

GONE = Verdict(Outcome.UNREGISTERED, "unregistered")


@pytest.fixture(autouse=True)
def small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the guard began to count at ten."""
    monkeypatch.setattr(retire, "ALWAYS_ALLOWED", 10)
    monkeypatch.setattr(retire, "_allowed", {})


@pytest.fixture
def devices(pipeline: Pipeline) -> list[Device]:
    now = timezone.now()
    return Device.objects.bulk_create(
        Device(
            application=pipeline.tenant.application,
            platform="ios",
            token=apns_token(),
            registered_at=now,
            last_seen_at=now,
        )
        for _ in range(400)
    )


def send_to_everyone(pipeline: Pipeline) -> None:
    notification = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(notification)
    pipeline.send()
    pipeline.assert_sum(notification.id)


def retired() -> int:
    return Device.objects.filter(retired_at__isnull=False).count()


def test_ordinary_attrition_is_retired_at_once(pipeline: Pipeline, devices: list[Device]) -> None:
    pipeline.provider.answers = {device.id: GONE for device in devices[:40]}  # 10 %
    send_to_everyone(pipeline)

    assert retired() == 40
    assert not SuspendedRetirement.objects.exists()
    assert not Incident.objects.exists()


def test_above_the_share_verdicts_wait_for_a_human_and_campaigns_stop(
    pipeline: Pipeline, devices: list[Device]
) -> None:
    pipeline.options = {"budget": 100}
    pipeline.provider.default = GONE
    send_to_everyone(pipeline)

    incident = Incident.objects.get()
    assert (incident.cause, incident.provider, incident.lane_kind) == ("retirements", "memory", "campaign")
    assert incident.trial_at is None
    # A flush is judged as a whole: here the very first is above the share already.
    assert retired() <= 40
    suspended = SuspendedRetirement.objects.count()
    assert 0 < suspended < len(devices)  # the rest of the campaign waits
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(cardinality(device_ids)) FROM notifications_batch")
        assert cursor.fetchone()[0] == len(devices) - suspended - retired()


def test_while_it_waits_no_single_verdict_retires_either(pipeline: Pipeline, devices: list[Device]) -> None:
    pipeline.options = {"budget": 100}
    pipeline.provider.default = GONE
    send_to_everyone(pipeline)
    before = retired()
    pipeline.accept({"devices": [str(devices[-1].public_id)]})
    pipeline.send()

    assert retired() == before
    assert SuspendedRetirement.objects.filter(device_id=devices[-1].id).exists()


def test_many_small_campaigns_add_up_within_the_hour(pipeline: Pipeline, devices: list[Device]) -> None:
    pipeline.provider.default = GONE
    for start in range(0, 60, 10):
        pipeline.accept({"devices": [str(device.public_id) for device in devices[start : start + 10]]})
        pipeline.send()

    assert retired() == 40  # ten per cent of 400
    assert SuspendedRetirement.objects.count() == 20


def test_the_next_hour_counts_anew(pipeline: Pipeline, devices: list[Device]) -> None:
    pipeline.provider.default = GONE
    for start in (0, 40):
        pipeline.accept({"devices": [str(device.public_id) for device in devices[start : start + 36]]})
        pipeline.send()
        RetirementCount.objects.update(hour=F("hour") - timedelta(hours=2))
    assert retired() == 72
    assert not Incident.objects.exists()


def test_two_messages_to_one_suspended_device_in_one_flush_are_both_recorded(
    pipeline: Pipeline, devices: list[Device]
) -> None:
    Incident.objects.create(application=pipeline.tenant.application, provider="memory", cause="retirements")
    Incident.objects.update(lane_kind="campaign")
    pipeline.provider.default = GONE
    notifications = [pipeline.accept({"devices": [str(devices[0].public_id)]}) for _ in range(2)]
    pipeline.send()

    for notification in notifications:
        assert pipeline.ledger(notification) == {devices[0].id: [("unregistered", "unregistered")]}
    assert SuspendedRetirement.objects.count() == 1


def test_a_verdict_that_crosses_a_humans_decision_is_dropped(
    pipeline: Pipeline, devices: list[Device]
) -> None:
    """Nothing is suspended that nobody would be asked about."""

    async def suspend() -> None:
        sender = pipeline.sender()
        await sender.pool.open()
        async with sender.pool.connection() as database:
            columns = {"ids": [devices[0].id], "reasons": ["gone"], "befores": [timezone.now()]}
            await database.execute(
                retire.SUSPEND, {"application": pipeline.tenant.id, "provider": "memory", **columns}
            )
        await sender.pool.close()

    asyncio.run(suspend())
    assert not SuspendedRetirement.objects.exists()
