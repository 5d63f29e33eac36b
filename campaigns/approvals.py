"""The deeds of approval: ask for it, take it back, say yes or no. Each names the version it is about."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from campaigns import approving, review, services
from campaigns.models import Campaign
from tenants.console import ConsoleAdmin, staff

# What is kept in the history, and what is said: of a run of a recurring campaign or not, approved or not.
SAID = {
    (False, True): ("Approved.", "Approved. It can be launched now."),
    (False, False): ("Sent back.", "Sent back to its author, who is told. Nothing was sent."),
    (True, True): ("A run approved.", "Approved. The run goes out now."),
    (True, False): ("A run left out.", "Left out: this run is not sent. The next one comes when it is due."),
}


def ask(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: freeze it until a second person has said yes or no."""
    note = request.POST.get("note", "").strip()

    def done() -> str:
        devices = review.counted(campaign).reachable
        approving.ask(campaign, by=staff(request), devices=devices, note=note)
        admin.audit(request, campaign, f"Asked for approval, for {devices:,} devices. {note}".strip())
        return "Asked. Those who may approve it are told; nothing is sent before one of them has."

    return _done(admin, request, campaign, done)


def withdraw(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: a draft again; a yes is gone with it."""

    def done() -> str:
        was_approved = campaign.status == Campaign.Status.APPROVED
        approving.withdraw(campaign)
        admin.audit(request, campaign, "Taken back to edit.")
        gone = " The approval is gone: ask again when it is ready." if was_approved else ""
        return f"This is a draft again. Nothing was sent.{gone}"

    response = _done(admin, request, campaign, done)
    if campaign.status == Campaign.Status.DRAFT:
        return HttpResponseRedirect(admin.url("change", campaign))
    return response


def approve(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: a second person's yes to what they have seen."""
    return _decided(admin, request, campaign, is_granted=True)


def refuse(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: back to its author, with a word why."""
    return _decided(admin, request, campaign, is_granted=False)


def _decided(
    admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, *, is_granted: bool
) -> HttpResponse:
    answer = request.POST.get("note", "").strip()

    def done() -> str:
        try:
            approving.decide(campaign, by=staff(request), is_granted=is_granted, answer=answer)
        except PermissionError as error:
            raise PermissionDenied(str(error)) from error
        is_run = campaign.status == Campaign.Status.RECURRING
        audited, told = SAID[is_run, is_granted]
        admin.audit(request, campaign, f"{audited} {answer}".strip())
        return told

    return _done(admin, request, campaign, done)


def _done(
    admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, deed: Callable[[], str]
) -> HttpResponse:
    if request.POST.get("version", "") != str(campaign.version):
        return review.changed(admin, request, campaign)
    try:
        messages.success(request, deed())
    except (services.NotAllowed, services.NotReady) as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(admin.url("review", campaign))
