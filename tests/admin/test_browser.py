"""From an empty page to a running campaign in a real browser; and that no page is too wide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from campaigns.models import Campaign
from tests import browser
from tests.conftest import Tenant

pytestmark = browser.MARKS


def test_a_marketer_writes_reviews_and_launches(
    page: Any, shop: Tenant, make_device: Any, opt_in: Any, console_credential: None
) -> None:
    for name in ("ada", "bob"):
        make_device(shop, name)
    opt_in(shop, "ada")
    page.goto("/admin/campaigns/campaign/add/")
    page.fill("#k-name", "Autumn")
    page.fill("#k-title", "Warm coats")
    page.fill("#k-body", "Up to 40 % off")
    page.locator(".k-reach").get_by_text("1", exact=True).wait_for()
    page.locator("[data-review]").first.click()
    page.wait_for_url("**/review/")
    page.get_by_role("button", name="Send to 1 device").click()
    dialog = page.get_by_role("dialog")
    if dialog.get_by_label("Why send it all the same?").count():
        dialog.get_by_label("Why send it all the same?").fill("It is a trial.")
    dialog.get_by_role("button", name="Send to 1 device").click()
    page.wait_for_url("**/live/")
    assert Campaign.objects.get().latest_run


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
