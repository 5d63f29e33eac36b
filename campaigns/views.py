"""The campaign pages behind the form: live fragments, review and launch, the running campaign."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import date
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.timesince import timeuntil

from campaigns import forms, schedules, selectors, services
from campaigns.models import Campaign
from notifications import reasons, sizes, zones
from notifications.pipeline.timing import LIFETIME as DEFAULT_TTL
from notifications.providers.base import PayloadTooLarge
from notifications.reach import Reach
from notifications.services import IdempotencyConflict
from tenants import selectors as tenants
from tenants.console import ConsoleAdmin
from tenants.models import Credential

# htmx stops polling when it gets this status.
STOP_POLLING = 286


def payload(request: HttpRequest) -> TemplateResponse:
    """Fragment: bytes on each platform of what the form holds."""
    content = services.content(_draft(request))
    context: dict[str, Any] = {}
    try:
        context["sizes"] = sizes.of(content)
    except PayloadTooLarge as error:
        context["error"] = forms.too_large(error)
    except ValueError as error:
        context["error"] = str(error)
    return TemplateResponse(request, "campaigns/_payload.html", context)


def reach(request: HttpRequest) -> TemplateResponse:
    """Fragment: whom the form's audience would reach."""
    campaign = _draft(request)
    is_countable = campaign.application_id and campaign.category_id
    context = reach_context(campaign, selectors.reach(campaign)) if is_countable else {}
    return TemplateResponse(request, "campaigns/_reach.html", context)


def _draft(request: HttpRequest) -> Campaign:
    form = forms.CampaignForm(request.POST)
    form.is_valid()
    return forms.draft(form.understood)


def reach_context(campaign: Campaign, reach: Reach) -> dict[str, Any]:
    return {
        "reach": reach,
        "held_back": [(reasons.words(reason), count) for reason, count in reach.held_back.items()],
        "platforms": [(PLATFORMS.get(name, name), count) for name, count in reach.platforms.items()],
        "waiting": [(PLATFORMS.get(name, name), count) for name, count in reach.waiting.items()],
        "category": campaign.category,
        "has_provider": bool(tenants.configured_providers(campaign.application_id)),
    }


PLATFORMS = {"ios": "iPhone and iPad", "android": "Android", "web": "Browser", "macos": "Mac"}


