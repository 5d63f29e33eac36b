"""What an operator sets for an application: how fast it may send, how many devices may go."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.conftest import Tenant


def save(admin: Client, shop: Tenant, **changes: Any) -> Any:
    application = shop.application
    kept = {
        "name": application.name,
        "default_locale": application.default_locale,
        "default_time_zone": application.default_time_zone,
        "messages_per_second": "",
        "retirement_percent": "10",
        "holdout_percent": "0",
        "caps-TOTAL_FORMS": "0",
        "memberships-TOTAL_FORMS": "0",
        "memberships-INITIAL_FORMS": "0",
        "caps-INITIAL_FORMS": "0",
    }
    answer = admin.post(
        f"/admin/tenants/application/{application.pk}/change/", {**kept, **changes, "_save": "1"}
    )
    application.refresh_from_db()
    return answer


@pytest.mark.parametrize(("asked", "stored"), [("250", 250), ("", None)])
def test_limits_are_stored(admin: Client, shop: Tenant, asked: str, stored: int | None) -> None:
    save(admin, shop, messages_per_second="1")
    assert save(admin, shop, messages_per_second=asked, retirement_percent="25").status_code == 302
    assert shop.application.messages_per_second == stored
    assert shop.application.retirement_percent == 25


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages_per_second", "0"),
        ("messages_per_second", "-1"),
        ("messages_per_second", "1000001"),
        ("messages_per_second", "fast"),
        ("retirement_percent", "0"),
        ("retirement_percent", "101"),
        ("retirement_percent", ""),
        ("holdout_percent", "51"),
        ("holdout_percent", "-1"),
    ],
)
def test_what_is_no_limit_is_said_beside_its_field(
    admin: Client, shop: Tenant, field: str, value: str
) -> None:
    answer = save(admin, shop, **{field: value})
    assert list(answer.context["adminform"].form.errors) == [field]
    assert (shop.application.messages_per_second, shop.application.retirement_percent) == (None, 10)


def test_a_new_application_is_not_asked_for_limits(admin: Client, shop: Tenant) -> None:
    asked = [
        admin.get(f"/admin/tenants/application/{page}/").content.decode()
        for page in ("add", f"{shop.id}/change")
    ]
    assert ['name="messages_per_second"' in page for page in asked] == [False, True]
    assert ['name="retirement_percent"' in page for page in asked] == [False, True]
