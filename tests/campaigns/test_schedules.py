"""When campaigns run: once, at local times, again and again; and what can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from campaigns import drafts, periodic, services, timetable
from campaigns.models import Campaign, Run
from devices.models import Segment
from notifications import zones
from notifications.models import Notification
from tests.conftest import Tenant

Make = Callable[..., Campaign]


def notification_of(campaign: Campaign) -> Notification:
    return Notification.objects.get(stage__run=campaign.latest_run)


NINE = "2027-03-28T09:00"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_moment_is_of_its_zone(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(
        make_campaign(schedule={"kind": "at", "starts": NINE, "time_zone": "Europe/Berlin"}), by="staff:anna"
    )
    sent = notification_of(campaign)
    assert (sent.status, sent.send_at) == ("scheduled", at("2027-03-28T07:00"))
    assert campaign.runs.get().due_at == at("2027-03-28T07:00")


def test_local_time_begins_where_it_comes_first(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(schedule={"kind": "local", "starts": NINE}), by="staff:anna")
    sent = notification_of(campaign)
    assert sent.local_time == NINE
    assert sent.send_at == at("2027-03-27T19:00")


def test_window_and_lifetime_go_along(anna: User, make_campaign: Make) -> None:
    campaign = make_campaign(schedule={"window": {"start": "09:00", "end": "20:30"}, "lifetime_hours": 6})
    launched = notification_of(services.launch(campaign, by="staff:anna"))
    assert launched.ttl_seconds == 6 * 3600
    assert launched.send_window == {"days": [1, 2, 3, 4, 5, 6, 7], "start": "09:00", "end": "20:30"}


def test_a_scheduled_one_is_edited_and_launched_again(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(schedule={"kind": "at", "starts": NINE}), by="staff:anna")
    first = notification_of(campaign)
    draft = services.unschedule(campaign)
    assert (draft.status, draft.latest_run) == ("draft", None)
    first.refresh_from_db()
    assert first.status == "cancelled"
    said = {"variants": [{"content": {"title": "Another"}}]}
    draft = services.save(draft, said, version=draft.version, by=anna)
    again = notification_of(services.launch(draft, by="staff:anna"))
    assert (again.content["title"], again.status) == ("Another", "scheduled")


def test_what_has_begun_is_not_taken_back(anna: User, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(), by="staff:anna")
    with pytest.raises(services.NotAllowed):
        services.unschedule(campaign)
    campaign.refresh_from_db()
    assert campaign.status == "sending"


@pytest.fixture
def weekly(anna: User, make_campaign: Make) -> Campaign:
    """Mondays at nine in Berlin, three times; the clocks change after the first."""
    return services.launch(
        make_campaign(
            schedule={
                "kind": "recurring",
                "starts": "2027-03-22T09:00",
                "rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=3",
                "time_zone": "Europe/Berlin",
            }
        ),
        by="staff:anna",
    )


def test_a_recurring_one_has_its_runs_at_nine_also_after_the_clocks_change(weekly: Campaign) -> None:
    assert (weekly.status, weekly.latest_run) == ("recurring", None)
    begins = [moment for _, moment in timetable.coming(weekly, timezone.now(), most=5)]
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
    assert (weekly.status, weekly.next_run_at) == ("sending", None)
    assert Notification.objects.filter(stage__run__campaign=weekly).count() == 3
    assert weekly.latest_run == Run.objects.get(number=3)


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
    assert (weekly.status, weekly.next_run_at) == ("cancelled", None)
    periodic.run_due()
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"kind": "at"}, "starts: choose"),
        ({"kind": "at", "starts": "2020-01-01T00:00"}, "starts: this moment is over"),
        ({"kind": "local", "starts": "2020-01-01T00:00"}, "starts: this moment is over"),
        ({"kind": "at", "starts": "2027-13-01T00:00"}, "starts: choose"),
        ({"kind": "recurring", "starts": NINE}, "rule: Not a recurrence rule"),
        ({"kind": "recurring", "starts": NINE, "rule": "FREQ=SOMETIMES"}, "rule: Not a recurrence rule"),
        ({"kind": "recurring", "starts": NINE, "rule": "FREQ=MINUTELY"}, "rule: It may run once an hour"),
        (
            {"kind": "recurring", "starts": NINE, "rule": "FREQ=DAILY;BYMINUTE=0,30"},
            "rule: It may run once an hour",
        ),
        (
            {"kind": "recurring", "starts": NINE, "rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"},
            "rule: This rule never",
        ),
        (
            {"kind": "recurring", "starts": "2020-01-01T00:00", "rule": "FREQ=DAILY;COUNT=3"},
            "rule: this moment",
        ),
    ],
)
def test_a_schedule_that_cannot_be_names_the_field(
    anna: User, make_campaign: Make, fields: dict[str, Any], fault: str
) -> None:
    campaign = make_campaign(schedule=fields)
    with pytest.raises(services.NotReady, match=f"^/schedule/{fault}"):
        services.launch(campaign, by="staff:anna")
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
    assert timetable.next_run(weekly, at("2027-03-22T08:00"), late) == at("2027-04-05T07:00")
    assert timetable.next_run(
        weekly, at("2027-03-22T08:00"), at("2027-03-22T08:00") + timedelta(hours=1)
    ) == at("2027-03-29T07:00")


@pytest.fixture
def overlapping(weekly: Campaign, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """Two runs, of which the first is still under way when the second begins."""
    for _ in range(2):
        weekly.refresh_from_db()
        monkeypatch.setattr(timezone, "now", lambda now=weekly.next_run_at: now)
        periodic.run_due()
    weekly.refresh_from_db()
    return weekly


def open_ones(campaign: Campaign) -> Any:
    return Notification.objects.filter(stage__run__campaign=campaign, status__in=Notification.OPEN)


def test_what_stops_a_recurring_one_stops_all_of_its_runs(overlapping: Campaign) -> None:
    assert open_ones(overlapping).count() == 2
    services.pause(overlapping)
    assert open_ones(overlapping).filter(paused_at=None).count() == 0
    services.resume(overlapping)
    assert open_ones(overlapping).filter(paused_at=None).count() == 2
    services.cancel(overlapping)
    assert open_ones(overlapping).count() == 0


def test_a_recurring_one_is_no_draft_while_a_run_is_under_way(overlapping: Campaign) -> None:
    with pytest.raises(services.NotAllowed):
        services.unschedule(overlapping)
    Notification.objects.update(status="done", finished_at=timezone.now())
    assert services.unschedule(overlapping).latest_run == overlapping.latest_run


def test_what_was_sent_once_is_never_deleted(overlapping: Campaign, anna: User) -> None:
    """Not even when a later launch of it was taken back."""
    Notification.objects.update(status="done", finished_at=timezone.now())
    sent = overlapping.latest_run
    draft = services.unschedule(overlapping)
    later = {"schedule": {"kind": "at", "starts": "2028-01-01T09:00"}}
    draft = services.save(draft, later, version=draft.version, by=anna)
    draft = services.unschedule(services.launch(draft, by="staff:anna"))
    assert draft.latest_run == sent
    with pytest.raises(services.NotAllowed):
        drafts.delete(draft)


def test_a_run_that_cannot_be_made_stops_the_campaign_and_says_why(
    anna: User, make_campaign: Make, shop: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those whom a deleted segment kept out are not sent to, and it is not tried each second for ever."""
    rules = {"field": "subscriber.country", "is": "equal", "value": "DE"}
    Segment.objects.create(application=shop.application, slug="gone", name="Gone", rules=rules)
    weekly = make_campaign(
        audience={"not_segments": ["gone"]},
        schedule={"kind": "recurring", "starts": "2027-03-22T09:00", "rule": "FREQ=WEEKLY;COUNT=3"},
    )
    weekly = services.launch(weekly, by="staff:anna")
    monkeypatch.setattr(timezone, "now", lambda now=weekly.next_run_at: now)
    periodic.run_due()
    Segment.objects.all().delete()
    weekly.refresh_from_db()
    monkeypatch.setattr(timezone, "now", lambda now=weekly.next_run_at: now)
    periodic.run_due()
    weekly.refresh_from_db()
    assert (weekly.status, weekly.runs.count()) == ("paused", 1)
    assert weekly.latest_run
    assert weekly.latest_run.paused_for == "problems"
    assert "could not be made" in weekly.latest_run.paused_detail
    services.resume(weekly)
    weekly.refresh_from_db()
    assert (weekly.status, weekly.next_run_at) == ("recurring", at("2027-04-05T09:00"))
