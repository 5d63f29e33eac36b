"""The deeds of campaigns over REST: launch, pause, resume, cancel, take back, decide. What is possible when is in
transitions.TRANSITIONS; approving, and asking for it, is people's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from campaigns import api_rows, checking, preflight, selectors, services, transitions
from campaigns.api import found, not_allowed, stale
from campaigns.api_shapes import CampaignWithPlan, Decision, Launch
from campaigns.models import Campaign
from config import rest
from config.openapi import documented
from config.problems import Problem
from notifications.api import LONGEST_KEY, conflict, idempotency_key
from tenants import calls

LAUNCH = ("campaigns:launch",)


class CampaignLaunch(rest.Endpoint):
    scopes = {"POST": LAUNCH}

    @documented(
        "Launch it, once",
        request=Launch,
        responses={200: CampaignWithPlan},
        headers={
            "Idempotency-Key": "The same key with the same body launches it once; with another body, 409."
        },
        statuses={
            409: "Not possible in its state, changed since it was read, it reaches others than expected, or a second "
            "person has to approve it first",
        },
    )
    def post(self, request: HttpRequest, id: int) -> HttpResponse:
        campaign, given = found(request, id), rest.body(request, Launch)
        key = idempotency_key(request, LONGEST_KEY)
        asked = calls.fingerprint("launch", campaign.pk, msgspec.to_builtins(given))
        if key and (call := calls.known(campaign.application_id, key)):
            return _again(campaign, call.fingerprint, asked)
        try:
            _launch(request, campaign, given, key, asked)
        except calls.Known as error:
            return _again(campaign, error.call.fingerprint, asked)
        except services.NotAllowed as error:
            # Of two calls with one key, the second may come here when the first has just ended.
            if key and (call := calls.known(campaign.application_id, key)):
                return _again(campaign, call.fingerprint, asked)
            raise not_allowed(error) from error
        return rest.answer(api_rows.campaign(campaign))


def _again(campaign: Campaign, before: bytes | memoryview, asked: bytes) -> HttpResponse:
    if bytes(before) != asked:
        raise conflict()
    now = selectors.recent([campaign.application_id]).get(id=campaign.pk)
    return rest.answer(api_rows.campaign(now), headers={"Idempotent-Replay": "true"})


def _launch(request: HttpRequest, campaign: Campaign, given: Launch, key: str | None, asked: bytes) -> None:
    """Raises calls.Known, NotAllowed, Problem; then nothing is sent."""
    if campaign.version != given.version:
        raise stale(campaign)
    # What a preflight of seconds would find in vain.
    transitions.check(campaign, "launch")
    try:
        checking.check(campaign)
        reach = selectors.counted(campaign)
        report = preflight.report(campaign, timezone.now(), reach=reach)
        overridden = preflight.overridden(report, reason=given.reason)
        services.launch(
            campaign,
            by=f"key:{rest.key(request).prefix}",
            reach=reach,
            expected=given.expected_devices,
            overridden=overridden,
            once=lambda: calls.note(campaign.application_id, key, asked) if key else None,
        )
    except services.NotReady as error:
        faults = [fault._asdict() for fault in error.faults]
        raise Problem(422, "Not ready", f"{error}", errors=faults) from error
    except services.ReachChanged as error:
        fault = {"pointer": "/expected_devices", "detail": str(error)}
        raise Problem(409, "Conflict", f"{error} Nothing was sent.", errors=[fault]) from error
    except preflight.NotCleared as error:
        errors = [{"pointer": "/reason", "detail": f"{check.key}: {check.words}"} for check in error.checks]
        raise Problem(422, "Not cleared", str(error), errors=errors) from error


def _done(request: HttpRequest, id: int, deed: Callable[[Campaign], Any]) -> HttpResponse:
    try:
        deed(found(request, id))
    except services.NotAllowed as error:
        raise not_allowed(error) from error
    return rest.answer(api_rows.campaign(found(request, id)))


NOT_NOW = {409: "Not possible in its state"}


class CampaignPause(rest.Endpoint):
    scopes = {"POST": LAUNCH}

    @documented("Hold what is not sent yet", responses={200: CampaignWithPlan}, statuses=NOT_NOW)
    def post(self, request: HttpRequest, id: int) -> HttpResponse:
        return _done(request, id, services.pause)


class CampaignResume(rest.Endpoint):
    scopes = {"POST": LAUNCH}

    @documented("Let it go on where it was", responses={200: CampaignWithPlan}, statuses=NOT_NOW)
    def post(self, request: HttpRequest, id: int) -> HttpResponse:
        return _done(request, id, services.resume)


class CampaignCancel(rest.Endpoint):
    scopes = {"POST": LAUNCH}

    @documented(
        "Stop what is not sent yet, and all further runs", responses={200: CampaignWithPlan}, statuses=NOT_NOW
    )
    def post(self, request: HttpRequest, id: int) -> HttpResponse:
        return _done(request, id, services.cancel)


class CampaignUnschedule(rest.Endpoint):
    scopes = {"POST": LAUNCH}

    @documented(
        "Back to a draft, while nothing has begun", responses={200: CampaignWithPlan}, statuses=NOT_NOW
    )
    def post(self, request: HttpRequest, id: int) -> HttpResponse:
        return _done(request, id, services.unschedule)


class CampaignDecide(rest.Endpoint):
    scopes = {"POST": LAUNCH}

    @documented(
        "End its experiment: the remainder gets this variant",
        request=Decision,
        responses={200: CampaignWithPlan},
        statuses={409: "There is no remainder that waits for a decision"},
    )
    def post(self, request: HttpRequest, id: int) -> HttpResponse:
        variant, by = rest.body(request, Decision).variant, f"key:{rest.key(request).prefix}"
        campaign = found(request, id)
        keys = [one["key"] for one in campaign.latest_run.plan["variants"]] if campaign.latest_run else []
        if variant and keys and variant not in keys:
            raise Problem.of_field("/variant", f"it has {', '.join(keys)}")
        return _done(request, id, lambda campaign: services.decide(campaign, variant, by=by))
