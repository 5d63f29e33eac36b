from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from campaigns import services
from campaigns.models import Campaign
from notifications.models import Notification, Shard
from notifications.providers.base import PayloadTooLarge
from tests.conftest import Tenant

Make = Callable[..., Campaign]


@pytest.mark.parametrize("throttle", [None, 1, 500])
def test_a_launch_keeps_the_pace_asked_for(anna: User, make_campaign: Make, throttle: int | None) -> None:
    launched = services.launch(make_campaign(throttle_per_second=throttle), by=anna)
    assert launched.notification
    assert launched.notification.throttle_per_second == throttle
    assert services.duplicate(launched, by=anna).throttle_per_second == throttle


def test_a_launch_makes_the_notification_it_says(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(url="shop://sale"), by=anna)
    notification = campaign.notification
    assert notification
    assert campaign.status == Campaign.Status.LAUNCHED
    assert campaign.launched_by == anna
    assert notification.content == {"title": "The sale is on", "body": "Until Sunday.", "url": "shop://sale"}
    assert notification.audience == {"all": True}
    assert notification.category == campaign.category
    assert notification.requested_by == "staff:anna"


@pytest.mark.parametrize(
    ("fields", "audience"),
    [
        ({"audience": "everyone"}, {"all": True}),
        ({"audience": "platform", "platform": "ios"}, {"all": True, "platforms": ["ios"]}),
        (
            {"audience": "attribute", "attribute_name": "plan", "attribute_value": "pro"},
            {"all": True, "attribute": {"name": "plan", "value": "pro"}},
        ),
        # What a form left behind of another choice means nothing.
        ({"audience": "everyone", "platform": "ios", "attribute_name": "plan"}, {"all": True}),
    ],
)
def test_the_audience_is_the_send_apis(
    make_campaign: Make, fields: dict[str, str], audience: dict[str, Any]
) -> None:
    assert services.audience(make_campaign(**fields)) == audience


def test_a_second_launch_is_refused(anna: User, make_campaign: Make) -> None:
    campaign = make_campaign()
    same = Campaign.objects.get(id=campaign.id)
    services.launch(campaign, by=anna)
    with pytest.raises(services.NotLaunchable):
        services.launch(same, by=anna)
    with pytest.raises(services.NotLaunchable):
        services.launch(campaign, by=anna)
    assert Notification.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_launches_at_once_make_one_notification(
    anna: User, make_campaign: Make, make_device: Any, shop: Tenant
) -> None:
    make_device(shop, "ada")
    campaign = make_campaign()
    start, answers = threading.Barrier(4), []

    def launch() -> None:
        mine = Campaign.objects.get(id=campaign.id)
        start.wait()
        try:
            answers.append(services.launch(mine, by=anna).notification_id)
        except services.NotLaunchable:
            answers.append(None)
        finally:
            connection.close()

    threads = [threading.Thread(target=launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer is None for answer in answers) == [False, True, True, True]
    assert Notification.objects.count() == 1
    assert Shard.objects.count() == 1


def test_what_was_edited_meanwhile_is_not_sent(anna: User, make_campaign: Make) -> None:
    seen = make_campaign()
    edited = Campaign.objects.get(id=seen.id)
    edited.title = "Something else"
    edited.save()
    with pytest.raises(services.NotLaunchable):
        services.launch(seen, by=anna)
    assert not Notification.objects.exists()


def test_a_message_that_does_not_fit_is_refused_and_stays_a_draft(anna: User, make_campaign: Make) -> None:
    campaign = make_campaign(body="é" * 2_000, url="https://example.com/" + "x" * 1_000)
    with pytest.raises(PayloadTooLarge):
        services.launch(campaign, by=anna)
    campaign.refresh_from_db()
    assert campaign.status == Campaign.Status.DRAFT
    assert not Notification.objects.exists()


def test_cancelling_stops_what_waits(anna: User, make_campaign: Make, make_device: Any, shop: Tenant) -> None:
    make_device(shop, "ada")
    campaign = services.launch(make_campaign(), by=anna)
    services.cancel(campaign)
    assert Notification.objects.get().status == Notification.Status.CANCELLED


def test_a_draft_cannot_be_cancelled(make_campaign: Make) -> None:
    assert services.cancel(make_campaign()).status == Campaign.Status.DRAFT


def test_a_copy_is_a_draft_that_says_the_same(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(audience="platform", platform="web"), by=anna)
    copy = services.duplicate(campaign, by=anna)
    assert copy.status == Campaign.Status.DRAFT
    assert copy.notification is None
    assert services.content(copy) == services.content(campaign)
    assert services.audience(copy) == services.audience(campaign)
