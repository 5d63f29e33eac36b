"""What the composer's Audience, Experiment and Schedule ask: numbers, moments, faults at their places."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from campaigns import schedules, services
from campaigns.models import Campaign
from devices import quiet
from devices.models import Category, Event, Segment, SegmentMember, Subscriber
from notifications import zones
from notifications.pipeline import terms
from tests.conftest import Tenant

URL = "/admin/campaigns/campaign/compose/"
IOS = {"field": "device.platform", "is": "equal", "value": "ios"}
JANUARY = datetime.fromisoformat("2026-01-01")
Make = Callable[..., Campaign]


@pytest.fixture
def author(db: None) -> Client:
    """May write campaigns, and nothing else."""
    user = User.objects.create_user("ben", "ben@example.com", "pw", is_staff=True)
    codes = ("add_campaign", "change_campaign", "view_campaign", "view_application")
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def crowd(shop: Tenant, make_device: Any, opt_in: Any) -> None:
    """Ada (iOS and Android, Berlin) and Kim (iOS, Tokyo) want it; Bob said nothing."""
    for name, platform, zone in (
        ("ada", "ios", "Europe/Berlin"),
        ("ada", "android", "Europe/Berlin"),
        ("kim", "ios", "Asia/Tokyo"),
        ("bob", "ios", "Europe/Berlin"),
    ):
        make_device(shop, name, platform=platform)
        Subscriber.objects.filter(external_id=name).update(time_zone=zone)
    opt_in(shop, "ada")
    opt_in(shop, "kim")


def ask(client: Client, name: str, tenant: Tenant, plan: Any = None, **more: Any) -> Any:
    body = {"application": tenant.application.slug, "category": "marketing", "plan": plan or {}, **more}
    return client.post(f"{URL}{name}/", body, content_type="application/json")


def pointers(answer: Any) -> list[str]:
    return [fault["pointer"] for fault in answer.json()["faults"]]


def reasons(reach: Any) -> set[str]:
    return {one["reason"] for one in reach["held_back"]}


def segment(tenant: Tenant, slug: str, **fields: Any) -> Segment:
    return Segment.objects.create(
        application=tenant.application, slug=slug, **{"name": slug.title(), "rules": IOS, **fields}
    )


# --- audience ---------------------------------------------------------------------------------


def test_an_estimate_adds_up_and_says_why_not_all(admin: Client, shop: Tenant, crowd: None) -> None:
    found = ask(admin, "estimate", shop).json()
    reach = found["reach"]
    assert (reach["matched"], reach["reachable"], reach["is_estimate"]) == (4, 3, False)
    (held,) = reach["held_back"]
    assert (held["reason"], held["title"], held["count"]) == ("not_opted_in", "Not opted in", 1)
    assert [(one["words"], one["count"]) for one in reach["platforms"]] == [
        ("iPhone and iPad", 2),
        ("Android", 1),
    ]
    assert reach["platforms"][0]["waiting"] == 2  # no credential
    assert found["faults"] == []


def test_quiet_hours_and_windows_count(admin: Client, shop: Tenant, crowd: None) -> None:
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0) + timedelta(days=1)
    at_night = {"kind": "at", "starts": f"{tomorrow:%Y-%m-%d}T14:00", "time_zone": "UTC"}  # 23:00 in Tokyo
    window = {"window": {"start": "08:00", "end": "20:00"}}
    reach = ask(admin, "estimate", shop, {"schedule": {**at_night, **window}}).json()["reach"]
    assert (reach["reachable"], reach["later"]) == (3, 1)
    short = {**at_night, **window, "lifetime_hours": 1}
    reach = ask(admin, "estimate", shop, {"schedule": short}).json()["reach"]
    assert (reach["reachable"], reasons(reach)) == (2, {"not_opted_in", "held_past_deadline"})
    shop.application.quiet_hours = quiet.check([{"start": "22:00", "end": "08:00"}])
    shop.application.save()
    Category.objects.filter(slug="marketing").update(quiet_rule="drop")
    terms.of.forget()  # type: ignore[attr-defined]
    reach = ask(admin, "estimate", shop, {"schedule": {**at_night, "lifetime_hours": 2}}).json()["reach"]
    assert (reach["reachable"], reasons(reach)) == (2, {"not_opted_in", "quiet_hours"})


def test_a_segment_that_is_gone_or_a_rivals_is_said_at_its_place(
    admin: Client, shop: Tenant, rival: Tenant, crowd: None
) -> None:
    segment(shop, "apple")
    segment(rival, "theirs")
    plan = {"audience": {"segments": ["apple", "theirs"], "not_segments": ["gone"]}}
    answer = ask(admin, "estimate", shop, plan)
    assert pointers(answer) == ["/audience/segments/1", "/audience/not_segments/0"]
    assert answer.json()["reach"] is None
    assert pointers(ask(admin, "people-sample", shop, plan)) == ["/audience"]
    assert "Rival" not in answer.content.decode()
    slugs = [one["slug"] for one in ask(admin, "segments", shop).json()["segments"]]
    assert slugs == ["apple"]


def test_an_experiment_says_what_it_can_show(admin: Client, shop: Tenant, crowd: None) -> None:
    variants = [{"key": "A", "share": 50}, {"key": "B", "share": 50}]
    plan = {"variants": variants, "experiment": {"test": 50, "metric": "converted"}, "safety": {"canary": 1}}
    answer = ask(admin, "estimate", shop, plan)
    found = answer.json()["experiment"]
    assert [one["key"] for one in found["arms"]] == ["A", "B"]
    assert (found["smallest"], found["lift"], found["usual"]) == (1, None, 0.01)
    assert found["needed"] > 40_000
    assert "/experiment/goal" in pointers(answer)
    assert any("wait until somebody has decided" in words for words in answer.json()["steps"])
    local = {**plan, "schedule": {"kind": "local", "starts": "2036-01-01T09:00"}}
    assert "/experiment/test" in pointers(ask(admin, "estimate", shop, local))


def test_a_sample_shows_people_with_links_for_those_who_may_see_them(
    admin: Client, author: Client, shop: Tenant, crowd: None
) -> None:
    found = ask(admin, "people-sample", shop).json()["people"]
    assert [one["id"] for one in found] == ["ada", "kim"]
    assert sorted(found[0]["platforms"]) == ["Android", "iPhone and iPad"]
    assert found[0]["url"].startswith("/admin/devices/subscriber/")
    assert {one["url"] for one in ask(author, "people-sample", shop).json()["people"]} == {""}


# --- segments ---------------------------------------------------------------------------------


def test_segments_are_found_with_their_sizes(admin: Client, shop: Tenant, crowd: None) -> None:
    segment(shop, "buyers", size=1200)
    segment(shop, "apple")
    found = ask(admin, "segments", shop, query="buy").json()
    assert [(one["slug"], one["size"]) for one in found["segments"]] == [("buyers", 1200)]
    assert (found["total"], found["may_add"]) == (2, True)
    assert ask(admin, "segments", shop, sizes_of=["apple", "none"]).json()["sizes"] == {
        "apple": 3,
        "none": None,
    }


def test_a_segment_is_counted_and_kept_or_its_faults_are_named(
    admin: Client, author: Client, shop: Tenant, crowd: None
) -> None:
    counted = ask(admin, "segments", shop, rules=IOS).json()
    assert (counted["people"], counted["devices"], counted["reachable"]) == (3, 3, 2)
    broken = {"all": [IOS, {"any": [{"event": ""}]}]}
    assert pointers(ask(admin, "segments", shop, rules=broken)) == ["/rules/all/1/any/0/event"]
    refused = ask(admin, "segments", shop, save={"name": "Apple", "rules": broken})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/rules/all/1/any/0/event")
    kept = [ask(admin, "segments", shop, save={"name": "Apple", "rules": IOS}).json() for _ in range(2)]
    assert [one["saved"]["slug"] for one in kept] == ["apple", "apple-2"]
    assert ask(author, "segments", shop, save={"name": "Mine", "rules": IOS}).status_code == 403
    assert Segment.objects.count() == 2


def test_the_builder_offers_what_there_is_and_nobodys_own(admin: Client, shop: Tenant, crowd: None) -> None:
    for number in range(40):
        plan = "gold" if number % 3 else "silver"
        Subscriber.objects.create(
            application=shop.application,
            external_id=f"n{number}",
            country="AT",
            attributes={"plan": plan, "email": f"n{number}@example.com"},
        )
    Event.objects.create(
        application_id=shop.id,
        subscriber_id=Subscriber.objects.get(external_id="n39").pk,
        name="purchase",
        at=datetime.now(UTC),
        properties={},
    )
    found = ask(admin, "segments", shop, builder=True).json()
    assert found["suggestions"]["attributes"] == {"email": [], "plan": ["gold", "silver"]}
    assert found["suggestions"]["fields"]["subscriber.country"] == ["AT"]
    assert found["suggestions"]["events"] == ["purchase"]
    assert {one["slug"] for one in found["schema"]["categories"]} >= {"marketing"}


def upload(client: Client, tenant: Tenant, data: bytes, name: str = "Friends", file: str = "a.csv") -> Any:
    fields = {"application": tenant.application.slug, "name": name, "file": SimpleUploadedFile(file, data)}
    return client.post(f"{URL}upload-list/", fields)


def test_a_list_is_uploaded_with_a_report_of_bad_lines(
    admin: Client, author: Client, shop: Tenant, crowd: None
) -> None:
    found = upload(admin, shop, b"external_id\nada\nnobody\nkim\n").json()
    assert (found["saved"]["slug"], found["saved"]["size"], found["lines"]) == ("friends", 2, 3)
    assert [(one["line"], one["reason"]) for one in found["errors"]] == [(3, "there is no such subscriber")]
    plan = {"audience": {"segments": ["friends"]}}
    assert ask(admin, "estimate", shop, plan).json()["reach"]["matched"] == 3
    for data, name, file in (
        (b"name\nada\n", "Others", "a.csv"),
        (b"external_id\nnobody\n", "Others", "a.csv"),
        (b"external_id\nada\n", "", "a.csv"),
        (b"ada", "Others", "a.txt"),
    ):
        assert upload(admin, shop, data, name, file).status_code == 422
    assert upload(author, shop, b"external_id\nada\n", "Others").status_code == 403
    assert (Segment.objects.count(), SegmentMember.objects.count()) == (1, 2)


# --- schedule ---------------------------------------------------------------------------------


def moments(client: Client, tenant: Tenant, **schedule: Any) -> Any:
    return ask(client, "moments", tenant, {"schedule": schedule}).json()


def test_a_moment_is_shown_in_utc_and_in_its_zone(admin: Client, shop: Tenant) -> None:
    found = moments(admin, shop, kind="at", starts="2036-07-01T09:00", time_zone="Europe/Berlin")
    assert found["begins"] == {
        "at": "2036-07-01T07:00:00Z",
        "local": "2036-07-01T09:00",
        "zone": "Europe/Berlin",
        "offset": "+0200",
    }
    past = moments(admin, shop, kind="at", starts="2020-07-01T09:00")
    assert [one["pointer"] for one in past["faults"]] == ["/schedule/starts"]
    assert past["begins"] is None
    nowhere = moments(admin, shop, kind="at", starts="2036-07-01T09:00", time_zone="Mars/Base")
    assert [one["pointer"] for one in nowhere["faults"]] == ["/schedule/time_zone"]


def test_each_zone_has_its_instant_also_when_clocks_change(
    admin: Client, shop: Tenant, crowd: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spring = "2036-03-30T02:30"  # skipped in Berlin
    found = moments(admin, shop, kind="local", starts=spring)["zones"]
    assert [(row["zone"], row["devices"], row["at"], row["clock"]) for row in found["rows"]] == [
        ("Asia/Tokyo", 1, "2036-03-29T17:30:00Z", "usual"),
        ("Europe/Berlin", 2, "2036-03-30T01:00:00Z", "skipped"),
    ]
    assert (found["first"], found["last"], found["over"]) == (
        "2036-03-29T17:30:00Z",
        "2036-03-30T01:00:00Z",
        0,
    )
    notes = moments(admin, shop, kind="at", starts=spring, time_zone="Europe/Berlin")["notes"]
    assert [one["detail"] for one in notes] == [
        "Clocks in Berlin jump over 02:30 that night: it begins at the jump, 03:00."
    ]
    monkeypatch.setattr(zones, "EXACT_UP_TO", 1)  # from a sample, which is everyone here
    where = zones.counts(
        {"all": True},
        application_id=shop.id,
        category_id=Category.objects.get(application=shop.application, slug="marketing").pk,
        default_zone="UTC",
    )
    assert where.devices == {"Asia/Tokyo": 1, "Europe/Berlin": 2}


def test_the_next_runs_of_a_rule(admin: Client, shop: Tenant) -> None:
    weekly = {"kind": "recurring", "starts": "2036-10-23T02:30", "time_zone": "Europe/Berlin"}
    found = moments(admin, shop, **weekly, rule="FREQ=DAILY")
    assert [(run["local"], run["at"], run["clock"]) for run in found["runs"]][2:4] == [
        ("2036-10-25T02:30", "2036-10-25T00:30:00Z", "usual"),
        ("2036-10-26T02:30", "2036-10-26T00:30:00Z", "repeated"),
    ]
    assert len(found["runs"]) == 5
    spring = moments(admin, shop, **{**weekly, "starts": "2036-03-29T02:30"}, rule="FREQ=DAILY")["runs"]
    assert [(run["local"], run["at"], run["clock"]) for run in spring][:2] == [
        ("2036-03-29T02:30", "2036-03-29T01:30:00Z", "usual"),
        ("2036-03-30T02:30", "2036-03-30T01:00:00Z", "skipped"),
    ]
    broken = moments(admin, shop, **weekly, rule="FREQ=OFTEN")
    assert (broken["runs"], [one["pointer"] for one in broken["faults"]]) == ([], ["/schedule/rule"])


def test_what_works_against_itself_is_said_where_it_is(admin: Client, shop: Tenant, crowd: None) -> None:
    outside = {"kind": "local", "starts": "2036-07-01T07:00", "window": {"start": "09:00", "end": "20:00"}}
    (note,) = moments(admin, shop, **outside)["notes"]
    assert (note["pointer"], note["level"]) == ("/schedule/window", "warn")
    assert "07:00 on everybody’s clock is outside these hours" in note["detail"]


def test_how_long_it_takes_and_what_expires(admin: Client, shop: Tenant, crowd: None) -> None:
    shop.application.messages_per_second = 1
    shop.application.save()
    pace = moments(admin, shop, kind="at", starts="2036-07-01T09:00", time_zone="UTC")["pace"]
    assert (pace["devices"], pace["seconds"], pace["because"]) == (3, 3, "the app’s own limit")
    assert pace["ends"]["at"] == "2036-07-01T09:00:03Z"


def test_where_clocks_decide_it_lasts_from_the_first_zone_to_the_last(
    admin: Client, shop: Tenant, crowd: None
) -> None:
    found = moments(admin, shop, kind="local", starts="2036-07-01T09:00", per_second=1000)
    assert (found["pace"]["seconds"], found["pace"]["lasts"]) == (0, 7 * 3600)
    shop.application.messages_per_second = 1
    shop.application.save()
    found = moments(admin, shop, kind="local", starts="2036-07-01T09:00", per_second=1000)
    assert found["pace"]["lasts"] == 7 * 3600 + 2  # Berlin's two
    assert [one["detail"] for one in found["notes"]] == [
        "The app’s own limit is 1 per second: that one holds."
    ]


def test_an_hourly_rule_of_years_ago_is_answered_at_once(admin: Client, shop: Tenant) -> None:
    begun = time.monotonic()
    runs = moments(admin, shop, kind="recurring", starts="2019-01-01T09:00", rule="FREQ=HOURLY")["runs"]
    assert len(runs) == 5
    assert runs[0]["at"] > datetime.now(UTC).isoformat()
    assert time.monotonic() - begun < 3


@given(
    rule=st.sampled_from(
        [
            "FREQ=HOURLY;INTERVAL=5",
            "FREQ=DAILY;INTERVAL=3;BYHOUR=7,19",
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH",
            "FREQ=WEEKLY;INTERVAL=3",
            "FREQ=DAILY;BYMONTHDAY=29",
            "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=SU,SA",
            "FREQ=DAILY;COUNT=40",
            "FREQ=MONTHLY;BYDAY=1MO",
        ]
    ),
    starts=st.integers(0, 44_640).map(lambda minutes: JANUARY + timedelta(minutes=minutes)),
    hours=st.integers(-50, 3000),
)
def test_what_is_passed_over_changes_nothing(rule: str, starts: datetime, hours: int) -> None:
    after = starts + timedelta(hours=hours)
    every = schedules._occurrences(rule, starts)
    assert schedules.following(rule, starts, after) == next((one for one in every if one > after), None)


def test_an_estimate_costs_the_same_for_one_and_for_many(
    admin: Client, shop: Tenant, crowd: None, make_device: Any, django_assert_num_queries: Any
) -> None:
    schedule = {"kind": "local", "starts": "2036-07-01T09:00"}
    ask(admin, "estimate", shop)  # what a process keeps for seconds is known from now on
    cache.clear()
    with CaptureQueriesContext(connection) as few:
        ask(admin, "estimate", shop, {"schedule": schedule})
        moments(admin, shop, **schedule)
    for number in range(30):
        make_device(shop, f"n{number}")
    cache.clear()
    with django_assert_num_queries(len(few)):
        ask(admin, "estimate", shop, {"schedule": schedule})
        moments(admin, shop, **schedule)


def test_other_campaigns_of_the_day(admin: Client, shop: Tenant, rival: Tenant, make_campaign: Make) -> None:
    segment(shop, "apple")
    when = {"kind": "at", "starts": "2036-07-01T18:00", "time_zone": "UTC"}
    services.launch(make_campaign(name="Digest", schedule=when), by="staff:anna")
    services.launch(make_campaign(name="Theirs", schedule=when, tenant=rival), by="staff:anna")
    services.launch(
        make_campaign(name="Far", schedule={**when, "starts": "2036-07-09T18:00"}), by="staff:anna"
    )
    found = moments(admin, shop, kind="at", starts="2036-07-01T09:00", time_zone="UTC")["conflicts"]
    assert [(one["name"], one["is_same_people"], one["local"]) for one in found] == [
        ("Digest", True, "2036-07-01T18:00")
    ]


# --- who may ask ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["estimate", "people-sample", "segments", "moments", "upload-list"])
def test_only_those_who_write_campaigns_may_ask(
    client: Client, admin: Client, shop: Tenant, name: str
) -> None:
    viewer = User.objects.create_user("vera", "vera@example.com", "pw", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    assert ask(client, name, shop).status_code == 302  # to the login
    client.force_login(viewer)
    answer = (
        client.post(f"{URL}{name}/", {"application": shop.application.slug})
        if name == "upload-list"
        else ask(client, name, shop)
    )
    assert answer.status_code == 403
    assert admin.get(f"{URL}{name}/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="anna"))
    assert ask(strict, name, shop).status_code == 403
