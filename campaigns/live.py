"""The running campaign, and later its report: its page and the two parts of it that are asked for again and again."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone

from campaigns import charts, experiments, timetable, transitions, watched, words
from campaigns.models import Campaign, Run, Stage
from campaigns.watched import Watched
from notifications import rollups
from tenants.console import ConsoleAdmin
from tenants.models import Credential

# htmx stops polling when it gets this status.
STOP_POLLING = 286
SLOW_SECONDS = 15  # between looks at what devices tell
ROLLED_REMEMBERED = 10  # they come by the minute
RUNS_LISTED = 20

MAY_LIST, MAY_EXPORT = "notifications.view_delivery", "campaigns.export_campaign"


def page(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    if campaign.status in Campaign.EDITABLE and not campaign.latest_run_id:
        return HttpResponseRedirect(admin.url("change", campaign))
    run = chosen(request, campaign)
    context = {
        **frame(admin, request, campaign, run),
        "when": words.when(campaign),
        "runs": _coming(campaign),
        "title": str(campaign),
        "audience": words.audience(campaign),
        "pace": words.pace(campaign),
        "runs_made": list(campaign.runs.all()[:RUNS_LISTED]),
        "run_count": campaign.runs.count(),
        **_links(admin, request, campaign, run),
    }
    if run:
        seen = watched.look(campaign, run)
        context |= {
            **moving(admin, request, campaign, seen),
            **report(admin, request, seen),
            "variants": sent_copy(run),
        }
        context["content"] = context["variants"][0]["content"]
    return admin.render(request, "campaigns/live.html", campaign, context)


def _coming(campaign: Campaign) -> list[Any]:
    """A recurring one's next runs. In which zones people live is not counted here: that reads the audience."""
    if campaign.next_run_at is None:
        return []
    try:
        return timetable.coming(campaign, timezone.now(), most=5)
    except ValueError:  # it is a draft again
        return []


