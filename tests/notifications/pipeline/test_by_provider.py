"""What is counted is counted by provider: sent, given up, cancelled, replayed, and from before it was told apart."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone

from devices.models import Device
from notifications import periodic, replays, selectors, services, sums
from notifications.models import Batch, Notification, Tally
from notifications.pipeline import reap, verify
from notifications.providers.base import Outcome, Verdict
from notifications.providers.memory import Memory
from tenants.models import Credential
from tests.notifications.pipeline.conftest import Pipeline

Make = Callable[..., Device]
TOO_LONG = Verdict(Outcome.REJECTED, "payload_too_large")

migration = import_module("notifications.migrations.0009_tally_provider")


@pytest.fixture
def vendors(pipeline: Pipeline) -> dict[str, Memory]:
    """iPhones are reached through Apple, Androids through Google; each answers for itself."""
    found = {"apns": Memory(), "fcm": Memory()}
    for name, provider in found.items():
        provider.name = name
        Credential.objects.create(application=pipeline.tenant.application, provider=name)
    pipeline.options = {"providers": found}
    pipeline.lane_names = [f"{name}.{kind}" for name in found for kind in ("transactional", "campaign")]
    return found


@pytest.fixture
def people(pipeline: Pipeline, make_device: Make) -> dict[str, Device]:
    return {
        name: make_device(pipeline.tenant, name, platform=platform)
        for name, platform in (
            ("ian", "ios"),
            ("ida", "ios"),
            ("ivo", "ios"),
            ("ann", "android"),
            ("abe", "android"),
        )
    }


@pytest.fixture
def refused(pipeline: Pipeline, vendors: dict[str, Memory], people: dict[str, Device]) -> Notification:
    """Apple refuses it for two of three, Google for one of two; the other is gone."""
    for name in ("ian", "ida"):
        vendors["apns"].answers[people[name].id] = TOO_LONG
    vendors["fcm"].answers[people["ann"].id] = TOO_LONG
    vendors["fcm"].answers[people["abe"].id] = Verdict(Outcome.UNREGISTERED, "unregistered")
    notification = pipeline.accept({"subscribers": [*people, "nobody"]})
    pipeline.send()
    periodic.finish()
    return notification


def counts(notification: Notification) -> dict[str, Any]:
    return selectors.counts([Notification.objects.get(id=notification.id)])[notification.id]


def tallies(notification: Notification) -> dict[tuple[str, str, str], int]:
    rows = Tally.objects.filter(notification_id=notification.id).values_list("outcome", "reason", "provider")
    return {row[:3]: row[3] for row in rows.annotate(total=Sum("count")) if row[3]}


def assert_right(notification: Notification) -> None:
    (checked,) = verify.matching(id=notification.id)
    assert checked.is_recounted
    assert checked.violations == ()


def test_failures_are_counted_by_provider_and_reason(
    pipeline: Pipeline, make_device: Make, refused: Notification
) -> None:
    found = counts(refused)
    assert found["failed"] == {"payload_too_large": 3, "unregistered": 1}
    assert found["providers"] == {
        "apns": {"accepted": 1, "failed": {"payload_too_large": 2}, "uncertain": 0},
        "fcm": {"accepted": 0, "failed": {"payload_too_large": 1, "unregistered": 1}, "uncertain": 0},
    }
    shown_outside = pipeline.tenant.server.get(f"notifications/{refused.id}").json()["counts"]
    assert shown_outside["providers"] == found["providers"]
    assert selectors.added([found, found])["providers"]["fcm"]["failed"]["unregistered"] == 2
    shown = sums.of([refused.id], found).problems
    assert [[(by.word, by.count) for by in row.providers] for row in shown] == [
        [("Apple", 2), ("Google", 1)],
        [("Google", 1)],
    ]
    assert_right(refused)


def test_whoever_gets_nothing_is_counted_where_it_would_have_gone(
    pipeline: Pipeline, vendors: dict[str, Memory], people: dict[str, Device], make_device: Make
) -> None:
    make_device(pipeline.tenant, "mute", platform="android", permission="denied")
    stopped = pipeline.accept({"subscribers": ["ian", "ann", "mute", "nobody"]})
    services.cancel(stopped)
    assert tallies(stopped) == {
        ("cancelled", "cancelled", "apns"): 1,
        ("cancelled", "cancelled", "fcm"): 1,
        ("suppressed", "permission_denied", "fcm"): 1,
        ("suppressed", "unknown_subscriber", ""): 1,
    }
    assert counts(stopped)["providers"] == {}

    pipeline.opt_in(*people)
    crashed = pipeline.accept({"subscribers": ["ian", "ida", "ann"]}, category="marketing")
    gone = {"status": "sending", "claim": uuid4(), "lease_until": timezone.now() - timedelta(seconds=1)}
    Batch.objects.update(**gone)
    reap.expired_leases(recovery_seconds=0)
    assert tallies(crashed) == {
        ("uncertain", "sender_died", "apns"): 2,
        ("uncertain", "sender_died", "fcm"): 1,
    }
    for notification in (stopped, crashed):
        assert_right(notification)


def test_a_replay_takes_back_what_that_provider_refused(
    pipeline: Pipeline, vendors: dict[str, Memory], refused: Notification
) -> None:
    vendors["fcm"].answers.clear()
    replay(refused, provider="fcm", reason="payload_too_large")
    assert counts(refused)["providers"]["apns"]["failed"] == {"payload_too_large": 2}
    assert counts(refused)["providers"]["fcm"]["failed"] == {"unregistered": 1}
    assert_right(refused)
    pipeline.send()
    assert counts(refused)["providers"]["fcm"] == {
        "accepted": 1,
        "failed": {"unregistered": 1},
        "uncertain": 0,
    }
    assert_right(refused)


def test_what_was_counted_before_stays_and_is_no_fault(
    pipeline: Pipeline, vendors: dict[str, Memory], refused: Notification
) -> None:
    before = counts(refused)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(migration.TOGETHER)
        cursor.execute(migration.TOLD_APART)
    assert counts(refused) == {**before, "providers": {}}
    assert_right(refused)

    vendors["apns"].answers.clear()
    replay(refused, provider="apns")
    after = counts(refused)
    assert (after["failed"], after["providers"]) == ({"payload_too_large": 1, "unregistered": 1}, {})
    assert_right(refused)
    pipeline.send()
    after = counts(refused)
    assert after["accepted"] == 3
    assert after["providers"] == {"apns": {"accepted": 2, "failed": {}, "uncertain": 0}}
    assert_right(refused)


def replay(notification: Notification, **criteria: Any) -> None:
    wanted = replays.Criteria(notification.application_id, notification.id, **criteria)
    assert sum(row.recipients for lot in replays.start(wanted, requested_by="test") for row in lot)
