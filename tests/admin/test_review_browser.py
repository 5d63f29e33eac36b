"""The way from the review to a launch, in a real browser: dialog, drawer, keyboard, small screens, axe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from campaigns import approving, review, services, testing
from campaigns.models import Campaign, Run
from campaigns.models import TestSend as Sent
from tests import browser
from tests.conftest import Tenant

pytestmark = browser.MARKS

Make = Callable[..., Campaign]


@pytest.fixture
def campaign(
    shop: Tenant, make_device: Any, opt_in: Any, console_credential: None, make_campaign: Make, anna: User
) -> Campaign:
    device = make_device(shop, "mia", model="iPhone 15", time_zone="Europe/Berlin")
    make_device(shop, "bob", platform="android")
    make_device(shop, "eve", platform="web")
    opt_in(shop, "mia")
    opt_in(shop, "bob")
    testing.add(device.subscriber, name="Mia", user=anna)
    variants = [
        {"key": "A", "content": {"title": "The sale is on", "body": "Until Sunday.", "url": "shop://sale"}},
        {"key": "B", "content": {"title": "Hi {{ subscriber.external_id }}, up to 40 % off", "body": "Now."}},
    ]
    return make_campaign(variants=variants, schedule={"undo": True})


def opened(page: Any, campaign: Campaign) -> None:
    page.goto(f"/admin/campaigns/campaign/{campaign.pk}/review/")
    page.wait_for_load_state("networkidle")


def test_from_the_review_to_the_undo(page: Any, campaign: Campaign) -> None:
    opened(page, campaign)
    page.get_by_label("Variant").select_option("B")
    page.get_by_label("As this person sees it").fill("mia")
    page.keyboard.press("Tab")
    page.get_by_text("Hi mia, up to 40 % off").first.wait_for()
    page.get_by_role("button", name="Run again").click()
    page.wait_for_load_state("networkidle")

    launch = page.get_by_role("button", name="Send to 2 devices")
    launch.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Send to 2 devices?")
    dialog.wait_for()
    for _ in range(12):  # the focus stays inside, or goes to the browser's own bars
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('#launch-dialog')"
        )
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.dataset.opens") == "launch-dialog"
    assert not Run.objects.exists()

    page.keyboard.press("Enter")
    page.keyboard.press("Control+Enter")  # opens nothing while a dialog is open
    dialog.get_by_label("Why send it all the same?").fill("The sale begins today.")
    dialog.get_by_role("button", name="Send to 2 devices").click()
    page.wait_for_url("**/live/")
    assert set(Run.objects.get().overridden.values()) == {"The sale begins today."}
    page.get_by_role("button", name="Undo send").click()
    page.wait_for_url("**/change/")
    assert Campaign.objects.get().status == "draft"


def test_a_test_from_the_checklist(page: Any, campaign: Campaign) -> None:
    opened(page, campaign)
    page.get_by_role("link", name="Send a test to yourself.").click()
    drawer = page.get_by_role("dialog", name="Send a test")
    assert drawer.get_by_label("Me: Mia").is_checked()
    drawer.get_by_label("Variant").select_option("B")
    drawer.get_by_role("button", name="Send the test").click()
    drawer.get_by_text("mia · iPhone 15").wait_for()
    assert Sent.objects.get().variant == "B"
    page.keyboard.press("Escape")
    drawer.wait_for(state="hidden")
    page.get_by_role("button", name="Run again").click()
    page.get_by_text("still on its way").wait_for()


def test_of_a_large_app_it_comes_in_two_steps(
    page: Any, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "COUNTED_AT_ONCE", 1)
    opened(page, campaign)
    page.get_by_role("button", name="Send a test…").click()
    page.get_by_label("Me: Mia").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Send to 2 devices").click()
    page.get_by_role("dialog", name="Send to 2 devices?").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_and_is_accessible(page: Any, campaign: Campaign, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    opened(page, campaign)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    browser.assert_accessible(page)
    page.get_by_role("button", name="Send to 2 devices").click()
    browser.assert_accessible(page)
    _fits(page, "launch-dialog", width)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Send a test…").click()
    page.get_by_role("button", name="Send the test").wait_for()
    browser.assert_accessible(page)
    _fits(page, "test-drawer", width)
    if width == 360:
        small = page.evaluate(
            "[...document.querySelectorAll('main .c-btn, dialog[open] .c-btn, dialog[open] label, .c-bar .c-btn')]"
            ".filter((one) => one.offsetHeight && one.offsetHeight < 44 && !one.classList.contains('c-label'))"
            ".map((one) => one.textContent.trim())"
        )
        assert not small


def test_what_a_second_person_decides_about_fits(
    page: Any, campaign: Campaign, shop: Tenant, anna: User
) -> None:
    zoe = User.objects.create_superuser("zoe")
    Campaign.objects.update(created_by=zoe)
    local = {"schedule": {"kind": "local", "starts": "2027-03-28T02:30"}}
    asked = services.save(Campaign.objects.get(), local, version=1, by=zoe)
    approving.ask(asked, by=zoe, devices=2, note="Please look.")
    page.set_viewport_size({"width": 360, "height": 800})
    opened(page, campaign)
    page.get_by_text("clocks jump over this time").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelector('.c-table-wrap').scrollWidth") <= 360
    browser.assert_accessible(page)
    page.get_by_label("A word to the author").fill("Fine.")
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("Approved by anna").first.wait_for()


def _fits(page: Any, id: str, width: int) -> None:
    box = page.evaluate(
        "(id) => { const one = document.getElementById(id); return [one.scrollWidth, one.clientWidth]; }", id
    )
    assert box[0] <= box[1] <= width
