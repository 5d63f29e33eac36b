"""What will go out, to how many, and the button that sends it."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.timesince import timeuntil

from campaigns import audiences, checking, schedules, selectors, services, timetable, words
from campaigns.models import Campaign
from notifications import reasons, zones
from notifications.pipeline.timing import LIFETIME as DEFAULT_TTL
from notifications.reach import Reach
from tenants import selectors as tenants
from tenants.console import ConsoleAdmin, staff

# Above this many devices the number has to be typed before a launch.
TYPED_ABOVE = 100_000


class LaunchForm(forms.Form):
    """version: what was looked at; devices: how many it said it would reach; typed: the number once more."""

    version = forms.IntegerField(widget=forms.HiddenInput)
    devices = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    typed = forms.CharField(required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        devices = cleaned.get("devices") or 0
        typed = "".join(letter for letter in cleaned.get("typed", "") if letter.isdigit())
        if devices > TYPED_ABOVE and typed != str(devices):
            self.add_error("typed", f"Type {devices} to confirm. Nothing was sent.")
        return cleaned


def page(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    if campaign.status in Campaign.LIVE:
        return HttpResponseRedirect(admin.url("live", campaign))
    return _page(admin, request, campaign, LaunchForm())


def _page(
    admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, form: LaunchForm, error: str = ""
) -> HttpResponse:
    found = reach_context(campaign, selectors.reach_now(campaign))
    context = {
        **found,
        "title": "Review and send",
        "campaign": campaign,
        "content": campaign.plan["variants"][0]["content"],
        "faults": checking.faults(campaign),
        "audience": words.audience(campaign),
        "pace": words.pace(campaign),
        **when_context(campaign),
        **time_taken(campaign, found["reach"].reachable),
        "version": campaign.version,
        "form": form,
        "error": error,
        "must_type": found["reach"].reachable > TYPED_ABOVE,
        "may_launch": admin.may(request, "campaigns.launch_campaign", campaign),
        "launch_url": admin.url("launch", campaign),
    }
    return admin.render(request, "campaigns/review.html", campaign, context)


def reach_context(campaign: Campaign, reach: Reach) -> dict[str, Any]:
    return {
        "reach": reach,
        "held_back": [(reasons.words(reason), count) for reason, count in reach.held_back.items()],
        "platforms": [(words.PLATFORMS.get(name, name), count) for name, count in reach.platforms.items()],
        "waiting": [(words.PLATFORMS.get(name, name), count) for name, count in reach.waiting.items()],
        "category": campaign.category,
        "has_provider": bool(tenants.configured_providers(campaign.application_id)),
    }


def when_context(campaign: Campaign) -> dict[str, Any]:
    """What its schedule means: the next runs, and for local times the moment in each zone of the audience."""
    plan = campaign.document
    context: dict[str, Any] = {"when": words.when(campaign), "window": timetable.window(campaign)}
    try:
        if plan.is_recurring:
            context["runs"] = timetable.coming(campaign, timezone.now(), most=5)
        elif plan.is_local:
            context["zones"] = zones.moments(
                audiences.of(plan),
                schedules.parsed_local(plan.schedule.starts),
                application_id=campaign.application_id,
                category_id=campaign.category_id,
                default_zone=campaign.application.default_time_zone,
            )
    except ValueError:  # the schedule is not finished; `faults` says so
        pass
    return context


def time_taken(campaign: Campaign, devices: int) -> dict[str, Any]:
    """What the pace means for so many: how long it takes, and whether messages expire before their turn."""
    lasts = timedelta(seconds=devices / (campaign.document.schedule.per_second or math.inf))
    now = timezone.now()
    return {
        "takes": timeuntil(now + lasts, now, depth=1) if lasts >= timedelta(minutes=1) else "",
        "expires_after": timeuntil(now + DEFAULT_TTL, now) if lasts > DEFAULT_TTL else "",
    }


def launch(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: send it. Whoever comes second is shown what the first one started."""
    form = LaunchForm(request.POST)
    if campaign.status in Campaign.LIVE:
        messages.info(request, "This campaign has already been launched. Nothing was sent a second time.")
        return HttpResponseRedirect(admin.url("live", campaign))
    if not form.is_valid():
        said = " ".join(str(word) for errors in form.errors.values() for word in errors)
        return _page(admin, request, campaign, form, error=said)
    if form.cleaned_data["version"] != campaign.version:
        return _changed(admin, request, campaign)
    user = staff(request)
    try:
        services.launch(
            campaign,
            by=f"staff:{user.get_username()}",
            user=user,
            expected=form.cleaned_data["devices"],
        )
    except services.NotAllowed as error:
        if campaign.status in Campaign.LIVE:
            messages.info(request, "A colleague was faster: this campaign is on its way already, once.")
            return HttpResponseRedirect(admin.url("live", campaign))
        return _page(admin, request, campaign, form, error=str(error))
    except services.ReachChanged as error:
        return _page(
            admin, request, campaign, form, error=f"{error} Nothing was sent: look again, then send."
        )
    except services.NotReady as error:
        return _page(admin, request, campaign, form, error=f"{error}. Nothing was sent.")
    admin.audit(request, campaign, f"Launched, with {form.cleaned_data['devices']:,} reachable devices.")
    return HttpResponseRedirect(admin.url("live", campaign))


def _changed(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    said = (
        "This campaign was changed after you opened this page. Nothing was sent: look at it again, then send."
    )
    response = _page(admin, request, campaign, LaunchForm(), error=said)
    response.status_code = 409
    return response
