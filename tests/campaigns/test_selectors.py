from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.db import connection

from campaigns import selectors, services
from campaigns.models import Campaign
from notifications import reach
from notifications.models import Notification, Tally
from notifications.pipeline import fan_out
from tests.conftest import Tenant

Make = Callable[..., Campaign]


def notification_of(campaign: Campaign) -> Notification:
    return Notification.objects.get(stage__run=campaign.latest_run)


def tally(campaign: Campaign, outcome: str, reason: str, count: int) -> None:
    Tally.objects.create(
        notification_id=notification_of(campaign).id, slot=0, outcome=outcome, reason=reason, count=count
    )


def test_reach_counts_by_the_policy_of_the_fan_out(
    shop: Tenant, rival: Tenant, make_device: Any, opt_in: Any, make_campaign: Make, anna: User
) -> None:
    make_device(shop, "ada")
    make_device(shop, "ada", platform="android")
    opt_in(shop, "ada")
    make_device(shop, "bob")  # said nothing
    make_device(shop, "eve")
    opt_in(shop, "eve", False)
    make_device(shop, "dan", permission="denied")
    opt_in(shop, "dan")
    make_device(rival, "ada")
    campaign = make_campaign()

    found = selectors.reach(campaign)
    assert found.reachable == 2
    assert found.devices == 5
    assert found.platforms == {"ios": 1, "android": 1}
    assert found.held_back == {"not_opted_in": 1, "opted_out": 1, "permission_denied": 1}

    # And so does the fan-out itself.
    notification = notification_of(services.launch(campaign, by="staff:anna"))
    for shard in notification.shards.all():
        fan_out.shard(shard.id)
    suppressed = {row.reason: row.count for row in Tally.objects.filter(notification_id=notification.id)}
    assert suppressed == found.held_back
    notification.refresh_from_db()
    assert notification.recipient_count == found.devices


def test_reach_of_a_platform_and_of_an_attribute(
    shop: Tenant, make_device: Any, opt_in: Any, make_campaign: Make
) -> None:
    for name, plan in (("ada", "pro"), ("bob", "free")):
        device = make_device(shop, name, platform="web")
        device.subscriber.attributes = {"plan": plan}
        device.subscriber.save()
        opt_in(shop, name)
    make_device(shop, "eve")
    opt_in(shop, "eve")
    assert selectors.reach(make_campaign(audience={"platforms": ["web"]})).reachable == 2
    with_plan = make_campaign(audience={"attribute": {"name": "plan", "value": "pro"}})
    assert selectors.reach(with_plan).reachable == 1


def test_reach_names_platforms_that_would_wait(shop: Tenant, make_device: Any) -> None:
    make_device(shop)
    critical = shop.application.categories.get(slug="critical")
    found = reach.of({"all": True}, application_id=shop.id, category_id=critical.id)
    assert found.waiting == {"ios": 1}


def test_reach_that_takes_too_long_is_estimated(shop: Tenant, monkeypatch: Any, make_device: Any) -> None:
    make_device(shop)
    monkeypatch.setattr(reach, "PATIENCE", "1ms")
    monkeypatch.setattr(
        reach, "COUNT", reach.COUNT.replace("count(*)", "count(*) + 0 * count(pg_sleep(0.05))", 1)
    )
    category = shop.application.categories.get(slug="critical")
    found = reach.of({"all": True}, application_id=shop.id, category_id=category.id)
    assert found.reachable == 1
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone()[0] == "0"


def test_progress_adds_up_and_ends(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(), by="staff:anna")
    Notification.objects.filter(stage__run=campaign.latest_run).update(
        recipient_count=100, status="sending", finished_at=None
    )
    tally(campaign, "accepted", "", 60)
    tally(campaign, "unregistered", "unregistered", 5)
    tally(campaign, "suppressed", "not_opted_in", 10)
    campaign = selectors.recent().get()
    progress = selectors.progress(campaign)
    assert progress.is_open
    assert progress.state is selectors.SENDING
    assert sum(part.count for part in progress.sum.parts) == progress.sum.recipients == 100
    assert progress.sum.percent == 75

    tally(campaign, "accepted", "more", 25)
    progress = selectors.progress(campaign)
    assert not progress.is_open
    assert progress.state is selectors.FINISHED


def test_failures_that_are_not_ordinary_are_problems(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(), by="staff:anna")
    Notification.objects.filter(stage__run=campaign.latest_run).update(recipient_count=10, status="done")
    tally(campaign, "accepted", "", 9)
    tally(campaign, "rejected", "invalid_argument", 1)
    assert selectors.progress(selectors.recent().get()).state is selectors.PROBLEMS


def test_a_list_of_campaigns_costs_four_queries(
    anna: User, make_campaign: Make, django_assert_num_queries: Any
) -> None:
    for _ in range(3):
        services.launch(make_campaign(), by="staff:anna")
    make_campaign()
    with django_assert_num_queries(4):  # campaigns, stages, outcomes, engagement
        assert len(selectors.with_progress(list(selectors.recent()))) == 4
