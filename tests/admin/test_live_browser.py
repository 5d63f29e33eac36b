"""The page of a run in a real browser: it moves by itself, on phones too, and says when it cannot."""

from __future__ import annotations

import re
from typing import Any

import pytest

from campaigns import services
from campaigns.models import Campaign
from notifications.models import Notification, Tally
from tests import browser
from tests.campaigns.test_live import address, book, compared, reach, ripen, sending, stage

__all__ = ["compared", "sending"]

pytestmark = browser.MARKS

LOOKS = [(width, scheme) for width in (1280, 360) for scheme in ("light", "dark")]


def test_its_numbers_move_without_a_reload(page: Any, sending: Campaign) -> None:
    one = stage(sending)
    book(one, "accepted", 400)
    page.goto(address(sending))
    page.evaluate("window.isTheSame = true")
    page.locator("#sum-accepted").focus()
    page.locator('#live [aria-valuenow="40"]').wait_for()

    Tally.objects.update(count=650)
    book(one, "unregistered", 50, "unregistered")
    page.locator('#live [aria-valuenow="70"]').wait_for(timeout=4_000)
    assert page.locator("#sum-accepted .c-sum-num").inner_text() == "650"
    assert page.get_by_text("App removed from the device").first.is_visible()
    assert page.evaluate("document.activeElement.id") == "sum-accepted"

    Tally.objects.filter(outcome="accepted").update(count=950)
    reach(one, 1000, is_over=True)
    page.locator("#live:not([data-live])").wait_for()
    page.locator("#live-deeds button", has_text="Pause").wait_for(state="detached")
    assert "Finished" in page.locator("#live").inner_text()
    assert page.evaluate("window.isTheSame") is True


def test_it_is_paused_and_resumed_by_the_keyboard(page: Any, sending: Campaign) -> None:
    page.goto(address(sending))
    pause = page.get_by_role("button", name="Pause")
    pause.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Resume").wait_for()
    assert not Notification.objects.filter(paused_at=None).exists()
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    assert not Notification.objects.exclude(paused_at=None).exists()


def test_a_colleagues_pause_is_seen_by_itself(page: Any, sending: Campaign) -> None:
    page.goto(address(sending))
    services.pause(sending)
    page.get_by_role("button", name="Resume").wait_for(timeout=4_000)


def test_the_first_minute_counts_down_and_is_undone(page: Any, faults: Any, make_campaign: Any) -> None:
    campaign = services.launch(make_campaign(schedule={"undo": True}), by="staff:anna")
    page.goto(address(campaign))
    undo = page.get_by_role("button", name="Undo send")
    before = undo.inner_text()
    page.wait_for_function(
        "(before) => document.querySelector('[data-primary]').innerText !== before", arg=before
    )
    assert re.search(r"Undo send\s+\d\d? s", undo.inner_text())
    undo.click()
    page.wait_for_url("**/change/")
    campaign.refresh_from_db()
    assert campaign.status == "draft"


def test_cancelling_asks_with_the_numbers_of_now(page: Any, sending: Campaign) -> None:
    book(stage(sending), "accepted", 100)
    page.goto(address(sending))
    page.get_by_role("button", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    assert "100 are already with" in dialog.inner_text()
    Tally.objects.update(count=300)
    dialog.get_by_text("300 are already with").wait_for(timeout=4_000)
    dialog.get_by_role("button", name="Cancel the rest").click()
    page.locator("#live .c-chip-lg", has_text="Cancelled").wait_for()


@pytest.mark.parametrize("how", ["away", "signed out"])
def test_a_lost_connection_greys_the_numbers_and_keeps_them(
    page: Any, context: Any, faults: browser.Faults, sending: Campaign, how: str
) -> None:
    faults.expect("live-status", "htmx")
    book(stage(sending), "accepted", 100)
    page.goto(address(sending))
    if how == "away":
        page.route("**/live-status/**", lambda route: route.abort())
    else:
        page.route("**/live-status/**", lambda route: route.fulfill(status=200, body="<h1>Log in</h1>"))
    page.locator("#live.is-offline").wait_for()
    assert page.get_by_text("reconnecting").is_visible()
    assert page.locator("#sum-accepted .c-sum-num").inner_text() == "100"
    page.unroute("**/live-status/**")
    page.locator("#live:not(.is-offline)").wait_for()
    assert not page.get_by_text("reconnecting").is_visible()


def test_the_winner_is_sent_and_early_looks_stay_open(page: Any, compared: Campaign) -> None:
    page.goto(address(compared))
    assert page.locator("#send-winner").is_disabled()
    page.get_by_text("Look early").click()
    with page.expect_response("**/live-details/**"):
        page.evaluate("htmx.trigger(document.body, 'run-ended')")
    page.wait_for_timeout(300)
    assert page.get_by_text("do not decide by this").is_visible()
    ripen(compared)
    page.reload()
    page.get_by_role("button", name="Send B to the rest").click()
    page.get_by_text("B goes to the remainder: decided by anna").wait_for()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_it_fits_and_is_accessible(page: Any, compared: Campaign, width: int, scheme: str) -> None:
    ripen(compared)
    for key in "AB":
        one = stage(compared, "send", key)
        book(one, "suppressed", 30, "capped")
        for provider in ("apns", "fcm", "webpush"):
            book(one, "rejected", 1_234, "payload_too_large", provider)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 780})
    for url in (address(compared), address(compared, "recipients", "?result=suppressed&reason=capped")):
        page.goto(url)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        browser.assert_accessible(page)
        small = page.evaluate(
            "innerWidth > 400 ? []"
            " : [...document.querySelectorAll('main .c-btn, #live-deeds .c-btn, .l-by a, summary')]"
            ".filter((one) => one.offsetParent && one.getBoundingClientRect().height < 44).map((one) => one.outerHTML)"
        )
        assert not small
