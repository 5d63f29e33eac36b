"""/admin/campaigns/campaign/calendar/: a month of campaigns."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from campaigns import months, scopes
from campaigns.scopes import Scope
from devices import clocks
from tenants.console import ConsoleAdmin

YEARS = range(2000, 2200)


def page(admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    scope, now = scopes.of(request), timezone.now()
    zone = _zone(scope)
    this_month = now.astimezone(zone).date().replace(day=1)
    month = _month(request.GET.get("month", "")) or this_month
    campaigns = admin.get_queryset(request).filter(**scope.narrowed)
    weeks = months.days(campaigns, month, zone, now)
    context: dict[str, Any] = {
        "title": "Calendar",
        "scope": scope,
        "month": month,
        "this_month": this_month,
        "zone": zone.key,
        "weeks": weeks,
        "weekdays": [day.date for day in weeks[0]],
        "agenda": months.in_order(weeks),
        "previous": _link(scope, month - timedelta(days=1)),
        "following": _link(scope, month + timedelta(days=31)),
        "today_url": _link(scope, this_month),
        "list_url": admin.url("changelist") + scope.query,
        "has_add_permission": admin.has_add_permission(request),
    }
    return admin.render(request, "campaigns/calendar.html", None, context)


def _zone(scope: Scope) -> ZoneInfo:
    """The one app's; of several apps, UTC."""
    one = scope.chosen or (scope.applications[0] if len(scope.applications) == 1 else None)
    return (clocks.zone(one.default_time_zone) if one else None) or ZoneInfo("UTC")


def _month(text: str) -> date | None:
    """ "2026-11" """
    try:
        found = date.fromisoformat(f"{text}-01")
    except ValueError:
        return None
    return found if found.year in YEARS else None


def _link(scope: Scope, day: date) -> str:
    asked = {"month": f"{day:%Y-%m}", "app": scope.app}
    return f"?{urlencode({key: value for key, value in asked.items() if value})}"
