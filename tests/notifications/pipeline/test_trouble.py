"""A provider in trouble: the circuit, its trials, quotas, bulkheads, and whose turn it is meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from devices.models import Device
from notifications import lanes, periodic, services
from notifications.models import Batch, Incident, Notification
from notifications.pipeline import breaker, claim, expire
from notifications.providers.base import Outcome, Result, Verdict
from notifications.providers.memory import Memory
from tenants.models import Credential
from tests.conftest import Tenant
from tests.notifications.pipeline.conftest import Pipeline

Make = Callable[..., Device]

DOWN = Verdict(Outcome.RETRY, "not_connected")
SMALL = {"budget": 100, "batch_size": 20}


@pytest.fixture
def many(pipeline: Pipeline, make_device: Make, settings: Any) -> list[int]:
    settings.BATCH_SIZE = 20
    return [make_device(pipeline.tenant, f"user-{number}").id for number in range(250)]


def everyone(pipeline: Pipeline) -> Notification:
    notification = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(notification)
    return notification


def attempts_spent(notification: Notification) -> int:
    return sum(
        (batch.attempt - 1) * len(batch.device_ids)
        for batch in Batch.objects.filter(notification_id=notification.id)
    )


def trial_now() -> None:
    Incident.objects.filter(closed_at=None).update(trial_at=timezone.now())


def test_an_outage_opens_the_circuit_and_the_rest_waits_without_spending_attempts(
    pipeline: Pipeline, many: list[int]
) -> None:
    pipeline.options = SMALL
    pipeline.provider.default = DOWN
    notification = everyone(pipeline)
    pipeline.send()

    incident = Incident.objects.get()
    assert (incident.cause, incident.provider, incident.stops_lanes) == ("circuit", "memory", True)
    assert "not_connected" in incident.words
    # What was in flight when it tripped has spent one; nobody after that.
    tried = len(pipeline.provider.sent)
    assert attempts_spent(notification) == tried <= SMALL["budget"] < len(many)
    pipeline.assert_sum(notification.id)

    Batch.objects.update(due_at=timezone.now())
    pipeline.send()
    assert len(pipeline.provider.sent) == tried


def test_a_trial_tries_one_recipient_at_no_cost_and_prolongs_the_pause(
    pipeline: Pipeline, many: list[int]
) -> None:
    pipeline.options = SMALL
    pipeline.provider.default = DOWN
    notification = everyone(pipeline)
    pipeline.send()
    Batch.objects.filter(attempt__gt=1).delete()
    pipeline.provider.sent.clear()

    for number in (1, 2):
        trial_now()
        pipeline.send()
        assert len(pipeline.provider.sent) == number
        assert set(Batch.objects.values_list("attempt", flat=True)) == {1}
    incident = Incident.objects.get()
    assert incident.trial_count == 2
    assert incident.trial_at is not None
    assert incident.trial_at > timezone.now() + timedelta(seconds=8)  # 5 seconds, doubled
    assert set(Batch.objects.filter(notification_id=notification.id).values_list("status", flat=True)) <= {
        "ready",
        "waiting",
    }


def test_a_trial_that_goes_well_ends_the_incident_and_everyone_is_sent_to_once(
    pipeline: Pipeline, many: list[int]
) -> None:
    pipeline.options = SMALL
    pipeline.provider.default = DOWN
    notification = everyone(pipeline)
    pipeline.send()
    pipeline.provider.default = Verdict(Outcome.ACCEPTED, "")
    pipeline.provider.sent.clear()
    Batch.objects.update(due_at=timezone.now())
    trial_now()
    pipeline.send()

    assert Incident.objects.get().closed_at is not None
    assert sorted(target.device_id for _, target in pipeline.provider.sent) == sorted(many)
    assert not Batch.objects.exists()
    pipeline.assert_sum(notification.id)


def test_only_one_of_many_senders_gets_the_trial(pipeline: Pipeline, many: list[int]) -> None:
    everyone(pipeline)
    stop(pipeline, trial_at=timezone.now())

    async def race() -> list[list[claim.Batch]]:
        senders = [pipeline.sender() for _ in range(6)]
        for sender in senders:
            await sender.pool.open()

        async def one(sender: Any) -> list[claim.Batch]:
            async with sender.pool.connection() as connection:
                return await claim.batches(
                    connection, "memory.campaign", room=500, each=500, most=20, is_idle=True, lease_seconds=60
                )

        found = await asyncio.gather(*map(one, senders))
        for sender in senders:
            await sender.pool.close()
        return found

    claimed = [batch for batches in asyncio.run(race()) for batch in batches]
    assert [batch.trial for batch in claimed] == [("circuit",)]


def test_a_few_failures_in_a_row_over_some_seconds_open_the_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(breaker.time, "monotonic", lambda: now)
    circuit = breaker.Circuit(breaker.troubles(Memory()))
    silent = Result(1, Outcome.UNCERTAIN, "no_answer")
    for _ in range(breaker.IN_A_ROW - 1):
        now += 60
        assert circuit.note(silent, now - 15) == ""
    now += 60
    assert "10 attempts in a row failed: no_answer" in circuit.note(silent, now - 15)


def test_the_last_stalled_ones_of_an_audience_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told when nothing else is under way any more."""
    now = 1000.0
    monkeypatch.setattr(breaker.time, "monotonic", lambda: now)
    circuit = breaker.Circuit(breaker.troubles(Memory()))
    silent, taken = Result(1, Outcome.UNCERTAIN, "no_answer"), Result(1, Outcome.ACCEPTED, "")
    begun = [now + n / 100 for n in range(1000)]  # of which every twentieth is never answered
    for began in begun:
        now = began + 0.05
        circuit.note(taken, began)
    for began in begun[::20]:
        now = began + 15
        assert circuit.note(silent, began) == ""


