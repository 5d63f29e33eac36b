"""The recipients behind a number of a run's page, and all of them as a file."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse

from campaigns import live, recipients, watched
from campaigns.models import Campaign, Run
from campaigns.recipients import Line, Place
from config import patience
from notifications import reasons, sums
from tenants.console import ConsoleAdmin


def page(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    run = _run(request, campaign)
    result, reason, provider = _asked(request)
    after, is_slow = Place.read(request.GET.get("after", "")), False
    try:
        lines, following = recipients.page(run, result=result, reason=reason, provider=provider, after=after)
    except patience.TooSlow:
        lines, following, is_slow = [], None, True
    seen = watched.look(campaign, run)
    part = seen.progress.sum.of(result)
    asked = {"run": run.number, "result": result, "reason": reason, "provider": provider}
    query = {name: value for name, value in asked.items() if value}
    context = {
        "title": f"{campaign}: {part.word.lower()}",
        "campaign": campaign,
        "run": run,
        "zone": watched.zone(campaign),
        "zone_word": watched.zone_word(campaign),
        "part": part,
        "reason": reason,
        "words": reasons.words(reason) if reason else None,
        "provider": reasons.PROVIDERS.get(provider, ""),
        "total": _total(seen.progress.sum, result, reason, provider),
        "rows": [(line, _explain_url(campaign, line)) for line in lines],
        "is_slow": is_slow,
        "is_first": not request.GET.get("after"),
        "first_url": f"?{urlencode(query)}",
        "next_url": f"?{urlencode({**query, 'after': str(following)})}" if following else "",
        "live_url": f"{admin.url('live', campaign)}?run={run.number}",
    }
    return admin.render(request, "campaigns/recipients.html", campaign, context)


def _asked(request: HttpRequest) -> tuple[str, str, str]:
    """(result, reason, provider), the latter two "" for any."""
    result, provider = request.GET.get("result", ""), request.GET.get("provider", "")
    if result not in recipients.RESULTS:
        raise Http404("There is no such result.")
    if provider and provider not in reasons.PROVIDERS:
        raise Http404("There is no such provider.")
    return result, request.GET.get("reason", "")[:60], provider


def _run(request: HttpRequest, campaign: Campaign) -> Run:
    run = live.chosen(request, campaign)
    if run is None:
        raise Http404("This campaign has no run yet.")
    return run


def _total(found: sums.Sum, result: str, reason: str, provider: str) -> int | None:
    """None: they are not counted apart."""
    if not reason:
        return found.of(result).count if not provider else None
    rows = {"failed": found.problems, "suppressed": found.held_back}.get(result, ())
    row = next((row for row in rows if row.reason == reason), None)
    if not provider or row is None:
        return row.count if row else 0
    by_provider = {one.provider: one.count for one in row.providers}
    return None if not by_provider or "" in by_provider else by_provider.get(provider, 0)


def _explain_url(campaign: Campaign, line: Line) -> str:
    """Why this person got it or not; "" where there is nobody to explain."""
    if not line.person:
        return ""
    asked = {
        "application": campaign.application_id,
        "person": line.person,
        "notification": line.delivery.notification_id,
    }
    return f"{reverse('explain')}?{urlencode(asked)}"


def export(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> Any:
    """POST: a run's recipients as CSV, streamed."""
    run = _run(request, campaign)
    admin.audit(request, campaign, f"Recipients of run {run.number} exported.")
    answer = StreamingHttpResponse(recipients.table(run), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="campaign-{campaign.pk}-run-{run.number}.csv"'
    answer["Cache-Control"] = "no-store"
    return answer
