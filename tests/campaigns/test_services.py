"""Launch, pause, cancel: each once, whoever asks how often."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from campaigns import audiences, services
from campaigns.models import Campaign, Run
from notifications.models import Notification, Shard
from tests.conftest import Tenant

Make = Callable[..., Campaign]


def notification_of(campaign: Campaign) -> Notification:
    return Notification.objects.get(stage__run=campaign.latest_run)


@pytest.mark.parametrize("pace", [None, 1, 500])
def test_a_launch_keeps_the_pace_asked_for(make_campaign: Make, pace: int | None) -> None:
    launched = services.launch(make_campaign(schedule={"per_second": pace}), by="staff:anna")
    assert notification_of(launched).throttle_per_second == pace
    assert services.duplicate(launched, by=None).document.schedule.per_second == pace


def test_a_launch_makes_the_notification_it_says(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(content={"url": "shop://sale"}), by="staff:anna", user=anna)
    notification = notification_of(campaign)
    assert campaign.status == Campaign.Status.SENDING
    assert campaign.launched_by == anna
    assert notification.content == {"title": "The sale is on", "body": "Until Sunday.", "url": "shop://sale"}
    assert notification.audience == {"all": True}
    assert notification.category == campaign.category
    assert notification.requested_by == "staff:anna"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, {"all": True}),
        ({"platforms": ["web", "ios"]}, {"all": True, "platforms": ["ios", "web"]}),
        (
            {"attribute": {"name": "plan", "value": "pro"}},
            {"all": True, "attribute": {"name": "plan", "value": "pro"}},
        ),
        (
            {"attribute": {"name": "vip", "value": True}},
            {"all": True, "attribute": {"name": "vip", "value": "true"}},
        ),
        (
            {"segments": ["a", "b"], "not_segments": ["c"]},
            {"all": True, "segments": ["a", "b"], "not_segments": ["c"]},
        ),
    ],
)
def test_the_audience_is_the_send_apis(
    make_campaign: Make, wanted: dict[str, Any], said: dict[str, Any]
) -> None:
    assert audiences.of(make_campaign(audience=wanted).document) == said


def test_a_second_launch_is_refused(make_campaign: Make) -> None:
    campaign = make_campaign()
    same = Campaign.objects.get(id=campaign.id)
    services.launch(campaign, by="staff:anna")
    for again in (same, campaign):
        with pytest.raises(services.NotAllowed):
            services.launch(again, by="staff:anna")
    assert Notification.objects.count() == Run.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_launches_at_once_make_one_notification(
    make_campaign: Make, make_device: Any, shop: Tenant
) -> None:
    make_device(shop, "ada")
    campaign = make_campaign()
    start, answers = threading.Barrier(4), []

    def launch() -> None:
        mine = Campaign.objects.get(id=campaign.id)
        start.wait()
        try:
            answers.append(services.launch(mine, by="staff:anna").latest_run)
        except services.NotAllowed:
            answers.append(None)
        finally:
            connection.close()

    threads = [threading.Thread(target=launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer is None for answer in answers) == [False, True, True, True]
    assert Notification.objects.count() == Run.objects.count() == 1
    assert Shard.objects.count() == 1


def test_what_was_edited_meanwhile_is_not_sent(make_campaign: Make) -> None:
    seen = make_campaign()
    services.save(Campaign.objects.get(id=seen.id), {"name": "Else"}, version=seen.version, by=None)
    with pytest.raises(services.NotAllowed):
        services.launch(seen, by="staff:anna")
    assert not Notification.objects.exists()


def test_a_message_that_does_not_fit_is_refused_and_stays_a_draft(make_campaign: Make) -> None:
    campaign = make_campaign(content={"body": "é" * 2_000, "url": "https://example.com/" + "x" * 1_000})
    with pytest.raises(services.NotReady, match="bytes"):
        services.launch(campaign, by="staff:anna")
    campaign.refresh_from_db()
    assert campaign.status == Campaign.Status.DRAFT
    assert not Notification.objects.exists()


def test_cancelling_stops_what_waits(make_campaign: Make, make_device: Any, shop: Tenant) -> None:
    make_device(shop, "ada")
    campaign = services.launch(make_campaign(), by="staff:anna")
    services.cancel(campaign)
    assert Notification.objects.get().status == Notification.Status.CANCELLED


def test_a_draft_cannot_be_cancelled(make_campaign: Make) -> None:
    with pytest.raises(services.NotAllowed):
        services.cancel(make_campaign())


def test_a_copy_is_a_draft_that_says_the_same(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(audience={"platforms": ["web"]}), by="staff:anna")
    copy = services.duplicate(campaign, by=anna)
    assert copy.status == Campaign.Status.DRAFT
    assert copy.latest_run is None
    assert copy.plan == campaign.plan
    assert copy.name == "Copy of Autumn"
