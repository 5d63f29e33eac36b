"""The composer's panels in a real browser: what is chosen is in the plan, and what it means is said at its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from devices.models import Segment, Subscriber
from tests import browser
from tests.admin import panels_page
from tests.conftest import Tenant

pytestmark = browser.MARKS

IOS = {"field": "device.platform", "is": "equal", "value": "ios"}
TWO = [
    {"key": "A", "share": 50, "content": {"title": "A"}},
    {"key": "B", "share": 50, "content": {"title": "B"}},
]


@pytest.fixture
def crowd(shop: Tenant, make_device: Any, opt_in: Any) -> None:
    for name, platform, zone in (
        ("ada", "ios", "Europe/Berlin"),
        ("ada", "android", "Europe/Berlin"),
        ("kim", "ios", "Asia/Tokyo"),
        ("bob", "ios", "Europe/Berlin"),
    ):
        make_device(shop, name, platform=platform)
        Subscriber.objects.filter(external_id=name).update(
            time_zone=zone, country="DE", attributes={"plan": "gold"}
        )
    opt_in(shop, "ada")
    opt_in(shop, "kim")


def plan(page: Any, path: str) -> Any:
    return page.evaluate("path => draft.get(path)", path)


def test_an_audience_is_chosen_counted_and_narrowed(page: Any, anna: User, shop: Tenant, crowd: None) -> None:
    Segment.objects.create(application=shop.application, slug="apple", name="Apple people", rules=IOS)
    panels_page.show(page, anna, shop, panels=["audience"])
    reach = page.locator("[data-reach]")
    reach.get_by_text("of 4 devices will get it").wait_for()
    said = " ".join(reach.locator(".p-sum").inner_text().split())
    assert said == "Matched 4 = Reachable 3 + Not opted in 1"
    page.get_by_text("People in segments").click()
    page.get_by_text("No segment is chosen: as it stands, it goes to everyone.").wait_for()
    search = page.get_by_role("combobox", name="Choose a segment to include")
    search.fill("app")
    page.get_by_role("option", name="Apple people").wait_for()
    search.press("Enter")
    reach.get_by_text("of 3 devices will get it").wait_for()
    page.locator(".p-chip").get_by_text("3 people").wait_for()
    page.get_by_label("Android").uncheck()
    assert plan(page, "audience.platforms") == ["ios", "web", "macos"]
    page.get_by_text("Show ten of them").click()
    page.locator("[data-sample] a").get_by_text("kim").wait_for()
    assert page.evaluate("draft.summaries.audience").startswith("Apple people, on iPhone and iPad")
    page.get_by_role("button", name="Remove Apple people").click()
    assert plan(page, "audience.segments") == []


def test_a_deleted_segment_is_said_at_its_place(page: Any, anna: User, shop: Tenant, crowd: None) -> None:
    panels_page.show(page, anna, shop, {"audience": {"segments": ["gone"]}}, panels=["audience"])
    page.locator("#p-include").get_by_text("There is no segment “gone” any more.").wait_for()
    assert page.locator(".p-chip.is-gone").count() == 1
    page.get_by_text("It can be counted when what is said above is mended.").wait_for()


def test_a_segment_is_written_in_a_sheet(page: Any, anna: User, shop: Tenant, crowd: None) -> None:
    panels_page.show(page, anna, shop, panels=["audience"])
    page.get_by_role("button", name="New segment").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_role("button", name="Save and use it").click()
    sheet.get_by_text("Give it a name.").wait_for()
    sheet.get_by_label("Name", exact=True).fill("Gold")
    sheet.get_by_role("button", name="Rule", exact=True).click()
    sheet.get_by_label("Name of the attribute").fill("plan")
    value = sheet.get_by_label("Value", exact=True)
    value.focus()
    offered = page.locator(f"#{value.get_attribute('list')} option")
    assert offered.evaluate_all("all => all.map((one) => one.value)") == ["gold"]
    value.fill("gold")
    sheet.get_by_text("3 people with 4 devices").wait_for()
    sheet.get_by_role("button", name="Save and use it").click()
    page.locator(".p-chip").get_by_text("Gold").wait_for()
    assert plan(page, "audience.segments") == ["gold"]


def test_a_list_is_uploaded_in_a_sheet(
    page: Any, anna: User, shop: Tenant, crowd: None, tmp_path: Any
) -> None:
    file = tmp_path / "friends.csv"
    file.write_text("external_id\nada\nnobody\n")
    panels_page.show(page, anna, shop, panels=["audience"])
    page.get_by_role("button", name="Upload a list").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Name").fill("Friends")
    sheet.get_by_label("File").set_input_files(file)
    sheet.get_by_role("button", name="Upload and use it").click()
    sheet.get_by_text("there is no such subscriber").wait_for()
    assert plan(page, "audience.segments") == ["friends"]
    sheet.get_by_role("button", name="Close").click()
    assert page.get_by_role("combobox").first.input_value() == ""
    page.locator("[data-reach]").get_by_text("of 2 devices will get it").wait_for()
    assert "null" not in page.locator("[data-reach]").inner_text()


def test_variants_share_and_are_judged(page: Any, anna: User, shop: Tenant, crowd: None) -> None:
    panels_page.show(page, anna, shop, panels=["experiment", "safety"])
    page.get_by_role("button", name="Write a second version").click()
    page.get_by_label("Share of version B").fill("30")
    assert [one["share"] for one in plan(page, "variants")] == [70, 30]
    page.locator("[data-power]").get_by_text("per version no difference can be told").wait_for()
    page.get_by_text("Did something").click()
    page.get_by_text("Name the event that counts.").wait_for()
    page.get_by_label("The event that counts").fill("purchase")
    page.get_by_text("Name the event that counts.").wait_for(state="detached")
    page.get_by_label("Compare among").fill("50")
    page.get_by_text("By itself", exact=True).click()
    page.get_by_label("If none is clearly better").select_option("nothing")
    assert plan(page, "experiment") == {
        "holdout": 0,
        "test": 50,
        "metric": "converted",
        "goal": "purchase",
        "hours": 24,
        "decide": "rule",
        "fallback": "nothing",
    }
    page.locator("[data-steps]").get_by_text("wait until 24 hours have decided which variant wins").wait_for()


def test_a_moment_in_the_past_and_what_works_against_itself(
    page: Any, anna: User, shop: Tenant, crowd: None
) -> None:
    panels_page.show(page, anna, shop, panels=["schedule"])
    page.get_by_text("At one moment").click()
    page.get_by_text("In UTC").or_(page.get_by_text("That is")).first.wait_for()
    starts = page.get_by_label("Date and time")
    starts.fill("2020-01-01T09:00")
    page.get_by_text("This moment is over.").wait_for()
    assert starts.get_attribute("aria-invalid") == "true"
    starts.fill("2036-03-30T02:30")
    page.get_by_label("Time zone").select_option("Europe/Berlin")
    page.get_by_text("Clocks in Berlin jump over 02:30 that night: it begins at the jump, 03:00.").wait_for()
    page.get_by_text("At each person’s local time", exact=True).first.click()
    table = page.locator(".p-zones")
    table.get_by_text("Tokyo").wait_for()
    table.get_by_text("the clocks jump over this time").wait_for()
    page.get_by_text("Only at certain hours").click()
    page.get_by_text("02:30 on everybody’s clock is outside these hours").wait_for()
    assert plan(page, "schedule.window") == {"start": "09:00", "end": "20:00"}


def test_a_rule_is_made_of_simple_parts(page: Any, anna: User, shop: Tenant, crowd: None) -> None:
    panels_page.show(page, anna, shop, panels=["schedule"])
    page.get_by_text("Again and again").click()
    page.get_by_label("First run").fill("2036-10-20T09:00")
    page.get_by_text("The next five runs").wait_for()
    for day in ("MO", "TH"):
        page.locator(f'[name="schedule-day"][value="{day}"]').set_checked(True, force=True)
    page.get_by_label("Every how many").fill("2")
    page.get_by_label("Ends").select_option("count")
    assert "INTERVAL=2" in plan(page, "schedule.rule")
    assert plan(page, "schedule.rule").endswith("COUNT=10")
    page.get_by_text("The rule itself").click()
    raw = page.get_by_label("As calendars write it")
    raw.fill("FREQ=MONTHLY;BYDAY=1MO")
    page.get_by_text("This rule says more than the simple fields can show").wait_for()
    page.locator(".p-runs li").first.get_by_text("Mon 3 Nov 2036, 09:00").wait_for()
    raw.fill("FREQ=OFTEN")
    page.get_by_text("Not a recurrence rule such as").wait_for()


@pytest.mark.parametrize(("width", "theme"), [(360, "light"), (1280, "dark")])
def test_panels_are_accessible_and_do_not_scroll_sideways(
    page: Any, anna: User, shop: Tenant, crowd: None, width: int, theme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.add_init_script(f"localStorage.setItem('_x_adminTheme', JSON.stringify('{theme}'))")
    soon = datetime.now(UTC) + timedelta(days=3)
    schedule = {
        "kind": "local",
        "starts": f"{soon:%Y-%m-%d}T09:00",
        "window": {"start": "10:00", "end": "20:00"},
    }
    sections = {
        "variants": TWO,
        "experiment": {"test": 40, "holdout": 10},
        "audience": {"segments": ["x" * 60], "not_segments": []},
        "schedule": schedule,
        "safety": {"canary": 100, "stop_percent": 10},
    }
    panels_page.show(page, anna, shop, sections)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    browser.assert_accessible(page)
    page.get_by_role("button", name="New segment").click()
    page.get_by_role("button", name="Group").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    browser.assert_accessible(page)
