"""Writing a template in a real browser: what it reads and how it looks follows what is typed."""

from __future__ import annotations

from typing import Any

from devices.models import Subscriber
from notifications.models import Template
from tests import browser
from tests.conftest import Tenant

pytestmark = browser.MARKS


def test_a_marketer_writes_a_template_and_sees_it_as_ann_will(
    page: Any, shop: Tenant, make_device: Any
) -> None:
    make_device(shop, "ann")
    Subscriber.objects.update(attributes={"first_name": "Ann"}, locale="de-AT")
    page.goto("/admin/notifications/template/add/")
    page.fill("[name=own-title]", "Hello {{ subscriber.attributes.first_name }}")
    page.fill("[name=own-body]", "Order {{ variables.order }} is on its way")
    page.fill("[name='sample:variables.order']", "77")
    page.fill("[name='default:subscriber.attributes.first_name']", "friend")
    page.fill("[name=name]", "Order shipped")
    page.fill("[name=slug]", "order-shipped")
    page.get_by_role("button", name="Add a language").click()
    page.fill("[name=languages-0-code]", "de")
    page.fill("[name=languages-0-title]", "Hallo {{ subscriber.attributes.first_name }}")
    phone = page.locator('[data-surface="ios"]')
    phone.get_by_text("Hello friend").wait_for()
    phone.get_by_text("Order 77 is on its way").wait_for()
    page.fill("[name=person]", "ann")
    phone.get_by_text("Hallo Ann").wait_for()

    page.fill("[name=own-title]", "Hello {{ user.name }}")
    page.locator("#variables").get_by_text("there is no “user”").wait_for()
    page.fill("[name=own-title]", "Hello {{ subscriber.attributes.first_name }}")
    default = page.locator(
        "input[type=text][name^='default:subscriber'], input:not([type])[name^='default:subscriber']"
    )
    default.wait_for()
    assert default.input_value() == "friend"
    page.get_by_role("button", name="Save template").click()
    page.wait_for_url("**/change/")
    template = Template.objects.get()
    assert template.current
    assert template.current.defaults == {"subscriber.attributes.first_name": "friend"}
    page.set_viewport_size({"width": 360, "height": 780})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
