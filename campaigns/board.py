"""What the dashboard shows. Everything that could be slow on a large installation is a fragment of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from django.core.cache import cache
from django.db import connection
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from campaigns import checklist, scopes, selectors, transitions, trends, words
from campaigns.models import Campaign
from campaigns.scopes import Scope
from campaigns.words import PLATFORMS
from notifications import credential_states, incident_admin, lanes, reasons
from notifications.credential_states import State
from notifications.models import Notification
from tenants.models import Credential

Status = Campaign.Status

REMEMBERED = 60  # seconds
LANES_REMEMBERED = 5
MOST = 5  # rows of a card

# From when a lane's age is worth a colour.
LATE = {lanes.TRANSACTIONAL: 10, lanes.CAMPAIGN: 60}  # seconds


def board(request: HttpRequest) -> dict[str, Any]:
    """The dashboard's first paint: a handful of cheap queries."""
    scope = scopes.of(request)
    may_see = request.user.has_perm("campaigns.view_campaign")
    steps = checklist.steps(scope, request.user) if may_see else []
    return {
        "scope": scope,
        "may_see": may_see,
        "may_compose": request.user.has_perm("campaigns.add_campaign"),
        "steps": steps,
        "done": sum(step.is_done for step in steps),
        **(needs(request, scope) if may_see else {}),
        **(sending(request, scope) if may_see else {}),
        **(coming(request, scope) if may_see else {}),
        **(recent(request, scope) if may_see else {}),
    }


# --- needs somebody ---------------------------------------------------------------------------


class Need(NamedTuple):
    tone: str
    icon: str
    what: str
    detail: str
    deed: str
    url: str


def needs(request: HttpRequest, scope: Scope) -> dict[str, Any]:
    """Credentials that do not work, campaigns that stopped by themselves, approvals that are waited for."""
    return {"needs": [*_credentials(request, scope), *_stopped(request, scope), *_approvals(request, scope)]}


def _credentials(request: HttpRequest, scope: Scope) -> list[Need]:
    if not request.user.has_perm("tenants.view_credential"):
        return []
    own = scope.within(request.user, "tenants.view_credential")
    states = credential_states.of(Credential.objects.filter(is_active=True, **own))
    # What the banner above says of an incident is not said twice.
    told = {line.incident.pk for line in incident_admin.banner(request).get("lines", ())}
    return [
        _credential(one)
        for one in states
        if one.state in (State.REFUSED, State.TROUBLE) and one.incident_id not in told
    ][:MOST]


def _credential(one: credential_states.CredentialState) -> Need:
    is_refused = one.state is State.REFUSED
    provider = reasons.PROVIDERS.get(one.provider, one.provider.capitalize())
    return Need(
        "bad" if is_refused else "warn",
        "vpn_key_alert" if is_refused else "cloud_off",
        f"{provider} refuses “{one.label}”" if is_refused else f"“{one.label}” waits",
        one.words,
        "Look at it",
        f"{reverse('credential_health')}#credential-{one.credential_id}",
    )


STOPPED = {
    "problems": "Too many messages failed, so it stopped by itself.",
    "credential": "A provider refuses the credential, so it stopped by itself.",
    "canary": "The first devices did not go well, so the others have got nothing yet.",
}


def _stopped(request: HttpRequest, scope: Scope) -> list[Need]:
    if not request.user.has_perm(transitions.STOP):
        return []
    found = selectors.recent().filter(
        status=Status.PAUSED,
        latest_run__paused_for__in=list(STOPPED),
        **scope.within(request.user, transitions.STOP),
    )
    return [
        Need(
            "warn",
            "pause_circle",
            f"“{campaign}” is paused",
            campaign.latest_run.paused_detail or STOPPED[campaign.latest_run.paused_for],
            "Decide",
            reverse("admin:campaigns_campaign_live", args=[campaign.pk]),
        )
        for campaign in found[:MOST]
        if campaign.latest_run
    ]


