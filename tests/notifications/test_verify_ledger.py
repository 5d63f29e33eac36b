"""The sum, counted again: what is right is never called wrong, and nothing that is wrong goes unnoticed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from config import partitions
from devices import services as devices
from devices.models import Device, Subscriber
from notifications import periodic, services
from notifications.models import Batch, Incident, Notification
from notifications.pipeline import conclude, fan_out, reap, replay, verify
from notifications.providers.base import Outcome, Verdict
from tests.conftest import Tenant
from tests.notifications.pipeline.conftest import Pipeline, pipeline

__all__ = ["pipeline"]

Make = Callable[..., Device]


def run(*arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines of `manage.py verify_ledger`."""
    out, code = StringIO(), 0
    try:
        call_command("verify_ledger", *arguments, stdout=out)
    except SystemExit as exit:
        code = int(str(exit.code))
    return code, out.getvalue().splitlines()


def sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def settle() -> None:
    """What is finished was so a while ago."""
    periodic.finish()
    long_ago = timezone.now() - timedelta(minutes=1)
    Notification.objects.filter(finished_at__isnull=False).update(finished_at=long_ago)


def unverified() -> int:
    return Notification.objects.filter(verified_at__isnull=True).count()


@pytest.fixture
def finished(pipeline: Pipeline, make_device: Make) -> Notification:
    """Sent to three devices: two accepted it, one is gone; one address led nowhere."""
    mia, *_ = (make_device(pipeline.tenant, name) for name in ("mia", "leo", "gus"))
    pipeline.provider.answers[mia.id] = Verdict(Outcome.UNREGISTERED, "unregistered")
    notification = pipeline.accept({"subscribers": ["mia", "leo", "gus", "nobody"]})
    pipeline.send()
    settle()
    notification.refresh_from_db()
    return notification


# --- What is right --------------------------------------------------------------------------------


def _listed(pipeline: Pipeline, make_device: Make) -> None:
    """Addresses that lead nowhere, to several devices, and to one that does not want it."""
    make_device(pipeline.tenant, "two")
    make_device(pipeline.tenant, "mute", permission="denied")
    pipeline.accept({"subscribers": ["two", "mute", "nobody", "no one"]})
    pipeline.send()


@override_settings(SHARD_SIZE=4, BATCH_SIZE=3)
def _half_resolved(pipeline: Pipeline, make_device: Make) -> None:
    notification = pipeline.accept({"all": True}, category="marketing")
    pipeline.opt_in("two")
    fan_out.shard(notification.shards.earliest("number").id)


def _scheduled(pipeline: Pipeline, make_device: Make) -> None:
    pipeline.accept({"subscribers": ["two"]}, send_at=timezone.now() + timedelta(hours=1))


def _given_up(pipeline: Pipeline, make_device: Make) -> None:
    pipeline.provider.answers[make_device(pipeline.tenant, "busy").id] = Verdict(Outcome.RETRY, "busy")
    pipeline.accept({"subscribers": ["busy", "two"]})
    for _ in range(3):
        pipeline.send()
        Batch.objects.filter(status="waiting").update(due_at=timezone.now())


def _waiting(pipeline: Pipeline, make_device: Make) -> None:
    later = Verdict(Outcome.RETRY, "busy", retry_after=600)
    pipeline.provider.answers[make_device(pipeline.tenant, "slow").id] = later
    pipeline.accept({"subscribers": ["slow", "two"]})
    pipeline.send()


def _resent(pipeline: Pipeline, make_device: Make) -> None:
    pipeline.accept({"subscribers": ["two"]})
    die_after_claiming()
    reap.expired_leases(recovery_seconds=0)
    pipeline.send()


def _uncertain(pipeline: Pipeline, make_device: Make) -> None:
    pipeline.opt_in("two")
    pipeline.accept({"subscribers": ["two"]}, category="marketing")
    die_after_claiming()
    reap.expired_leases(recovery_seconds=0)


