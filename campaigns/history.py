"""What a campaign said before: a version of it as edits are made, and kept once others have acted on it."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from campaigns.models import Campaign, Version

# Edits by one person within this time of each other are one version in the history.
ONE_VERSION = timedelta(minutes=10)


def note(campaign: Campaign, by: User | None) -> None:
    says = {"name": campaign.name, "category": campaign.category, "plan": campaign.plan}
    latest = campaign.versions.first()
    now = timezone.now()
    if (
        latest
        and not latest.kept_for
        and latest.created_by_id == (by.pk if by else None)
        and now - latest.updated_at < ONE_VERSION
    ):
        for name, value in {**says, "number": campaign.version}.items():
            setattr(latest, name, value)
        latest.save()
    else:
        Version.objects.create(campaign=campaign, number=campaign.version, created_by=by, **says)


def keep(campaign: Campaign, why: str) -> None:
    """This version stays in the history as it is."""
    campaign.versions.filter(number=campaign.version).update(kept_for=why)
