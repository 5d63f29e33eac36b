"""The list of campaigns: tabs by state, search, and what may be done to a row or to several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from django.contrib import messages
from django.db.models import BigIntegerField, Count, Func, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone

from campaigns import scopes, selectors, services, timetable, transitions, words
from campaigns.models import Campaign, Stage
from campaigns.scopes import Scope
from devices import clocks
from notifications import reasons
from notifications.models import Delivery, Tally
from notifications.selectors import FAILURES
from tenants import access
from tenants.console import ConsoleAdmin

Status = Campaign.Status
Progress = selectors.Progress

ON_A_PAGE = 25
SEARCHED = 100  # characters

IS_ARCHIVED = Q(archived_at__isnull=False)
# The guard paused it, or it ended with failures that are not ordinary, or nobody got it (selectors.state).
TROUBLED = Q(status=Status.PAUSED, latest_run__paused_for__in=("problems", "credential", "canary")) | (
    Q(status=Status.FINISHED) & (Q(bad__gt=0) | Q(good=0))
)


class Tab(NamedTuple):
    key: str
    word: str
    holds: Q
    empty: str


TABS = (
    Tab("", "All", ~IS_ARCHIVED, "No campaign here. Archived ones are in the last tab."),
    Tab(
        "drafts",
        "Drafts",
        Q(status=Status.DRAFT) & ~IS_ARCHIVED,
        "No drafts. They save themselves as you write.",
    ),
    Tab(
        "waiting",
        "Waiting",
        Q(status__in=(Status.WAITING, Status.APPROVED)) & ~IS_ARCHIVED,
        "Nothing waits for an approval, and nothing approved waits for its launch.",
    ),
    Tab(
        "scheduled",
        "Scheduled",
        Q(status__in=(Status.SCHEDULED, Status.RECURRING)) & ~IS_ARCHIVED,
        "Nothing is planned. Choose a time in a draft, and launch it: it begins by itself.",
    ),
    Tab(
        "sending",
        "Sending",
        Q(status__in=(Status.SENDING, Status.PAUSED)) & ~IS_ARCHIVED,
        "Nothing is being sent.",
    ),
    Tab("problems", "Problems", TROUBLED & ~IS_ARCHIVED, "No campaign has problems. Good."),
    Tab(
        "finished",
        "Finished",
        Q(status__in=(Status.FINISHED, Status.CANCELLED)) & ~IS_ARCHIVED,
        "No campaign has finished yet.",
    ),
    Tab(
        "archived",
        "Archived",
        IS_ARCHIVED,
        "Nothing is archived. Archive what is over to keep the list short.",
    ),
)


class Asked(NamedTuple):
    """What the address asks for; what makes no sense is left out."""

    scope: Scope
    tab: Tab
    text: str
    page: int

    def query(self, **changed: Any) -> str:
        """ "?tab=drafts&q=sale", with some of it changed."""
        said = {"tab": self.tab.key, "q": self.text, "app": self.scope.app, **changed}
        found = urlencode({key: value for key, value in said.items() if value})
        return f"?{found}" if found else "."


@dataclass(frozen=True, slots=True)
class Row:
    """deeds: (word, icon, URL), each a POST. cancel: the URL of a deed that asks first, "" if there is none."""

    campaign: Campaign
    state: selectors.State
    when: str
    title: str
    variants: str  # "A/B"; "" of one that compares nothing
    audience: str
    progress: Progress | None
    url: str
    live: str
    deeds: list[tuple[str, str, str]]
    cancel: str


def page(admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    asked = _asked(request)
    everything = admin.get_queryset(request).filter(**asked.scope.narrowed)
    found = _searched(_with_outcomes(everything), asked.text)
    counts = found.aggregate(**{tab.key or "all": Count("pk", filter=tab.holds) for tab in TABS})
    start = (asked.page - 1) * ON_A_PAGE
    shown = list(_ordered(found.filter(asked.tab.holds), asked.tab)[start : start + ON_A_PAGE + 1])
    may_change = request.user.has_perm("campaigns.change_campaign")
    context = {
        "title": "Campaigns",
        "asked": asked,
        "tabs": [(tab, counts[tab.key or "all"], asked.query(tab=tab.key)) for tab in TABS],
        "rows": _rows(admin, request, shown[:ON_A_PAGE]),
        "newer": asked.query(page=asked.page - 1 if asked.page > 2 else "") if asked.page > 1 else "",
        "older": asked.query(page=asked.page + 1) if len(shown) > ON_A_PAGE else "",
        "cleared": asked.query(q="", app=""),
        "is_filtered": bool(asked.text or asked.scope.app),
        "is_empty": not counts["all"] and not counts["archived"] and not (asked.text or asked.scope.app),
        "has_add_permission": admin.has_add_permission(request),
        "may_archive": may_change,
        "archive_url": admin.url("shelve"),
        "back": asked.query(page=asked.page if asked.page > 1 else "").lstrip("?."),
        "calendar_url": admin.url("calendar") + asked.scope.query,
    }
    return admin.render(request, "campaigns/list.html", None, context)


def _asked(request: HttpRequest) -> Asked:
    tab = next((tab for tab in TABS if tab.key == request.GET.get("tab", "")), TABS[0])
    number = request.GET.get("page", "")
    page = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 1
    text = request.GET.get("q", "").replace("\0", "").strip()[:SEARCHED]
    return Asked(scopes.of(request), tab, text, max(1, page))


def _with_outcomes(campaigns: QuerySet[Campaign]) -> QuerySet[Campaign]:
    """bad: messages of the latest run that failed as they should not; good: that were accepted."""
    tallies = Tally.objects.filter(
        notification_id__in=Stage.objects.filter(run=OuterRef(OuterRef("latest_run"))).values(
            "notification_id"
        )
    )
    unusual = Q(outcome__in=FAILURES) & ~Q(reason__in=reasons.ORDINARY) | Q(
        outcome=Delivery.Outcome.UNCERTAIN
    )
    return campaigns.annotate(
        bad=Coalesce(_sum(tallies.filter(unusual)), 0),
        good=Coalesce(_sum(tallies.filter(outcome=Delivery.Outcome.ACCEPTED)), 0),
    )


def _sum(tallies: QuerySet[Tally]) -> Subquery:
    # Not Sum, which would group them by their rows.
    total = Func("count", function="SUM", output_field=BigIntegerField())
    return Subquery(tallies.annotate(total=total).values("total"))


def _searched(campaigns: QuerySet[Campaign], text: str) -> QuerySet[Campaign]:
    if not text:
        return campaigns
    said = "plan__variants__0__content__"
    return campaigns.filter(
        Q(name__icontains=text)
        | Q(**{f"{said}title__icontains": text})
        | Q(**{f"{said}body__icontains": text})
    )


def _ordered(campaigns: QuerySet[Campaign], tab: Tab) -> QuerySet[Campaign]:
    if tab.key == "scheduled":
        return campaigns.order_by(Coalesce("next_run_at", "latest_run__due_at"), "-id")
    return campaigns.order_by("-id")


# --- a row ------------------------------------------------------------------------------------


def _rows(admin: ConsoleAdmin, request: HttpRequest, shown: list[Campaign]) -> list[Row]:
    now = timezone.now()
    return [
        Row(
            campaign,
            progress.state if progress else selectors.state(campaign),
            when(campaign, now),
            words.title(campaign),
            _variants(campaign),
            audience,
            progress,
            admin.url("change", campaign),
            admin.url("live", campaign),
            _deeds(admin, request, campaign),
            _cancel(admin, request, campaign),
        )
        for (campaign, progress), audience in zip(
            selectors.with_progress(shown), words.audiences(shown), strict=True
        )
    ]


def _variants(campaign: Campaign) -> str:
    keys = [variant["key"] for variant in campaign.plan["variants"]]
    return "/".join(keys) if len(keys) > 1 else ""


ICONS = {"pause": "pause", "resume": "play_arrow"}


def _deeds(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> list[tuple[str, str, str]]:
    possible = transitions.possible(campaign)
    found = [
        (possible[deed].words, icon, admin.url(deed, campaign))
        for deed, icon in ICONS.items()
        if deed in possible and admin.may(request, possible[deed].permission, campaign)
    ]
    if admin.may(request, "add", campaign):
        found.append(("Duplicate", "content_copy", admin.url("duplicate", campaign)))
    return found


def _cancel(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> str:
    cancel = transitions.possible(campaign).get("cancel")
    may = cancel is not None and admin.may(request, cancel.permission, campaign)
    return admin.url("cancel", campaign) if may else ""


def when(campaign: Campaign, now: datetime) -> str:
    """The time that counts in its state, on the campaign's own clock."""
    status, run = campaign.status, campaign.latest_run
    if status == Status.DRAFT:
        by = f" by {campaign.updated_by}" if campaign.updated_by else ""
        return f"edited {words.ago(campaign.updated_at, now)}{by}"
    if status in (Status.WAITING, Status.APPROVED):
        return words.planned(campaign)
    if status == Status.RECURRING:
        return f"next {at(campaign, campaign.next_run_at, now)}" if campaign.next_run_at else "no run to come"
    if run is None:
        return f"edited {words.ago(campaign.updated_at, now)}"
    return f"{'since ' if status == Status.SENDING else ''}{at(campaign, run.due_at, now)}"