@override_settings(BATCH_SIZE=3)
def _cancelled_midway(pipeline: Pipeline, make_device: Make) -> None:
    for number in range(7):
        make_device(pipeline.tenant, f"user-{number}")
    notification = pipeline.accept({"all": True}, category="critical")
    pipeline.resolve(notification)
    die_after_claiming(most=1)
    services.cancel(notification)
    services.cancel(pipeline.accept({"all": True}, category="critical"))


def _replayed(pipeline: Pipeline, make_device: Make) -> None:
    """A recipient that was refused is open again."""
    device = make_device(pipeline.tenant, "again")
    pipeline.provider.answers[device.id] = Verdict(Outcome.REJECTED, "too_long")
    notification = pipeline.accept({"subscribers": ["again", "two"]})
    pipeline.send()
    refused = replay.Criteria(pipeline.tenant.id, notification_id=notification.id)
    replay.dead_letters([notification.id], refused, requested_by="test")
    assert Batch.objects.get(notification_id=notification.id).device_ids == [device.id]


def _sent_again(pipeline: Pipeline, make_device: Make) -> None:
    _replayed(pipeline, make_device)
    pipeline.provider.answers.clear()
    pipeline.send()


def _erased(pipeline: Pipeline, make_device: Make) -> None:
    """Of two people with two devices each, and of one whose batch is still open."""
    names = ["ada", "ada", "bob", "bob"]
    for name in names:
        make_device(pipeline.tenant, name)
    pipeline.accept({"subscribers": ["ada", "bob", "two"]})
    pipeline.send()
    pipeline.accept({"subscribers": ["ada", "bob"]})
    for name in set(names):
        devices.erase(Subscriber.objects.get(external_id=name))


def _erased_in_part(pipeline: Pipeline, make_device: Make) -> None:
    """A replayed device that changed hands: of its first owner's line nothing but the count is left."""
    _replayed(pipeline, make_device)
    sql(
        "UPDATE notifications_delivery SET device_id = NULL, subscriber_id = NULL, detail = ''"
        " WHERE outcome = 'rejected'"
    )


SHAPES = (
    _listed,
    _half_resolved,
    _scheduled,
    _given_up,
    _waiting,
    _resent,
    _uncertain,
    _cancelled_midway,
    _sent_again,
    _replayed,
    _erased,
    _erased_in_part,
)


def die_after_claiming(most: int = 500) -> None:
    """What a sender that claimed is found to have left."""
    ready = Batch.objects.filter(status="ready").order_by("id").values_list("id", flat=True)[:most]
    gone = {"status": "sending", "claim": uuid4(), "lease_until": timezone.now() - timedelta(seconds=1)}
    Batch.objects.filter(id__in=list(ready)).update(**gone)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__.strip("_"))
def test_what_adds_up_is_never_called_wrong(
    pipeline: Pipeline, make_device: Make, shape: Callable[[Pipeline, Make], None]
) -> None:
    make_device(pipeline.tenant, "two")
    shape(pipeline, make_device)

    code, lines = run()
    assert (code, lines[-1].endswith(" 0 violations")) == (0, True), lines
    settle()
    periodic.verify_open()
    periodic.verify_finished()
    periodic.verify_again()

    assert run()[0] == 0
    assert not Incident.objects.exists()
    assert not Notification.objects.exclude(violations=[]).exists()
    in_the_way = set(Batch.objects.values_list("notification_id", flat=True))
    for notification in Notification.objects.all():
        is_settled = notification.status in ("done", "cancelled") and notification.id not in in_the_way
        assert bool(notification.verified_at) == is_settled


def test_a_cancelled_notification_is_counted_once_its_last_batch_is_back(
    pipeline: Pipeline, make_device: Make
) -> None:
    _cancelled_midway(pipeline, make_device)
    settle()
    periodic.verify_finished()
    assert unverified() == 1
    reap.expired_leases(recovery_seconds=0)
    periodic.settle_cancelled()
    periodic.verify_finished()
    assert (unverified(), Incident.objects.count()) == (0, 0)