def status(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Fragment: what moves while it is sending. 286: nothing will change any more."""
    run = _chosen(request, campaign)
    seen = watched.look(campaign, run)
    context = {**frame(admin, request, campaign, run), **moving(admin, request, campaign, seen)}
    # A button that is replaced while somebody presses it does not hear of it.
    context["are_deeds_old"] = request.GET.get("deeds") != context["deeds"]
    context["is_fragment"] = True
    answer = TemplateResponse(request, "campaigns/_live.html", context)
    if not seen.is_open:
        answer.status_code = STOP_POLLING
        answer["HX-Trigger"] = "run-ended"
    return answer


def details(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Fragment: what devices told, charts and the experiment. 286 a day after the end."""
    run = _chosen(request, campaign)
    seen = watched.look(campaign, run)
    context = {**frame(admin, request, campaign, run), **report(admin, request, seen)}
    status = 200 if seen.is_told_of else STOP_POLLING
    return TemplateResponse(request, "campaigns/_live_details.html", context, status=status)


def chosen(request: HttpRequest, campaign: Campaign) -> Run | None:
    """The run whose number is asked for, else the latest; None before the first."""
    number = request.GET.get("run") or request.POST.get("run") or ""
    if not number:
        return campaign.latest_run
    run = (
        campaign.runs.filter(number=int(number)).first() if number.isdecimal() and len(number) < 10 else None
    )
    if run is None:
        raise Http404("This campaign has no such run.")
    return run


def _chosen(request: HttpRequest, campaign: Campaign) -> Run:
    run = chosen(request, campaign)
    if run is None:
        raise Http404("This campaign has no run yet.")
    return run


# --- what the page shows ----------------------------------------------------------------------


def frame(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, run: Run | None) -> dict[str, Any]:
    """Which run it is, and what may be done about it."""
    is_latest = run is None or run.id == campaign.latest_run_id
    own = f"?{urlencode({'run': run.number})}" if run and not is_latest else ""
    may = {
        f"may_{deed}": is_latest and admin.may(request, transition.permission, campaign)
        for deed, transition in transitions.possible(campaign).items()
    }
    urls = ("cancel", "pause", "resume", "unschedule", "decide", "live", "live_status", "live_details")
    return {
        "campaign": campaign,
        "run": run,
        "has_run": run is not None,
        "is_latest": is_latest,
        "run_query": own,
        **{f"{deed}_url": admin.url(deed, campaign) for deed in urls},
        **may,
        "zone": watched.zone(campaign),
        "zone_word": watched.zone_word(campaign),
    }


def moving(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, seen: Watched) -> dict[str, Any]:
    progress = seen.progress
    list_url = _lists(admin, request, campaign, seen.run)
    undo = seen.undo_until if seen.is_latest else None
    return {
        "seen": seen,
        "progress": progress,
        "may_list": list_url is not None,
        "sum": watched.linked(progress.sum, list_url) if list_url else progress.sum,
        "steps": seen.steps if len(seen.steps) > 1 else [],
        "blocked": blocked_credentials(campaign.application_id) if progress.is_open else [],
        "stop": STOPS.get(seen.run.paused_for) if campaign.status == Campaign.Status.PAUSED else None,
        "is_paused": campaign.status == Campaign.Status.PAUSED and seen.is_latest,
        "finding": outlook.sentence if (outlook := experiments.of(seen)) and outlook.lines else "",
        "undo_until": undo,
        "undo_seconds": max(0, round((undo - seen.now).total_seconds())) if undo else 0,
        "waits_for": _waits_for(seen),
        "gone": progress.counts["accepted"] + progress.counts["uncertain"],
        "deeds": _deeds(admin, request, campaign, seen),
    }


def _deeds(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, seen: Watched) -> str:
    """What the bar of deeds depends on: while it is the same the bar is left alone."""
    possible = transitions.possible(campaign) if seen.is_latest else {}
    found = [deed for deed, one in possible.items() if admin.may(request, one.permission, campaign)]
    return ".".join([*found, "undo" if seen.undo_until else "", "open" if seen.is_open else ""])


# Why it stopped by itself: what it is called, and what to do now.
STOPS = {
    "problems": (
        "Stopped by itself: too many failures",
        "Look at the failures below. When they are mended, or do not matter, it can go on; it does not stop for "
        "them a second time.",
    ),
    "canary": (
        "Stopped by itself: the first devices did not go well",
        "Nobody else has been sent anything. Look at the failures below; going on sends it to everyone.",
    ),
    "credential": (
        "Stopped by itself: a credential is refused",
        "Nothing is lost. Mend the credential, then let it go on.",
    ),
}


def _waits_for(seen: Watched) -> str:
    """ "18:00 Berlin, in 2 h 14 min"; "": it waits for no moment."""
    if not (until := seen.waits_until):
        return ""
    left = watched.span((until - seen.now).total_seconds())
    if seen.run.document.is_local:
        return f"each person’s own time; the first begin at {watched.moment(seen.campaign, until)}, in {left}"
    return f"{watched.moment(seen.campaign, until)}, in {left}"


def report(admin: ConsoleAdmin, request: HttpRequest, seen: Watched) -> dict[str, Any]:
    points, platforms, languages, variants = _rolled(seen)
    metric = seen.run.document.experiment.metric
    drawn = [charts.sent(points), charts.told(points), charts.compared(points, variants, metric)]
    return {
        "seen": seen,
        "details_every": SLOW_SECONDS if seen.is_told_of else 0,
        "funnel": funnel(seen),
        "charts": [chart for chart in drawn if chart],
        "splits": [
            (
                "Platform",
                [
                    (words.PLATFORMS.get(row["platform"], row["platform"] or "Not known"), row)
                    for row in platforms
                ],
            ),
            ("Language", [(row["language"] or "Not known", row) for row in languages[:12]]),
        ],
        "outlook": experiments.of(seen),
    }


def _rolled(seen: Watched) -> tuple[Any, ...]:
    """Over time, by platform, by language, and of an experiment over time by variant; several may watch the same."""
    key, ids = f"carillon:rolled:{seen.run.id}:{len(seen.ids)}", seen.ids
    found: tuple[Any, ...] | None = cache.get(key)
    if found is None:
        variants = {name: rollups.timeline(own) for name, own in seen.by_variant.items()}
        by_platform, by_language = (rollups.split(ids, by=by) for by in ("platform", "language"))
        found = rollups.timeline(ids), by_platform, by_language, variants
        cache.set(key, found, timeout=ROLLED_REMEMBERED)
    return found


def funnel(seen: Watched) -> list[dict[str, Any]]:
    """From whom it was meant for to who did what it was for; share: of those it was accepted for, in per cent."""
    counts = seen.progress.counts
    goal = seen.run.document.experiment.goal
    converted = counts["converted"]
    if goal:
        own = [stage for stage in seen.stages if stage.kind != Stage.Kind.HOLDOUT]
        converted = sum(stage.goal_count or 0 for stage in own)
    parts = (
        ("Targeted", counts["recipients"], "devices of the audience, by its rules"),
        ("Held back", sum(counts["suppressed"].values()), "by their own choice or settings, or by lot"),
        ("Accepted", counts["accepted"], "taken by Apple, Google or the browser’s service"),
        ("Received", counts["received"], "as far as the app tells; many devices do not"),
        ("Opened", counts["opened"], "tapped, or opened from the message"),
        ("Clicked", counts["clicked"], "a button or a link in it"),
        ("Converted", converted, f"people who did “{goal}” within a week" if goal else "as the app tells"),
    )
    most, accepted = max(1, counts["recipients"]), counts["accepted"]
    return [
        {
            "word": word,
            "count": count,
            "means": means,
            "width": f"{min(100, count * 100 / most):.2f}",
            "share": f"{count * 100 / accepted:.1f}" if accepted and number > 2 else "",
            "is_aside": number == 1,
        }
        for number, (word, count, means) in enumerate(parts)
    ]


def sent_copy(run: Run) -> list[dict[str, Any]]:
    """Each variant as it was when the run was made."""
    return [
        {
            "key": one["key"],
            "content": {"title": "", "body": "", **one["content"]},
            "locales": sorted(one["content"].get("locales", {}).items()),
        }
        for one in run.plan["variants"]
    ]


def blocked_credentials(application_id: int) -> list[Any]:
    return list(
        Credential.objects.filter(application_id=application_id, is_active=True, blocked_at__isnull=False)
    )


# --- where its links lead ---------------------------------------------------------------------


def _links(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, run: Run | None) -> dict[str, str]:
    may_add, may_export = admin.may(request, "add", campaign), admin.may(request, MAY_EXPORT, campaign)
    return {
        "duplicate_url": admin.url("duplicate", campaign) if may_add else "",
        "resend_url": admin.url("resend", campaign) if run and may_add else "",
        "export_url": admin.url("export", campaign) if run and may_export else "",
    }


def _lists(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, run: Run) -> Any:
    """Of a result, a reason and a provider: the list of those recipients. None: not for this person's eyes."""
    if not admin.may(request, MAY_LIST, campaign):
        return None
    address = admin.url("recipients", campaign)

    def url(result: str, reason: str, provider: str = "") -> str:
        query = {"run": run.number, "result": result, "reason": reason, "provider": provider}
        return f"{address}?{urlencode({name: value for name, value in query.items() if value})}"

    return url
