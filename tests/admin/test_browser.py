"""From the overview to a running campaign with the keyboard alone; and that no page is too wide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from campaigns.models import Campaign
from tests import browser
from tests.conftest import Tenant

pytestmark = browser.MARKS


def test_the_keyboard_alone_writes_reviews_and_launches(
    page: Any, shop: Tenant, make_device: Any, opt_in: Any, console_credential: None
) -> None:
    for name in ("ada", "bob"):
        make_device(shop, name)
    opt_in(shop, "ada")
    page.goto("/admin/")
    press(page, page.get_by_role("link", name="New campaign").first)
    page.locator("#composer[data-ready]").wait_for()
    for field, words in (("#k-name", "Autumn"), ("#k-title", "Warm coats"), ("#k-body", "Up to 40 % off")):
        reach(page, page.locator(field))
        page.keyboard.type(words)
    page.locator(".k-reach").get_by_text("1", exact=True).wait_for()
    press(page, page.locator("[data-review]").first)
    page.wait_for_url("**/review/")
    press(page, page.get_by_role("button", name="Send to 1 device"))
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    why = dialog.get_by_label("Why send it all the same?")
    if why.count():
        reach(page, why)
        page.keyboard.type("It is a trial.")
    press(page, dialog.get_by_role("button", name="Send to 1 device"))
    page.wait_for_url("**/live/")
    assert Campaign.objects.get().latest_run


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