def test_what_has_just_finished_is_left_alone_for_a_moment(finished: Notification) -> None:
    Notification.objects.update(finished_at=timezone.now())
    periodic.verify_finished()
    assert unverified() == 1


@override_settings(SHARD_SIZE=50, BATCH_SIZE=20)
def test_what_is_being_resolved_sent_and_cancelled_adds_up_at_every_instant(
    pipeline: Pipeline, make_device: Make
) -> None:
    answers = [Verdict(Outcome.RETRY, "busy", retry_after=0), Verdict(Outcome.UNREGISTERED, "gone")]
    for number in range(300):
        device = make_device(pipeline.tenant, f"user-{number}")
        if number % 5 == 0:
            pipeline.provider.answers[device.id] = answers[number % 2]
    found: list[verify.Violation] = []
    is_over, looks, seen_open = threading.Event(), 0, 0

    def look() -> None:
        nonlocal looks, seen_open
        try:
            while not is_over.is_set():
                for checked in (*verify.matching(), *verify.open_sums()):
                    found.extend(checked.violations)
                    seen_open += not checked.is_settled
                looks += 1
        finally:
            connection.close()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        everyone = pipeline.accept({"all": True}, category="critical")
        resolving = threading.Thread(target=lambda: (pipeline.resolve(everyone), connection.close()))
        resolving.start()
        for number in range(60):
            pipeline.accept({"subscribers": [f"user-{number}", "nobody"]})
        pipeline.send(senders=2)
        resolving.join()
        stopped = pipeline.accept({"all": True}, category="critical")
        pipeline.resolve(stopped)
        cancelling = threading.Timer(0.1, lambda: (services.cancel(stopped), connection.close()))
        cancelling.start()
        pipeline.send(senders=2)
        cancelling.join()
    finally:
        is_over.set()
        looking.join()

    assert found == []
    assert looks > 10
    assert seen_open > 10
    code, lines = run()
    assert code == 0, lines


# --- What is wrong --------------------------------------------------------------------------------

ACCEPTED = "notification_id = %(id)s AND outcome = 'accepted'"
BATCH = """
    INSERT INTO notifications_batch
        (application_id, notification_id, lane, status, device_ids, attempt, due_at, turn_at)
    SELECT application_id, notification_id, lane, 'waiting', ARRAY[device_id], 1, now() + interval '1 hour', now()
    FROM notifications_delivery
"""
LINE = """
    INSERT INTO notifications_delivery (at, application_id, notification_id, device_id, subscriber_id, lane, outcome,
        reason, attempt, provider_id, detail)
    SELECT now(), application_id, notification_id, device_id, subscriber_id, lane, {outcome}, reason, 1, '', {detail}
    FROM notifications_delivery
"""
ONE_OF = f"id = (SELECT min(id) FROM notifications_delivery WHERE {ACCEPTED})"

