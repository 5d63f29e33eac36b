"""Every page answers: to those who may do everything, to those who may look, and to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from campaigns import board, services
from campaigns.models import Campaign
from config import partitions
from devices.models import Device
from notifications.models import Delivery, Incident
from tenants import services as tenants
from tests.campaigns.conftest import notification_of
from tests.conftest import Tenant

LISTS = (
    "",
    "campaigns/campaign/",
    "notifications/notification/",
    "notifications/delivery/",
    "notifications/incident/",
    "notifications/template/",
    "notifications/replay/",
    "devices/subscriber/",
    "devices/device/",
    "devices/category/",
    "devices/segment/",
    "tenants/application/",
    "tenants/credential/",
    "tenants/apikey/",
    "campaigns/campaign/?tab=problems",
    "campaigns/campaign/calendar/",
    *(f"campaigns/campaign/{name}/" for name in board.FRAGMENTS),
)
FORMS = (
    "campaigns/campaign/add/",
    "devices/category/add/",
    "devices/segment/add/",
    "notifications/template/add/",
    "tenants/application/add/",
    "tenants/credential/add/",
    "tenants/credential/add/?provider=apns",
    "tenants/credential/add/?provider=fcm",
    "tenants/credential/add/?provider=webpush",
    "tenants/credential/add/?provider=console",
    "tenants/apikey/add/",
    "auth/user/",
    "auth/user/add/",
    "auth/group/",
)


@pytest.fixture
def pages(
    shop: Tenant,
    make_campaign: Callable[..., Campaign],
    make_device: Any,
    anna: User,
    console_credential: None,
) -> list[str]:
    """The pages of one object of each kind."""
    device: Device = make_device(shop, "ada")
    draft = make_campaign()
    launched = services.launch(make_campaign(), by="staff:anna", user=anna)
    notification_id = notification_of(launched).id
    partitions.ensure("notifications_delivery")
    Delivery.objects.create(
        at=timezone.now(),
        application_id=shop.id,
        notification_id=notification_id,
        device_id=device.pk,
        subscriber_id=device.subscriber_id,
        lane="console.campaign",
        outcome="rejected",
        reason="a_word_nobody_foresaw",
        attempt=1,
        provider_id="",
        detail="",
    )
    application = shop.application
    return [
        f"campaigns/campaign/{draft.pk}/change/",
        f"campaigns/campaign/{draft.pk}/review/",
        f"campaigns/campaign/{launched.pk}/live/",
        f"campaigns/campaign/{launched.pk}/live-status/",
        f"campaigns/campaign/{launched.pk}/history/",
        f"notifications/notification/{notification_id}/change/",
        f"notifications/notification/{notification_id}/live-status/",
        f"notifications/delivery/?notification_id={notification_id}",
        f"notifications/delivery/?notification_id={notification_id}&result=failed",
        f"notifications/delivery/?subscriber_id={device.subscriber_id}",
        f"devices/device/{device.pk}/change/",
        f"devices/device/?q={device.public_id}",
        "devices/device/?q=ada",
        "devices/device/?state=active",
        f"devices/subscriber/{device.subscriber_id}/change/",
        "devices/subscriber/?q=ada",
        f"devices/category/{draft.category_id}/change/",
        f"tenants/application/{application.pk}/change/",
        f"tenants/credential/{application.credentials.first().pk}/change/",
        f"tenants/apikey/{application.api_keys.first().pk}/change/",
    ]


def test_superusers_see_every_page(admin: Client, pages: list[str]) -> None:
    assert {
        page: admin.get(f"/admin/{page}").status_code for page in (*LISTS, *FORMS, *pages)
    } == dict.fromkeys((*LISTS, *FORMS, *pages), 200)


def test_viewers_see_every_page_but_no_form_to_add(viewer: Client, pages: list[str]) -> None:
    answers = {page: viewer.get(f"/admin/{page}", follow=True).status_code for page in (*LISTS, *pages)}
    assert answers == dict.fromkeys((*LISTS, *pages), 200)
    assert {viewer.get(f"/admin/{page}").status_code for page in FORMS if "/add/" in page} == {403}


def test_nobody_else_sees_anything(client: Client, pages: list[str]) -> None:
    for page in (*LISTS, *FORMS, *pages):
        answer = client.get(f"/admin/{page}")
        assert answer.status_code == 302, page
        assert answer["Location"].startswith("/admin/login/")


def test_an_empty_installation_teaches(admin: Client, db: None) -> None:
    said = admin.get("/admin/").content.decode()
    assert "Five steps to your first campaign" in said
    assert "0 of 5" in said
    assert "Create an app" in said
    assert "No campaign yet" in admin.get("/admin/campaigns/campaign/").content.decode()


def test_a_blocked_credential_is_the_first_thing_seen(admin: Client, shop: Tenant) -> None:
    credential = tenants.store_credential(shop.application, provider="console", public={}, secret="")
    credential.blocked_at, credential.blocked_reason = timezone.now(), "invalid_provider_token"
    credential.save()
    Incident.objects.create(
        application=shop.application, provider="console", cause="credential", words="invalid_provider_token"
    )
    assert "invalid_provider_token" in admin.get("/admin/").content.decode()
    page = f"/admin/tenants/credential/{credential.pk}/"
    assert "invalid_provider_token" in admin.get(f"{page}change/").content.decode()
    admin.post(f"{page}resume/")
    credential.refresh_from_db()
    assert credential.blocked_at is None
    assert "Checked again and resumed" in admin.get(f"{page}history/").content.decode()


def test_numbers_of_the_sum_open_the_lines_they_count(admin: Client, pages: list[str]) -> None:
    ledger = next(page for page in pages if "result=failed" in page)
    assert "A word nobody foresaw" in admin.get(f"/admin/{ledger}").content.decode()
    accepted = ledger.replace("result=failed", "result=accepted")
    assert "A word nobody foresaw" not in admin.get(f"/admin/{accepted}").content.decode()


def test_nonsense_in_the_address_is_no_error(admin: Client, pages: list[str]) -> None:
    assert (
        admin.get("/admin/notifications/delivery/?notification_id=nonsense", follow=True).status_code == 200
    )
    assert admin.get("/admin/devices/device/99999/change/").status_code == 404
    assert admin.get("/admin/campaigns/campaign/99999/live/").status_code == 404
    assert admin.get("/admin/campaigns/campaign/nonsense/live/").status_code == 404
