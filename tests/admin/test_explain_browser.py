"""The page that explains, in a browser: by keyboard, on a phone, light and dark."""

from __future__ import annotations

from typing import Any

import pytest

from devices.models import Cap, Category
from notifications.models import Notification
from tests import browser
from tests.admin.test_explain_page import PAGE, accepted, told
from tests.conftest import Tenant, forget

pytestmark = browser.MARKS


@pytest.fixture
def refused(shop: Tenant, make_device: Any) -> Notification:
    """The fourth of a week in which three are allowed; mia's other device is gone."""
    make_device(shop, "mia", permission="granted", model="iPhone 15")
    gone = make_device(shop, "mia", platform="android", model="Pixel 8", permission="granted")
    category = Category.objects.get(application=shop.application, slug="transactional")
    Cap.objects.create(application=shop.application, category=category, most=3, period="week")
    forget()
    first = accepted(shop)
    told(first, gone, "unregistered", "unregistered", detail="UNREGISTERED")
    return [accepted(shop) for _ in range(3)][-1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_from_the_search_to_the_answer(page: Any, refused: Notification, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(PAGE)
    page.get_by_label("Person").fill("mia")
    page.keyboard.press("Enter")
    page.get_by_text("Now choose the message").wait_for()
    page.get_by_label("Message", exact=True).select_option(str(refused.id))
    page.get_by_role("button", name="Explain").click()
    page.get_by_role("heading", name="weekly cap reached (3 of 3)").wait_for()
    assert page.get_by_role("link", name="Open the caps").is_visible()
    page.get_by_text("Raw record (JSON)").click()
    browser.assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width == 360:
        low = page.evaluate(
            "[...document.querySelectorAll('main .c-btn, main select, main input, main summary')]"
            ".filter((one) => one.getBoundingClientRect().height < 44).map((one) => one.outerHTML)"
        )
        assert not low
