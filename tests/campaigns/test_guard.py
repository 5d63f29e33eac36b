"""What stops a campaign by itself, what lets it go on, and who gets the remainder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from campaigns import guard, periodic, results, services
from campaigns.models import Campaign, Run, Stage
from devices.models import Subscriber
from notifications import selectors as notifications
from notifications.models import Incident, Notification, Tally
from notifications.pipeline import fan_out
from tests.conftest import Tenant

Make = Callable[..., Campaign]


@pytest.fixture
def crowd(shop: Tenant, make_device: Any, opt_in: Any) -> None:
    for number in range(40):
        make_device(shop, f"p{number}")
        opt_in(shop, f"p{number}")


def resolved(campaign: Campaign) -> Campaign:
    """Its shards turned into batches, as the workers do."""
    for notification in Notification.objects.filter(stage__run__campaign=campaign, paused_at=None):
        for shard in notification.shards.filter(done_at=None):
            fan_out.shard(shard.id)
    return now(campaign)


def now(campaign: Campaign) -> Campaign:
    return Campaign.objects.select_related("application", "category", "latest_run").get(id=campaign.id)


def stage(campaign: Campaign, kind: str, variant: str = "A") -> Stage:
    return Stage.objects.select_related("notification").get(
        run__campaign=campaign, kind=kind, variant=variant
    )


def settle(stage: Stage, *, accepted: int = 0, rejected: int = 0) -> None:
    """As if the senders had been there: its batches are gone, the outcomes counted."""
    assert stage.notification
    from notifications.models import Batch

    Batch.objects.filter(notification_id=stage.notification.id).delete()
    Notification.objects.filter(id=stage.notification.id).update(
        recipient_count=accepted + rejected, status="done", finished_at=timezone.now()
    )
    for outcome, reason, count in (("accepted", "", accepted), ("rejected", "bad_topic", rejected)):
        if count:
            Tally.objects.create(
                notification_id=stage.notification.id, slot=0, outcome=outcome, reason=reason, count=count
            )


@pytest.fixture
def with_canary(crowd: None, make_campaign: Make) -> Campaign:
    """Ten of forty first."""
    return resolved(services.launch(make_campaign(safety={"canary": 10}), by="staff:anna"))


def test_the_others_wait_for_the_first_and_follow_when_these_went_well(with_canary: Campaign) -> None:
    first, others = stage(with_canary, "canary"), stage(with_canary, "send")
    assert others.notification
    assert others.notification.paused_at
    guard.watch()
    assert stage(with_canary, "send").is_held
    settle(first, accepted=10)
    guard.watch()
    released = stage(with_canary, "send")
    assert released.notification
    assert (released.is_held, released.notification.paused_at) == (False, None)


def test_together_they_are_everyone_once(with_canary: Campaign) -> None:
    settle(stage(with_canary, "canary"), accepted=10)
    people = stage(with_canary, "canary").notification
    assert people
    guard.watch()
    campaign = resolved(with_canary)
    sent = Notification.objects.filter(stage__run=campaign.latest_run)
    devices = Subscriber.objects.filter(application=campaign.application).count()
    others = stage(campaign, "send").notification
    assert others
    in_canary = devices - others.recipient_count
    assert 0 < in_canary < 25
    assert sent.count() == 2


def test_a_canary_that_fails_stops_the_campaign_until_somebody_says_go_on(with_canary: Campaign) -> None:
    settle(stage(with_canary, "canary"), accepted=5, rejected=5)
    guard.watch()
    stopped = now(with_canary)
    assert stopped.status == Campaign.Status.PAUSED
    assert stopped.latest_run
    assert stopped.latest_run.paused_for == "canary"
    assert "5 of 10 failed" in stopped.latest_run.paused_detail
    assert stage(with_canary, "send").is_held
    services.resume(stopped)
    guard.watch()
    assert now(with_canary).status == Campaign.Status.SENDING
    assert not stage(with_canary, "send").is_held


def test_a_large_canary_that_fails_stops_it_once(with_canary: Campaign) -> None:
    settle(stage(with_canary, "canary"), accepted=100, rejected=100)
    guard.watch()
    stopped = now(with_canary)
    assert stopped.latest_run
    assert stopped.latest_run.paused_for == "canary"
    services.resume(stopped)
    guard.watch()
    assert now(with_canary).status == Campaign.Status.SENDING
    assert not stage(with_canary, "send").is_held


def test_many_failures_stop_it_and_resuming_is_final(crowd: None, make_campaign: Make) -> None:
    campaign = resolved(services.launch(make_campaign(), by="staff:anna"))
    sent = stage(campaign, "send").notification
    assert sent
    Notification.objects.filter(id=sent.id).update(recipient_count=1_000)
    for outcome, reason, count in (
        ("accepted", "", 85),
        ("unregistered", "unregistered", 50),
        ("rejected", "bad_topic", 15),
    ):
        Tally.objects.create(notification_id=sent.id, slot=0, outcome=outcome, reason=reason, count=count)
    guard.watch()
    # People who have removed the app are no failure of ours: 15 of 150 are just at the limit.
    assert now(campaign).status == Campaign.Status.SENDING
    Tally.objects.filter(notification_id=sent.id, outcome="rejected").update(count=20)
    guard.watch()
    stopped = now(campaign)
    assert stopped.latest_run
    assert (stopped.status, stopped.latest_run.paused_for) == ("paused", "problems")
    sent.refresh_from_db()
    assert sent.paused_at
    services.resume(stopped)
    guard.watch()
    assert now(campaign).status == Campaign.Status.SENDING


def test_a_refused_credential_stops_it(crowd: None, shop: Tenant, make_campaign: Make) -> None:
    campaign = resolved(services.launch(make_campaign(), by="staff:anna"))
    incident = Incident.objects.create(
        application=shop.application, provider="apns", cause="credential", words="InvalidProviderToken"
    )
    guard.watch()
    stopped = now(campaign)
    assert stopped.latest_run
    assert (stopped.status, stopped.latest_run.paused_for) == ("paused", "credential")
    assert "InvalidProviderToken" in stopped.latest_run.paused_detail
    services.resume(stopped)
    guard.watch()
    assert now(campaign).status == Campaign.Status.SENDING
    incident.delete()


@pytest.fixture
def experiment(crowd: None, make_campaign: Make) -> Campaign:
    variants = [
        {"key": "A", "content": {"title": "A", "body": "a"}},
        {"key": "B", "content": {"title": "B", "body": "b"}},
    ]
    wanted = {"holdout": 10, "test": 50, "decide": "rule", "hours": 24, "metric": "opened"}
    return resolved(services.launch(make_campaign(variants=variants, experiment=wanted), by="staff:anna"))


def test_arms_get_their_variant_and_the_held_out_get_nothing(experiment: Campaign) -> None:
    arms = {variant: stage(experiment, "send", variant).notification for variant in ("A", "B")}
    assert {key: arm.content["title"] for key, arm in arms.items() if arm} == {"A": "A", "B": "B"}
    held_out = stage(experiment, "holdout", "").notification
    assert held_out
    counts = notifications.counts([held_out])[held_out.id]
    # Of forty people in one of seventy runs nobody is drawn.
    assert counts["suppressed"] == ({"holdout": counts["recipients"]} if counts["recipients"] else {})
    assert stage(experiment, "rest", "").notification is None
    guard.watch()
    assert now(experiment).status == Campaign.Status.SENDING


def test_the_winner_gets_the_remainder_when_the_time_is_over(
    experiment: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(stage(experiment, "send", "A"), accepted=10)
    settle(stage(experiment, "send", "B"), accepted=10)
    guard.watch()
    assert stage(experiment, "rest", "").notification is None
    monkeypatch.setattr(results, "winner", lambda run: "B")
    Run.objects.update(due_at=timezone.now() - timedelta(hours=25))
    guard.watch()
    rest = stage(experiment, "rest", "B").notification
    assert rest
    assert rest.content["title"] == "B"
    run = Run.objects.get()
    assert (run.winner, run.decided_by) == ("B", "rule")
    guard.watch()
    assert Notification.objects.filter(stage__run=run).count() == 4
    everyone = resolved(experiment)
    total = sum(one.recipient_count for one in Notification.objects.filter(stage__run=everyone.latest_run))
    arms = [stage(everyone, "send", key).notification for key in ("A", "B")]
    assert total - sum(arm.recipient_count for arm in arms if arm) < 40


def test_where_nobody_wins_and_nothing_is_to_follow_it_ends(
    experiment: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, variant in (("send", "A"), ("send", "B"), ("holdout", "")):
        settle(stage(experiment, kind, variant), accepted=5)
    monkeypatch.setattr(results, "winner", lambda run: None)
    Run.objects.update(due_at=timezone.now() - timedelta(hours=25))
    guard.watch()
    guard.watch()
    assert now(experiment).status == Campaign.Status.FINISHED


def test_a_person_decides_once(experiment: Campaign) -> None:
    with pytest.raises(services.NotAllowed):
        services.decide(experiment, "E", by="anna")
    services.decide(experiment, "A", by="anna")
    with pytest.raises(services.NotAllowed):
        services.decide(experiment, "B", by="anna")
    assert stage(experiment, "rest", "A").notification


def test_a_campaign_begins_and_ends_with_its_notifications(crowd: None, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(schedule={"undo": True}), by="staff:anna")
    assert campaign.status == Campaign.Status.SCHEDULED
    guard.watch()
    assert now(campaign).status == Campaign.Status.SCHEDULED
    Notification.objects.update(status="sending")
    guard.watch()
    assert now(campaign).status == Campaign.Status.SENDING
    settle(stage(campaign, "send"), accepted=40)
    guard.watch()
    assert now(campaign).status == Campaign.Status.FINISHED
    guard.watch()


def test_an_earlier_runs_first_devices_let_its_others_go(
    crowd: None, make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the next run has begun meanwhile: at local times each takes more than a day."""
    daily = {"kind": "recurring", "starts": "2027-03-22T09:00", "rule": "FREQ=DAILY;COUNT=3"}
    campaign = services.launch(make_campaign(schedule=daily, safety={"canary": 10}), by="staff:anna")
    for _ in range(2):
        campaign = now(campaign)
        monkeypatch.setattr(timezone, "now", lambda now=campaign.next_run_at: now)
        periodic.run_due()
    first = Run.objects.get(number=1)
    resolved(campaign)
    settle(first.stages.select_related("notification").get(kind="canary"), accepted=10)
    guard.watch()
    held = Stage.objects.filter(kind="send", is_held=True)
    assert [one.run.number for one in held.select_related("run")] == [2]


def test_stages_of_one_moment_share_the_pace(crowd: None, make_campaign: Make) -> None:
    variants = [
        {"key": "A", "share": 3, "content": {"title": "A", "body": "a"}},
        {"key": "B", "share": 1, "content": {"title": "B", "body": "b"}},
    ]
    campaign = make_campaign(
        variants=variants, schedule={"per_second": 1000}, experiment={"test": 50}, safety={"canary": 4}
    )
    services.launch(campaign, by="staff:anna")
    services.decide(campaign, "A", by="anna")
    paces: dict[str, list[int]] = {}
    for stage in Stage.objects.select_related("notification"):
        assert stage.notification
        paces.setdefault(stage.kind, []).append(stage.notification.throttle_per_second or 0)
    assert paces == {"canary": [750, 250], "send": [750, 250], "rest": [1000]}
