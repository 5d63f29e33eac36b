"""The composer: one page that writes a draft's plan, section by section, and saves as one goes."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from campaigns import (
    checking,
    composer_audience,
    composer_draft,
    composer_pictures,
    composer_preview,
    document,
    first_saves,
    presence,
    selectors,
    services,
)
from campaigns.models import Campaign
from config import problems
from config.json import decoded
from tenants import access
from tenants.console import ConsoleAdmin, staff
from tenants.models import Application

# What its scripts ask about a draft, stored or not.
ASKED = {
    "preview": composer_preview.preview,
    "search": composer_preview.search,
    "picture": composer_pictures.upload,
}
STEPS = (("content", "Content"), ("audience", "Audience"), ("schedule", "Schedule"), ("review", "Review"))
SURFACES = (
    ("ios", "iPhone"),
    ("windows", "Windows"),
    ("macos", "Mac"),
    ("android", "Android"),
    ("android-open", "Android, opened"),
)
KEY = re.compile(r"[A-Za-z0-9-]{16,64}")
OF_ONE = ("save", "presence", "review", "history")


def routes(admin: ConsoleAdmin) -> list[URLPattern]:
    return [
        path(
            f"compose/{name}/",
            admin.admin_site.admin_view(require_POST(partial(view, admin))),
            name=admin.url_name(name),
        )
        for name, view in ASKED.items()
    ]


def page(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign | None) -> HttpResponse:
    """A draft to write on; what is no draft any more, or not this person's to write, has other pages."""
    if campaign and campaign.latest_run_id and campaign.status not in Campaign.EDITABLE:
        return HttpResponseRedirect(admin.url("live", campaign))
    if campaign and not admin.has_change_permission(request, campaign):
        return HttpResponseRedirect(admin.url("review", campaign))
    applications = list(composer_draft.applications(admin, request))
    application = campaign.application if campaign else _chosen(request, applications)
    context: dict[str, Any] = {
        "campaign": campaign,
        "title": str(campaign) if campaign else "New campaign",
        "applications": applications,
        "application": application,
        "steps": STEPS,
        "surfaces": SURFACES,
        "history_url": admin.url("history", campaign) if campaign else "",
        "test_url": _test_url(admin, campaign) if campaign else "",
    }
    try:
        draft = campaign or (services.drafted(application) if application else None)
    except problems.InvalidField as error:
        draft, context["lacks"] = None, error.detail
    if draft:
        context["data"] = _data(admin, request, draft)
        context["categories"] = draft.application.categories.order_by("kind", "name")
        if not campaign:
            context["latest"] = Campaign.objects.filter(application=draft.application).order_by("-id").first()
    return admin.render(request, "campaigns/compose.html", campaign, context)


def _chosen(request: HttpRequest, applications: list[Application]) -> Application | None:
    wanted = request.GET.get("application")
    return next(
        (one for one in applications if one.slug == wanted), applications[0] if applications else None
    )


def _data(admin: ConsoleAdmin, request: HttpRequest, draft: Campaign) -> dict[str, Any]:
    """What the page's scripts begin with."""
    application = draft.application
    start: dict[str, Any] = {
        "id": None,
        "version": 0,
        "saved_at": None,
        "name": "",
        "plan": document.blank(),
        "faults": [],
    }
    stored = saved(draft) if draft.pk else {**start, "category": draft.category.slug}
    return {
        **stored,
        "application": application.slug,
        "application_name": application.name,
        "locale": application.default_locale,
        "locales": selectors.locales(application.pk),
        "attributes": selectors.attribute_names(application.pk),
        "me": str(staff(request)),
        "beat_seconds": presence.BEAT,
        "urls": _urls(admin, draft),
    }


def _urls(admin: ConsoleAdmin, draft: Campaign) -> dict[str, str]:
    found = {name: admin.url(name) for name in ("create", *ASKED)} | composer_audience.panel_urls(admin)
    if draft.pk:
        found |= {name: admin.url(name, draft) for name in OF_ONE}
        found["test"] = _test_url(admin, draft)
    return found


def _test_url(admin: ConsoleAdmin, campaign: Campaign) -> str:
    """The drawer is a part of the review page."""
    return f"{admin.url('review', campaign)}#test"


def create(admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """POST {application: slug, key, …as save}: a new draft, or (200) the one that was made for this key before, and by
    whom it was changed since, "" for oneself."""
    try:
        fields: dict[str, Any] = decoded(request.body, dict)
        own = access.applications(request.user, "campaigns.add_campaign")
        application = own.get(slug=str(fields.pop("application", "")))
        key = _key(fields.pop("key", ""))
        campaign, is_new = first_saves.create(application, by=staff(request), key=key, fields=fields)
    except Application.DoesNotExist:
        return problems.Problem.of_field("/application", "there is no such app").plain_response()
    except (problems.Problem, problems.InvalidField) as error:
        return refused(error)
    answer = {**saved(campaign), "url": admin.url("change", campaign), "urls": _urls(admin, campaign)}
    if is_new:
        return JsonResponse(answer, status=201)
    by = campaign.updated_by
    return JsonResponse({**answer, "is_known": True, "by": "" if by == staff(request) else str(by or "")})


def _key(given: Any) -> str:
    if not isinstance(given, str) or (given and not KEY.fullmatch(given)):
        raise problems.InvalidField("/key", "expected 16 to 64 letters and digits")
    return given


def save(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST {version, …sections}: what has changed."""
    try:
        fields: dict[str, Any] = decoded(request.body, dict)
        version = fields.pop("version", 0)
        if not isinstance(version, int):
            raise problems.InvalidField("/version", "expected a number")
        changed = services.save(campaign, fields, version=version, by=staff(request))
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
