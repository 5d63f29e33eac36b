"""Filters and parts of a run's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template
from django.contrib.auth.models import User

from campaigns import approving, selectors, transitions
from campaigns.models import Campaign

register = template.Library()


@register.filter
def share(part: int | None, whole: int | None) -> str:
    """Per cent, with a point in every language; "" of nothing."""
    return f"{(part or 0) * 100 / whole:.1f}" if whole and part else ""


@register.simple_tag
def is_asked_about(campaign: Campaign) -> bool:
    """Whether a run of it waits for approval; its bar of deeds has no primary button then, the question has."""
    is_recurring = campaign.status == Campaign.Status.RECURRING
    return is_recurring and selectors.asked().filter(campaign=campaign).exists()


@register.inclusion_tag("campaigns/_live_waits.html", takes_context=True)
def run_that_waits(context: Mapping[str, Any], campaign: Campaign) -> dict[str, Any]:
    """A recurring campaign's run that waits for a second person's yes; nothing where none does."""
    waits = campaign.status == Campaign.Status.RECURRING
    approval = campaign.approvals.filter(is_granted=None).first() if waits else None
    user: User = context["request"].user
    return {
        "campaign": campaign,
        "approval": approval,
        "covered": approval and approving.covered(campaign),
        "may_decide": approval
        and user.has_perm(transitions.APPROVE, campaign)
        and approving.may_decide(campaign, user),
        "approvers": selectors.approvers(campaign) if approval else [],
        "csrf_token": context.get("csrf_token"),
        "zone": context.get("zone"),
        "zone_word": context.get("zone_word"),
    }