def at(campaign: Campaign, moment: datetime, now: datetime) -> str:
    """ "Fri 4 Dec, 18:00 Berlin"."""
    if campaign.document.is_local:
        return f"{_clock(timetable.local(campaign, moment), now)} local time"
    name = timetable.zone_name(campaign)
    zone = clocks.zone(name)
    place = name.rpartition("/")[2].replace("_", " ") if zone else "UTC"
    return f"{_clock(moment.astimezone(zone or UTC), now)} {place}"


def _clock(moment: datetime, now: datetime) -> str:
    year = "" if moment.year == now.year else f" {moment.year}"
    return f"{moment:%a %-d %b}{year}, {moment:%H:%M}"


# --- archive ----------------------------------------------------------------------------------


def shelve(admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """POST row=<id>:<version> once or more, to=archive or to=list: out of the list's way, or back into it."""
    back = HttpResponseRedirect(admin.url("changelist") + _back(request))
    to_archive = request.POST.get("to") != "list"
    seen = dict(_seen(request.POST.getlist("row")))
    done, kept = [], []
    own = access.ids(request.user, "campaigns.change_campaign")
    for campaign in access.narrowed(admin.get_queryset(request), own).filter(pk__in=seen):
        try:
            if not admin.may(request, transitions.EDIT, campaign):
                raise services.NotAllowed("You may look at it.")
            if campaign.version != seen[campaign.pk]:
                raise services.NotAllowed("It was changed after this list was shown. Look at it again.")
            (services.archive if to_archive else services.unarchive)(campaign)
        except services.NotAllowed as error:
            kept.append(f"“{campaign}” stays: {error}")
        else:
            done.append(campaign)
            admin.audit(request, campaign, "Archived." if to_archive else "Taken out of the archive.")
    if not seen:
        messages.warning(request, "Nothing was chosen.")
    if done:
        messages.success(request, _shelved(done, to_archive))
    for sentence in kept[:5]:
        messages.error(request, sentence)
    return back


def _seen(rows: Iterable[str]) -> Iterable[tuple[int, int]]:
    for row in rows:
        id, _, version = row.partition(":")
        if id.isascii() and id.isdigit() and version.isascii() and version.isdigit() and len(row) < 30:
            yield int(id), int(version)


def _shelved(done: list[Campaign], to_archive: bool) -> str:
    what = f"“{done[0]}” is" if len(done) == 1 else f"{len(done)} campaigns are"
    return f"{what} archived. Reports stay as they are." if to_archive else f"{what} back in the list."


def _back(request: HttpRequest) -> str:
    """Where the list was, of what it understands."""
    said = [
        (key, value)
        for key, value in parse_qsl(request.POST.get("back", ""))
        if key in ("tab", "q", "app", "page")
    ]
    return f"?{urlencode(said)}" if said else ""
