"""No change by GET, none without a CSRF token, none without the permission; each one in the history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from campaigns import approving, services
from campaigns.models import Campaign
from devices.models import Device
from notifications.models import Incident, Notification
from tenants import services as tenants
from tests.campaigns.conftest import notification_of
from tests.conftest import Tenant


@pytest.fixture
def deeds(
    shop: Tenant, make_campaign: Callable[..., Campaign], make_device: Any, opt_in: Any, anna: User
) -> dict[str, Callable[[], bool]]:
    """Each deed's URL → whether it has been done."""
    # One that is refused, and one that works: without any nothing is launched.
    credential, _ = (
        tenants.store_credential(shop.application, provider="console", public={}, secret="") for _ in range(2)
    )
    credential.blocked_at = timezone.now()
    credential.save()
    draft, running, other = make_campaign(), make_campaign(), make_campaign()
    device, retired = make_device(shop, "ada"), make_device(shop, "bob", retired_at=timezone.now())
    opt_in(shop, "ada")
    going, held = make_campaign(), make_campaign()
    waiting = make_campaign(
        schedule={"kind": "at", "starts": f"{timezone.now() + timedelta(days=2):%Y-%m-%dT%H:%M}"}
    )
    for campaign in (running, other, going, held, waiting):
        services.launch(campaign, by="staff:anna", user=anna)
    services.pause(held)
    bert = User.objects.create_user("bert")
    asked, approved, refused_one = (make_campaign(by=bert) for _ in range(3))
    for campaign in (asked, approved, refused_one):
        approving.ask(campaign, by=bert, devices=1)
    key, _ = tenants.create_key(shop.application, kind="server")

    refused, gone, kept = (
        Incident.objects.create(application=shop.application, provider=provider, cause=cause)
        for provider, cause in (("apns", "circuit"), ("apns", "retirements"), ("fcm", "retirements"))
    )

    def cancelled(campaign: Campaign) -> bool:
        return notification_of(campaign).status == Notification.Status.CANCELLED

    def is_paused(campaign: Campaign) -> bool:
        return notification_of(campaign).paused_at is not None

    def fresh(row: Any) -> Any:
        return type(row).objects.get(pk=row.pk)

    campaigns = Campaign.objects.count()
    return {
        f"campaigns/campaign/{draft.pk}/launch/": lambda: fresh(draft).latest_run_id is not None,
        f"campaigns/campaign/{running.pk}/cancel/": lambda: cancelled(running),
        f"campaigns/campaign/{going.pk}/pause/": lambda: is_paused(going),
        f"campaigns/campaign/{held.pk}/resume/": lambda: not is_paused(held),
        f"campaigns/campaign/{waiting.pk}/unschedule/": lambda: fresh(waiting).status == "draft",
        f"campaigns/campaign/{asked.pk}/withdraw/": lambda: fresh(asked).status == "draft",
        f"campaigns/campaign/{approved.pk}/approve/": lambda: fresh(approved).status == "approved",
        f"campaigns/campaign/{refused_one.pk}/refuse/": lambda: fresh(refused_one).status == "draft",
        f"campaigns/campaign/{draft.pk}/duplicate/": lambda: Campaign.objects.count() > campaigns,
        f"notifications/notification/{notification_of(other).pk}/cancel/": lambda: cancelled(other),
        f"devices/device/{device.pk}/retire/": lambda: fresh(device).retired_at is not None,
        f"devices/device/{retired.pk}/revive/": lambda: fresh(retired).retired_at is None,
        f"tenants/apikey/{key.pk}/revoke/": lambda: fresh(key).revoked_at is not None,
        f"tenants/credential/{credential.pk}/resume/": lambda: fresh(credential).blocked_at is None,
        f"tenants/application/{shop.id}/identity-secret/": LogEntry.objects.exists,
        f"notifications/incident/{refused.pk}/resume/": lambda: fresh(refused).closed_at is not None,
        f"notifications/incident/{gone.pk}/really-gone/": lambda: fresh(gone).closed_at is not None,
        f"notifications/incident/{kept.pk}/our-mistake/": lambda: fresh(kept).closed_at is not None,
    }


def body(url: str) -> dict[str, str]:
    if "campaigns/campaign/" not in url:
        return {}
    campaign = Campaign.objects.get(pk=url.split("/")[2])
    warnings = "test,credential_refused_console"
    return {"version": str(campaign.version), "devices": "1", "warnings": warnings, "reason": "Urgent"}


def test_no_deed_is_done_by_get(admin: Client, deeds: dict[str, Callable[[], bool]]) -> None:
    for url, is_done in deeds.items():
        assert admin.get(f"/admin/{url}").status_code == 405, url
        assert admin.head(f"/admin/{url}").status_code == 405, url
        assert not is_done(), url


def test_no_deed_is_done_without_a_token(anna: User, deeds: dict[str, Callable[[], bool]]) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(anna)
    for url, is_done in deeds.items():
        assert strict.post(f"/admin/{url}", body(url)).status_code == 403, url
        assert not is_done(), url


def test_viewers_do_nothing(viewer: Client, deeds: dict[str, Callable[[], bool]]) -> None:
    for url, is_done in deeds.items():
        assert viewer.post(f"/admin/{url}", body(url)).status_code == 403, url
        assert not is_done(), url


def test_strangers_do_nothing(client: Client, deeds: dict[str, Callable[[], bool]]) -> None:
    for url, is_done in deeds.items():
        assert client.post(f"/admin/{url}", body(url)).status_code == 302, url
        assert not is_done(), url


def test_each_deed_is_done_by_post_and_written_down(
    admin: Client, deeds: dict[str, Callable[[], bool]]
) -> None:
    for url, is_done in deeds.items():
        before = LogEntry.objects.count()
        assert admin.post(f"/admin/{url}", body(url)).status_code in (200, 302), url
        assert is_done(), url
        assert LogEntry.objects.count() == before + 1, url


def test_pages_to_look_at_take_no_post(admin: Client, make_campaign: Callable[..., Campaign]) -> None:
    campaign = make_campaign()
    for page in ("review", "live", "live-status"):
        assert admin.post(f"/admin/campaigns/campaign/{campaign.pk}/{page}/").status_code == 405


def test_an_author_may_write_but_not_launch(
    vera: User, viewer: Client, make_campaign: Callable[..., Campaign]
) -> None:
    vera.user_permissions.add(Permission.objects.get(codename="change_campaign"))
    campaign = make_campaign()
    url = f"/admin/campaigns/campaign/{campaign.pk}"
    assert "launch-dialog" not in viewer.get(f"{url}/review/").content.decode()
    assert viewer.post(f"{url}/launch/", body(f"campaigns/campaign/{campaign.pk}/launch/")).status_code == 403
    assert not Notification.objects.exists()


def test_a_revived_device_never_takes_an_address_twice(admin: Client, shop: Tenant, make_device: Any) -> None:
    retired = make_device(shop, "ada", retired_at=timezone.now())
    make_device(shop, "bob", token=retired.token)
    answer = admin.post(f"/admin/devices/device/{retired.pk}/revive/", follow=True)
    assert "stays retired" in answer.content.decode()
    assert Device.objects.get(pk=retired.pk).retired_at