def _approvals(request: HttpRequest, scope: Scope) -> list[Need]:
    """Those this person may decide about: nobody approves what they wrote or asked for."""
    user = request.user
    if not user.has_perm("campaigns.approve_campaign"):
        return []
    own = (
        Q(created_by=user)
        | Q(updated_by=user)
        | Q(versions__created_by=user)
        | Q(approvals__is_granted=None, approvals__requested_by=user)
    )
    decides = scope.within(user, "campaigns.approve_campaign")
    waiting = selectors.recent().filter(id__in=selectors.asked(), archived_at=None, **decides)
    found = waiting.exclude(pk__in=Campaign.objects.filter(own, id__in=selectors.asked()).values("pk"))
    return [
        Need(
            "run",
            "approval",
            f"“{campaign}” waits for your approval"
            if campaign.status == Status.WAITING
            else f"A run of “{campaign}” waits for your approval",
            words.planned(campaign) + ".",
            "Review",
            reverse("admin:campaigns_campaign_review", args=[campaign.pk]),
        )
        for campaign in found[:MOST]
    ]


# --- campaigns --------------------------------------------------------------------------------


def sending(request: HttpRequest, scope: Scope) -> dict[str, Any]:
    """Campaigns under way, the newest five; a recurring one while a run of it is open. may_pause: keys of campaigns."""
    going = Q(status__in=(Status.SENDING, Status.PAUSED)) | Q(
        status=Status.RECURRING, latest_run__stages__notification__status__in=Notification.OPEN
    )
    found = selectors.recent().filter(going, latest_run__isnull=False, **scope.narrowed).distinct()
    shown = [(campaign, selectors.progress(campaign)) for campaign in found[:MOST]]
    open_ones = [(campaign, progress) for campaign, progress in shown if progress.is_open]
    may_pause = {campaign.pk for campaign, _ in open_ones if _may_pause(request, campaign)}
    return {"sending": open_ones, "is_sending": bool(open_ones), "may_pause": may_pause}


def _may_pause(request: HttpRequest, campaign: Campaign) -> bool:
    pause = transitions.possible(campaign).get("pause")
    return pause is not None and request.user.has_perm(pause.permission, campaign)


class Coming(NamedTuple):
    campaign: Campaign
    begins: datetime
    devices: int  # of its launch; 0: not known
    is_local: bool
    is_recurring: bool


def coming(request: HttpRequest, scope: Scope) -> dict[str, Any]:
    """What begins next, the soonest first."""
    found = selectors.recent().filter(archived_at=None, **scope.narrowed)
    planned = found.filter(status=Status.SCHEDULED, latest_run__due_at__isnull=False)
    again = found.filter(status=Status.RECURRING, next_run_at__isnull=False)
    rows = [
        *(_coming(one) for one in planned.order_by("latest_run__due_at")[:MOST]),
        *(_coming(one) for one in again.order_by("next_run_at")[:MOST]),
    ]
    return {"coming": sorted(rows, key=lambda row: row.begins)[:MOST], "today": timezone.now().date()}


def _coming(campaign: Campaign) -> Coming:
    run, plan = campaign.latest_run, campaign.document
    begins = campaign.next_run_at or (run.due_at if run else campaign.updated_at)
    return Coming(campaign, begins, run.devices if run else 0, plan.is_local, plan.is_recurring)


def recent(request: HttpRequest, scope: Scope) -> dict[str, Any]:
    newest = selectors.recent().filter(archived_at=None, **scope.narrowed)[:MOST]
    now = timezone.now()
    return {
        "recent": [
            (
                campaign,
                progress,
                progress.state if progress else selectors.state(campaign),
                f"launched {words.ago(campaign.launched_at, now)}"
                if campaign.launched_at
                else f"edited {words.ago(campaign.updated_at, now)}",
            )
            for campaign, progress in selectors.with_progress(list(newest))
        ]
    }


# --- numbers ----------------------------------------------------------------------------------


