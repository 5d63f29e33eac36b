"""What happens with campaigns on the days of a month: planned, coming again and again, and past.

A day is one of the zone the calendar is shown in. What goes out at people's own local time takes more than a day: it
is on each day it touches.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import combinations, islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from campaigns import schedules, selectors, timetable
from campaigns.document import Audience
from campaigns.models import Campaign, Run, Stage
from notifications.models import Notification
from notifications.pipeline import timing

Status = Campaign.Status

MOST_RUNS = 1_000  # of a month
MOST_PLANNED = 500  # campaigns
MOST_COMING = 31 * 24  # runs of one campaign in a month: one an hour
PLAN_STATES = (Status.DRAFT, Status.WAITING, Status.APPROVED)


class Moment(NamedTuple):
    """One run, past or to come. local, ends: of people’s own local time, which it is and when the last has it."""

    campaign: Campaign
    begins: datetime
    ends: datetime | None
    local: datetime | None
    state: selectors.State
    is_past: bool
    run: int  # its number; 0: not made yet


@dataclass(frozen=True, slots=True)
class Entry:
    """A campaign on a day. part: "", or of a span "first", "middle", "last". count: of its runs on this day."""

    campaign: Campaign
    label: str
    state: selectors.State
    is_past: bool
    is_local: bool
    part: str
    count: int
    is_plan: bool  # not launched yet


@dataclass(slots=True)
class Day:
    date: date
    is_outside: bool
    is_today: bool
    is_past: bool
    entries: list[Entry] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def days(campaigns: QuerySet[Campaign], month: date, zone: ZoneInfo, now: datetime) -> list[list[Day]]:
    """The weeks of a month, Monday first, with what happens on each day."""
    today = now.astimezone(zone).date()
    weeks = [
        [Day(one, one.month != month.month, one == today, one < today) for one in week]
        for week in calendar.Calendar().monthdatescalendar(month.year, month.month)
    ]
    first, last = weeks[0][0].date, weeks[-1][-1].date
    begins = datetime.combine(first, time.min, zone)
    ends = datetime.combine(last + timedelta(days=1), time.min, zone)
    moments = sorted(_moments(campaigns, begins, ends, now), key=lambda one: (one.begins, one.campaign.pk))
    for day in (day for week in weeks for day in week):
        day.entries = _entries(moments, day.date, zone)
        if not day.is_past:
            day.warnings = list(_warnings(day.entries))
    return weeks


def _moments(
    campaigns: QuerySet[Campaign], begins: datetime, ends: datetime, now: datetime
) -> Iterator[Moment]:
    # Local times begin up to 14 hours before their day and end 12 after it.
    early, late = begins - timedelta(days=2), ends + timedelta(days=2)
    for run in _runs(campaigns, early, late)[:MOST_RUNS]:
        if run.due_at <= now or run.campaign.status != Status.CANCELLED:
            yield _of_run(run, now)
    found = campaigns.filter(archived_at=None)
    planned = found.filter(status__in=PLAN_STATES, plan__schedule__kind__in=("at", "local", "recurring"))
    for campaign in planned.exclude(plan__schedule__starts="")[:MOST_PLANNED]:
        yield from _planned(campaign, early, late, now)
    again = Q(status=Status.RECURRING) | Q(status=Status.PAUSED, next_run_at__isnull=False)
    for campaign in found.filter(again)[:MOST_PLANNED]:
        yield from _again(campaign, early, late, now)


def _runs(campaigns: QuerySet[Campaign], early: datetime, late: datetime) -> QuerySet[Run]:
    """Without launches that were taken back before anything had begun."""
    made = Stage.objects.filter(run=OuterRef("pk"), notification__isnull=False)
    begun = made.exclude(notification__status=Notification.Status.CANCELLED)
    found = Run.objects.filter(campaign__in=campaigns, due_at__gte=early, due_at__lt=late)
    found = found.filter(Q(pk=F("campaign__latest_run")) | Exists(begun))
    return found.select_related("campaign__application", "campaign__latest_run").order_by("due_at")


def _of_run(run: Run, now: datetime) -> Moment:
    campaign = run.campaign
    is_latest = campaign.latest_run_id == run.pk
    state = selectors.state(campaign) if is_latest else selectors.FINISHED
    # As it was launched: a recurring one may have been edited since.
    launched = Campaign(application=campaign.application, plan=run.plan)
    return _moment(campaign, launched, run.due_at, state, run.due_at <= now, run.number)


def _planned(campaign: Campaign, early: datetime, late: datetime, now: datetime) -> Iterator[Moment]:
    """What a draft says; what it says may be nonsense yet."""
    try:
        if campaign.document.is_recurring:
            yield from _again(campaign, early, late, now)
            return
        local = schedules.parsed_local(campaign.document.schedule.starts)
    except ValueError:
        return
    begins = timing.earliest(local) if campaign.document.is_local else _instant(campaign, local)
    if early <= begins < late and begins > now:
        yield _moment(campaign, campaign, begins, selectors.state(campaign), False, 0)


def _again(campaign: Campaign, early: datetime, late: datetime, now: datetime) -> Iterator[Moment]:
    schedule = campaign.document.schedule
    starts = schedules.parsed_local(schedule.starts)
    first, last = (moment.astimezone(UTC).replace(tzinfo=None) for moment in (early, late))
    after = campaign.next_run_at or now
    for local in islice(schedules.between(schedule.rule, starts, first, last), MOST_COMING):
        begins = timing.earliest(local) if campaign.document.is_local else _instant(campaign, local)
        if begins >= after:
            yield _moment(campaign, campaign, begins, selectors.state(campaign), False, 0)


def _instant(campaign: Campaign, local: datetime) -> datetime:
    return schedules.instant(local, timetable.zone_name(campaign))


def _moment(
    campaign: Campaign, said: Campaign, begins: datetime, state: selectors.State, is_past: bool, run: int
) -> Moment:
    """said: whose plan it goes by."""
    if not said.document.is_local:
        return Moment(campaign, begins, None, None, state, is_past, run)
    local = timetable.local(said, begins)
    return Moment(campaign, begins, timing.latest(local), local, state, is_past, run)


# --- a day ------------------------------------------------------------------------------------


def _entries(moments: Sequence[Moment], day: date, zone: ZoneInfo) -> list[Entry]:
    """One for each campaign, however often it runs on that day."""
    by_campaign: dict[int, list[tuple[Moment, str]]] = {}
    for moment in moments:
        part = _part(moment, day, zone)
        if part is not None:
            by_campaign.setdefault(moment.campaign.pk, []).append((moment, part))
    return [_entry(found, day, zone) for found in by_campaign.values()]


def _part(moment: Moment, day: date, zone: ZoneInfo) -> str | None:
    """Which part of it is on this day; None: it is not."""
    first = moment.begins.astimezone(zone).date()
    last = moment.ends.astimezone(zone).date() if moment.ends else first
    if not first <= day <= last:
        return None
    if first == last:
        return ""
    return "first" if day == first else "last" if day == last else "middle"


def _entry(found: list[tuple[Moment, str]], day: date, zone: ZoneInfo) -> Entry:
    moment, part = found[0]
    return Entry(
        moment.campaign,
        _label(moment, part, day, zone),
        moment.state,
        all(one.is_past for one, _ in found),
        moment.local is not None,
        part,
        1 if moment.local else len(found),
        moment.campaign.status in PLAN_STATES and not moment.run,
    )


def _label(moment: Moment, part: str, day: date, zone: ZoneInfo) -> str:
    begins = f"{moment.begins.astimezone(zone):%H:%M}"
    if moment.local is None or moment.ends is None:
        return begins
    if day == moment.local.date():
        return f"{moment.local:%H:%M} local time"
    return f"from {begins}" if part == "first" else f"until {moment.ends.astimezone(zone):%H:%M}"


# --- who gets several of them -----------------------------------------------------------------


def _warnings(entries: Sequence[Entry]) -> Iterator[str]:
    """Campaigns of one app and day that may reach the same people."""
    to_come = [entry.campaign for entry in entries if not entry.is_past]
    for one, other in combinations(to_come, 2):
        if one.application_id == other.application_id and (
            how := overlap(one.document.audience, other.document.audience)
        ):
            yield f"“{one}” and “{other}” {how} the same people."


def overlap(one: Audience, other: Audience) -> str:
    """ "reach", "may reach", or "" where nobody can be in both."""
    if one.platforms and other.platforms and not set(one.platforms) & set(other.platforms):
        return ""
    if one.attribute and other.attribute:
        is_same = one.attribute.name == other.attribute.name
        if is_same and one.attribute.value != other.attribute.value:
            return ""
    if _is_left_out(one, other) or _is_left_out(other, one):
        return ""
    is_everyone = any(not audience.segments and not audience.attribute for audience in (one, other))
    return "reach" if is_everyone or set(one.segments) & set(other.segments) else "may reach"


def _is_left_out(one: Audience, other: Audience) -> bool:
    """All of one's segments are excluded by the other."""
    return bool(one.segments) and set(one.segments) <= set(other.not_segments)


def in_order(weeks: Iterable[Iterable[Day]]) -> list[Day]:
    """Days of the month on which something happens, for a list."""
    return [day for week in weeks for day in week if day.entries and not day.is_outside]
