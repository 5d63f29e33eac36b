"""The composer's questions: JSON in, JSON out, about a draft as it stands on the page, stored or not.

Each names its application, which is looked for among those the person at the admin may write campaigns of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import msgspec
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from campaigns import services
from campaigns.models import Campaign
from config import problems
from config.json import decoded
from tenants import access
from tenants.console import ConsoleAdmin
from tenants.models import Application

Answer = Callable[[ConsoleAdmin, HttpRequest], dict[str, Any]]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """plan: the sections of a document.Plan the answer depends on."""

    application: str
    category: str = ""
    name: str = ""
    plan: dict[str, Any] = {}


T = TypeVar("T", bound=Asked)


def answers(view: Answer) -> Callable[[ConsoleAdmin, HttpRequest], HttpResponse]:
    """A view that returns what its JSON says; errors as problem+json."""

    @wraps(view)
    def answer(admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
        try:
            return JsonResponse(view(admin, request))
        except (problems.Problem, problems.InvalidField, Http404, PermissionDenied) as error:
            problem = problems.of(error)
            assert problem
            return problem.plain_response()

    return answer


def applications(admin: ConsoleAdmin, request: HttpRequest) -> QuerySet[Application]:
    """Those this person may write campaigns of."""
    return access.applications(request.user, *map(admin.permission, ("add", "change")))


def application(admin: ConsoleAdmin, request: HttpRequest, slug: str) -> Application:
    """Raises Http404; PermissionDenied for one they may only look at."""
    if (found := applications(admin, request).filter(slug=slug).first()) is None:
        if access.applications(request.user, admin.permission("view")).filter(slug=slug).exists():
            raise PermissionDenied
        raise Http404("There is no such app.")
    return found


def read(admin: ConsoleAdmin, request: HttpRequest, shape: type[T]) -> tuple[T, Campaign]:
    """What is asked, and the draft it is about, unsaved. Raises Problem, InvalidField, Http404, PermissionDenied."""
    asked = decoded(request.body, shape)
    return asked, sketch(admin, request, asked)


def sketch(admin: ConsoleAdmin, request: HttpRequest, asked: Asked) -> Campaign:
    fields = dict(asked.plan)
    if asked.category:
        fields["category"] = asked.category
    campaign = services.sketch(application(admin, request, asked.application), fields)
    check_writer(admin, request, campaign)
    return campaign


def check_writer(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> None:
    if not (admin.may(request, "add", campaign) or admin.has_change_permission(request, campaign)):
        raise PermissionDenied