def numbers(request: HttpRequest, scope: Scope) -> dict[str, Any]:
    """Today against the day before, and the last 30 days."""
    found = trends.days(scope)
    if not any(day.tried or day.opened or day.gone or day.held for day in found):
        return {"days": []}
    return {
        "days": found,
        "tiles": trends.tiles(found),
        "messages": trends.messages(found),
        "opens": trends.opens(found),
        "retirements": trends.retirements(found),
    }


class Lane(NamedTuple):
    """late: seconds the oldest message has been due for."""

    provider: str
    kind: str
    due: int
    later: int
    late: float
    tone: str

    @property
    def minutes(self) -> int:
        return int(self.late // 60)


def queues(request: HttpRequest, scope: Scope) -> dict[str, Any]:
    """What waits in each lane, the latest first."""
    return _remembered("lanes", scope, LANES_REMEMBERED, lambda: {"lanes": _lanes(scope)})


# Batches are deleted with their last outcome: what is there is open.
_LANES = """
    SELECT lane,
        coalesce(sum(cardinality(device_ids)) FILTER (WHERE status IN ('ready', 'sending')), 0)::bigint,
        coalesce(sum(cardinality(device_ids)) FILTER (WHERE status IN ('waiting', 'paused')), 0)::bigint,
        greatest(0, extract(epoch FROM now() - min(due_at) FILTER (WHERE status IN ('ready', 'sending'))))::float
    FROM notifications_batch {where} GROUP BY lane ORDER BY 4 DESC, 1
"""


def _lanes(scope: Scope) -> list[Lane]:
    where = "" if scope.ids is None else "WHERE application_id = ANY (%s)"
    with connection.cursor() as cursor:
        cursor.execute(_LANES.format(where=where), None if scope.ids is None else [scope.ids])
        return [_lane(*row) for row in cursor.fetchall()]


def _lane(lane: str, due: int, later: int, late: float) -> Lane:
    provider, _, kind = lane.partition(".")
    is_late = bool(due) and late > LATE.get(kind, LATE[lanes.CAMPAIGN])
    word = "Single messages" if kind == lanes.TRANSACTIONAL else "Campaigns"
    return Lane(
        reasons.PROVIDERS.get(provider, provider.capitalize()),
        word,
        due,
        later,
        late if due else 0,
        "warn" if is_late else "good",
    )


# --- devices ----------------------------------------------------------------------------------


def audience(request: HttpRequest, scope: Scope) -> dict[str, Any]:
    """Active devices by platform."""
    return _remembered("audience", scope, REMEMBERED, lambda: _audience(scope))


LARGE = 1_000_000  # rows of the table, from which a sample of one per cent will do for a tile
_DEVICES = """
    SELECT platform, count(*) FROM devices_device {sample}
    WHERE retired_at IS NULL AND permission <> 'denied' {where} GROUP BY platform
"""


def _audience(scope: Scope) -> dict[str, Any]:
    where = "" if scope.ids is None else "AND application_id = ANY (%s)"
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = 'devices_device'::regclass")
        is_estimate = cursor.fetchone()[0] > LARGE
        sample, factor = ("TABLESAMPLE SYSTEM (1)", 100) if is_estimate else ("", 1)
        query = _DEVICES.format(sample=sample, where=where)
        cursor.execute(query, None if scope.ids is None else [scope.ids])
        counts = Counter(dict(cursor.fetchall()))
    platforms = [(PLATFORMS.get(name, name), count * factor) for name, count in counts.most_common()]
    return {"platforms": platforms, "total": counts.total() * factor, "is_estimate": is_estimate}


def _remembered(name: str, scope: Scope, seconds: int, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] | None = cache.get_or_set(
        f"carillon:board:{name}:{scope.key}", read, timeout=seconds
    )
    return found or {}


# Fragment → what it shows; each is fetched after the first paint, or again and again.
FRAGMENTS: dict[str, Callable[[HttpRequest, Scope], dict[str, Any]]] = {
    "needs": needs,
    "sending": sending,
    "coming": coming,
    "numbers": numbers,
    "queues": queues,
    "audience": audience,
}
