"""The running campaign, and later its report; the deeds of its page."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from campaigns import selectors, services, transitions, words
from campaigns.models import Campaign
from campaigns.review import when_context
from tenants.console import ConsoleAdmin, staff
from tenants.models import Credential

# htmx stops polling when it gets this status.
STOP_POLLING = 286


def page(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    if campaign.status in Campaign.EDITABLE and not campaign.latest_run_id:
        return HttpResponseRedirect(admin.url("change", campaign))
    context = {
        **_context(admin, request, campaign),
        **when_context(campaign),
        "title": str(campaign),
        "content": campaign.plan["variants"][0]["content"],
        "audience": words.audience(campaign),
        "pace": words.pace(campaign),
        "runs_before": list(campaign.runs.all()[:20]),
        "duplicate_url": admin.url("duplicate", campaign) if admin.may(request, "add", campaign) else "",
    }
    return admin.render(request, "campaigns/live.html", campaign, context)


def status(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Fragment, asked for every second until 286 says that nothing will change any more."""
    context = _context(admin, request, campaign)
    status = 200 if context["has_run"] and context["progress"].is_open else STOP_POLLING
    return TemplateResponse(request, "campaigns/_live.html", context, status=status)


def _context(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> dict[str, Any]:
    may = {
        f"may_{deed}": admin.may(request, transition.permission, campaign)
        for deed, transition in transitions.possible(campaign).items()
    }
    context: dict[str, Any] = {
        "campaign": campaign,
        "status_url": admin.url("live_status", campaign),
        **{f"{deed}_url": admin.url(deed, campaign) for deed in ("cancel", "pause", "resume", "unschedule")},
        **may,
        "has_run": campaign.latest_run is not None,
    }
    if campaign.latest_run is None:  # a recurring one before its first run
        return context
    progress = selectors.progress(campaign)
    return {
        **context,
        "run": campaign.latest_run,
        "progress": progress,
        "sum": progress.sum,
        "blocked": blocked_credentials(campaign.application_id) if progress.is_open else [],
    }


def blocked_credentials(application_id: int) -> list[Any]:
    return list(
        Credential.objects.filter(application_id=application_id, is_active=True, blocked_at__isnull=False)
    )


def pause(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: hold what still waits."""
    said = "Paused. What a sender had in hand goes out within seconds; everything else waits."
    return _done(admin, request, campaign, services.pause, "Paused.", said)


def resume(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: let it go on."""
    return _done(admin, request, campaign, services.resume, "Resumed.", "It goes on where it was.")


def cancel(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: stop what still waits."""
    said = "Cancelled. What was already with a provider cannot be recalled."
    return _done(admin, request, campaign, services.cancel, "Cancelled.", said)


def _done(
    admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, deed: Any, audited: str, said: str
) -> HttpResponse:
    try:
        deed(campaign)
    except services.NotAllowed as error:
        messages.error(request, str(error))
    else:
        admin.audit(request, campaign, audited)
        messages.success(request, said)
    return HttpResponseRedirect(admin.url("live", campaign))


def unschedule(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: back to a draft, while nothing has begun."""
    try:
        services.unschedule(campaign)
    except services.NotAllowed:
        messages.error(request, "It has begun. Pause or cancel it instead.")
        return HttpResponseRedirect(admin.url("live", campaign))
    admin.audit(request, campaign, "Taken back to edit.")
    messages.success(request, "This is a draft again. Nothing was sent.")
    return HttpResponseRedirect(admin.url("change", campaign))


def duplicate(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: a new draft with the same content."""
    copy = services.duplicate(campaign, by=staff(request))
    admin.log_addition(request, copy, f"Copied from campaign {campaign.pk}.")
    messages.success(request, "This is a copy. Nothing is sent until you launch it.")
    return HttpResponseRedirect(admin.url("change", copy))
