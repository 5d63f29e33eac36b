"""The admin's estimate of the reach of rules that are just being written: a fragment of its segment page."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from config.problems import InvalidField
from devices import segments
from devices.models import Category
from notifications import reach, reasons
from tenants import access

PLATFORMS = {"ios": "iPhone and iPad", "android": "Android", "web": "Browser", "macos": "Mac"}


def estimate(request: HttpRequest) -> HttpResponse:
    """POST: the segment's form, and `estimate_category`."""
    if not request.user.has_perm("devices.view_segment"):
        raise PermissionDenied
    return TemplateResponse(request, "devices/segment_estimate.html", _context(request))


def _context(request: HttpRequest) -> dict[str, Any]:
    application = _application(request)
    try:
        rules = json.loads(request.POST.get("rules") or "{}")
    except (ValueError, RecursionError):
        rules = None
    if not application or not rules:
        return {"words": "Add a rule first." if application else "Choose an application first."}
    if faults := segments.check(rules, application):
        return {"words": "Complete the rules first.", "faults": faults}
    category = Category.objects.filter(
        pk=_number(request.POST.get("estimate_category")) or 0, application_id=application
    ).first()
    try:
        found = reach.of_rules(
            rules, application_id=application, category_id=category.pk if category else None
        )
    except InvalidField as error:
        return {"words": error.detail}
    return {
        "reach": found,
        "category": category,
        "platforms": [(PLATFORMS.get(name, name), count) for name, count in found.platforms.items()],
        "held_back": [(reasons.words(reason), count) for reason, count in found.held_back.items()],
    }


def _application(request: HttpRequest) -> int | None:
    """The one named, of those whose segments this person may see."""
    own = access.applications(request.user, "devices.view_segment")
    found: int | None = (
        own.filter(pk=_number(request.POST.get("application")) or 0).values_list("pk", flat=True).first()
    )
    return found


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 18 else None
