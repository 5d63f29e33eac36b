"""The composer: one page that writes a draft's plan, section by section, and saves as one goes."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse

from campaigns import checking, services
from campaigns.models import Campaign
from config import problems
from config.json import decoded
from tenants import access
from tenants.console import ConsoleAdmin, staff
from tenants.models import Application


def page(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign | None) -> HttpResponse:
    if campaign and campaign.latest_run_id and campaign.status not in Campaign.EDITABLE:
        return HttpResponseRedirect(admin.url("live", campaign))
    if campaign and not admin.has_change_permission(request, campaign):
        return HttpResponseRedirect(admin.url("review", campaign))
    context = {"campaign": campaign, "title": str(campaign) if campaign else "New campaign"}
    return admin.render(request, "campaigns/compose.html", campaign, context)


def create(admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """POST {application: slug, …as save}: a new draft."""
    try:
        fields: dict[str, Any] = decoded(request.body, dict)
        own = access.applications(request.user, "campaigns.add_campaign")
        application = own.get(slug=fields.pop("application", ""))
        campaign = services.create(application, by=staff(request), fields=fields)
    except Application.DoesNotExist:
        return problems.Problem.of_field("/application", "there is no such app").plain_response()
    except (problems.Problem, problems.InvalidField) as error:
        return refused(error)
    return JsonResponse(saved(campaign) | {"url": admin.url("change", campaign)}, status=201)


def save(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST {version, …sections}: what has changed."""
    try:
        fields: dict[str, Any] = decoded(request.body, dict)
        changed = services.save(campaign, fields, version=int(fields.pop("version", 0)), by=staff(request))
    except services.Stale as error:
        now = error.campaign
        return JsonResponse({"stale": True, **saved(now), "by": str(now.updated_by or "")}, status=409)
    except services.NotAllowed as error:
        return problems.Problem(409, "Not a draft", str(error)).plain_response()
    except (problems.Problem, problems.InvalidField) as error:
        return refused(error)
    return JsonResponse(saved(changed))


def saved(campaign: Campaign) -> dict[str, Any]:
    """The draft as it is stored, and what keeps it from being sent."""
    return {
        "id": campaign.pk,
        "version": campaign.version,
        "saved_at": campaign.updated_at,
        "name": campaign.name,
        "category": campaign.category.slug,
        "plan": campaign.plan,
        "faults": [fault._asdict() for fault in checking.faults(campaign)],
    }


def refused(error: Exception) -> HttpResponse:
    problem = problems.of(error)
    assert problem
    return problem.plain_response()
