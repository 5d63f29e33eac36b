"""The composer's Audience and Experiment: whom a draft would reach, why not all, and what a test can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from campaigns import audiences, checking, selectors, stages, statistics, steps
from campaigns.composer_draft import Asked, answers, read
from campaigns.contents import Fault
from campaigns.document import Plan
from campaigns.models import Campaign
from campaigns.preflight.schedule import LIFT, USUAL
from campaigns.words import PLATFORMS
from config.problems import InvalidField
from devices.models import Subscriber
from notifications import people, reasons
from notifications.people import Person
from notifications.reach import Reach, TookTooLong
from tenants.console import ConsoleAdmin

ROUTES = ("estimate", "people_sample", "segments", "upload_list", "moments")
PEOPLE_SHOWN = 10


def panel_urls(admin: ConsoleAdmin) -> dict[str, str]:
    """What the panels' scripts ask, by name."""
    return {name: admin.url(name) for name in ROUTES}


def faults_at(campaign: Campaign, places: Sequence[str]) -> list[Fault]:
    """What keeps it from being sent, of these sections."""
    return [fault for fault in checking.faults(campaign) if fault.pointer.startswith(tuple(places))]


def counted(campaign: Campaign) -> tuple[Reach | None, list[Fault]]:
    """Whom it would reach; None with the reason where that cannot be said."""
    try:
        return selectors.reach(campaign), []
    except InvalidField as error:  # a segment is gone, or its rules ask for what is gone
        return None, [Fault("/audience", error.detail)]
    except TookTooLong:
        return None, [Fault("/audience", "these rules take too long to count; use fewer about events")]


@answers
def estimate(admin: ConsoleAdmin, request: HttpRequest) -> dict[str, Any]:
    """POST: matched = reachable + held back, each with its reason; what the experiment can show; the steps."""
    _, campaign = read(admin, request, Asked)
    faults = faults_at(campaign, ("/audience", "/experiment", "/safety"))
    # A segment that is gone has its place; what cannot be counted beyond that is said of the whole.
    reach, whole = counted(campaign)
    if not any(fault.pointer.startswith("/audience") for fault in faults):
        faults += whole
    answer: dict[str, Any] = {"faults": [fault._asdict() for fault in faults], "reach": None}
    if reach is not None:
        answer["reach"] = reached(reach)
        answer["steps"] = steps.of(campaign.document, reach.reachable)
        answer["experiment"] = shown(campaign.document, reach.reachable)
    return answer


def reached(reach: Reach) -> dict[str, Any]:
    return {
        "matched": reach.devices,
        "reachable": reach.reachable,
        "later": reach.later,
        "is_estimate": reach.is_estimate,
        "held_back": [held(reason, count) for reason, count in reach.held_back.items()],
        "platforms": [
            {
                "name": name,
                "words": PLATFORMS.get(name, name),
                "count": count,
                "waiting": reach.waiting.get(name, 0),
            }
            for name, count in reach.platforms.items()
        ],
        "counted_at": timezone.now(),
    }


def held(reason: str, count: int) -> dict[str, Any]:
    words = reasons.words(reason)
    return {
        "reason": reason,
        "title": words.title,
        "means": words.means,
        "todo": words.todo,
        "count": count,
    }


# --- experiment -------------------------------------------------------------------------------


def shown(plan: Plan, devices: int) -> dict[str, Any]:
    """How many each part gets, and the least difference that can be seen then.

    lift: relative, 0.19 is +19 %; None: no difference at all. needed: devices per variant for +20 %.
    """
    slices = stages.of(plan, devices)

    def of(*kinds: str, variant: str | None = None) -> int:
        width = sum(
            one.upper - one.lower
            for one in slices
            if one.kind in kinds and (variant is None or one.variant == variant)
        )
        return round(width * devices / stages.BUCKETS)

    devices_of = {one.key: of("canary", "send", variant=one.key) for one in plan.variants}
    smallest = min(devices_of.values())
    usual = USUAL[plan.experiment.metric]
    return {
        "arms": [
            {"key": one.key, "devices": devices_of[one.key], "share": one.share} for one in plan.variants
        ],
        "holdout": of("holdout"),
        "rest": of("rest"),
        "smallest": smallest,
        "usual": usual,
        "lift": statistics.detectable_lift(usual, smallest, variants=len(plan.variants)),
        "wanted_lift": LIFT,
        "needed": statistics.people_needed(usual, LIFT, variants=len(plan.variants)),
    }


# --- ten of them ------------------------------------------------------------------------------


@answers
def people_sample(admin: ConsoleAdmin, request: HttpRequest) -> dict[str, Any]:
    """POST: ten people who would get it, at random."""
    _, campaign = read(admin, request, Asked)
    try:
        found = people.some(
            audiences.of(campaign.document),
            application_id=campaign.application_id,
            category_id=campaign.category_id,
            most=PEOPLE_SHOWN,
        )
    except InvalidField as error:
        return {"people": [], "faults": [{"pointer": "/audience", "detail": error.detail}]}
    return {"people": _listed(found, campaign, request), "faults": []}


def _listed(found: Sequence[Person], campaign: Campaign, request: HttpRequest) -> list[dict[str, Any]]:
    may_look = request.user.has_perm("devices.view_subscriber", campaign.application)
    ids = dict(
        Subscriber.objects.filter(
            application_id=campaign.application_id, external_id__in=[one.external_id for one in found]
        ).values_list("external_id", "id")
    )
    return [
        {
            "id": one.external_id,
            "locale": one.locale,
            "country": one.country,
            "platforms": [PLATFORMS.get(name, name) for name in one.platforms],
            "url": reverse("admin:devices_subscriber_change", args=[ids[one.external_id]])
            if may_look and one.external_id in ids
            else "",
            "explain_url": _explain_url(campaign, one.external_id) if may_look else "",
        }
        for one in found
    ]


def _explain_url(campaign: Campaign, external_id: str) -> str:
    return (
        f"{reverse('explain')}?{urlencode({'application': campaign.application_id, 'person': external_id})}"
    )
