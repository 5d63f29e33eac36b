"""Lists cost the same for many rows as for few, and the ledger never counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns import services
from campaigns.models import Campaign
from config import partitions
from notifications.models import Delivery
from tests.campaigns.conftest import notification_of
from tests.conftest import Tenant

LISTS = (
    "campaigns/campaign/",
    "notifications/notification/",
    "notifications/delivery/",
    "devices/subscriber/",
    "devices/device/",
    "tenants/apikey/",
)


@pytest.fixture
def add_rows(shop: Tenant, make_campaign: Callable[..., Campaign], make_device: Any, anna: User) -> Any:
    partitions.ensure("notifications_delivery")

    def add(number: int) -> None:
        for _ in range(number):
            device = make_device(shop, f"user-{Delivery.objects.count()}")
            launched = services.launch(make_campaign(), by="staff:anna", user=anna)
            Delivery.objects.create(
                at=timezone.now(),
                application_id=shop.id,
                notification_id=notification_of(launched).id,
                device_id=device.pk,
                subscriber_id=device.subscriber_id,
                lane="apns.campaign",
                outcome="accepted",
                reason="",
                attempt=1,
                provider_id="",
                detail="",
            )

    return add


def queries(admin: Client, page: str) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert admin.get(f"/admin/{page}").status_code == 200
    return [query["sql"] for query in captured]


def test_a_list_of_ten_costs_what_a_list_of_one_costs(admin: Client, add_rows: Any) -> None:
    add_rows(1)
    queries(admin, "")  # content types and the like are read once
    few = {page: len(queries(admin, page)) for page in LISTS}
    add_rows(9)
    assert {page: len(queries(admin, page)) for page in LISTS} == few
    assert max(few.values()) <= 10


def test_large_tables_are_never_counted(admin: Client, add_rows: Any) -> None:
    add_rows(2)
    for page in (
        "notifications/delivery/",
        "notifications/notification/",
        "devices/device/",
        "devices/subscriber/",
    ):
        assert not [sql for sql in queries(admin, page) if "COUNT(" in sql.upper()], page


def test_the_ledger_without_a_filter_shows_the_newest(admin: Client, add_rows: Any) -> None:
    add_rows(3)
    said = admin.get("/admin/notifications/delivery/").content.decode()
    assert said.count("user-") == 3
    assert "newest notifications" in said
