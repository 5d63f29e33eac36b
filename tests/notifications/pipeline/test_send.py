"""Claim, send, record, retry, reap: what the ledger says after each way it can go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from devices.models import Device
from notifications import periodic, services
from notifications.models import Batch, Incident, Notification
from notifications.pipeline import cancel, claim, load, reap, record
from notifications.providers.base import Outcome, Result, Verdict
from tenants.models import Credential
from tests.notifications.pipeline.conftest import Pipeline

Make = Callable[..., Device]


def test_an_accepted_message_is_on_record_and_its_batch_is_gone(
    pipeline: Pipeline, make_device: Make
) -> None:
    device = make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()

    assert pipeline.ledger(notification) == {device.id: [("accepted", "")]}
    assert not Batch.objects.exists()
    pipeline.assert_sum(notification.id)
    periodic.finish()
    notification.refresh_from_db()
    assert notification.status == "done"


def test_two_senders_share_a_campaign_and_nobody_is_sent_to_twice(
    pipeline: Pipeline, make_device: Make
) -> None:
    devices = [make_device(pipeline.tenant, f"user-{number}").id for number in range(450)]
    notification = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(notification)
    pipeline.send(senders=2)

    assert sorted(target.device_id for _, target in pipeline.provider.sent) == sorted(devices)
    assert pipeline.ledger(notification) == {id: [("accepted", "")] for id in devices}
    pipeline.assert_sum(notification.id)


def test_an_unregistered_token_retires_the_device(pipeline: Pipeline, make_device: Make) -> None:
    dead, alive = make_device(pipeline.tenant, "mia"), make_device(pipeline.tenant, "mia")
    pipeline.provider.answers[dead.id] = Verdict(Outcome.UNREGISTERED, "unregistered")
    notification = pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()

    dead.refresh_from_db()
    alive.refresh_from_db()
    assert (dead.retired_reason, alive.retired_at) == ("unregistered", None)
    assert pipeline.ledger(notification)[dead.id] == [("unregistered", "unregistered")]


def test_a_verdict_older_than_the_registration_does_not_retire(pipeline: Pipeline, make_device: Make) -> None:
    device = make_device(pipeline.tenant, "mia")

    Device.objects.filter(id=device.id).update(last_seen_at=timezone.now() + timedelta(seconds=30))
    pipeline.provider.default = Verdict(Outcome.UNREGISTERED, "unregistered")
    pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()

    device.refresh_from_db()
    assert device.retired_at is None


def test_a_retry_waits_its_time_and_giving_up_is_an_outcome(pipeline: Pipeline, make_device: Make) -> None:
    device = make_device(pipeline.tenant, "mia")
    pipeline.provider.default = Verdict(Outcome.RETRY, "busy", retry_after=60)
    notification = pipeline.accept({"subscribers": ["mia"]})
    for _ in range(pipeline.provider.BACKOFF.attempts):
        pipeline.send()
        pipeline.assert_sum(notification.id)
        waiting = Batch.objects.first()
        if waiting:
            assert waiting.due_at > timezone.now() + timedelta(seconds=55)
            Batch.objects.update(due_at=timezone.now())

    assert pipeline.ledger(notification)[device.id] == [
        ("retry", "busy"),
        ("retry", "busy"),
        ("failed", "busy"),
    ]
    assert not Batch.objects.exists()


def test_an_expired_message_is_not_sent(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]}, ttl_seconds=0)
    pipeline.send()

    assert pipeline.provider.sent == []
    assert list(pipeline.ledger(notification).values()) == [[("failed", "expired")]]


def test_a_blocked_credential_holds_the_work_and_goes_on_once_it_works(
    pipeline: Pipeline, make_device: Make
) -> None:
    devices = [make_device(pipeline.tenant, f"user-{number}") for number in range(3)]
    pipeline.provider.default = Verdict(Outcome.BLOCKED, "bad_key")
    notification = pipeline.accept({"subscribers": ["user-0", "user-1", "user-2"]})
    pipeline.send()

    credential = Credential.objects.get()
    assert credential.blocked_reason == "bad_key"
    assert not Device.objects.filter(retired_at__isnull=False).exists()
    assert sum(len(batch.device_ids) for batch in Batch.objects.all()) == 3
    assert set(Batch.objects.values_list("attempt", flat=True)) == {1}
    pipeline.assert_sum(notification.id)

    incident = Incident.objects.get(closed_at=None)
    assert (incident.cause, incident.provider, incident.words) == ("credential", "memory", "bad_key")

    sent_while_blocked = len(pipeline.provider.sent)
    Batch.objects.update(due_at=timezone.now())
    pipeline.send()
    assert len(pipeline.provider.sent) == sent_while_blocked

    pipeline.provider.default = Verdict(Outcome.ACCEPTED, "")
    Incident.objects.update(trial_at=timezone.now())
    pipeline.send()
    assert {lines[-1] for lines in pipeline.ledger(notification).values()} == {("accepted", "")}
    assert len(pipeline.ledger(notification)) == len(devices)
    credential.refresh_from_db()
    assert credential.blocked_at is None
    assert not Incident.objects.filter(closed_at=None).exists()


def test_without_a_credential_the_work_waits(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]})
    Credential.objects.all().delete()
    pipeline.send()

    assert pipeline.ledger(notification) == {}
    assert Batch.objects.get().status == "waiting"


def test_consent_withdrawn_while_waiting_is_respected(pipeline: Pipeline, make_device: Make) -> None:
    device = make_device(pipeline.tenant, "mia")
    pipeline.opt_in("mia")
    notification = pipeline.accept({"all": True}, category="marketing")
    pipeline.resolve(notification)
    device.subscriber.preferences.update(is_allowed=False)
    pipeline.send()

    assert pipeline.provider.sent == []
    assert pipeline.ledger(notification) == {device.id: [("suppressed", "opted_out")]}


def test_a_rehearsal_does_everything_but_the_call(pipeline: Pipeline, make_device: Make) -> None:
    device = make_device(pipeline.tenant, "mia")
    application = pipeline.tenant.application
    application.is_sandbox = True
    application.save()
    notification = pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()

    assert pipeline.provider.sent == []
    assert pipeline.ledger(notification) == {device.id: [("accepted", "rehearsal")]}


def _die_after_claiming(pipeline: Pipeline) -> None:
    """Claim as a sender does, and be gone."""

    async def claim_all() -> None:
        sender = pipeline.sender()
        await sender.pool.open()
        async with sender.pool.connection() as database:
            for lane in sender.lanes:
                await claim.batches(
                    database, lane, room=500, each=500, most=500, is_idle=True, lease_seconds=-1
                )
        await sender.pool.close()

    asyncio.run(claim_all())


@pytest.mark.parametrize(
    ("category", "line", "is_sent_again"),
    [("marketing", ("uncertain", "sender_died"), False), ("transactional", ("resent", "sender_died"), True)],
)
def test_what_a_dead_sender_held_follows_the_categorys_crash_rule(
    pipeline: Pipeline, make_device: Make, category: str, line: tuple[str, str], is_sent_again: bool
) -> None:
    device = make_device(pipeline.tenant, "mia")
    pipeline.opt_in("mia")
    notification = pipeline.accept({"subscribers": ["mia"]}, category=category)
    _die_after_claiming(pipeline)

    reap.expired_leases(recovery_seconds=0)
    assert reap.expired_leases(recovery_seconds=0) == []

    pipeline.assert_sum(notification.id)
    pipeline.send()
    pipeline.assert_sum(notification.id)
    expected = [line, ("accepted", "")] if is_sent_again else [line]
    assert pipeline.ledger(notification) == {device.id: expected}


def test_a_batch_that_keeps_killing_its_senders_is_given_up(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]})
    for _ in range(reap.MOST_ATTEMPTS):
        _die_after_claiming(pipeline)
        reap.expired_leases(recovery_seconds=0)

    assert not Batch.objects.exists()
    (lines,) = pipeline.ledger(notification).values()
    assert lines[-1] == ("uncertain", "sender_died")
    pipeline.assert_sum(notification.id)


def test_cancelling_settles_what_waits(pipeline: Pipeline, make_device: Make) -> None:
    devices = [make_device(pipeline.tenant, f"user-{number}").id for number in range(5)]
    notification = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(notification)

    cancelled = services.cancel(notification)
    pipeline.send()

    assert cancelled.status == "cancelled"
    assert pipeline.provider.sent == []
    assert pipeline.ledger(notification) == {id: [("cancelled", "cancelled")] for id in devices}
    pipeline.assert_sum(notification.id)
    assert services.cancel(notification).status == "cancelled"


def test_a_large_one_stops_at_once_and_is_settled_later(
    pipeline: Pipeline, make_device: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel, "AT_ONCE", 0)
    device = make_device(pipeline.tenant, "mia").id
    notification = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(notification)

    services.cancel(notification)
    periodic.keep_paused()
    pipeline.send()
    assert pipeline.ledger(notification) == {}
    pipeline.assert_sum(notification.id)

    periodic.settle_cancelled()
    assert pipeline.provider.sent == []
    assert pipeline.ledger(notification) == {device: [("cancelled", "cancelled")]}
    pipeline.assert_sum(notification.id)


def test_a_scheduled_notification_starts_when_its_time_has_come(
    pipeline: Pipeline, make_device: Make
) -> None:
    device = make_device(pipeline.tenant, "mia")
    later = timezone.now() + timedelta(hours=1)
    listed = pipeline.accept({"subscribers": ["mia"]}, send_at=later)
    mass = pipeline.accept({"all": True}, category="critical", send_at=later)
    periodic.start_due()
    assert set(Notification.objects.values_list("status", flat=True)) == {"scheduled"}

    Notification.objects.update(send_at=timezone.now())
    periodic.start_due()
    periodic.start_due()
    mass.refresh_from_db()
    pipeline.resolve(mass)
    pipeline.send()

    assert pipeline.ledger(listed) == pipeline.ledger(mass) == {device.id: [("accepted", "")]}


def test_a_small_notification_overtakes_the_tail_of_a_large_one(
    pipeline: Pipeline, make_device: Make
) -> None:
    for number in range(700):
        make_device(pipeline.tenant, f"user-{number}")
    large = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(large)
    small = pipeline.accept({"all": True, "platforms": ["ios"]}, category="critical")
    Batch.objects.filter(notification_id=large.id).update(lane="memory.campaign")
    pipeline.resolve(small)

    ready = (
        Batch.objects.filter(status="ready")
        .order_by("turn_at", "id")
        .values_list("notification_id", flat=True)
    )
    first_of_small = list(ready).index(small.id)
    assert 0 < first_of_small < len(ready) // 2


def test_a_flush_recorded_twice_counts_once(pipeline: Pipeline, make_device: Make) -> None:
    """Its COMMIT went through and the answer was lost: the sender records the same results again."""
    devices = [make_device(pipeline.tenant, "mia").id for _ in range(5)]
    notification = pipeline.accept({"subscribers": ["mia"]})

    async def flush_twice() -> None:
        sender = pipeline.sender()
        await sender.pool.open()
        async with sender.pool.connection() as database:
            (batch,) = await claim.batches(
                database, "memory.transactional", room=500, each=500, most=9, is_idle=True, lease_seconds=60
            )
            batch.content = (await load.contents(database, [batch.sending]))[batch.sending]
            batch.flushing = [Result(id, Outcome.ACCEPTED, "") for id in devices[:2]]
            for _ in range(2):
                await record.results(
                    database, "memory.transactional", [batch], pipeline.provider.BACKOFF, batch_size=100
                )
        await sender.pool.close()

    asyncio.run(flush_twice())

    assert pipeline.ledger(notification) == {id: [("accepted", "")] for id in devices[:2]}
    pipeline.assert_sum(notification.id)


def test_many_held_recipients_come_back_in_batches_that_fit(pipeline: Pipeline, make_device: Make) -> None:
    for number in range(250):
        make_device(pipeline.tenant, f"user-{number}")
    notification = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(notification)
    Credential.objects.all().delete()
    pipeline.send()

    sizes = [len(batch.device_ids) for batch in Batch.objects.all()]
    assert sum(sizes) == 250
    assert max(sizes) <= 150
    pipeline.assert_sum(notification.id)


def test_mending_a_credential_cuts_the_wait_short(pipeline: Pipeline, make_device: Make) -> None:
    device = make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]})
    Credential.objects.all().delete()
    pipeline.send()
    assert Batch.objects.get().due_at > timezone.now() + timedelta(seconds=20)

    services.store_credential(pipeline.tenant.application, provider="memory", public={}, secret="")
    pipeline.send()

    assert pipeline.ledger(notification) == {device.id: [("accepted", "")]}
