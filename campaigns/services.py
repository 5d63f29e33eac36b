"""Writes to campaigns: launch, cancel, duplicate."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from campaigns.models import Campaign
from notifications import services as notifications


class NotLaunchable(Exception):
    """It is no draft any more, or was edited since it was looked at. Nothing was sent by this call."""


def content(campaign: Campaign) -> dict[str, Any]:
    """What the notification says; empty fields are left out."""
    fields = {"title": campaign.title, "body": campaign.body, "image": campaign.image, "url": campaign.url}
    return {name: value for name, value in fields.items() if value}


def audience(campaign: Campaign) -> dict[str, Any]:
    """The audience as the send API says it."""
    match campaign.audience:
        case Campaign.Audience.PLATFORM:
            return {"all": True, "platforms": [campaign.platform]}
        case Campaign.Audience.ATTRIBUTE:
            return {
                "all": True,
                "attribute": {"name": campaign.attribute_name, "value": campaign.attribute_value},
            }
    return {"all": True}


def check(campaign: Campaign) -> dict[str, int]:
    """Payload bytes per provider. Raises PayloadTooLarge, or ValueError naming the field."""
    return notifications.check_payload(content=content(campaign), overrides={})


def launch(campaign: Campaign, *, by: User) -> Campaign:
    """Send it, exactly as `campaign` holds it.

    Raises NotLaunchable, PayloadTooLarge, or ValueError naming the field; then nothing is sent.
    Two marketers, a double click, a second try after a lost answer: one notification.
    """
    check(campaign)
    with transaction.atomic():
        changed = Campaign.objects.filter(
            id=campaign.id, status=Campaign.Status.DRAFT, updated_at=campaign.updated_at
        ).update(status=Campaign.Status.LAUNCHED, launched_at=timezone.now(), launched_by=by)
        if not changed:
            raise NotLaunchable
        draft = _draft(campaign)
        (accepted,) = notifications.accept(
            [draft], application_id=campaign.application_id, requested_by=f"staff:{by.get_username()}"[:80]
        )
        Campaign.objects.filter(id=campaign.id).update(notification_id=accepted.id)
    campaign.refresh_from_db()
    return campaign


def _draft(campaign: Campaign) -> notifications.Draft:
    said, meant = content(campaign), audience(campaign)
    pace = campaign.throttle_per_second
    body = json.dumps([campaign.category_id, said, meant, pace], sort_keys=True)
    return notifications.Draft(
        category=campaign.category,
        content=said,
        audience=meant,
        throttle_per_second=pace,
        idempotency_key=f" campaign:{campaign.id}",  # no key of the API begins with a space
        fingerprint=hashlib.sha256(body.encode()).digest()[:16],
    )


def cancel(campaign: Campaign) -> Campaign:
    """Stop what is still waiting; a draft and a finished campaign stay as they are."""
    if campaign.notification:
        notifications.cancel(campaign.notification)
    return campaign


def duplicate(campaign: Campaign, *, by: User) -> Campaign:
    """A new draft that says the same to the same audience."""
    return Campaign.objects.create(
        application=campaign.application,
        name=f"{campaign.name[:110]} (copy)",
        category=campaign.category,
        title=campaign.title,
        body=campaign.body,
        image=campaign.image,
        url=campaign.url,
        audience=campaign.audience,
        platform=campaign.platform,
        attribute_name=campaign.attribute_name,
        attribute_value=campaign.attribute_value,
        throttle_per_second=campaign.throttle_per_second,
        created_by=by,
    )
