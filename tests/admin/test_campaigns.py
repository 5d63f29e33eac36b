"""From an empty form to a running campaign, as a marketer does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from campaigns import forms, selectors, services
from campaigns.models import Campaign
from notifications.models import Notification
from notifications.reach import Reach
from tests.conftest import Tenant

Make = Callable[..., Campaign]


@pytest.fixture
def said(shop: Tenant) -> dict[str, Any]:
    category = shop.application.categories.get(slug="marketing")
    return {
        "application": shop.id,
        "category": category.pk,
        "name": "Autumn",
        "title": "The sale is on",
        "body": "Until Sunday.",
        "audience": "everyone",
    }


def errors(answer: Any) -> dict[str, list[str]]:
    return dict(answer.context["adminform"].form.errors)


def test_a_draft_is_saved_reviewed_and_launched_once(
    admin: Client, said: dict[str, Any], shop: Tenant, make_device: Any, opt_in: Any, console_credential: None
) -> None:
    make_device(shop, "ada")
    make_device(shop, "bob")
    opt_in(shop, "ada")
    answer = admin.post("/admin/campaigns/campaign/add/", {**said, "_review": "1"})
    campaign = Campaign.objects.get()
    assert answer["Location"] == f"/admin/campaigns/campaign/{campaign.pk}/review/"
    review = admin.get(answer["Location"]).content.decode()
    assert "Send to 1 device" in review
    assert "Not opted in" in review

    launch = {"version": campaign.updated_at.isoformat(), "devices": 1}
    url = f"/admin/campaigns/campaign/{campaign.pk}/"
    for _ in range(2):
        assert admin.post(f"{url}launch/", launch)["Location"] == f"{url}live/"
    assert Notification.objects.count() == 1
    assert admin.get(f"{url}change/")["Location"] == f"{url}live/"
    assert "Launched, with 1 reachable devices." in admin.get(f"{url}history/").content.decode()


@pytest.mark.parametrize(
    ("throttle", "reachable", "words"),
    [
        ("", 1_000_000, "As fast as it goes"),
        ("500", 1_000, "At most 500 per second<"),
        ("1000", 90_000, "At most 1,000 per second: takes 1\xa0minute<"),
        ("10", 1_000_000, "At most 10 per second: takes 1\xa0day<"),
        ("1", 1_000_000, "At most 1 per second: takes 1\xa0week <span"),
    ],
)
def test_the_pace_is_said_before_and_after_the_launch(
    admin: Client,
    said: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    throttle: str,
    reachable: int,
    words: str,
) -> None:
    monkeypatch.setattr(selectors, "reach_now", lambda campaign: Reach(reachable=reachable))
    admin.post("/admin/campaigns/campaign/add/", {**said, "throttle_per_second": throttle})
    campaign = Campaign.objects.get()
    url = f"/admin/campaigns/campaign/{campaign.pk}/"
    review = admin.get(f"{url}review/").content.decode()
    assert words in review
    assert ("Messages live 3\xa0days" in review) == (throttle == "1")
    admin.post(f"{url}launch/", {"version": campaign.updated_at.isoformat(), "devices": 0})
    assert words.partition(":")[0] in admin.get(f"{url}live/").content.decode()


def test_saving_sends_nothing(admin: Client, said: dict[str, Any]) -> None:
    answer = admin.post("/admin/campaigns/campaign/add/", {**said, "_save": "1"}, follow=True)
    assert "Draft saved. Nothing has been sent." in answer.content.decode()
    assert not Notification.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"body": "é" * 2_000, "url": "x" * 1_500}, "body"),
        ({"audience": "platform"}, None),
        ({"audience": "attribute"}, "attribute_name"),
        ({"image": "not an address"}, "image"),
        ({"audience": "nobody"}, "audience"),
        ({"throttle_per_second": "0"}, "throttle_per_second"),
        ({"throttle_per_second": "1000001"}, "throttle_per_second"),
        ({"throttle_per_second": "fast"}, "throttle_per_second"),
    ],
)
def test_what_cannot_be_sent_is_said_beside_its_field(
    admin: Client, said: dict[str, Any], change: dict[str, str], field: str | None
) -> None:
    answer = admin.post("/admin/campaigns/campaign/add/", {**said, **change})
    if field is None:
        assert "platform" in errors(answer)
    else:
        assert field in errors(answer)
    assert not Campaign.objects.exists()


def test_a_message_too_long_says_by_how_much(admin: Client, said: dict[str, Any]) -> None:
    answer = admin.post("/admin/campaigns/campaign/add/", {**said, "body": "é" * 2_000, "url": "x" * 1_500})
    (words,) = errors(answer)["body"]
    assert words.startswith("Too long by ")
    assert "4,096" in words
    fragment = admin.post(
        "/admin/campaigns/campaign/payload/", {**said, "body": "é" * 2_000, "url": "x" * 1_500}
    )
    assert "Too long by " in fragment.content.decode()


def test_a_category_of_another_app_is_refused(admin: Client, said: dict[str, Any], rival: Tenant) -> None:
    foreign = rival.application.categories.get(slug="marketing")
    answer = admin.post("/admin/campaigns/campaign/add/", {**said, "category": foreign.pk})
    assert "category" in errors(answer)


def test_fragments_answer_half_filled_forms(admin: Client, shop: Tenant, said: dict[str, Any]) -> None:
    for fragment in ("payload", "reach"):
        assert admin.post(f"/admin/campaigns/campaign/{fragment}/", {}).status_code == 200
        assert admin.post(f"/admin/campaigns/campaign/{fragment}/", said).status_code == 200
        assert admin.get(f"/admin/campaigns/campaign/{fragment}/").status_code == 405


def test_without_a_provider_there_is_no_launch_button(
    admin: Client, shop: Tenant, make_device: Any, opt_in: Any, make_campaign: Make
) -> None:
    make_device(shop, "ada")
    opt_in(shop, "ada")
    said = admin.get(f"/admin/campaigns/campaign/{make_campaign().pk}/review/").content.decode()
    assert "Connect a provider first" in said
    assert 'data-opens="launch-dialog"' not in said


def test_a_large_launch_needs_the_number_typed(admin: Client, make_campaign: Make) -> None:
    campaign = make_campaign()
    url = f"/admin/campaigns/campaign/{campaign.pk}/launch/"
    asked = {"version": campaign.updated_at.isoformat(), "devices": forms.TYPED_ABOVE + 1}
    for typed in ("", "100", "yes"):
        answer = admin.post(url, {**asked, "typed": typed})
        assert "Nothing was sent" in answer.content.decode()
    assert not Notification.objects.exists()
    assert admin.post(url, {**asked, "typed": "100,001"}).status_code == 302
    assert Notification.objects.count() == 1


def test_a_page_older_than_the_draft_launches_nothing(admin: Client, make_campaign: Make) -> None:
    campaign = make_campaign()
    stale = {"version": campaign.updated_at.isoformat(), "devices": 0}
    campaign.title = "Something else"
    campaign.save()
    answer = admin.post(f"/admin/campaigns/campaign/{campaign.pk}/launch/", stale)
    assert answer.status_code == 409
    assert "changed after you opened this page" in answer.content.decode()
    assert not Notification.objects.exists()


def test_a_launched_campaign_is_neither_edited_nor_deleted(
    admin: Client, make_campaign: Make, said: dict[str, Any]
) -> None:
    campaign = make_campaign()
    admin.post(
        f"/admin/campaigns/campaign/{campaign.pk}/launch/",
        {"version": campaign.updated_at.isoformat(), "devices": 0},
    )
    admin.post(f"/admin/campaigns/campaign/{campaign.pk}/change/", {**said, "title": "Other"})
    assert admin.post(f"/admin/campaigns/campaign/{campaign.pk}/delete/", {"post": "yes"}).status_code == 403
    campaign.refresh_from_db()
    assert campaign.title == "The sale is on"


def test_a_recurring_one_is_looked_at_before_its_first_run(
    admin: Client, anna: User, make_campaign: Callable[..., Campaign]
) -> None:
    campaign = make_campaign(schedule="recurring", starts="2027-03-22T09:00", rule="FREQ=WEEKLY;BYDAY=MO")
    review = admin.get(f"/admin/campaigns/campaign/{campaign.pk}/review/").content.decode()
    assert "Again and again from 22 Mar 2027, 09:00 on" in review
    services.launch(campaign, by=anna)
    page = admin.get(f"/admin/campaigns/campaign/{campaign.pk}/change/", follow=True).content.decode()
    assert "Nothing has been sent yet" in page
    assert "Mon 29 Mar 2027, 09:00" in page
    assert "Take back to edit" in page
    listed = admin.get("/admin/campaigns/campaign/").content.decode()
    assert "Recurring" in listed


def test_a_local_time_shows_its_moment_in_each_zone(
    admin: Client, shop: Tenant, make_device: Any, make_campaign: Callable[..., Campaign]
) -> None:
    make_device(shop, "mia", time_zone="Europe/Berlin")
    category = shop.application.categories.get(slug="critical")
    campaign = make_campaign(schedule="local", starts="2027-03-28T02:30", category=category)
    page = admin.get(f"/admin/campaigns/campaign/{campaign.pk}/review/").content.decode()
    assert "Europe/Berlin" in page
    assert "28 Mar 2027, 01:00" in page
    assert "clocks jump over this time" in page


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schedule": "at"}, "starts"),
        ({"schedule": "at", "starts": "2020-01-01T09:00"}, "starts"),
        ({"schedule": "recurring", "starts": "2027-01-01T09:00", "rule": "weekly"}, "rule"),
        ({"window_start": "09:00"}, "window_end"),
        ({"schedule": "at", "starts": "2027-01-01T09:00", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"lifetime_hours": "0"}, "lifetime_hours"),
    ],
)
def test_a_schedule_that_cannot_be_is_said_beside_its_field(
    admin: Client, said: dict[str, Any], change: dict[str, str], field: str
) -> None:
    assert field in errors(admin.post("/admin/campaigns/campaign/add/", {**said, **change}))
