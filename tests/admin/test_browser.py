"""From the overview to a running campaign with the keyboard alone; and that no page is too wide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from campaigns.models import Campaign
from devices.models import Segment, Subscriber
from tests import browser
from tests.conftest import Tenant

pytestmark = browser.MARKS


def test_the_keyboard_alone_writes_chooses_reviews_and_launches(
    page: Any, shop: Tenant, make_device: Any, opt_in: Any, console_credential: None
) -> None:
    for name in ("ada", "bob", "cleo"):
        make_device(shop, name, platform="android" if name == "cleo" else "ios")
        opt_in(shop, name)
    Subscriber.objects.filter(external_id="cleo").update(attributes={"plan": "gold"})
    rules = {"field": "subscriber.external_id", "is": "equal", "value": "ada"}
    Segment.objects.create(application=shop.application, slug="friends", name="Old friends", rules=rules)
    page.goto("/admin/")
    press(page, page.get_by_role("link", name="New campaign").first)
    page.locator("#composer[data-ready]").wait_for()
    for field, words in (("#k-name", "Autumn"), ("#k-title", "Warm coats"), ("#k-body", "Up to 40 % off")):
        reach(page, page.locator(field))
        page.keyboard.type(words)
    page.locator(".k-reach").get_by_text("3", exact=True).wait_for()
    press(page, page.locator('[data-go="audience"]'))
    choose_segment(page, "Old friends")
    page.locator(".k-reach").get_by_text("1", exact=True).wait_for()
    write_segment(page, "Gold", "plan", "gold")
    page.locator(".k-reach").get_by_text("2", exact=True).wait_for()
    page.locator('#k-state[data-state="saved"]').wait_for()
    press(page, page.locator("[data-review]").first)
    page.wait_for_url("**/review/")
    press(page, page.get_by_role("button", name="Send to 2 devices"))
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    why = dialog.get_by_label("Why send it all the same?")
    if why.count():
        reach(page, why)
        page.keyboard.type("It is a trial.")
    press(page, dialog.get_by_role("button", name="Send to 2 devices"))
    page.wait_for_url("**/live/")
    campaign = Campaign.objects.get()
    assert campaign.latest_run
    assert campaign.plan["audience"]["segments"] == ["friends", "gold"]


def choose_segment(page: Any, name: str) -> None:
    everyone = page.get_by_role("radio", name="Everyone")
    reach(page, everyone)
    page.keyboard.press("ArrowDown")
    chosen = page.get_by_role("radio", name="People in segments")
    assert chosen.evaluate("one => one.checked && one === document.activeElement")
    reach(page, page.get_by_role("combobox", name="Choose a segment to include"))
    page.keyboard.press("ArrowDown")
    page.get_by_role("option", name=name).wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".p-chip").get_by_text(name).wait_for()


def write_segment(page: Any, name: str, attribute: str, value: str) -> None:
    press(page, page.get_by_role("button", name="New segment"))
    sheet = page.get_by_role("dialog", name="New segment")
    sheet.get_by_role("button", name="Rule", exact=True).wait_for()
    page.keyboard.type(name)
    press(page, sheet.get_by_role("button", name="Rule", exact=True))
    reach(page, sheet.get_by_label("Name of the attribute"))
    page.keyboard.type(attribute)
    comparison = sheet.get_by_label("Comparison")
    reach(page, comparison)
    passed = [comparison.input_value()]
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
        assert comparison.evaluate("one => one === document.activeElement"), key
        passed.append(comparison.input_value())
    assert len(set(passed)) == 3
    assert passed[0] == passed[-1]
    reach(page, sheet.get_by_label("Value", exact=True))
    page.keyboard.type(value)
    sheet.get_by_text("1 person with 1 device").wait_for()
    press(page, sheet.get_by_role("button", name="Save and use it"))
    sheet.wait_for(state="hidden")
    page.locator(".p-chip").get_by_text(name).wait_for()
    assert page.evaluate("document.activeElement.dataset.new") == "rules"


def reach(page: Any, target: Any) -> None:
    """By the Tab key; the target's first match."""
    for _ in range(200):
        if target.evaluate("one => one === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {target}")


def press(page: Any, target: Any) -> None:
    reach(page, target)
    page.keyboard.press("Enter")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_page_scrolls_sideways(
    page: Any, shop: Tenant, make_campaign: Callable[..., Campaign], make_device: Any, anna: User, width: int
) -> None:
    device = make_device(shop, "somebody-with-a-rather-long-id-" + "x" * 60)
    campaign = make_campaign(content={"title": "A title that goes on " * 5}, name="A name that goes on " * 5)
    page.set_viewport_size({"width": width, "height": 780})
    for url in (
        "",
        "campaigns/campaign/",
        f"campaigns/campaign/{campaign.pk}/change/",
        f"campaigns/campaign/{campaign.pk}/review/",
        f"devices/device/{device.pk}/change/",
        "devices/device/",
        "tenants/credential/add/",
        "tenants/credential/add/?provider=apns",
        "tenants/apikey/add/",
        "campaigns/campaign/calendar/",
        f"campaigns/campaign/{campaign.pk}/history/",
        f"explain/?subscriber={device.subscriber_id}",
        "reasons/",
        "credentials/health/",
        "campaigns/tester/",
        "tenants/membership/",
        "tenants/membership/add/",
        f"auth/user/{anna.pk}/change/",
    ):
        page.goto(f"/admin/{url}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (url, width)
