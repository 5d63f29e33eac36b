"""The pages of a launched campaign; what comes before are test_review.py and the composer's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from campaigns import selectors, services
from campaigns.models import Campaign
from notifications.models import Notification, Tally
from notifications.reach import Reach
from tests.conftest import Tenant

Make = Callable[..., Campaign]


def url(campaign: Campaign, name: str) -> str:
    return f"/admin/campaigns/campaign/{campaign.pk}/{name}/"


def notification_of(campaign: Campaign) -> Notification:
    return Notification.objects.get(stage__run=campaign.latest_run)


@pytest.mark.parametrize(
    ("pace", "reachable", "words"),
    [
        (None, 1_000_000, "As fast as it goes"),
        (500, 1_000, "At most 500 per second<"),
        (1000, 90_000, "At most 1,000 per second: takes about 1\xa0minute (the pace chosen)"),
        (1, 1_000_000, "At most 1 per second: takes about 1\xa0week"),
    ],
)
def test_the_pace_is_said_before_and_after_the_launch(
    admin: Client,
    shop: Tenant,
    make_campaign: Make,
    monkeypatch: pytest.MonkeyPatch,
    pace: int | None,
    reachable: int,
    words: str,
) -> None:
    shop.application.approval_above = None
    shop.application.save()
    monkeypatch.setattr(selectors, "reach_now", lambda campaign, **_: Reach(reachable=reachable))
    campaign = make_campaign(schedule={"per_second": pace})
    review = admin.get(url(campaign, "review")).content.decode()
    assert words in review
    assert ("Messages live 3\xa0days" in review) == (pace == 1)
    services.launch(campaign, by="staff:anna")
    assert words.partition(":")[0] in admin.get(url(campaign, "live")).content.decode()


def test_a_launched_campaign_is_not_deleted(admin: Client, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(), by="staff:anna")
    assert admin.post(url(campaign, "delete"), {"post": "yes"}).status_code == 403


def test_the_live_page_polls_until_the_last_outcome(admin: Client, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(), by="staff:anna")
    notification = notification_of(campaign)
    Notification.objects.update(recipient_count=4, status="sending", finished_at=None)
    row = {"notification_id": notification.id, "slot": 0, "outcome": "accepted", "reason": ""}
    Tally.objects.create(**row, count=1)

    answer = admin.get(url(campaign, "live-status"))
    assert answer.status_code == 200
    assert 'hx-trigger="every ' in answer.content.decode()
    assert 'aria-valuenow="25"' in answer.content.decode()
    assert 'style="width:25.00%"' in answer.content.decode()

    Tally.objects.update(count=4)
    answer = admin.get(url(campaign, "live-status"))
    assert answer.status_code == 286
    assert "hx-trigger" not in answer.content.decode()
    assert 'aria-valuenow="100"' in answer.content.decode()


def test_widths_have_a_point_in_every_language(admin: Client, make_campaign: Make, settings: Any) -> None:
    settings.LANGUAGE_CODE = "de"
    campaign = services.launch(make_campaign(), by="staff:anna")
    Notification.objects.update(recipient_count=3, status="sending", finished_at=None)
    row = {"notification_id": notification_of(campaign).id, "slot": 0, "outcome": "accepted", "reason": ""}
    Tally.objects.create(**row, count=1)
    assert "width:33.33%" in admin.get(url(campaign, "live-status")).content.decode()


def test_a_recurring_one_is_looked_at_before_its_first_run(admin: Client, make_campaign: Make) -> None:
    plan = {"kind": "recurring", "starts": "2027-03-22T09:00", "rule": "FREQ=WEEKLY;BYDAY=MO"}
    campaign = make_campaign(schedule=plan)
    review = admin.get(url(campaign, "review")).content.decode()
    assert "Again and again from 22 Mar 2027, 09:00 on" in review
    services.launch(campaign, by="staff:anna")
    page = admin.get(url(campaign, "live")).content.decode()
    assert "Nothing has been sent yet" in page
    assert "Mon 29 Mar 2027, 09:00" in page
    assert "Take back to edit" in page
    assert "Recurring" in admin.get("/admin/campaigns/campaign/").content.decode()


def test_a_scheduled_one_is_taken_back(admin: Client, make_campaign: Make) -> None:
    campaign = make_campaign(schedule={"kind": "at", "starts": "2027-03-22T09:00"})
    services.launch(campaign, by="staff:anna")
    page = admin.get(url(campaign, "live")).content.decode()
    assert "Scheduled" in page
    assert "On 22 Mar 2027, 09:00 (UTC)" in page
    admin.post(url(campaign, "unschedule"))
    campaign.refresh_from_db()
    assert campaign.status == "draft"


def test_a_local_time_shows_its_moment_in_each_zone(
    admin: Client, shop: Tenant, make_device: Any, make_campaign: Make
) -> None:
    make_device(shop, "mia", time_zone="Europe/Berlin")
    campaign = make_campaign(schedule={"kind": "local", "starts": "2027-03-28T02:30"}, category="critical")
    page = admin.get(url(campaign, "review")).content.decode()
    assert "Europe/Berlin" in page
    assert "28 Mar 2027, 01:00" in page
    assert "clocks jump over this time" in page


def test_pausing_and_resuming(admin: Client, anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(), by="staff:anna")
    assert "Paused" in admin.post(url(campaign, "pause"), follow=True).content.decode()
    assert "Resume" in admin.get(url(campaign, "live")).content.decode()
    admin.post(url(campaign, "resume"))
    assert notification_of(campaign).paused_at is None
