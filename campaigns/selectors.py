"""Reads of campaigns, and of how far a launched one has come."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db.models import QuerySet
from django.utils import timezone

from campaigns import audiences, timetable
from campaigns.models import Approval, Campaign, Stage
from devices.models import Event, Subscriber
from notifications import reach as notification_reach
from notifications import reasons, sums
from notifications import selectors as notifications
from notifications.models import Notification
from notifications.reach import Reach
from tenants import access

# Pages ask again and again; a rate is measured over what happened in this many seconds.
RATE_WINDOW = 10.0
REACH_REMEMBERED, COUNT_REMEMBERED = 30, 300


class State(NamedTuple):
    """What a marketer calls it. tone: a class of console.css; never the only carrier of the meaning."""

    word: str
    icon: str
    tone: str


DRAFT = State("Draft", "edit_note", "off")
WAITING = State("Waiting for approval", "hourglass_empty", "warn")
APPROVED = State("Approved", "verified", "good")
SCHEDULED = State("Scheduled", "schedule", "off")
PREPARING = State("Resolving audience", "hourglass_top", "run")
PAUSED = State("Paused", "pause_circle", "warn")
RECURRING = State("Recurring", "event_repeat", "run")
SENDING = State("Sending", "send", "run")
COMPARING = State("Comparing variants", "science", "run")
FINISHED = State("Finished", "check_circle", "good")
PROBLEMS = State("Finished with problems", "warning", "warn")
CANCELLED = State("Cancelled", "cancel", "off")
NOBODY = State("Reached nobody", "person_off", "warn")

Status = Campaign.Status
STATES = {
    Status.DRAFT: DRAFT,
    Status.WAITING: WAITING,
    Status.APPROVED: APPROVED,
    Status.SCHEDULED: SCHEDULED,
    Status.SENDING: SENDING,
    Status.PAUSED: PAUSED,
    Status.RECURRING: RECURRING,
    Status.CANCELLED: CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """A launched campaign's latest run as its page shows it: its stages' counts, added up."""

    state: State
    sum: sums.Sum
    counts: dict[str, Any]
    is_open: bool
    rate: int  # recipients settled per second, lately
    ends_at: datetime | None
    as_of: datetime
    is_counting: bool  # the audience is still being resolved: recipients will grow


def recent(application_ids: Iterable[int] | None = None) -> QuerySet[Campaign]:
    """Campaigns with what a list shows of them, newest first."""
    found = Campaign.objects.select_related("application", "category", "latest_run").order_by("-id")
    return found if application_ids is None else found.filter(application_id__in=application_ids)


def with_progress(campaigns: Sequence[Campaign]) -> list[tuple[Campaign, Progress | None]]:
    """Each campaign with the progress of its latest run, None without one. Three queries for all of them."""
    stages = notified([campaign.latest_run_id for campaign in campaigns if campaign.latest_run_id])
    launched = [notification for own in stages.values() for notification in own]
    counts = notifications.counts(launched) if launched else {}
    return [
        (campaign, _progress(campaign, stages.get(campaign.latest_run_id or 0, []), counts, rate=0))
        if campaign.latest_run_id
        else (campaign, None)
        for campaign in campaigns
    ]


def notified(run_ids: Sequence[int]) -> dict[int, list[Notification]]:
    """The notifications of these runs."""
    found: dict[int, list[Notification]] = {id: [] for id in run_ids}
    stages = Stage.objects.filter(run_id__in=run_ids, notification__isnull=False)
    for stage in stages.select_related("notification__category"):
        assert stage.notification
        found[stage.run_id].append(stage.notification)
    return found


def progress(campaign: Campaign) -> Progress:
    """How far its latest run has come, with its pace."""
    run = campaign.latest_run
    assert run
    launched = notified([run.id])[run.id]
    return measured(campaign, launched, notifications.counts(launched) if launched else {})


def measured(
    campaign: Campaign, launched: Sequence[Notification], counts: Mapping[UUID, dict[str, Any]]
) -> Progress:
    """The same, of counts that are at hand."""
    run = campaign.latest_run
    assert run
    settled = sum(row["recipients"] - row["pending"] for row in counts.values())
    rate = _rate(run.id, max(run.created_at, min(run.due_at, timezone.now())), settled)
    return _progress(campaign, launched, counts, rate=rate)


def _progress(
    campaign: Campaign,
    launched: Sequence[Notification],
    counts: Mapping[UUID, dict[str, Any]],
    *,
    rate: float,
) -> Progress:
    total = notifications.added(counts[notification.id] for notification in launched)
    statuses = [notifications.status(one, counts[one.id]) for one in launched]
    now = timezone.now()
    # A cancelled one goes on until what was under way has ended.
    is_open = bool(total["pending"]) or _waits(campaign) or not OPEN.isdisjoint(statuses)
    is_counting = Notification.Status.FANNING_OUT in statuses
    is_dated = is_open and rate >= 1 and not is_counting
    return Progress(
        state=state(campaign, total, is_open=is_open, is_counting=is_counting),
        sum=sums.of([notification.id for notification in launched], total),
        counts=total,
        is_open=is_open,
        rate=round(rate),
        ends_at=now + timedelta(seconds=total["pending"] / rate) if is_dated else None,
        as_of=now,
        is_counting=is_counting,
    )


OPEN = {*Notification.OPEN, notifications.PAUSED}


def _waits(campaign: Campaign) -> bool:
    """For its moment, for somebody to resume it, or for a winner."""
    return campaign.status in (Status.SCHEDULED, Status.PAUSED) or compares(campaign)


def compares(campaign: Campaign) -> bool:
    """Its remainder waits for a winner."""
    run = campaign.latest_run
    if run is None or run.decided_at or campaign.status not in (Status.SENDING, Status.PAUSED):
        return False
    return len(run.plan["variants"]) > 1 and bool(run.plan["experiment"]["test"] < 100)


def state(
    campaign: Campaign,
    counts: Mapping[str, Any] | None = None,
    *,
    is_open: bool = True,
    is_counting: bool = False,
) -> State:
    """What it is called now. counts: of its latest run."""
    status = Status(campaign.status)
    if status == Status.SENDING and is_counting:
        return PREPARING
    if status == Status.SENDING and counts and not counts["pending"] and compares(campaign):
        return COMPARING
    # The stored status lags by up to a second; the counts do not.
    is_over = status == Status.FINISHED or (status == Status.SENDING and not is_open)
    if not is_over or counts is None:
        return STATES.get(status, FINISHED)
    if not counts["accepted"]:
        return NOBODY
    is_ordinary = not counts["uncertain"] and reasons.ORDINARY.issuperset(counts["failed"])
    return FINISHED if is_ordinary else PROBLEMS


def _rate(id: int, since: datetime, settled: int) -> float:
    """Recipients per second over the last seconds, from what earlier looks at the page saw."""
    now = time.time()
    key = f"carillon:pace:{id}"
    seen = [(at, count) for at, count in cache.get(key, []) if now - at <= RATE_WINDOW]
    if not seen or now - seen[-1][0] >= 0.5:
        cache.set(key, [*seen, (now, settled)], timeout=60)
    at, count = seen[0] if seen and now - seen[0][0] >= 1 else (since.timestamp(), 0)
    return max(0.0, (settled - count) / max(1.0, now - at))


def reach(campaign: Campaign, *, is_fresh: bool = False) -> Reach:
    """Whom it would reach, to be shown: of many devices an estimate, or what a launch has counted just now. Remembered
    for half a minute: the composer asks while it is being filled in."""
    key = _reach_key(campaign)
    found: Reach | None = None if is_fresh else cache.get(key)
    if found is None:
        found = reach_now(campaign, is_quick=True)
        if found.is_estimate:
            found = cache.get(f"{key}:counted", found)
        cache.set(key, found, timeout=REACH_REMEMBERED)
    return found


def counted(campaign: Campaign) -> Reach:
    """Counted anew, as a launch goes by it; who is refused because of it is shown the same. Raises InvalidField."""
    found, key = reach_now(campaign), _reach_key(campaign)
    cache.set(f"{key}:counted", found, timeout=COUNT_REMEMBERED)
    cache.set(key, found, timeout=REACH_REMEMBERED)
    return found


def _reach_key(campaign: Campaign) -> str:
    asked = json.dumps(
        [
            campaign.application_id,
            campaign.category_id,
            campaign.plan["audience"],
            timetable.wishes(campaign, timezone.now()),
        ],
        sort_keys=True,
        default=str,
    )
    return "carillon:reached:" + hashlib.sha256(asked.encode()).hexdigest()


def reach_now(campaign: Campaign, *, is_quick: bool = False) -> Reach:
    """Whom it would reach when its schedule says, counted for this answer. Raises InvalidField."""
    return notification_reach.of(
        audiences.of(campaign.document),
        application_id=campaign.application_id,
        category_id=campaign.category_id,
        **timetable.wishes(campaign, timezone.now()),
        is_quick=is_quick,
    )


# --- approvals --------------------------------------------------------------------------------

WAITING_REMEMBERED = 20
_WAITING_KEY = "carillon:approvals:waiting"


def authors(campaign: Campaign) -> set[int]:
    """Who made it, wrote any version, or asks for its approval now."""
    found = {campaign.created_by_id, campaign.updated_by_id}
    found |= set(campaign.versions.values_list("created_by", flat=True))
    found |= set(campaign.approvals.filter(is_granted=None).values_list("requested_by", flat=True))
    return {id for id in found if id is not None}


def approvers(campaign: Campaign) -> list[User]:
    """Who may decide about it: with the permission in its application, and no author of it."""
    allowed = access.people("campaigns.approve_campaign", campaign.application_id)
    return list(allowed.exclude(id__in=authors(campaign)).order_by("username"))


def asked() -> QuerySet[Approval, int]:
    """Campaigns of which an approval is asked for: they, or a run of a recurring one, wait for it."""
    return Approval.objects.filter(is_granted=None).values_list("campaign_id", flat=True)


def waiting_count(application_ids: Iterable[int] | None = None) -> int:
    """Campaigns that wait for an approval. Every page of an approver shows it: remembered for seconds."""
    counts: dict[int, int] | None = cache.get(_WAITING_KEY)
    if counts is None:
        waiting = Campaign.objects.filter(id__in=asked(), archived_at=None)
        counts = dict(Counter(waiting.values_list("application_id", flat=True)))
        cache.set(_WAITING_KEY, counts, timeout=WAITING_REMEMBERED)
    if application_ids is None:
        return sum(counts.values())
    return sum(counts.get(id, 0) for id in application_ids)


def forget_waiting() -> None:
    cache.delete(_WAITING_KEY)


def attribute_names(application_id: int) -> list[str]:
    """Attributes its people have, to offer: those of the newest few hundred, which is cheap."""
    newest = _people(application_id).exclude(attributes={}).values_list("attributes", flat=True)[:300]
    return sorted({name for attributes in newest if isinstance(attributes, dict) for name in attributes})


def locales(application_id: int) -> list[str]:
    """Those of the newest few thousand people, the most frequent first."""
    newest = _people(application_id).exclude(locale="").values_list("locale", flat=True)[:3000]
    return [name for name, _ in Counter(name.replace("_", "-") for name in newest).most_common()]


def event_names(application_id: int) -> list[str]:
    """What its people did, to offer as goals: the newest few hundred of them, by whom events are found."""
    people = list(_people(application_id).values_list("pk", flat=True)[:500])
    found = Event.objects.filter(application_id=application_id, subscriber_id__in=people)
    return sorted(found.values_list("name", flat=True).distinct())


def _people(application_id: int) -> QuerySet[Subscriber]:
    return Subscriber.objects.filter(application_id=application_id).order_by("-id")
