"""The composer and the live page in a real browser: what only JavaScript does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from campaigns.models import Campaign
from notifications.models import Notification, Tally
from tests import browser
from tests.conftest import Tenant

pytestmark = browser.MARKS


def test_a_marketer_writes_previews_launches_and_watches(
    page: Any, shop: Tenant, make_device: Any, opt_in: Any, console_credential: None
) -> None:
    for name in ("ada", "bob"):
        make_device(shop, name)
    opt_in(shop, "ada")
    page.goto("/admin/campaigns/campaign/add/")
    page.fill("#id_title", "Warm coats")
    page.fill("#id_body", "Up to 40 % off")
    page.fill("#id_name", "Autumn")
    shown = page.locator('[data-surface="ios"] [data-preview="title"]')
    assert shown.inner_text() == "Warm coats"
    page.locator(".c-chips").get_by_text("Android").click()
    assert page.locator('[data-surface="android"] [data-preview="body"]').is_visible()
    page.locator("#payload").get_by_text("of 4,096 bytes").first.wait_for()
    page.locator("#reach .c-big").get_by_text("1").wait_for()

    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Send to 1 device").click()
    page.get_by_role("dialog").get_by_role("button", name="Send to 1 device").click()
    page.wait_for_url("**/live/")
    campaign = Campaign.objects.get()
    Notification.objects.filter(id=campaign.notification_id).update(recipient_count=10, status="sending")
    row = {"notification_id": campaign.notification_id, "slot": 0, "outcome": "accepted", "reason": ""}
    Tally.objects.create(**row, count=4)
    page.locator('#live [role="progressbar"][aria-valuenow="40"]').wait_for()
    Tally.objects.filter(notification_id=campaign.notification_id).update(count=10)
    page.locator('#live [role="progressbar"][aria-valuenow="100"]').wait_for()
    page.locator("#live:not([data-live])").wait_for()
    assert page.get_by_role("button", name="Cancel…").count() == 0


def test_a_large_launch_stays_locked_until_the_number_is_typed(
    page: Any,
    shop: Tenant,
    make_campaign: Callable[..., Campaign],
    monkeypatch: pytest.MonkeyPatch,
    console_credential: None,
) -> None:
    from campaigns import selectors
    from notifications.reach import Reach

    monkeypatch.setattr(
        selectors, "reach_now", lambda campaign: Reach(reachable=412_380, platforms={"ios": 412_380})
    )
    page.goto(f"/admin/campaigns/campaign/{make_campaign().pk}/review/")
    page.get_by_role("button", name="Send to 412,380 devices").click()
    send = page.get_by_role("dialog").get_by_role("button", name="Send to 412,380 devices")
    assert send.is_disabled()
    page.fill("#id_typed", "412,380")
    assert send.is_enabled()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_page_scrolls_sideways(
    page: Any, shop: Tenant, make_campaign: Callable[..., Campaign], make_device: Any, width: int
) -> None:
    device = make_device(shop, "somebody-with-a-rather-long-id-" + "x" * 60)
    campaign = make_campaign(title="A title that goes on " * 5, name="A name that goes on " * 5)
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
    ):
        page.goto(f"/admin/{url}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (url, width)
