"""Credential health: the worst on top with what it holds up, the last day, and a check on demand."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from notifications.models import Batch, Incident
from tenants import services as tenants
from tenants.models import Credential
from tests.conftest import Tenant

PAGE = "/admin/credentials/health/"
CHECK = "/admin/credentials/check/"


@pytest.fixture
def credentials(shop: Tenant) -> dict[str, Credential]:
    now = timezone.now()
    usual = {"application": shop.application, "check_due_at": now + timedelta(minutes=4), "checked_at": now}
    public = {
        "team_id": "TEAM123456",
        "key_id": "KEY1234567",
        "bundle_id": "com.example.shop",
        "environment": "both",
    }
    web = {"subject": "mailto:push@example.com", "public_key": "BNpublic"}
    return {
        one.provider: one
        for one in (
            Credential.objects.create(
                provider="webpush", check_result="ok", public=web, secret="s3cret", **usual
            ),
            Credential.objects.create(
                provider="fcm",
                check_result="unable",
                check_detail="not_connected: fcm.googleapis.com:443: timed out",
                public={"project_id": "shop-1234", "client_email": "push@shop-1234.iam"},
                **usual,
            ),
            Credential.objects.create(
                name="Shop prod",
                provider="apns",
                public=public,
                blocked_at=now,
                blocked_reason="invalid_provider_token: InvalidProviderToken",
                **usual,
            ),
        )
    }


def shown(client: Client) -> str:
    answer = client.get(PAGE)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def test_the_worst_is_on_top_with_what_it_holds_up(
    admin: Client, shop: Tenant, credentials: dict[str, Credential], django_assert_max_num_queries: Any
) -> None:
    incident = Incident.objects.create(application=shop.application, provider="apns", cause="credential")
    campaign, single = uuid4(), uuid4()
    for notification, kind, ids in (
        (campaign, "campaign", [1, 2, 3]),
        (campaign, "campaign", [4]),
        (single, "transactional", [5]),
    ):
        Batch.objects.create(
            application_id=shop.id, notification_id=notification, lane=f"apns.{kind}", device_ids=ids,
            status="ready", attempt=1, due_at=timezone.now(), turn_at=timezone.now(),
        )  # fmt: skip
    page = shown(admin)
    places = [page.index(f'id="credential-{credentials[name].pk}"') for name in ("apns", "fcm", "webpush")]
    assert places == sorted(places)
    assert "1 campaign and 1 single notification held, 5 messages in all." in page
    assert "No device is switched off." in page
    assert "Apple does not know the key" in page and "/admin/reasons/#invalid_provider_token" in page
    assert f"/admin/notifications/incident/{incident.pk}/change/" in page
    assert "The check could not run" in page and "fcm.googleapis.com:443" in page
    for fact in ("KEY1234567", "TEAM123456", "production and development", "shop-1234", "BNpublic"):
        assert fact in page
    assert "s3cret" not in page and 'hx-trigger="every 2s"' not in page
    assert f"/admin/tenants/credential/{credentials['apns'].pk}/change/" in page and "Replace key" in page
    for _ in range(10):
        Credential.objects.create(application=shop.application, provider="console", check_result="ok")
    with django_assert_max_num_queries(22):
        shown(admin)


def test_the_tracker_shows_the_last_day(
    admin: Client, shop: Tenant, credentials: dict[str, Credential]
) -> None:
    now = timezone.now()
    Credential.objects.update(created_at=now - timedelta(hours=12))
    Credential.objects.exclude(provider="webpush").delete()
    Incident.objects.create(
        application=shop.application, provider="webpush", cause="circuit",
        opened_at=now - timedelta(hours=3), closed_at=now - timedelta(hours=2),
    )  # fmt: skip
    page = shown(admin)
    tones = re.findall(r'<li class="c-(\w+)" title="[\d:]+ to', page)
    assert len(tones) == 24
    assert tones[0] == "off" and tones[-1] == "good"
    assert 1 <= tones.count("warn") <= 2 and set(tones[-4:-1]) >= {"warn"}
    assert "Provider in trouble" in page


def test_check_all_has_them_checked(
    admin: Client, viewer: Client, client: Client, credentials: dict[str, Credential]
) -> None:
    assert viewer.get(PAGE).status_code == 200
    assert "Check all now" not in shown(viewer)
    assert viewer.post(CHECK).status_code == 403
    assert client.post(CHECK).status_code == client.get(PAGE).status_code == 302
    assert admin.get(CHECK).status_code == 405 and admin.post(PAGE).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = admin.cookies
    assert strict.post(CHECK).status_code == 403
    assert not Credential.objects.filter(check_due_at__lte=timezone.now()).exists()
    answer = admin.post(CHECK, follow=True)
    assert "3 credentials are being checked." in answer.content.decode()
    assert 'hx-trigger="every 2s"' in answer.content.decode()
    assert Credential.objects.filter(check_due_at__lte=timezone.now()).count() == 3

    # Nobody runs it: it says so, and does not wait for ever.
    Credential.objects.update(check_due_at=timezone.now() - timedelta(minutes=3))
    page = shown(admin)
    assert "Checks are overdue" in page and 'hx-trigger="every 2s"' not in page


def test_what_ends_soon_is_listed(admin: Client, shop: Tenant, settings: Any) -> None:
    assert "No provider is connected" in shown(admin)
    ends = timezone.now() + timedelta(days=9)
    tenants.create_key(shop.application, kind="server", name="Shop backend", expires_at=ends)
    tenants.create_key(shop.application, kind="server", name="Later", expires_at=ends + timedelta(days=90))
    page = shown(admin)
    assert "API key Shop backend of Shop" in page and "API key Later" not in page


def test_a_refused_check_is_told_on_the_credentials_page(
    admin: Client, credentials: dict[str, Credential]
) -> None:
    one = credentials["webpush"]
    Credential.objects.filter(pk=one.pk).update(check_result="refused", check_detail="bad_vapid_public_key")
    page = shown_at(admin, f"/admin/tenants/credential/{one.pk}/change/")
    assert "refused this credential when it was checked" in page and "bad_vapid_public_key" in page
    listed = shown_at(admin, "/admin/tenants/credential/")
    assert listed.count("Refused") >= 2 and PAGE in listed


def shown_at(client: Client, url: str) -> str:
    return unescape(client.get(url).content.decode())
