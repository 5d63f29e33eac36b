"""/admin/reasons/: the catalogue of reasons for staff. Public text: whoever may sign in may read it."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from notifications import catalogue


def reasons(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "")[:200]
    context = {
        **admin.site.each_context(request),
        "title": "Reasons",
        "query": query,
        "groups": catalogue.grouped(query),
    }
    return TemplateResponse(request, "notifications/reasons.html", context)
