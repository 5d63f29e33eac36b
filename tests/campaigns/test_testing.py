"""Test messages: to testers' own devices, whatever they have agreed to, counted nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from campaigns import models, preflight, selectors, services, testing
from campaigns.models import Campaign
from devices.models import Subscriber
from notifications.models import Batch, Delivery, Notification
from notifications.pipeline import fan_out
from tenants.models import Membership
from tenants.roles import Role
from tests.conftest import Tenant

Make = Callable[..., Campaign]


@pytest.fixture
def mia(shop: Tenant, make_device: Any, opt_in: Any, console_credential: None) -> Subscriber:
    """With a phone, who wants no marketing."""
    device = make_device(shop, "mia", model="iPhone 15")
    opt_in(shop, "mia", False)
    Subscriber.objects.update(email="mia@example.com", attributes={"name": "Mia"})
    subscriber = device.subscriber
    subscriber.refresh_from_db()
    return subscriber  # type: ignore[no-any-return]


def url(campaign: Campaign, name: str) -> str:
    return f"/admin/campaigns/campaign/{campaign.pk}/{name}/"


def delivered(notification: Notification) -> None:
    """As the pipeline does it."""
    for shard in notification.shards.all():
        fan_out.shard(shard.id)


def test_a_test_reaches_a_tester_who_wants_none_and_is_not_counted(
    admin: Client, anna: User, mia: Subscriber, make_campaign: Make
) -> None:
    campaign = make_campaign()
    tester = testing.add(mia, user=anna)
    drawer = admin.get(url(campaign, "test")).content.decode()
    assert "Me: mia@example.com" in drawer
    answer = admin.post(
        url(campaign, "send-test"),
        {"version": 1, "tester": tester.pk, "is_marked": "on"},
        headers={"HX-Request": "true"},
    )
    assert 'hx-trigger="every 1.5s"' in answer.content.decode()
    test = models.TestSend.objects.get()
    assert test.notification.content["title"] == "[Test] The sale is on"
    delivered(test.notification)
    found = testing.result(test)
    assert [(line.person, line.device, line.state) for line in found.lines] == [
        ("mia", "iPhone 15", "waiting")
    ]
    # The campaign has sent nothing, and is as it was.
    campaign.refresh_from_db()
    assert (campaign.status, campaign.latest_run, campaign.runs.count()) == ("draft", None, 0)
    assert selectors.with_progress([campaign]) == [(campaign, None)]
    assert campaign.category_id != test.notification.category_id
    launched = services.launch(campaign, by="staff:anna")
    assert (
        test.notification
        not in selectors.notified([launched.latest_run_id or 0])[launched.latest_run_id or 0]
    )


def test_the_result_is_asked_for_until_nothing_changes(
    admin: Client, anna: User, mia: Subscriber, make_campaign: Make
) -> None:
    campaign = make_campaign()
    assert admin.get(url(campaign, "test-status")).status_code == 286
    test = testing.send(campaign, [mia], by=anna)
    answer = admin.get(url(campaign, "test-status"), {"test": test.pk})
    assert answer.status_code == 200
    assert "On its way…" in answer.content.decode()
    delivered(test.notification)
    Batch.objects.all().delete()
    Delivery.objects.create(
        application_id=campaign.application_id,
        notification_id=test.notification_id,
        device_id=mia.devices.get().pk,
        subscriber_id=mia.pk,
        at=timezone.now(),
        attempt=1,
        lane="console.campaign",
        outcome="failed",
        reason="internal_error",
    )
    answer = admin.get(url(campaign, "test-status"), {"test": test.pk})
    assert answer.status_code == 286
    assert "iPhone 15" in answer.content.decode()


def test_it_is_seen_as_somebody_else_in_a_language(anna: User, mia: Subscriber, make_campaign: Make) -> None:
    said = {
        "title": "Hi {{ subscriber.attributes.name }}",
        "locales": {"de": {"title": "Hallo {{ subscriber.attributes.name }}"}},
    }
    campaign = make_campaign(content=said)
    seen = testing.send(campaign, [mia], by=anna, seen_as=mia, locale="de", is_marked=False)
    assert seen.notification.content["title"] == "Hallo Mia"
    Subscriber.objects.update(attributes={"name": "{{ subscriber.locale }}"})
    mia.refresh_from_db()
    with pytest.raises(services.NotReady, match="contains"):
        testing.send(campaign, [mia], by=anna, seen_as=mia)


def test_one_person_is_found_by_id_or_address_and_kept(
    admin: Client, anna: User, mia: Subscriber, make_campaign: Make
) -> None:
    campaign = make_campaign()
    said = {"version": 1, "person": "MIA@example.com", "remember": "on", "is_mine": "on"}
    admin.post(url(campaign, "send-test"), said)
    assert models.Tester.objects.get().user == anna
    answer = admin.post(url(campaign, "send-test"), {"version": 1, "person": "<nobody>"})
    assert "the id or e-mail address “&lt;nobody&gt;”" in answer.content.decode()
    assert "Choose who gets it" in admin.post(url(campaign, "send-test"), {"version": 1}).content.decode()
    assert "changed meanwhile" in admin.post(url(campaign, "send-test"), {"version": 9}).content.decode()
    assert models.TestSend.objects.count() == 1


def test_only_who_may_add_testers_keeps_one(anna: User, mia: Subscriber, make_campaign: Make) -> None:
    """An approver may send a test; whose phone gets the next ones is not theirs to say."""
    ben = User.objects.create_user("ben", is_staff=True)
    Membership.objects.create(user=ben, application_id=mia.application_id, role=Role.APPROVER)
    approver = Client()
    approver.force_login(ben)
    address = url(make_campaign(), "send-test")
    approver.post(address, {"version": 1, "person": "MIA@example.com", "remember": "on"})
    assert models.TestSend.objects.count() == 1
    assert not models.Tester.objects.exists()


def test_testers_of_another_app_get_nothing(
    admin: Client, mia: Subscriber, rival: Tenant, make_device: Any, make_campaign: Make
) -> None:
    foreign = testing.add(make_device(rival, "eve").subscriber)
    answer = admin.post(url(make_campaign(), "send-test"), {"version": 1, "tester": foreign.pk})
    assert "Choose who gets it" in answer.content.decode()
    assert not models.TestSend.objects.exists()


def test_without_any_device_the_drawer_says_how_to_register_one(
    admin: Client, anna: User, shop: Tenant, make_campaign: Make, make_device: Any
) -> None:
    campaign = make_campaign()
    drawer = admin.get(url(campaign, "test")).content.decode()
    assert "curl -X PUT http://testserver/v1/devices" in drawer
    assert shop.server.key not in drawer
    make_device(shop, testing.own_id(anna))
    assert "Me: anna’s device" in admin.get(url(campaign, "test")).content.decode()


def test_an_edit_makes_the_test_old(anna: User, mia: Subscriber, make_campaign: Make) -> None:
    campaign = make_campaign()
    testing.send(campaign, [mia], by=anna)

    def check(campaign: Campaign) -> Any:
        return next(one for one in preflight.of(campaign, campaign.updated_at) if one.key == "test")

    assert "still on its way" in check(campaign).words
    renamed = services.save(campaign, {"name": "Winter"}, version=1, by=anna)
    assert "still on its way" in check(renamed).words
    said = {"variants": [{"content": {"title": "Else", "body": "Until Sunday."}}]}
    assert "not tested since" in check(services.save(renamed, said, version=2, by=anna)).words


def test_the_list_of_testers(admin: Client, mia: Subscriber, shop: Tenant) -> None:
    said = {"application": shop.id, "person": "mia", "name": "", "user": ""}
    admin.post("/admin/campaigns/tester/add/", said)
    assert "iPhone 15" in admin.get("/admin/campaigns/tester/").content.decode()
    again = admin.post("/admin/campaigns/tester/add/", said)
    assert "They are a tester already." in again.content.decode()
    assert admin.get(f"/admin/campaigns/tester/{models.Tester.objects.get().pk}/change/").status_code == 200
