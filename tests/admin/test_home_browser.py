"""The overview, the list, the calendar and versions in a real browser: small, dark, by keyboard, and as they move."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from campaigns import approving, services
from campaigns.models import Campaign
from notifications.models import Notification, RollupDay, Tally
from tests import browser
from tests.campaigns.conftest import notification_of
from tests.conftest import Tenant

pytestmark = browser.MARKS

Make = Callable[..., Campaign]
URL = "/admin/campaigns/campaign/"
TALL = 44

# What a finger has to hit, of what our pages draw.
TARGETS = "#main .c-btn, .h-tabs a, .h-menu summary, .h-agenda .h-entry, .h-table summary, .c-rows a"


@pytest.fixture
def going(anna: User, make_campaign: Make) -> Campaign:
    campaign = services.launch(make_campaign(name="Black Friday"), by="staff:anna", user=anna)
    Notification.objects.filter(id=notification_of(campaign).id).update(recipient_count=100, status="sending")
    Tally.objects.create(
        notification_id=notification_of(campaign).id, slot=0, outcome="accepted", reason="", count=40
    )
    return campaign


@pytest.fixture
def filled(anna: User, shop: Tenant, rival: Tenant, going: Campaign, make_campaign: Make) -> Campaign:
    """A draft with two versions, beside what is under way, planned and past."""
    today = timezone.now()
    for ago in range(30):
        day = (today - timedelta(days=ago)).date()
        for outcome, count in (
            ("accepted", 9000 + ago),
            ("rejected", 90),
            ("opened", 400),
            ("unregistered", 20),
        ):
            RollupDay.objects.create(application_id=shop.id, day=day, outcome=outcome, count=count)
    for kind in ("at", "local"):
        schedule = {"kind": kind, "starts": f"{today + timedelta(days=2):%Y-%m-%d}T09:00"}
        named = make_campaign(name=f"{kind}, a campaign with a rather long name", schedule=schedule)
        services.launch(named, by="staff:anna")
    approving.ask(
        asked := make_campaign(name="Asked", by=None), by=User.objects.create_user("bert"), devices=1
    )
    assert asked
    draft = make_campaign(by=anna)
    services.save(draft, {"name": "Winter"}, version=draft.version, by=User.objects.get(username="bert"))
    return draft


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]
)
def test_pages_are_accessible_and_fit(page: Any, filled: Campaign, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    month = f"{timezone.now() + timedelta(days=2):%Y-%m}"
    found = []
    for url in (
        "/admin/",
        URL,
        f"{URL}?q=nothing+like+it",
        f"{URL}calendar/?month={month}",
        f"{URL}{filled.pk}/history/?old=1&new=2",
    ):
        page.goto(url)
        page.wait_for_load_state("networkidle")
        if url == "/admin/":
            page.locator("#trend-table summary").click()
        found += [f"{url}: {words}" for words in browser.violations(page)]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(f"{url}: scrolls sideways at {width}")
        if width < 400:
            heights = page.eval_on_selector_all(
                TARGETS,
                "all => all.filter(one => one.offsetParent).map(one => [one.textContent.trim(), one.offsetHeight])",
            )
            found += [f"{url}: {words!r} is {height} px tall" for words, height in heights if height < TALL]
    assert not found, "\n".join(found)


def test_the_bar_of_what_is_sent_moves_by_itself(page: Any, going: Campaign) -> None:
    page.goto("/admin/")
    bar = page.get_by_role("progressbar", name="Black Friday")
    assert bar.get_attribute("aria-valuenow") == "40"
    Tally.objects.update(count=75)
    page.locator('#sending [role="progressbar"][aria-valuenow="75"]').wait_for(timeout=5_000)


def test_a_part_that_cannot_be_loaded_is_asked_for_again(
    page: Any, faults: browser.Faults, filled: Campaign
) -> None:
    faults.expect("numbers", "Response Status Error")
    page.route("**/numbers/", lambda route: route.fulfill(status=500))
    page.goto("/admin/")
    retry = page.locator("#numbers").get_by_role("button", name="Retry")
    retry.wait_for()
    assert page.get_by_role("heading", name="Sending now").is_visible()
    page.unroute("**/numbers/")
    retry.click()
    page.get_by_role("heading", name="The last 30 days").wait_for()
    assert page.locator("#numbers svg").count() == 3

    # An open table stays open when new numbers come in.
    page.locator("#trend-table summary").click()
    RollupDay.objects.filter(outcome="accepted").update(count=77_777)
    with page.expect_response("**/numbers/"):
        page.evaluate("htmx.trigger('#numbers', 'retry')")
    page.locator("#trend-table").get_by_text("77,777").first.wait_for()


def test_an_app_is_chosen(page: Any, filled: Campaign) -> None:
    page.goto("/admin/")
    page.select_option("#h-app", label="Rival")
    page.wait_for_url("**/admin/?app=rival")
    page.get_by_text("Nothing is being sent.").wait_for()


def test_tabs_rows_and_the_archive(page: Any, filled: Campaign) -> None:
    page.goto(URL)
    tabs = page.get_by_role("navigation", name="Campaigns by state")
    tabs.get_by_role("link", name="Drafts 1").click()
    page.wait_for_url("**/?tab=drafts")
    assert page.locator(".h-row").count() == 1
    archive = page.get_by_role("button", name="Archive chosen")
    assert archive.is_disabled()
    page.get_by_label("All on this page").check()
    page.get_by_role("button", name="Archive chosen (1)").click()
    page.get_by_text("“Winter” is archived").wait_for()
    page.get_by_text("No drafts. They save themselves as you write.").wait_for()
    tabs.get_by_role("link", name="Archived 1").click()
    page.get_by_label("What to do with Winter").click()
    page.get_by_role("button", name="Put back", exact=True).click()
    page.get_by_text("“Winter” is back in the list").wait_for()


def test_a_rows_menu_by_keyboard(page: Any, going: Campaign) -> None:
    page.goto(URL)
    menu = page.get_by_label("What to do with Black Friday")
    menu.focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Cancel…").wait_for()
    page.keyboard.press("Escape")
    assert not page.get_by_role("link", name="Cancel…").is_visible()
    assert menu.evaluate("one => one === document.activeElement")

    page.keyboard.press("Enter")
    page.get_by_role("link", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    assert "Cancel “Black Friday”?" in dialog.inner_text()
    dialog.get_by_role("button", name="Cancel the rest").click()
    page.wait_for_url("**/live/")
    going.refresh_from_db()
    assert going.status == "cancelled"


def test_the_calendar_by_keyboard_and_on_a_phone(page: Any, make_campaign: Make) -> None:
    make_campaign(name="Soon", schedule={"kind": "at", "starts": "2031-03-18T09:00"})
    page.goto(f"{URL}calendar/?month=2031-03")
    first = page.locator('td[tabindex="0"]')
    first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    # The first of March 2031 is a Saturday.
    assert page.evaluate("document.activeElement.querySelector('.c-num').textContent") == "16"
    page.keyboard.press("PageDown")
    page.wait_for_url("**/calendar/?month=2031-04")
    page.keyboard.press("PageUp")
    page.wait_for_url("**/calendar/?month=2031-03")
    assert page.get_by_role("grid").get_by_role("link", name="Soon").is_visible()

    page.set_viewport_size({"width": 360, "height": 800})
    assert not page.get_by_role("grid").is_visible()
    assert page.locator(".h-agenda").get_by_role("link", name="Soon").is_visible()