def review(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """What will go out, to how many, and the button that sends it."""
    if campaign.status != Campaign.Status.DRAFT:
        return HttpResponseRedirect(admin.url("live", campaign))
    return _review(admin, request, campaign, forms.LaunchForm())


def _review(
    admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, form: forms.LaunchForm, error: str = ""
) -> HttpResponse:
    found = reach_context(campaign, selectors.reach_now(campaign))
    context = {
        **found,
        **_payload_of(campaign),
        "title": "Review and send",
        "campaign": campaign,
        "audience": audience_words(campaign),
        "pace": pace_words(campaign),
        **when_context(campaign),
        **time_taken(campaign, found["reach"].reachable),
        "version": campaign.updated_at.isoformat(),
        "form": form,
        "error": error,
        "must_type": found["reach"].reachable > forms.TYPED_ABOVE,
        "may_launch": admin.may(request, "campaigns.launch_campaign"),
        "launch_url": admin.url("launch", campaign),
    }
    return admin.render(request, "campaigns/review.html", campaign, context)


def _payload_of(campaign: Campaign) -> dict[str, Any]:
    try:
        return {"sizes": sizes.of(services.content(campaign))}
    except ValueError as error:
        return {"payload_error": forms.too_large(error) if isinstance(error, PayloadTooLarge) else str(error)}


def audience_words(campaign: Campaign) -> str:
    match campaign.audience:
        case Campaign.Audience.PLATFORM:
            return f"Everyone on {PLATFORMS.get(campaign.platform, campaign.platform)}"
        case Campaign.Audience.ATTRIBUTE:
            return f"People whose {campaign.attribute_name} is “{campaign.attribute_value}”"
    return f"Everyone in {campaign.application}"


def pace_words(campaign: Campaign) -> str:
    if not campaign.throttle_per_second:
        return "As fast as it goes"
    return f"At most {campaign.throttle_per_second:,} per second"


def when_words(campaign: Campaign) -> str:
    """Its schedule as a sentence's end: "starting now", "on 25 Nov 2026 at 09:00 (Europe/Berlin)"."""
    if campaign.schedule == Campaign.Schedule.NOW:
        return "starting now"
    day = date(schedules.parsed_local(campaign.starts), "j M Y, H:i")
    where = "each person's local time" if services.is_local(campaign) else services.zone_name(campaign)
    if campaign.schedule == Campaign.Schedule.RECURRING:
        return f"again and again from {day} on ({where})"
    return f"on {day} ({where})"


def when_context(campaign: Campaign) -> dict[str, Any]:
    """What its schedule means: the next runs, and for local times the moment in each zone of the audience."""
    context: dict[str, Any] = {"when": when_words(campaign), "window": services.window(campaign)}
    if campaign.schedule == Campaign.Schedule.RECURRING:
        context["runs"] = services.coming(campaign, timezone.now(), most=5)
    elif campaign.schedule == Campaign.Schedule.LOCAL:
        context["zones"] = zones.moments(
            services.audience(campaign),
            schedules.parsed_local(campaign.starts),
            application_id=campaign.application_id,
            category_id=campaign.category_id,
            default_zone=campaign.application.default_time_zone,
        )
    return context


def time_taken(campaign: Campaign, devices: int) -> dict[str, Any]:
    """What the pace means for so many: how long it takes, and whether messages expire before their turn."""
    lasts = timedelta(seconds=devices / (campaign.throttle_per_second or math.inf))
    now = timezone.now()
    return {
        "takes": timeuntil(now + lasts, now, depth=1) if lasts >= timedelta(minutes=1) else "",
        "expires_after": timeuntil(now + DEFAULT_TTL, now) if lasts > DEFAULT_TTL else "",
    }


def launch(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: send it. Whoever comes second is shown what the first one started."""
    form = forms.LaunchForm(request.POST)
    if campaign.status != Campaign.Status.DRAFT:
        messages.info(request, "This campaign has already been launched. Nothing was sent a second time.")
        return HttpResponseRedirect(admin.url("live", campaign))
    if not form.is_valid():
        return _review(
            admin,
            request,
            campaign,
            form,
            error=" ".join(str(word) for words in form.errors.values() for word in words),
        )
    if form.cleaned_data["version"] != campaign.updated_at.isoformat():
        return _changed(admin, request, campaign)
    try:
        services.launch(campaign, by=staff(request))
    except services.NotLaunchable:
        campaign.refresh_from_db()
        if campaign.status == Campaign.Status.DRAFT:
            return _changed(admin, request, campaign)
        messages.info(request, "A colleague was faster: this campaign is on its way already, once.")
    except ValueError:
        return _review(admin, request, campaign, form, error="The message does not fit. Nothing was sent.")
    except IdempotencyConflict:
        words = "A program has used this campaign's key for another message. Nothing was sent: duplicate the campaign."
        return _review(admin, request, campaign, form, error=words)
    else:
        admin.audit(request, campaign, f"Launched, with {form.cleaned_data['devices']:,} reachable devices.")
    return HttpResponseRedirect(admin.url("live", campaign))


def _changed(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    campaign = admin.found(request, str(campaign.pk))
    words = (
        "This campaign was changed after you opened this page. Nothing was sent: look at it again, then send."
    )
    response = _review(admin, request, campaign, forms.LaunchForm(), error=words)
    response.status_code = 409
    return response


def live(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """The running campaign, and later its report."""
    if campaign.status == Campaign.Status.DRAFT:
        return HttpResponseRedirect(admin.url("change", campaign))
    context = {
        **_live_context(admin, request, campaign),
        **when_context(campaign),
        "title": campaign.name,
        "audience": audience_words(campaign),
        "pace": pace_words(campaign),
        "runs_before": list(campaign.runs.select_related("notification")[:20]),
        "is_recurring": campaign.status == Campaign.Status.RECURRING,
        "duplicate_url": admin.url("duplicate", campaign) if admin.has_add_permission(request) else "",
    }
    return admin.render(request, "campaigns/live.html", campaign, context)


def live_status(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Fragment, asked for every second until 286 says that nothing will change any more."""
    context = _live_context(admin, request, campaign)
    status = 200 if context["has_run"] and context["progress"].is_open else STOP_POLLING
    return TemplateResponse(request, "campaigns/_live.html", context, status=status)


def _live_context(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> dict[str, Any]:
    may = admin.may(request, "campaigns.launch_campaign")
    context: dict[str, Any] = {
        "campaign": campaign,
        "status_url": admin.url("live_status", campaign),
        **{f"{deed}_url": admin.url(deed, campaign) for deed in ("cancel", "pause", "resume", "unschedule")},
    }
    if campaign.notification is None:  # a recurring one before its first run
        return {**context, "may_cancel": may, "may_unschedule": may, "has_run": False}
    progress = selectors.progress(campaign)
    is_going = progress.is_open and progress.state is not selectors.CANCELLED
    return {
        **context,
        "has_run": True,
        "progress": progress,
        "sum": progress.sum,
        "blocked": blocked_credentials(campaign.application_id) if progress.is_open else [],
        "may_cancel": may and (is_going or campaign.status == Campaign.Status.RECURRING),
        "may_pause": may and is_going and progress.state is not selectors.PAUSED,
        "may_resume": may and progress.state is selectors.PAUSED,
        "may_unschedule": may and progress.state is selectors.SCHEDULED,
    }


def blocked_credentials(application_id: int) -> list[Any]:
    return list(
        Credential.objects.filter(application_id=application_id, is_active=True, blocked_at__isnull=False)
    )


def staff(request: HttpRequest) -> User:
    """Who is at the admin; anonymous visitors do not come this far."""
    assert isinstance(request.user, User)
    return request.user


def cancel(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: stop what still waits."""
    services.cancel(campaign)
    admin.audit(request, campaign, "Cancelled.")
    messages.success(request, "Cancelled. What was already with a provider cannot be recalled.")
    return HttpResponseRedirect(admin.url("live", campaign))


def pause(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: hold what still waits."""
    services.pause(campaign)
    admin.audit(request, campaign, "Paused.")
    messages.success(
        request, "Paused. What a sender had in hand goes out within seconds; everything else waits."
    )
    return HttpResponseRedirect(admin.url("live", campaign))


def resume(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: let it go on."""
    services.resume(campaign)
    admin.audit(request, campaign, "Resumed.")
    return HttpResponseRedirect(admin.url("live", campaign))


def unschedule(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: back to a draft, while nothing has begun."""
    try:
        services.unschedule(campaign)
    except services.NotLaunchable:
        messages.error(request, "It has begun. Pause or cancel it instead.")
        return HttpResponseRedirect(admin.url("live", campaign))
    admin.audit(request, campaign, "Taken back to edit.")
    messages.success(request, "This is a draft again. Nothing is sent until you launch it.")
    return HttpResponseRedirect(admin.url("change", campaign))


def duplicate(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: a new draft with the same content."""
    copy = services.duplicate(campaign, by=staff(request))
    admin.log_addition(request, copy, f"Copied from campaign {campaign.pk}.")
    messages.success(request, "This is a copy. Nothing is sent until you launch it.")
    return HttpResponseRedirect(admin.url("change", copy))
