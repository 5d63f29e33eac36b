"""The pages of roles: nothing axe calls serious, no sideways scroll on a phone, in light and in dark."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from tenants.models import Membership
from tenants.roles import Role
from tests import browser
from tests.conftest import Tenant

pytestmark = browser.MARKS


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_roles_are_readable_everywhere(page: Any, shop: Tenant, anna: User, scheme: str) -> None:
    for role in Role:
        Membership.objects.create(user=anna, application=shop.application, role=role)
    page.emulate_media(color_scheme=scheme)
    pages = {
        "list": "tenants/membership/",
        "add": "tenants/membership/add/",
        "application": f"tenants/application/{shop.id}/change/",
    }
    for name, url in pages.items():
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(f"/admin/{url}")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
        # The white on teal of unfold's own buttons is a matter of the whole console.
        browser.assert_accessible(page, without=("[name=_save]", ".add-row"))
