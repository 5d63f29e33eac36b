"""What is done from a run's page: stop it, let it go on, decide its experiment, make another draft of it. POST only."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from campaigns import experiments, live, resend, services, watched
from campaigns.models import Campaign, Run
from tenants.console import ConsoleAdmin, staff

LONGEST_REASON = 300


def pause(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Hold what still waits."""
    said = "Paused. What a sender had in hand goes out within seconds; everything else waits."
    return _done(admin, request, campaign, services.pause, "Paused.", said)


def resume(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Let it go on."""
    run = campaign.latest_run
    was = (
        f" It had stopped by itself: {run.paused_detail}"
        if run and run.paused_for not in ("", "person")
        else ""
    )
    return _done(admin, request, campaign, services.resume, f"Resumed.{was}", "It goes on where it was.")


def cancel(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Stop what still waits."""
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
    """Back to a draft, while nothing has begun."""
    try:
        services.unschedule(campaign)
    except services.NotAllowed:
        messages.error(request, "It has begun. Pause or cancel it instead.")
        return HttpResponseRedirect(admin.url("live", campaign))
    admin.audit(request, campaign, "Taken back to edit.")
    messages.success(request, "This is a draft again. Nothing was sent.")
    return HttpResponseRedirect(admin.url("change", campaign))


def duplicate(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """A new draft with the same content."""
    copy = services.duplicate(campaign, by=staff(request))
    admin.log_addition(request, copy, f"Copied from campaign {campaign.pk}.")
    messages.success(request, "This is a copy. Nothing is sent until you launch it.")
    return HttpResponseRedirect(admin.url("change", copy))


def again(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """A new draft for those a run did not reach."""
    run = live.chosen(request, campaign)
    back = HttpResponseRedirect(f"{admin.url('live', campaign)}{f'?run={run.number}' if run else ''}")
    if run is None or watched.look(campaign, run).is_open:
        messages.error(request, "Wait until it has ended: whom it does not reach is known only then.")
        return back
    try:
        made = resend.draft(campaign, run, by=staff(request))
    except resend.NobodyLeft:
        messages.info(request, "Nobody is left whom another try may reach.")
        return back
    admin.log_addition(request, made, f"For those not reached by campaign {campaign.pk}, run {run.number}.")
    admin.audit(request, campaign, f"Draft {made.pk} made for those not reached by run {run.number}.")
    messages.success(
        request, "This draft goes to those who were not reached. Nothing is sent until you launch it."
    )
    return HttpResponseRedirect(admin.url("change", made))


# --- the experiment ---------------------------------------------------------------------------


def decide(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """variant: who goes to the remainder, "" nobody. reason: where it is before its time."""
    run = campaign.latest_run
    back = HttpResponseRedirect(admin.url("live", campaign))
    fault = _fault(request, campaign, run)
    if fault or run is None:
        messages.error(request, f"{fault} Nothing was decided.")
        return back
    variant, reason = request.POST["variant"], _reason(request)
    try:
        services.decide(campaign, variant, by=staff(request).get_username())
    except services.NotAllowed as error:
        messages.error(request, f"{error} A colleague may have been faster.")
        return back
    outlook = experiments.of(watched.look(campaign, run))
    is_early = bool(outlook and outlook.waits)
    if is_early:
        overridden = {**run.overridden, "decided_early": reason}
        Run.objects.filter(id=run.id).update(overridden=overridden)
    what = f"{variant} goes to the remainder" if variant else "The remainder gets nothing"
    admin.audit(request, campaign, f"{what}.{f' Before its time, because: “{reason}”.' if is_early else ''}")
    messages.success(
        request, f"Decided: {what[0].lower()}{what[1:]}." if not variant else f"Decided: {what}."
    )
    return back


def _fault(request: HttpRequest, campaign: Campaign, run: Run | None) -> str:
    """Why it cannot be decided like this, "" when it can."""
    if run is None or request.POST.get("run") != str(run.number):
        return "A newer run has begun since this page was shown."
    outlook = experiments.of(watched.look(campaign, run))
    if outlook is None or request.POST.get("variant") not in ("", *outlook.keys):
        return "There is no such variant."
    if outlook.waits and not _reason(request):
        return f"{outlook.waits} To decide before, say why."
    return ""


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()[:LONGEST_REASON]