# What was done to the rows → the kinds of violation that follow.
TAMPERINGS = {
    "a recipient nobody accounts for": (
        "UPDATE notifications_notification SET recipient_count = 5 WHERE id = %(id)s",
        {"sum"},
    ),
    "a result counted twice": (
        f"UPDATE notifications_tally SET count = count + 1 WHERE {ACCEPTED}",
        {"sum", "tally"},
    ),
    "results of another provider": (
        f"UPDATE notifications_tally SET provider = 'fcm' WHERE {ACCEPTED}",
        {"provider"},
    ),
    "a lost line": (f"DELETE FROM notifications_delivery WHERE {ONE_OF}", {"tally"}),
    "a line of another outcome": (
        f"UPDATE notifications_delivery SET outcome = 'uncertain' WHERE {ONE_OF}",
        {"tally"},
    ),
    "a device with two results": (
        LINE.format(outcome="outcome", detail="detail") + f"WHERE {ONE_OF}",
        {"tally", "twice"},
    ),
    "an unknown address with two results": (
        LINE.format(outcome="outcome", detail="detail")
        + "WHERE notification_id = %(id)s AND device_id IS NULL",
        {"tally", "twice"},
    ),
    "a result taken back twice": (
        LINE.format(outcome="'replayed'", detail="outcome")
        + f"CROSS JOIN generate_series(1, 2) WHERE {ONE_OF}",
        {"tally", "taken_back"},
    ),
    "a device that waits and has a result": (
        BATCH + f"WHERE {ONE_OF}",
        {"sum", "open_and_final", "unfinished"},
    ),
    "a device that waits twice": (
        f"{BATCH} CROSS JOIN generate_series(1, 2) WHERE {ONE_OF};"
        f"UPDATE notifications_tally SET count = count - 1 WHERE {ACCEPTED};"
        f"DELETE FROM notifications_delivery WHERE {ONE_OF}",
        {"sum", "open_twice", "unfinished"},
    ),
    "done with an open batch": (
        f"{BATCH} WHERE {ONE_OF}; UPDATE notifications_tally SET count = count - 1 WHERE {ACCEPTED};"
        f"DELETE FROM notifications_delivery WHERE {ONE_OF}",
        {"unfinished"},
    ),
    "done with an open shard": (
        "INSERT INTO notifications_shard (notification_id, number, lower, upper, recipient_count)"
        " VALUES (%(id)s, 0, 1, 2, 0)",
        {"unfinished"},
    ),
    "a count below zero": (
        f"UPDATE notifications_tally SET count = -2 WHERE {ACCEPTED}",
        {"sum", "tally", "negative"},
    ),
}


def tamper(notification: Notification, statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements.split(";"):
            cursor.execute(statement, {"id": notification.id})


def test_every_violation_is_found_by_hand_and_by_the_clock(pipeline: Pipeline, make_device: Make) -> None:
    for name in ("mia", "leo"):
        make_device(pipeline.tenant, name)
    wrong = {pipeline.accept({"subscribers": ["mia", "leo", "nobody"]}).id: name for name in TAMPERINGS}
    right = pipeline.accept({"subscribers": ["mia", "leo", "nobody"]})
    pipeline.send()
    settle()
    for notification in Notification.objects.exclude(id=right.id):
        tamper(notification, TAMPERINGS[wrong[notification.id]][0])

    code, lines = run("--json")
    *violations, summary = map(json.loads, lines)
    found: dict[str, set[str]] = {}
    for violation in violations:
        found.setdefault(wrong[UUID(violation["notification"])], set()).add(violation["kind"])
        assert violation["expected"] != violation["found"]
    assert code == 1
    assert found == {name: kinds for name, (_, kinds) in TAMPERINGS.items()}
    assert (summary["checked"], summary["violations"]) == (len(TAMPERINGS) + 1, len(violations))

    periodic.verify_finished()
    assert unverified() == 0
    for notification in Notification.objects.exclude(id=right.id):
        kinds = {violation["kind"] for violation in notification.violations}
        assert kinds == TAMPERINGS[wrong[notification.id]][1]
        incident = Incident.objects.get(notification=notification)
        assert (incident.application_id, incident.cause, incident.provider) == (
            pipeline.tenant.id,
            "ledger",
            "",
        )
        assert not incident.stops_lanes
        assert all(violation["words"] in incident.words for violation in notification.violations)
    assert not Incident.objects.filter(notification=right).exists()


def test_what_is_wrong_is_said_in_a_line_each_with_examples(finished: Notification) -> None:
    tamper(finished, LINE.format(outcome="outcome", detail="detail") + f"WHERE {ONE_OF}")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT device_id FROM notifications_delivery WHERE notification_id = %s GROUP BY 1 HAVING count(*) = 2",
            [finished.id],
        )
        ((device,),) = cursor.fetchall()

    assert run() == (
        1,
        [
            f"{finished.id} tally Accepted: expected 3, found 2",
            f"{finished.id} twice: expected 0, found 1, devices {device}",
            "checked 1 notifications, 4 recipients, 2 violations",
        ],
    )