def test_a_provider_that_stops_answering_is_noticed_with_the_first_time_outs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(breaker.time, "monotonic", lambda: now)
    circuit = breaker.Circuit(breaker.troubles(Memory()))
    for n in range(1000):
        now = 1000 + n / 100
        circuit.note(Result(1, Outcome.ACCEPTED, ""), now)
    silent = Result(1, Outcome.UNCERTAIN, "no_answer")
    tripped_at = []
    for n in range(1000, 2000):
        now = 1015 + n / 100
        if circuit.note(silent, now - 15):
            tripped_at.append(now)
    assert 1025 <= tripped_at[0] <= 1036, "once half of those begun beside them have failed too"


def test_a_connection_that_takes_its_streams_with_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GOAWAY or a reset fails a dozen at the same moment."""
    circuit = breaker.Circuit(breaker.troubles(Memory()))
    lost = Result(1, Outcome.RETRY, "not_connected")
    now = time.monotonic()
    assert not any(circuit.note(lost, now) for _ in range(breaker.LEAST_TRIED - 1))


def test_some_failures_among_many_answers_do_not_open_the_circuit() -> None:
    circuit = breaker.Circuit(breaker.troubles(Memory()))
    answers = [Result(1, Outcome.RETRY, "not_connected")] * 3 + [Result(1, Outcome.ACCEPTED, "")] * 7
    assert not any(circuit.note(answer, time.monotonic()) for _ in range(50) for answer in answers[::-1])


@pytest.mark.parametrize("reason", ["too_many_requests", "device_quota_exceeded", "expired_provider_token"])
def test_a_refusal_of_our_pace_or_of_one_device_is_no_outage(reason: str) -> None:
    circuit = breaker.Circuit(breaker.troubles(Memory()))
    assert not any(circuit.note(Result(1, Outcome.RETRY, reason), time.monotonic()) for _ in range(100))


def test_a_used_up_quota_stops_the_lanes_for_as_long_as_the_provider_says(
    pipeline: Pipeline, many: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "QUOTA", frozenset({"quota_exceeded"}))
    pipeline.provider.default = Verdict(Outcome.RETRY, "quota_exceeded", retry_after=90)
    everyone(pipeline)
    pipeline.send()

    incident = Incident.objects.get()
    assert incident.cause == "quota"
    assert incident.trial_at is not None
    assert timedelta(seconds=80) < incident.trial_at - timezone.now() <= timedelta(seconds=90)


def test_one_applications_trouble_does_not_stop_anothers_lanes(
    pipeline: Pipeline, make_device: Make, rival: Tenant
) -> None:
    Credential.objects.create(application=rival.application, provider="memory")
    mine, theirs = make_device(pipeline.tenant, "mia"), make_device(rival, "mia")
    stop(pipeline)
    pipeline.accept({"subscribers": ["mia"]})
    Pipeline(rival, pipeline.provider).accept({"subscribers": ["mia"]})
    pipeline.send()

    assert [target.device_id for _, target in pipeline.provider.sent] == [theirs.id]
    assert Batch.objects.get().device_ids == [mine.id]


def test_a_stop_of_campaigns_lets_transactional_messages_through(
    pipeline: Pipeline, make_device: Make
) -> None:
    make_device(pipeline.tenant, "mia")
    stop(pipeline, cause="retirements", lane_kind=lanes.CAMPAIGN)
    everyone(pipeline)
    one_off = pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()

    assert [message.notification_id for message, _ in pipeline.provider.sent] == [str(one_off.id)]


def test_what_expires_behind_an_incident_is_given_up_with_a_line_for_each(
    pipeline: Pipeline, make_device: Make
) -> None:
    device = make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]}, ttl_seconds=0)
    kept = pipeline.accept({"subscribers": ["mia"]})
    stop(pipeline)

    assert expire.stopped() == 1
    assert expire.stopped() == 0
    assert pipeline.ledger(notification) == {device.id: [("failed", "expired")]}
    assert pipeline.ledger(kept) == {}
    pipeline.assert_sum(notification.id)


def test_storing_a_credential_ends_the_incident(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    pipeline.provider.default = Verdict(Outcome.BLOCKED, "bad_key")
    notification = pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()
    assert Incident.objects.get().closed_at is None

    pipeline.provider.default = Verdict(Outcome.ACCEPTED, "")
    services.store_credential(
        pipeline.tenant.application,
        provider="memory",
        public={},
        secret="",
        credential=Credential.objects.get(),
    )
    pipeline.send()
    assert {lines[-1] for lines in pipeline.ledger(notification).values()} == {("accepted", "")}


def test_a_large_campaign_of_one_application_and_a_small_one_of_another_take_turns(
    pipeline: Pipeline, make_device: Make, rival: Tenant, many: list[int]
) -> None:
    Credential.objects.create(application=rival.application, provider="memory")
    for number in range(150):
        make_device(rival, f"user-{number}")
    everyone(pipeline)
    Batch.objects.update(turn_at=timezone.now() - timedelta(minutes=10))  # it has waited longest
    everyone(Pipeline(rival, pipeline.provider))

    async def owners(shares: dict[int, claim.Share]) -> Counter[int]:
        sender = pipeline.sender()
        await sender.pool.open()
        async with sender.pool.connection() as database:
            batches = await claim.batches(
                database,
                "memory.campaign",
                room=60,
                each=60,
                most=8,
                is_idle=True,
                lease_seconds=60,
                shares=shares,
            )
        await sender.pool.close()
        return Counter(batch.application_id for batch in batches)

    # Three batches of 20: one each, and one more for whom has had less.
    served = {pipeline.tenant.id: claim.Share(1000, 60), rival.id: claim.Share(0, 60)}
    assert asyncio.run(owners(served)) == {pipeline.tenant.id: 1, rival.id: 2}
    served[rival.id] = claim.Share(2000, 60)
    assert asyncio.run(owners(served)) == {pipeline.tenant.id: 2, rival.id: 1}


def test_an_application_that_hangs_leaves_room_for_another(
    pipeline: Pipeline, make_device: Make, rival: Tenant, many: list[int]
) -> None:
    Credential.objects.create(application=rival.application, provider="memory")
    theirs = {make_device(rival, f"user-{number}").id for number in range(100)}
    hanging = asyncio.Event

    def theirs_too() -> None:
        everyone(Pipeline(rival, pipeline.provider))
        connection.close()

    async def scenario() -> tuple[int, int]:
        sender = pipeline.sender(budget=300, batch_size=50)
        release = hanging()
        send = pipeline.provider.open

        def opened(credential: Any, tokens: Any) -> Any:
            session = send(credential, tokens)
            original = session.send

            async def hang_or_send(rendered: Any, target: Any) -> Any:
                if target.device_id not in theirs:
                    await release.wait()
                return await original(rendered, target)

            session.send = hang_or_send
            return session

        pipeline.provider.open = opened  # type: ignore[method-assign]
        task = asyncio.create_task(sender.run())
        await asyncio.sleep(1.5)
        held = sum(lane.held for lane in sender.lanes.values())
        await asyncio.to_thread(theirs_too)
        for _ in range(100):
            await asyncio.sleep(0.05)
            if len(pipeline.provider.sent) == len(theirs):
                break
        through = len(pipeline.provider.sent)
        release.set()
        sender.stop()
        await task
        return held, through

    everyone(pipeline)
    held, through = asyncio.run(scenario())
    assert held == 180  # its share of 60 %
    assert through == len(theirs)


def test_a_stopping_sender_gives_back_what_it_has_not_begun(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]})

    async def claim_and_stop() -> None:
        sender = pipeline.sender()
        await sender.pool.open()
        lane = sender.lanes["memory.transactional"]
        lane.wake()
        await lane._cycle()  # claimed, not loaded yet
        sender.stop()
        await sender.run()

    asyncio.run(claim_and_stop())
    assert pipeline.provider.sent == []
    batch = Batch.objects.get()
    assert (batch.status, batch.attempt) == ("waiting", 1)
    assert batch.due_at <= timezone.now()
    pipeline.assert_sum(notification.id)


def stop(
    pipeline: Pipeline, *, cause: str = "circuit", lane_kind: str = "", trial_at: Any = None
) -> Incident:
    return Incident.objects.create(
        application=pipeline.tenant.application,
        provider="memory",
        cause=cause,
        lane_kind=lane_kind,
        trial_at=trial_at,
    )


def test_a_trial_that_nobody_gets_stays_due(
    pipeline: Pipeline, make_device: Make, rival: Tenant, many: list[int]
) -> None:
    """Here the lane has room for nobody, or only for those who have no trial."""
    incident = stop(pipeline, trial_at=timezone.now())
    everyone(pipeline)

    async def claimed(room: int) -> int:
        sender = pipeline.sender()
        await sender.pool.open()
        async with sender.pool.connection() as database:
            batches = await claim.batches(
                database, "memory.campaign", room=room, each=room, most=8, is_idle=False, lease_seconds=60
            )
        await sender.pool.close()
        return len(batches)

    assert asyncio.run(claimed(10)) == 0
    incident.refresh_from_db()
    assert incident.trial_at is not None
    assert incident.trial_at <= timezone.now()
    assert asyncio.run(claimed(60)) == 1
    incident.refresh_from_db()
    assert incident.trial_at is not None
    assert incident.trial_at > timezone.now() + timedelta(seconds=30)


def test_due_trials_come_before_the_turns_of_the_healthy(
    pipeline: Pipeline, make_tenant: Callable[[str], Tenant], make_device: Make
) -> None:
    for number in range(12):
        healthy = make_tenant(f"Healthy {number}")
        Credential.objects.create(application=healthy.application, provider="memory")
        make_device(healthy, "mia")
        everyone(Pipeline(healthy, pipeline.provider))
    last = make_tenant("Last")
    Credential.objects.create(application=last.application, provider="memory")
    make_device(last, "mia")
    shop = Pipeline(last, pipeline.provider)
    stop(shop, trial_at=timezone.now())
    everyone(shop)

    async def trials() -> list[int]:
        sender = pipeline.sender()
        await sender.pool.open()
        async with sender.pool.connection() as database:
            batches = await claim.batches(
                database, "memory.campaign", room=100, each=100, most=8, is_idle=True, lease_seconds=60
            )
        await sender.pool.close()
        return [batch.application_id for batch in batches if batch.trial]

    assert asyncio.run(trials()) == [last.id]


def test_a_working_credential_is_used_in_place_of_a_refused_one(
    pipeline: Pipeline, make_device: Make
) -> None:
    Credential.objects.update(blocked_at=timezone.now(), blocked_reason="revoked")
    Credential.objects.create(application=pipeline.tenant.application, provider="memory", name="New key")
    device = make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()

    assert pipeline.ledger(notification) == {device.id: [("accepted", "")]}


def test_an_incident_ends_when_nothing_is_left_to_try_it_with(pipeline: Pipeline) -> None:
    waits = stop(pipeline, trial_at=timezone.now() - timedelta(minutes=1))
    over = stop(pipeline, cause="quota", trial_at=timezone.now() - timedelta(minutes=10))
    periodic.end_incidents()

    waits.refresh_from_db()
    over.refresh_from_db()
    assert (waits.closed_at is None, over.closed_at is None) == (True, False)


@pytest.mark.parametrize("applications", [0, 1, 7, 8, 500, 100_000])
@pytest.mark.parametrize("most", [1, 20, 500])
def test_a_claim_can_be_written_for_any_number_of_applications(applications: int, most: int) -> None:
    statement = claim._statement(most, applications)
    assert "{" not in statement
    assert "LIMIT 0" not in statement
