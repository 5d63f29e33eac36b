"""Every main page, in light and in dark, has nothing that axe calls serious or critical."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from campaigns import services
from campaigns.models import Campaign
from devices.models import Category, Segment
from notifications.models import Notification, Template
from tests import browser
from tests.campaigns.conftest import notification_of
from tests.conftest import Tenant

pytestmark = browser.MARKS


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_main_pages(
    page: Any,
    admin: Client,
    shop: Tenant,
    make_campaign: Callable[..., Campaign],
    make_device: Any,
    opt_in: Any,
    console_credential: None,
    scheme: str,
) -> None:
    page.emulate_media(color_scheme=scheme)
    found = []
    for name, url in _pages(admin, shop, make_campaign, make_device, opt_in).items():
        page.goto(f"/admin/{url}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.classList.contains('dark')") == (scheme == "dark")
        found += [f"{name}: {words}" for words in browser.violations(page)]
    assert not found, "\n".join(found)


def _pages(
    admin: Client, shop: Tenant, make_campaign: Callable[..., Campaign], make_device: Any, opt_in: Any
) -> dict[str, str]:
    device = make_device(shop, "ada")
    opt_in(shop, "ada")
    draft, running = make_campaign(), make_campaign(name="Running")
    services.launch(running, by="staff:anna")
    notification = notification_of(running)
    Notification.objects.filter(id=notification.id).update(recipient_count=10, status="sending")
    category = Category.objects.get(application=shop.application, slug="marketing")
    segment = Segment.objects.create(
        application=shop.application,
        name="Germans",
        slug="germans",
        rules={"field": "subscriber.country", "op": "in", "value": ["DE"]},
    )
    template = Template.objects.create(application=shop.application, name="Order", slug="order")
    credential = shop.application.credentials.get()
    return {
        "dashboard": "",
        "campaigns": "campaigns/campaign/",
        "new campaign": "campaigns/campaign/add/",
        "composer": f"campaigns/campaign/{draft.pk}/change/",
        "review": f"campaigns/campaign/{draft.pk}/review/",
        "live": f"campaigns/campaign/{running.pk}/live/",
        "recipients": f"campaigns/campaign/{running.pk}/recipients/?result=accepted",
        "calendar": "campaigns/campaign/calendar/",
        "versions": f"campaigns/campaign/{draft.pk}/history/",
        "explain": f"explain/?subscriber={device.subscriber_id}&notification={notification.pk}",
        "reasons": "reasons/",
        "credential health": "credentials/health/",
        "testers": "campaigns/tester/",
        "memberships": "tenants/membership/",
        "new membership": "tenants/membership/add/",
        "application": f"tenants/application/{shop.id}/change/",
        "categories": "devices/category/",
        "category": f"devices/category/{category.pk}/change/",
        "segment": f"devices/segment/{segment.pk}/change/",
        "template": f"notifications/template/{template.pk}/change/",
        "credential": f"tenants/credential/{credential.pk}/change/",
        "new credential": "tenants/credential/add/?provider=apns",
        "subscriber": f"devices/subscriber/{device.subscriber_id}/change/",
        "device": f"devices/device/{device.pk}/change/",
        "notification": f"notifications/notification/{notification.pk}/change/",
        "dead letters": "notifications/replay/",
        "staff": "auth/user/",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_login(page: Any, context: Any, scheme: str) -> None:
    context.clear_cookies()
    page.emulate_media(color_scheme=scheme)
    page.goto("/admin/login/")
    browser.assert_accessible(page)