def test_an_alarm_is_raised_once_and_ends_when_it_adds_up_again(
    finished: Notification, caplog: pytest.LogCaptureFixture
) -> None:
    tamper(finished, "UPDATE notifications_notification SET recipient_count = 5 WHERE id = %(id)s")
    periodic.verify_finished()
    periodic.verify_again()
    periodic.verify_again()
    assert Incident.objects.count() == 1
    logged = [record.getMessage() for record in caplog.records if "ledger.violation" in record.getMessage()]
    assert logged
    assert str(finished.id) in logged[0]

    tamper(finished, "UPDATE notifications_notification SET recipient_count = 4 WHERE id = %(id)s")
    periodic.verify_again()
    finished.refresh_from_db()
    assert finished.violations == []
    assert Incident.objects.get().closed_at is not None

    tamper(finished, "UPDATE notifications_notification SET recipient_count = 3 WHERE id = %(id)s")
    Notification.objects.update(verified_at=None)
    periodic.verify_finished()
    assert Incident.objects.filter(closed_at__isnull=True).count() == 1


def test_an_open_notification_that_does_not_add_up_raises_the_alarm(
    pipeline: Pipeline, make_device: Make
) -> None:
    make_device(pipeline.tenant, "mia")
    wrong, right = (pipeline.accept({"subscribers": ["mia"]}) for _ in range(2))
    Notification.objects.filter(id=wrong.id).update(recipient_count=2)
    periodic.verify_open()
    incident = Incident.objects.get(closed_at__isnull=True)
    wrong.refresh_from_db()
    assert (incident.notification_id, wrong.verified_at) == (wrong.id, None)
    assert [violation["kind"] for violation in wrong.violations] == ["sum"]

    Notification.objects.filter(id=wrong.id).update(recipient_count=1)
    periodic.verify_again()
    assert not Incident.objects.filter(closed_at__isnull=True).exists()
    right.refresh_from_db()
    assert right.violations == []


def test_of_many_open_notifications_every_one_is_looked_at_sooner_or_later(
    pipeline: Pipeline, make_device: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "MOST_OPEN", 2)
    make_device(pipeline.tenant, "mia")
    for _ in range(5):
        pipeline.accept({"subscribers": ["mia"]})
    Notification.objects.update(recipient_count=2)
    for _ in range(40):
        assert len(verify.open_sums()) <= 2
        periodic.verify_open()
    assert Incident.objects.count() == 5


# --- Two at once, and many ------------------------------------------------------------------------


def test_many_are_counted_in_few_statements_and_large_ones_alone(
    pipeline: Pipeline, make_device: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "MOST_NOTIFICATIONS", 4)
    monkeypatch.setattr(verify, "MOST_RECIPIENTS", 5)
    make_device(pipeline.tenant, "two")
    pipeline.accept({"subscribers": ["two", "mute", "nobody", "no one", "none"]})
    for _ in range(10):
        pipeline.accept({"subscribers": ["two"]})
    pipeline.send()
    settle()
    Notification.objects.filter(recipient_count=5).update(finished_at=timezone.now() - timedelta(hours=1))
    assert [len(verify.finished()) for _ in range(2)] == [1, 1]
    periodic.verify_finished()
    assert (unverified(), Incident.objects.count()) == (0, 0)
    assert len(run("--json")[1]) == 1


