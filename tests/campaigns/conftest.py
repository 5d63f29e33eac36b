"""A draft of Shop's, with people who want it and people who do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from campaigns import services
from campaigns.models import Campaign
from devices.models import Category, Preference, Subscriber
from notifications.models import Notification
from tenants import services as tenants
from tests.conftest import Tenant


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    cache.clear()


@pytest.fixture
def anna(db: None) -> User:
    return User.objects.create_superuser("anna", "anna@example.com", "pw")


@pytest.fixture
def admin(anna: User) -> Client:
    client = Client()
    client.force_login(anna)
    return client


@pytest.fixture
def make_campaign(shop: Tenant) -> Callable[..., Campaign]:
    """A draft; sections of its plan may be given in part: `make(schedule={"kind": "at"}, content={"url": "…"})`."""

    def make(**fields: Any) -> Campaign:
        tenant = fields.pop("tenant", shop)
        said = {"title": "The sale is on", "body": "Until Sunday.", **fields.pop("content", {})}
        # Most tests look at what a launch makes at once.
        fields["schedule"] = {"undo": False, **fields.get("schedule", {})}
        fields = {"name": "Autumn", "variants": [{"content": said}], **fields}
        return services.create(tenant.application, by=fields.pop("by", None), fields=fields)

    return make


def notification_of(campaign: Campaign) -> Notification:
    """That of a run in one stage."""
    return Notification.objects.get(stage__run=Campaign.objects.get(pk=campaign.pk).latest_run)


@pytest.fixture
def opt_in(db: None) -> Callable[..., None]:
    def say(tenant: Tenant, external_id: str, is_allowed: bool = True) -> None:
        Preference.objects.create(
            subscriber=Subscriber.objects.get(application=tenant.application, external_id=external_id),
            category=Category.objects.get(application=tenant.application, slug="marketing"),
            is_allowed=is_allowed,
        )

    return say


@pytest.fixture
def console_credential(shop: Tenant) -> None:
    tenants.store_credential(shop.application, provider="console", public={}, secret="")
