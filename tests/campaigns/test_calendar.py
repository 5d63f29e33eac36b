"""A month of campaigns: planned, again and again, past, at local times, and who would get several."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.contrib.auth.models import User

from campaigns import months, services
from campaigns.document import Audience
from campaigns.models import Campaign, Run
from tests.conftest import Tenant

Make = Callable[..., Campaign]
NOW = datetime(2027, 3, 10, 12, tzinfo=UTC)


def shown(month: date = date(2027, 3, 1), zone: str = "UTC") -> dict[date, months.Day]:
    weeks = months.days(
        Campaign.objects.select_related("application", "latest_run"), month, ZoneInfo(zone), NOW
    )
    return {day.date: day for week in weeks for day in week}


def labels(day: months.Day) -> list[tuple[str, str]]:
    return [(str(entry.campaign), entry.label) for entry in day.entries]


def test_a_month_begins_on_a_monday_and_knows_today() -> None:
    weeks = months.days(Campaign.objects.none(), date(2027, 3, 1), ZoneInfo("UTC"), NOW)
    assert weeks[0][0].date == date(2027, 3, 1)
    assert all(len(week) == 7 for week in weeks)
    assert [day.date for week in weeks for day in week if day.is_today] == [NOW.date()]
    assert weeks[-1][-1].is_outside


@pytest.mark.django_db
def test_launched_drafts_and_past_runs_are_on_their_days(anna: User, make_campaign: Make) -> None:
    at = {"kind": "at", "starts": "2027-03-15T18:00"}
    services.launch(make_campaign(name="Launched", schedule=at), by="staff:anna")
    make_campaign(name="Draft", schedule={**at, "starts": "2027-03-15T20:00"})
    make_campaign(name="At once")
    make_campaign(name="No time yet", schedule={"kind": "at"})
    past = services.launch(make_campaign(name="Past"), by="staff:anna")
    Run.objects.filter(campaign=past).update(due_at=NOW - timedelta(days=5))
    taken_back = services.launch(
        make_campaign(name="Back", schedule={**at, "starts": "2027-03-20T18:00"}), by="staff:anna"
    )
    services.unschedule(taken_back)
    Campaign.objects.filter(pk=taken_back.pk).update(archived_at=NOW)

    found = shown()
    assert labels(found[date(2027, 3, 15)]) == [("Launched", "18:00"), ("Draft", "20:00")]
    (entry,) = found[date(2027, 3, 5)].entries
    assert entry.is_past
    assert [entry.is_plan for entry in found[date(2027, 3, 15)].entries] == [False, True]
    assert not found[date(2027, 3, 20)].entries
    assert sum(len(day.entries) for day in found.values()) == 3


@pytest.mark.django_db
def test_days_are_those_of_the_zone_it_is_shown_in(make_campaign: Make) -> None:
    make_campaign(schedule={"kind": "at", "starts": "2027-03-15T23:30"})
    assert labels(shown()[date(2027, 3, 15)]) == [("Autumn", "23:30")]
    assert labels(shown(zone="Europe/Berlin")[date(2027, 3, 16)]) == [("Autumn", "00:30")]


@pytest.mark.django_db
def test_a_recurring_one_is_on_every_day_to_come(anna: User, make_campaign: Make) -> None:
    schedule = {"kind": "recurring", "starts": "2027-03-01T09:00", "rule": "FREQ=WEEKLY;BYDAY=MO"}
    launched = services.launch(make_campaign(schedule=schedule), by="staff:anna")
    Campaign.objects.filter(pk=launched.pk).update(next_run_at=datetime(2027, 3, 15, 9, tzinfo=UTC))
    days = [day for day, one in shown().items() if one.entries]
    assert days == [date(2027, 3, 15), date(2027, 3, 22), date(2027, 3, 29)]
    # However far ahead.
    assert len([day for day in shown(date(2029, 5, 1)).values() if day.entries]) == 5


@pytest.mark.django_db
def test_many_runs_on_a_day_are_one_line(make_campaign: Make) -> None:
    make_campaign(schedule={"kind": "recurring", "starts": "2027-03-01T00:00", "rule": "FREQ=HOURLY"})
    (entry,) = shown()[date(2027, 3, 12)].entries
    assert (entry.label, entry.count) == ("00:00", 24)


@pytest.mark.django_db
def test_a_local_time_spans_the_days_it_takes(make_campaign: Make) -> None:
    make_campaign(schedule={"kind": "local", "starts": "2027-03-15T09:00"})
    found = shown()
    parts = {
        day: [(one.part, one.label) for one in found[day].entries] for day in found if found[day].entries
    }
    assert parts == {
        date(2027, 3, 14): [("first", "from 19:00")],
        date(2027, 3, 15): [("last", "09:00 local time")],
    }
    evening = make_campaign(schedule={"kind": "local", "starts": "2027-03-17T18:00"})
    assert [one.part for one in shown()[date(2027, 3, 18)].entries if one.campaign == evening] == ["last"]


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ({}, {}, "reach"),
        ({"segments": ["buyers"]}, {}, "reach"),
        ({"segments": ["buyers"]}, {"segments": ["buyers", "vips"]}, "reach"),
        ({"segments": ["buyers"]}, {"segments": ["vips"]}, "may reach"),
        ({"segments": ["buyers"]}, {"not_segments": ["buyers"]}, ""),
        ({"platforms": ["ios"]}, {"platforms": ["android", "web"]}, ""),
        (
            {"attribute": {"name": "plan", "value": "pro"}},
            {"attribute": {"name": "plan", "value": "free"}},
            "",
        ),
    ],
)
def test_who_gets_both(one: dict[str, Any], other: dict[str, Any], how: str) -> None:
    first, second = (msgspec.convert(audience, Audience) for audience in (one, other))
    assert months.overlap(first, second) == months.overlap(second, first) == how


@pytest.mark.django_db
def test_overlaps_of_one_app_and_day_are_warned_of(shop: Tenant, rival: Tenant, make_campaign: Make) -> None:
    schedule = {"kind": "at", "starts": "2027-03-15T18:00"}
    make_campaign(name="One", schedule=schedule)
    make_campaign(name="Two", schedule=schedule)
    make_campaign(name="Theirs", schedule=schedule, tenant=rival)
    make_campaign(name="Next day", schedule={"kind": "at", "starts": "2027-03-16T18:00"})
    found = shown()
    assert found[date(2027, 3, 15)].warnings == ["“One” and “Two” reach the same people."]
    assert not found[date(2027, 3, 16)].warnings


@pytest.mark.django_db
def test_a_month_costs_the_same_for_many_campaigns(
    shop: Tenant, make_campaign: Make, django_assert_max_num_queries: Any
) -> None:
    for day in range(11, 26):
        make_campaign(schedule={"kind": "at", "starts": f"2027-03-{day}T18:00"})
    with django_assert_max_num_queries(3):
        assert sum(len(day.entries) for day in shown().values()) == 15
