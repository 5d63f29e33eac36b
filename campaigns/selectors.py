"""Reads of campaigns, and of how far a launched one has come."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.core.cache import cache
from django.db.models import QuerySet
from django.utils import timezone

from campaigns import services
from campaigns.models import Campaign
from devices.models import Subscriber
from notifications import reach as notification_reach
from notifications import reasons, sums
from notifications import selectors as notifications
from notifications.models import Notification
from notifications.reach import Reach

# Pages ask again and again; a rate is measured over what happened in this many seconds.
RATE_WINDOW = 10.0
REACH_REMEMBERED = 30


class State(NamedTuple):
    """What a marketer calls it. tone: a class of console.css; never the only carrier of the meaning."""

    word: str
    icon: str
    tone: str


DRAFT = State("Draft", "edit_note", "off")
SCHEDULED = State("Scheduled", "schedule", "off")
PREPARING = State("Resolving audience", "hourglass_top", "run")
PAUSED = State("Paused", "pause_circle", "warn")
RECURRING = State("Recurring", "event_repeat", "run")
SENDING = State("Sending", "send", "run")
FINISHED = State("Finished", "check_circle", "good")
PROBLEMS = State("Finished with problems", "warning", "warn")
CANCELLED = State("Cancelled", "cancel", "off")
NOBODY = State("Reached nobody", "person_off", "warn")

STATES = {
    Notification.Status.SCHEDULED: SCHEDULED,
    Notification.Status.FANNING_OUT: PREPARING,
    Notification.Status.SENDING: SENDING,
    Notification.Status.CANCELLED: CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """A launched campaign as its page shows it."""

    state: State
    sum: sums.Sum
    is_open: bool
    rate: int  # recipients settled per second, lately
    ends_at: datetime | None
    as_of: datetime

    @property
    def is_counting(self) -> bool:
        """The audience is still being resolved: recipients will grow."""
        return self.state is PREPARING


def recent(application_ids: Iterable[int] | None = None) -> QuerySet[Campaign]:
    """Campaigns with what a list shows of them, newest first."""
    found = Campaign.objects.select_related("application", "category", "notification").order_by("-id")
    return found if application_ids is None else found.filter(application_id__in=application_ids)


def with_progress(campaigns: Sequence[Campaign]) -> list[tuple[Campaign, Progress | None]]:
    """Each campaign with its progress, None for a draft. One query for all of them."""
    launched = [campaign.notification for campaign in campaigns if campaign.notification]
    counts = notifications.counts(launched) if launched else {}
    return [
        (campaign, _progress(campaign.notification, counts[campaign.notification.id], rate=0))
        if campaign.notification
        else (campaign, None)
        for campaign in campaigns
    ]


def progress(campaign: Campaign) -> Progress:
    """How far a launched campaign has come, with its pace."""
    notification = campaign.notification
    assert notification
    counts = notifications.counts([notification])[notification.id]
    settled = counts["recipients"] - counts["pending"]
    return _progress(notification, counts, rate=_rate(notification.id, notification.created_at, settled))


def _progress(notification: Notification, counts: dict[str, Any], *, rate: float) -> Progress:
    status = notifications.status(notification, counts)
    # A cancelled one goes on until what was under way has ended.
    is_open = status in Notification.OPEN or bool(counts["pending"])
    now = timezone.now()
    ends_at = now + timedelta(seconds=counts["pending"] / rate) if is_open and rate >= 1 else None
    return Progress(
        state=state(status, counts),
        sum=sums.of(notification.id, counts),
        is_open=is_open,
        rate=round(rate),
        ends_at=ends_at if status != Notification.Status.FANNING_OUT else None,
        as_of=now,
    )


def state(status: str, counts: dict[str, Any]) -> State:
    if status == notifications.PAUSED:
        return PAUSED
    if status != Notification.Status.DONE:
        return STATES[Notification.Status(status)]
    if not counts["accepted"]:
        return NOBODY
    is_ordinary = not counts["uncertain"] and reasons.ORDINARY.issuperset(counts["failed"])
    return FINISHED if is_ordinary else PROBLEMS


def state_of(campaign: Campaign, progress: Progress | None) -> State:
    """Of its latest run, but for a recurring one that waits for the next."""
    is_idle = progress is None or not progress.is_open
    if campaign.status == Campaign.Status.RECURRING and is_idle:
        return RECURRING
    return progress.state if progress else CANCELLED if campaign.status == Campaign.Status.ENDED else DRAFT


def _rate(id: UUID, since: datetime, settled: int) -> float:
    """Recipients per second over the last seconds, from what earlier looks at the page saw."""
    now = time.time()
    key = f"carillon:pace:{id}"
    seen = [(at, count) for at, count in cache.get(key, []) if now - at <= RATE_WINDOW]
    if not seen or now - seen[-1][0] >= 0.5:
        cache.set(key, [*seen, (now, settled)], timeout=60)
    at, count = seen[0] if seen and now - seen[0][0] >= 1 else (since.timestamp(), 0)
    return max(0.0, (settled - count) / max(1.0, now - at))


def reach(campaign: Campaign) -> Reach:
    """Whom it would reach. Remembered for half a minute: the form asks while it is being filled in."""
    audience = services.audience(campaign)
    asked = json.dumps([campaign.application_id, campaign.category_id, audience], sort_keys=True)
    key = "carillon:reach:" + hashlib.sha256(asked.encode()).hexdigest()
    found = cache.get(key)
    if found is None:
        found = reach_now(campaign)
        cache.set(key, found, timeout=REACH_REMEMBERED)
    return found


def reach_now(campaign: Campaign) -> Reach:
    """Whom it would reach, counted for this answer."""
    return notification_reach.of(
        services.audience(campaign), application_id=campaign.application_id, category_id=campaign.category_id
    )


def attribute_names() -> list[str]:
    """Attributes people have, to offer in the form: those of the newest few hundred, which is cheap."""
    newest = (
        Subscriber.objects.exclude(attributes={}).order_by("-id").values_list("attributes", flat=True)[:300]
    )
    return sorted({name for attributes in newest if isinstance(attributes, dict) for name in attributes})
