"""Dead letters sent again: what is opened, what never is, and the sum before, during and after."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from devices.models import Device
from notifications import periodic, replays, selectors, services
from notifications.models import Batch, Delivery, Notification, Replay, Tally
from notifications.pipeline import replay
from notifications.providers.base import Outcome, Verdict
from tenants.models import Credential
from tests.conftest import Tenant, forget
from tests.notifications.pipeline import conftest
from tests.notifications.pipeline.conftest import Pipeline

pipeline = conftest.pipeline
Make = Callable[..., Device]

ACCEPTED = Verdict(Outcome.ACCEPTED, "")
REJECTED = Verdict(Outcome.REJECTED, "invalid_argument")


@pytest.fixture
def devices(pipeline: Pipeline, make_device: Make) -> list[Device]:
    return [make_device(pipeline.tenant, f"user-{number}") for number in range(3)]


def send(pipeline: Pipeline, devices: list[Device], **fields: Any) -> Notification:
    """Accept and send to all, until it is done."""
    notification = pipeline.accept({"devices": [str(device.public_id) for device in devices]}, **fields)
    finish(pipeline, notification)
    return notification


def finish(pipeline: Pipeline, notification: Notification) -> None:
    while Batch.objects.exists():
        Batch.objects.update(due_at=timezone.now())
        pipeline.send()
        pipeline.assert_sum(notification.id)
    periodic.finish()
    notification.refresh_from_db()
    assert notification.status == "done"


def start(criteria: replays.Criteria) -> int:
    """Replay; how many recipients."""
    expected = sum(found.recipients for lot in replays.find(criteria) for found in lot)
    replayed = sum(row.recipients for lot in replays.start(criteria, requested_by="test") for row in lot)
    assert replayed == expected
    return replayed


def start_of(notification: Notification) -> int:
    return start(replays.Criteria(notification.application_id, notification.id))


def listed(criteria: replays.Criteria) -> list[int | None]:
    """Devices of the dead letters."""
    found = replays.latest(criteria, most=100)
    assert found.older is None
    assert replays.count(criteria, most=100) == (len(found.lines), True)
    return sorted(line.device_id for line in found.lines if line.device_id)


# --- what a replay does -----------------------------------------------------------------------


def test_what_was_given_up_arrives_once_the_provider_is_mended(
    pipeline: Pipeline, devices: list[Device]
) -> None:
    busy = devices[0].id
    pipeline.provider.answers[busy] = Verdict(Outcome.RETRY, "busy")
    notification = send(pipeline, devices)
    assert pipeline.ledger(notification)[busy][-1] == ("failed", "busy")
    assert listed(replays.Criteria(pipeline.tenant.id)) == [busy]

    pipeline.provider.answers.clear()
    pipeline.provider.sent.clear()
    assert start_of(notification) == 1
    pipeline.assert_sum(notification.id)
    notification.refresh_from_db()
    assert (notification.status, notification.finished_at, notification.replay_count) == ("sending", None, 1)
    assert listed(replays.Criteria(pipeline.tenant.id)) == []
    finish(pipeline, notification)

    assert [target.device_id for _, target in pipeline.provider.sent] == [busy]
    assert pipeline.ledger(notification)[busy][-2:] == [("replayed", "busy"), ("accepted", "")]
    counts = selectors.counts([notification])[notification.id]
    assert (counts["recipients"], counts["accepted"], sum(counts["failed"].values())) == (3, 3, 0)


def test_accepted_uncertain_and_suppressed_recipients_are_not_touched(
    pipeline: Pipeline, devices: list[Device], make_device: Make
) -> None:
    rejected, unknown, _ = devices
    refusing = make_device(pipeline.tenant, permission="denied")
    notification = pipeline.accept(
        {"devices": [str(device.public_id) for device in [*devices, refusing]]}, category="critical"
    )
    pipeline.provider.answers = {
        rejected.id: REJECTED,
        unknown.id: Verdict(Outcome.UNCERTAIN, "no_answer"),
    }
    finish(pipeline, notification)
    before = pipeline.ledger(notification)
    assert start_of(notification) == 1
    pipeline.provider.answers.clear()
    finish(pipeline, notification)

    after = pipeline.ledger(notification)
    assert after.pop(rejected.id) == [
        *before.pop(rejected.id),
        ("replayed", "invalid_argument"),
        ("accepted", ""),
    ]
    assert after == before
    assert sorted(lines[-1][0] for lines in after.values()) == ["accepted", "suppressed", "uncertain"]


def test_it_may_fail_again_for_another_reason_and_be_replayed_again(
    pipeline: Pipeline, devices: list[Device]
) -> None:
    device = devices[0]
    pipeline.provider.default = REJECTED
    notification = send(pipeline, [device])
    for number, reason in ((1, "too_old"), (2, "too_new")):
        assert start_of(notification) == 1
        assert Batch.objects.get().replay == number
        pipeline.provider.default = Verdict(Outcome.REJECTED, reason)
        finish(pipeline, notification)
        assert listed(replays.Criteria(pipeline.tenant.id)) == [device.id]

    assert pipeline.ledger(notification)[device.id] == [
        ("rejected", "invalid_argument"),
        ("replayed", "invalid_argument"),
        ("rejected", "too_old"),
        ("replayed", "too_old"),
        ("rejected", "too_new"),
    ]
    assert [(row.number, row.recipient_count) for row in Replay.objects.order_by("number")] == [
        (1, 1),
        (2, 1),
    ]
    assert {key: value for key, value in tallies(notification).items() if value} == {
        ("rejected", "too_new"): 1
    }
    assert "0 violations" in call("verify_ledger", "--notification", str(notification.id))


def tallies(notification: Notification) -> dict[tuple[str, str], int]:
    rows = Tally.objects.filter(notification_id=notification.id).values_list("outcome", "reason")
    return {(outcome, reason): total for outcome, reason, total in rows.annotate(total=Sum("count"))}


def test_eight_at_once_replay_each_recipient_once(pipeline: Pipeline, devices: list[Device]) -> None:
    pipeline.provider.default = REJECTED
    notification = send(pipeline, devices)
    criteria = replays.Criteria(pipeline.tenant.id, notification.id)

    def replay_once(number: int) -> int:
        try:
            lots = replays.start(criteria, requested_by=f"staff:{number}")
            return sum(row.recipients for lot in lots for row in lot)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(replay_once, range(8))) == [0] * 7 + [3]
    pipeline.assert_sum(notification.id)
    pipeline.provider.default = ACCEPTED
    pipeline.provider.sent.clear()
    finish(pipeline, notification)
    assert sorted(target.device_id for _, target in pipeline.provider.sent) == sorted(d.id for d in devices)
    assert Replay.objects.count() == 1


def test_the_lifetime_counts_anew(pipeline: Pipeline, devices: list[Device]) -> None:
    notification = pipeline.accept({"devices": [str(devices[0].public_id)]}, ttl_seconds=600)
    Notification.objects.update(created_at=timezone.now() - timedelta(hours=1))
    finish(pipeline, notification)
    assert pipeline.ledger(notification)[devices[0].id] == [("failed", "expired")]

    start_of(notification)
    finish(pipeline, notification)
    assert pipeline.ledger(notification)[devices[0].id][-1] == ("accepted", "")


def test_a_device_that_is_gone_is_left_and_one_that_is_back_is_not(
    pipeline: Pipeline, devices: list[Device]
) -> None:
    retired, gone, back = devices
    pipeline.provider.default = Verdict(Outcome.UNREGISTERED, "unregistered")
    pipeline.provider.answers[retired.id] = REJECTED
    notification = send(pipeline, devices)
    Device.objects.filter(id=retired.id).update(retired_at=timezone.now())
    Device.objects.filter(id=back.id).update(retired_at=None)

    assert listed(replays.Criteria(pipeline.tenant.id)) == [
        retired.id
    ]  # across notifications, what is gone is no trouble
    assert listed(replays.Criteria(pipeline.tenant.id, notification.id)) == sorted([retired.id, back.id])
    assert start(replays.Criteria(pipeline.tenant.id)) == 0
    assert list(replay.find([notification.id], replays.Criteria(pipeline.tenant.id, notification.id))) == [
        (notification.id, 1, 1)
    ]
    assert start_of(notification) == 1
    assert Batch.objects.get().device_ids == [back.id]
    assert gone.id not in listed(replays.Criteria(pipeline.tenant.id, notification.id))


def test_a_cancelled_notification_stays_cancelled(pipeline: Pipeline, devices: list[Device]) -> None:
    pipeline.provider.default = REJECTED
    notification = send(pipeline, devices)
    Notification.objects.update(status="sending", finished_at=None)
    services.cancel(notification)
    assert start_of(notification) == 0
    assert start(replays.Criteria(pipeline.tenant.id)) == 0
    assert not Batch.objects.exists()


def test_another_applications_dead_letters_are_not_touched(
    pipeline: Pipeline, devices: list[Device], rival: Tenant
) -> None:
    pipeline.provider.default = REJECTED
    notification = send(pipeline, devices)
    for criteria in (replays.Criteria(rival.id), replays.Criteria(rival.id, notification.id)):
        assert not [row for lot in replays.start(criteria, requested_by="rival") for row in lot]
        assert replays.latest(criteria, most=10).lines == []
    assert replay.dead_letters([notification.id], replays.Criteria(rival.id), requested_by="rival") == []
    assert replays.reasons(rival.id) == []
    assert len(listed(replays.Criteria(pipeline.tenant.id))) == 3


def test_many_notifications_are_replayed_each_with_its_own_record(
    pipeline: Pipeline, devices: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MOST_NOTIFICATIONS", 2)
    pipeline.provider.default = REJECTED
    notifications = [send(pipeline, devices[:1]) for _ in range(3)]
    assert start(replays.Criteria(pipeline.tenant.id)) == 3
    assert {row.notification_id for row in Replay.objects.all()} == {row.id for row in notifications}
    assert {row.number for row in Replay.objects.all()} == {1}
    pipeline.provider.default = ACCEPTED
    for notification in notifications:
        finish(pipeline, notification)


def test_batches_fit_and_go_where_the_application_sends_now(
    pipeline: Pipeline, devices: list[Device], make_device: Make, settings: Any
) -> None:
    settings.BATCH_SIZE = 2
    pipeline.provider.default = REJECTED
    send(pipeline, [*devices, make_device(pipeline.tenant, platform="android")])
    Credential.objects.create(application=pipeline.tenant.application, provider="apns")
    forget()

    assert start(replays.Criteria(pipeline.tenant.id)) == 4
    batches = Batch.objects.order_by("lane", "turn_at")
    assert [(batch.lane, batch.status, len(batch.device_ids)) for batch in batches] == [
        ("apns.transactional", "ready", 2),
        ("apns.transactional", "ready", 1),
        ("memory.transactional", "ready", 1),
    ]
    assert batches[0].turn_at < batches[1].turn_at


def test_what_is_being_sent_goes_on(pipeline: Pipeline, devices: list[Device]) -> None:
    rejected, busy, _ = devices
    pipeline.provider.answers = {rejected.id: REJECTED, busy.id: Verdict(Outcome.RETRY, "busy", 600)}
    notification = pipeline.accept({"devices": [str(device.public_id) for device in devices]})
    pipeline.send()
    assert start_of(notification) == 1
    pipeline.assert_sum(notification.id)
    assert sorted((b.replay, b.attempt, b.device_ids) for b in Batch.objects.all()) == [
        (0, 2, [busy.id]),
        (1, 1, [rejected.id]),
    ]
    pipeline.provider.answers.clear()
    finish(pipeline, notification)


# --- which ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failed:
    """user-0 was refused just now, user-1 given up an hour ago, user-2 accepted."""

    notification: Notification
    devices: list[Device]

    @property
    def slug(self) -> str:
        return self.notification.application.slug

    def criteria(self, **fields: Any) -> replays.Criteria:
        return replays.Criteria(self.notification.application_id, **fields)


@pytest.fixture
def failed(shop: Tenant, make_device: Make) -> Failed:
    devices = [make_device(shop, f"user-{number}") for number in range(3)]
    notification = Notification.objects.create(
        application=shop.application,
        category=shop.application.categories.get(slug="marketing"),
        status="done",
        content={"title": "Hello", "body": "there"},
        audience={},
        recipient_count=3,
    )
    ends = [("rejected", "invalid_argument", 0), ("failed", "busy", 1), ("accepted", "", 1)]
    for device, (outcome, reason, hours) in zip(devices, ends, strict=True):
        Delivery.objects.create(
            at=timezone.now() - timedelta(hours=hours),
            application_id=shop.id,
            notification_id=notification.id,
            device_id=device.pk,
            subscriber_id=device.subscriber_id,
            lane="fcm.campaign",
            outcome=outcome,
            reason=reason,
            attempt=1,
            provider_id="",
            detail="",
        )
        Tally.objects.create(notification_id=notification.id, slot=0, outcome=outcome, reason=reason, count=1)
    return Failed(notification, devices)


@pytest.mark.parametrize(
    ("criteria", "numbers"),
    [
        ({}, [0, 1]),
        ({"reason": "busy"}, [1]),
        ({"reason": "nothing"}, []),
        ({"provider": "fcm"}, [0, 1]),
        ({"provider": "apns"}, []),
        ({"since": timedelta(minutes=30)}, [0]),
        ({"until": timedelta(minutes=30)}, [1]),
        ({"since": timedelta(hours=3), "until": timedelta(hours=2)}, []),
        ({"devices": [0, 2]}, [0]),
    ],
)
def test_criteria_narrow_and_what_they_leave_stays_listed(
    failed: Failed, criteria: Any, numbers: list[int]
) -> None:
    now = timezone.now()
    fields = {name: now - value if name in ("since", "until") else value for name, value in criteria.items()}
    if chosen := fields.pop("devices", None):
        fields["device_ids"] = tuple(failed.devices[number].id for number in chosen)
    meant = [failed.devices[number].id for number in numbers]

    assert listed(failed.criteria(**fields)) == meant
    assert start(failed.criteria(**fields)) == len(meant)
    assert sorted(id for batch in Batch.objects.all() for id in batch.device_ids) == meant
    assert listed(failed.criteria()) == [device.id for device in failed.devices[:2] if device.id not in meant]


def test_a_throttled_notifications_batches_are_one_seconds_worth(failed: Failed) -> None:
    Notification.objects.update(throttle_per_second=1)
    start(failed.criteria())
    assert [len(batch.device_ids) for batch in Batch.objects.all()] == [1, 1]


def test_the_list_goes_on_where_a_page_ended(failed: Failed) -> None:
    first = replays.latest(failed.criteria(), most=1)
    rest = replays.latest(failed.criteria(), most=9, before=first.older)
    lines = [*first.lines, *rest.lines]
    assert [line.device_id for line in lines] == [device.id for device in failed.devices[:2]]
    assert replays.count(failed.criteria(), most=1) == (1, False)


def test_what_was_replayed_is_passed_over_a_part_at_a_time(
    failed: Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(failed.criteria())
    monkeypatch.setattr(replays, "LOOK", 1)
    before, looks = None, 0
    while True:
        page = replays.latest(failed.criteria(), most=9, before=before)
        assert page.lines == []
        if page.older is None:
            break
        before, looks = page.older, looks + 1
    assert looks == 2
    assert replays.count(failed.criteria(), most=9) == (0, False)


def test_what_failed_again_is_listed_again(failed: Failed) -> None:
    start(failed.criteria())
    assert listed(failed.criteria()) == []
    line = Delivery.objects.get(outcome="failed")
    line.id, line.at = None, timezone.now()
    line.save(force_insert=True)
    assert listed(failed.criteria()) == [line.device_id]


# --- manage.py replay ---------------------------------------------------------------------------


def call(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_how_many_of_which_notification(failed: Failed) -> None:
    id, command = failed.notification.id, ["replay", "--application", failed.slug]
    assert call(*command, "--dry-run") == f"{id} 2\n2 recipients of 1 notifications would be replayed\n"
    assert not Replay.objects.exists()
    assert not Batch.objects.exists()
    assert Delivery.objects.count() == 3

    told = call(*command, "--reason", "busy", "--since", "2h", "--by", "olga")
    assert told == f"{id} 1\n1 recipients of 1 notifications replayed\n"
    made = Replay.objects.get()
    assert (made.requested_by, made.recipient_count, made.criteria["reason"]) == ("olga", 1, "busy")
    assert call(*command, "--notification", str(id), "--provider", "fcm").startswith(f"{id} 1\n")
    assert call(*command) == "0 recipients of 0 notifications replayed\n"


def test_the_command_takes_single_devices(failed: Failed) -> None:
    ids = [str(device.public_id) for device in failed.devices[1:]]
    call("replay", "--application", failed.slug, "--device", *ids)
    assert Batch.objects.get().device_ids == [failed.devices[1].id]
    assert Replay.objects.get().criteria == {"device_ids": [device.id for device in failed.devices[1:]]}


UNKNOWN = "01a1fce2-e0ad-7927-9c71-b2ddaa6d8428"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--application", "nobody"], "--application: there is no application 'nobody'"),
        (["--notification", "soon"], "--notification: 'soon' is not an id"),
        (["--notification", UNKNOWN], "--notification: the application has no"),
        (["--provider", "pigeon"], "--provider: 'pigeon' is none of apns"),
        (["--reason", "rain"], "--reason: no dead letter has the reason 'rain'; there are: busy, invalid_"),
        (["--since", "yesterday"], "--since takes 90s"),
        (["--until", "2026-13-01"], "--until takes 90s"),
        (["--device", "phone"], "--device: 'phone' is not an id"),
        (["--device", UNKNOWN], f"--device: the application has no device {UNKNOWN}"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_replayed(
    failed: Failed, arguments: list[str], said: str
) -> None:
    application = [] if "--application" in arguments else ["--application", failed.slug]
    with pytest.raises(CommandError, match=re.escape(said)):
        call("replay", *application, *arguments)
    assert not Replay.objects.exists()


def test_the_command_refuses_a_cancelled_notification(failed: Failed) -> None:
    Notification.objects.update(status="cancelled")
    with pytest.raises(CommandError, match=f"--notification: {failed.notification.id} was cancelled"):
        call("replay", "--application", failed.slug, "--notification", str(failed.notification.id))
