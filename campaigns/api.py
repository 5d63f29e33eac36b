"""Campaigns over REST: write drafts, see whom they reach, what is wrong with them, and what became of them."""

from __future__ import annotations

from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from campaigns import api_rows, drafts, preflight, selectors, services
from campaigns.api_shapes import (
    CampaignRow,
    CampaignWithPlan,
    Change,
    Page,
    PreflightRow,
    ReachRow,
    RunRow,
    RunWithStages,
    Sections,
    VersionRow,
    VersionWithPlan,
)
from campaigns.models import Campaign
from config import rest
from config.openapi import documented
from config.problems import Problem

READ, WRITE = ("campaigns:read",), ("campaigns:write",)


class Campaigns(rest.Endpoint):
    scopes = {"GET": READ, "POST": WRITE}

    @documented("List campaigns, newest first", responses={200: Page[CampaignRow]}, query=("cursor", "limit"))
    def get(self, request: HttpRequest) -> HttpResponse:
        rows = selectors.recent([rest.key(request).application_id])
        return rest.page(request, rows, represented=api_rows.campaigns)

    @documented("Create a draft", request=Sections, responses={201: CampaignWithPlan})
    def post(self, request: HttpRequest) -> HttpResponse:
        given = rest.body(request, Sections)
        campaign = services.create(rest.key(request).application, by=None, fields=fields(given))
        return rest.answer(api_rows.campaign(campaign), 201)


class OneCampaign(rest.Endpoint):
    scopes = {"GET": READ, "PATCH": WRITE, "DELETE": WRITE}

    @documented("Show a campaign", responses={200: CampaignWithPlan})
    def get(self, request: HttpRequest, id: int) -> HttpResponse:
        rest.query(request)
        return rest.answer(api_rows.campaign(found(request, id)))

    @documented(
        "Change a draft",
        request=Change,
        responses={200: CampaignWithPlan},
        statuses={409: "It is no draft any more, or not that version: read it again"},
    )
    def patch(self, request: HttpRequest, id: int) -> HttpResponse:
        campaign, given = found(request, id), rest.body(request, Change)
        try:
            changed = services.save(campaign, fields(given), version=given.version, by=None)
        except services.Stale as error:
            raise stale(error.campaign) from error
        except services.NotAllowed as error:
            raise not_allowed(error) from error
        return rest.answer(api_rows.campaign(changed))

    @documented(
        "Delete a draft that was never launched",
        responses={204: None},
        statuses={409: "It was launched, or is frozen"},
    )
    def delete(self, request: HttpRequest, id: int) -> HttpResponse:
        try:
            drafts.delete(found(request, id))
        except services.NotAllowed as error:
            raise not_allowed(error) from error
        return rest.answer()


class CampaignReach(rest.Endpoint):
    scopes = {"GET": READ}

    @documented("Whom it would reach now", responses={200: ReachRow})
    def get(self, request: HttpRequest, id: int) -> HttpResponse:
        rest.query(request)
        campaign = found(request, id)
        return rest.answer(api_rows.reach(campaign, selectors.reach_now(campaign)))


class CampaignPreflight(rest.Endpoint):
    scopes = {"GET": READ}

    @documented(
        "What is looked at before it is sent, the worst first",
        description="Links in the message are asked, which may take seconds.",
        responses={200: PreflightRow},
    )
    def get(self, request: HttpRequest, id: int) -> HttpResponse:
        rest.query(request)
        return rest.answer(api_rows.report(preflight.report(found(request, id), timezone.now())))


class CampaignRuns(rest.Endpoint):
    scopes = {"GET": READ}

    @documented(
        "Its runs and what they came to, newest first",
        responses={200: Page[RunRow]},
        query=("cursor", "limit"),
    )
    def get(self, request: HttpRequest, id: int) -> HttpResponse:
        return rest.page(request, found(request, id).runs.all(), represented=api_rows.runs)


class OneCampaignRun(rest.Endpoint):
    scopes = {"GET": READ}

    @documented("One run: counts, stages, and how its variants compare", responses={200: RunWithStages})
    def get(self, request: HttpRequest, id: int, number: int) -> HttpResponse:
        rest.query(request)
        run = found(request, id).runs.filter(number=number).first()
        if run is None:
            raise Problem(404, "Not found", "There is no such run.")
        return rest.answer(api_rows.run(run))


class CampaignVersions(rest.Endpoint):
    scopes = {"GET": READ}

    @documented(
        "What it said before, newest first", responses={200: Page[VersionRow]}, query=("cursor", "limit")
    )
    def get(self, request: HttpRequest, id: int) -> HttpResponse:
        rows = found(request, id).versions.select_related("category", "created_by")
        return rest.page(
            request, rows, by="number", represented=lambda found: [api_rows.version(one) for one in found]
        )


class OneCampaignVersion(rest.Endpoint):
    scopes = {"GET": READ}

    @documented("One version, whole", responses={200: VersionWithPlan})
    def get(self, request: HttpRequest, id: int, number: int) -> HttpResponse:
        rest.query(request)
        rows = found(request, id).versions.select_related("category", "created_by")
        version = rows.filter(number=number).first()
        if version is None:
            raise Problem(404, "Not found", "There is no such version.")
        return rest.answer({**api_rows.version(version), "plan": version.plan})


def found(request: HttpRequest, id: int) -> Campaign:
    campaign = selectors.recent([rest.key(request).application_id]).filter(id=id).first()
    if campaign is None:
        raise Problem(404, "Not found", "There is no such campaign.")
    return campaign


def fields(given: Sections) -> dict[str, Any]:
    """As services.save takes them."""
    said: dict[str, Any] = msgspec.to_builtins(given)
    said.pop("version", None)
    return said


def not_allowed(error: services.NotAllowed) -> Problem:
    return Problem(409, "Conflict", str(error))


def stale(campaign: Campaign) -> Problem:
    detail = f"it was changed meanwhile and is version {campaign.version} by now"
    return Problem(409, "Conflict", f"/version: {detail}", errors=[{"pointer": "/version", "detail": detail}])
