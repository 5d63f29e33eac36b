"""When campaigns run: once, at local times, again and again; and what can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from campaigns import periodic, services
from campaigns.models import Campaign, Run
from notifications import zones
from notifications.models import Notification
from tests.conftest import Tenant

Make = Callable[..., Campaign]
NINE = "2027-03-28T09:00"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_moment_is_of_its_zone(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(schedule="at", starts=NINE, time_zone="Europe/Berlin"), by=anna)
    assert campaign.notification
    assert (campaign.notification.status, campaign.notification.send_at) == (
        "scheduled",
        at("2027-03-28T07:00"),
    )
    assert campaign.runs.get().due_at == at("2027-03-28T07:00")


def test_local_time_begins_where_it_comes_first(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(schedule="local", starts=NINE), by=anna)
    assert campaign.notification
    assert campaign.notification.local_time == NINE
    assert campaign.notification.send_at == at("2027-03-27T19:00")


def test_window_and_lifetime_go_along(anna: User, make_campaign: Make) -> None:
    fields = {"window_start": "09:00", "window_end": "20:30", "lifetime_hours": 6}
    campaign = make_campaign(**fields)
    campaign.refresh_from_db()
    launched = services.launch(campaign, by=anna).notification
    assert launched
    assert launched.ttl_seconds == 6 * 3600
    assert launched.send_window == {"days": [1, 2, 3, 4, 5, 6, 7], "start": "09:00", "end": "20:30"}


def test_a_scheduled_one_is_edited_and_launched_again(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(schedule="at", starts=NINE), by=anna)
    first = campaign.notification
    draft = services.unschedule(campaign)
    assert (draft.status, draft.notification) == ("draft", None)
    assert first
    first.refresh_from_db()
    assert first.status == "cancelled"
    draft.title = "Another"
    draft.save()
    again = services.launch(draft, by=anna).notification
    assert again
    assert (again.content["title"], again.status) == ("Another", "scheduled")


def test_what_has_begun_is_not_taken_back(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(), by=anna)
    with pytest.raises(services.NotLaunchable):
        services.unschedule(campaign)
    campaign.refresh_from_db()
    assert campaign.status == "launched"


@pytest.fixture
def weekly(anna: User, make_campaign: Make) -> Campaign:
    """Mondays at nine in Berlin, three times; the clocks change after the first."""
    return services.launch(
        make_campaign(
            schedule="recurring",
            starts="2027-03-22T09:00",
            rule="FREQ=WEEKLY;BYDAY=MO;COUNT=3",
            time_zone="Europe/Berlin",
        ),
        by=anna,
    )


def test_a_recurring_one_has_its_runs_at_nine_also_after_the_clocks_change(weekly: Campaign) -> None:
    assert (weekly.status, weekly.notification) == ("recurring", None)
    begins = [moment for _, moment in services.coming(weekly, timezone.now(), most=5)]
    assert begins == [at("2027-03-22T08:00"), at("2027-03-29T07:00"), at("2027-04-05T07:00")]


def test_each_run_is_a_notification_of_its_own_frozen_as_the_campaign_was(
    weekly: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        weekly.refresh_from_db()
        monkeypatch.setattr(timezone, "now", lambda now=weekly.next_run_at: now)
        periodic.run_due()
        periodic.run_due()
        assert Run.objects.filter(campaign=weekly).count() == number
    weekly.refresh_from_db()
    assert (weekly.status, weekly.next_run_at) == ("ended", None)
    ids = set(Run.objects.values_list("notification_id", flat=True))
    assert len(ids) == 3 == Notification.objects.filter(id__in=ids).count()
    assert weekly.notification_id == Run.objects.get(number=3).notification_id


def _make_due(campaign: Campaign) -> None:
    """As if its moment had come."""
    Campaign.objects.filter(id=campaign.id).update(next_run_at=timezone.now())


def test_a_paused_run_lets_the_next_pass(weekly: Campaign) -> None:
    _make_due(weekly)
    periodic.run_due()
    weekly.refresh_from_db()
    services.pause(weekly)
    _make_due(weekly)
    periodic.run_due()
    assert Run.objects.count() == 1


def test_cancelling_ends_all_further_runs(weekly: Campaign) -> None:
    services.cancel(weekly)
    weekly.refresh_from_db()
    assert (weekly.status, weekly.next_run_at) == ("ended", None)
    periodic.run_due()
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"schedule": "at"}, "starts: choose"),
        ({"schedule": "at", "starts": "2020-01-01T00:00"}, "starts: this moment is over"),
        ({"schedule": "local", "starts": "2020-01-01T00:00"}, "starts: this moment is over"),
        ({"schedule": "at", "starts": "2027-13-01T00:00"}, "starts: choose"),
        ({"schedule": "recurring", "starts": NINE}, "rule: Not a recurrence rule"),
        ({"schedule": "recurring", "starts": NINE, "rule": "FREQ=SOMETIMES"}, "rule: Not a recurrence rule"),
        ({"schedule": "recurring", "starts": NINE, "rule": "FREQ=MINUTELY"}, "rule: It may run once an hour"),
        (
            {"schedule": "recurring", "starts": NINE, "rule": "FREQ=DAILY;BYMINUTE=0,30"},
            "rule: It may run once an hour",
        ),
        (
            {"schedule": "recurring", "starts": NINE, "rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"},
            "rule: This rule never",
        ),
        (
            {"schedule": "recurring", "starts": "2020-01-01T00:00", "rule": "FREQ=DAILY;COUNT=3"},
            "rule: this moment",
        ),
        (
            {"schedule": "recurring", "starts": NINE, "rule": "DTSTART:20270101T000000\nRRULE:FREQ=DAILY"},
            "rule: A rule is",
        ),
    ],
)
def test_a_schedule_that_cannot_be_names_the_field(
    anna: User, make_campaign: Make, fields: dict[str, Any], fault: str
) -> None:
    campaign = make_campaign(**fields)
    with pytest.raises(ValueError, match=f"^{fault}"):
        services.launch(campaign, by=anna)
    campaign.refresh_from_db()
    assert campaign.status == "draft"
    assert not Notification.objects.exists()


def test_the_preview_marks_times_that_are_skipped_or_come_twice(shop: Tenant, make_device: Any) -> None:
    for name, zone in (("a", "Europe/Berlin"), ("b", "Asia/Kolkata"), ("c", "Nowhere/Land"), ("d", "")):
        make_device(shop, name, time_zone=zone)
    category = shop.application.categories.get(slug="critical")
    asked = {"application_id": shop.id, "category_id": category.id, "default_zone": "America/New_York"}
    spring = zones.moments({"all": True}, datetime.fromisoformat("2027-03-28T02:30"), **asked)
    assert [(one.name, one.devices, one.at, one.clock) for one in spring] == [
        ("Asia/Kolkata", 1, at("2027-03-27T21:00"), "usual"),
        ("Europe/Berlin", 1, at("2027-03-28T01:00"), "skipped"),
        ("America/New_York", 2, at("2027-03-28T06:30"), "usual"),
    ]
    autumn = zones.moments({"all": True}, datetime.fromisoformat("2027-10-31T02:30"), **asked)
    assert {one.name: one.clock for one in autumn}["Europe/Berlin"] == "repeated"


def test_missed_runs_are_not_made_up_for(weekly: Campaign) -> None:
    late = at("2027-04-01T00:00")  # the second was missed too
    assert services.next_run(weekly, at("2027-03-22T08:00"), late) == at("2027-04-05T07:00")
    assert services.next_run(
        weekly, at("2027-03-22T08:00"), at("2027-03-22T08:00") + timedelta(hours=1)
    ) == at("2027-03-29T07:00")