def test_two_checkers_do_not_meet(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    for _ in range(40):
        pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()
    settle()
    Notification.objects.filter(id=Notification.objects.first().id).update(recipient_count=9)
    failures = []

    def check() -> None:
        try:
            for _ in range(5):
                periodic.verify_finished()
                periodic.verify_again()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    checkers = [threading.Thread(target=check) for _ in range(3)]
    for checker in checkers:
        checker.start()
    for checker in checkers:
        checker.join()
    assert failures == []
    assert (unverified(), Incident.objects.count()) == (0, 1)


def test_what_changed_since_it_was_looked_at_is_looked_at_again(finished: Notification) -> None:
    (checked,) = verify.finished()
    Notification.objects.update(status="sending", finished_at=None)
    assert conclude.checks([checked]) == 0
    Notification.objects.update(status="done", finished_at=timezone.now())
    assert conclude.checks([checked]) == 0
    assert unverified() == 1


# --- Which ----------------------------------------------------------------------------------------


def test_where_the_ledger_is_gone_only_the_sum_is_checked(finished: Notification) -> None:
    last_month = timezone.now().replace(day=1) - timedelta(days=3)
    month_before = last_month.replace(day=1) - timedelta(days=3)
    partitions.ensure("notifications_delivery", month_before.date())
    sql(f"DROP TABLE notifications_delivery_{month_before:%Y_%m}")
    try:
        Notification.objects.update(created_at=last_month)
        sql("DELETE FROM notifications_delivery")
        assert run()[0] == 1
        sql(f"DROP TABLE notifications_delivery_{last_month:%Y_%m}")
        code, lines = run()
        assert (code, lines) == (
            0,
            [
                "checked 1 notifications, 4 recipients, 0 violations; 1 not recounted: their ledger is gone",
            ],
        )
        periodic.verify_finished()
        assert unverified() == 1
        Notification.objects.update(recipient_count=5)
        assert run()[0] == 1
    finally:
        for month in (month_before, last_month):
            sql(f"DROP TABLE IF EXISTS notifications_delivery_{month:%Y_%m}")


def test_a_part_of_the_ledger_can_be_asked_for(finished: Notification, rival: Tenant) -> None:
    application = finished.application.slug
    assert run("--application", application)[1] == ["checked 1 notifications, 4 recipients, 0 violations"]
    assert run("--notification", str(finished.id))[1] == [
        "checked 1 notifications, 4 recipients, 0 violations"
    ]
    nothing = ["checked 0 notifications, 0 recipients, 0 violations"]
    assert run("--application", rival.application.slug)[1] == nothing
    for since, count in (("2h", 1), ("2020-01-01", 1), ("2020-01-01T00:00:00Z", 1), ("0s", 0)):
        assert json.loads(run("--since", since, "--json")[1][0])["checked"] == count


@pytest.mark.parametrize(
    "arguments",
    [
        ("--application", "none"),
        ("--notification", "01900000-0000-7000-8000-000000000000"),
        ("--notification", "x"),
        ("--since", "yesterday"),
        ("--since", "2026-13-01"),
    ],
)
def test_what_does_not_exist_is_said(pipeline: Pipeline, arguments: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match=r"There is no|takes|invalid"):
        run(*arguments)


# --- The page -------------------------------------------------------------------------------------


def test_the_page_says_that_it_was_counted_again_and_what_came_of_it(finished: Notification) -> None:
    staff = Client()
    staff.force_login(User.objects.create_superuser("anna", "anna@example.com", "pw"))
    url = f"/admin/notifications/notification/{finished.id}/live-status/"

    def page() -> str:
        return staff.get(url).content.decode().replace("\xa0", " ")

    assert "ounted again" not in page()
    periodic.verify_finished()
    assert "Counted again from the ledger just now: it adds up." in page()
    Notification.objects.update(verified_at=timezone.now() - timedelta(minutes=2))
    assert "Counted again from the ledger 2 minutes ago: it adds up." in page()
    tamper(finished, "UPDATE notifications_notification SET recipient_count = 5, verified_at = NULL")
    periodic.verify_finished()
    assert "This does not add up." in page()
    assert "Recipients: 5, but results and those waiting add up to 4." in page()
    assert "it adds up" not in page()
