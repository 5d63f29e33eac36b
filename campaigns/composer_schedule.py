"""The composer's Schedule: when it begins on every clock that matters, how long it takes, and what gets in its way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.core.cache import cache
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from campaigns import audiences, schedule_notes, schedules, steps, timetable
from campaigns.composer_audience import counted, faults_at, held
from campaigns.composer_draft import Asked, answers, read
from campaigns.models import Campaign
from campaigns.preflight.schedule import NEAR, overlaps
from campaigns.schedule_notes import Look
from config.problems import InvalidField
from devices import clocks
from notifications import zones
from notifications.pipeline import terms, timing
from notifications.pipeline.timing import Rule
from notifications.reach import Reach
from notifications.zones import Counts
from tenants.console import ConsoleAdmin

RUNS_SHOWN = 5
ZONES_SHOWN = 60
CONFLICTS_SHOWN = 10
ZONES_REMEMBERED = 60
# What of a reach is the clock's or the limits' doing.
BY_TIME = (timing.QUIET, timing.INBOX_ONLY, timing.PAST_DEADLINE, timing.LATE, timing.NEVER, "capped")


@answers
def moments(admin: ConsoleAdmin, request: HttpRequest) -> dict[str, Any]:
    """POST: instants in UTC with the wall clock beside them; faults and notes at the fields they are about."""
    _, campaign = read(admin, request, Asked)
    now = timezone.now()
    reach = counted(campaign)[0] or Reach()
    where, local = _where(campaign, now)
    look = Look(
        campaign,
        now,
        _begins(campaign, now),
        reach,
        zones.at(local, where.devices) if local else [],
        steps.pace(campaign, reach),
    )
    zone = timetable.zone_name(campaign)
    return {
        "now": now,
        "zone": zone,
        "default_zone": campaign.application.default_time_zone,
        "faults": [fault._asdict() for fault in faults_at(campaign, ("/schedule", "/experiment/test"))],
        "notes": [note._asdict() for note in schedule_notes.of(look)],
        "begins": moment(look.begins, zone) if look.begins else None,
        "runs": list(_runs(campaign, now)),
        "zones": _shown(look, is_estimate=where.is_estimate),
        "pace": _pace(look),
        "effect": _effect(look),
        "conflicts": _conflicts(look, admin),
    }


def moment(at: datetime, zone_name: str) -> dict[str, Any]:
    """An instant, and what clocks in the zone show then."""
    zone = clocks.zone(zone_name) or clocks.zone("UTC")
    shown = at.astimezone(zone)
    return {
        "at": at.astimezone(UTC),
        "local": f"{shown:%Y-%m-%dT%H:%M}",
        "zone": zone_name,
        "offset": f"{shown:%z}",
    }


def _begins(campaign: Campaign, now: datetime) -> datetime | None:
    try:
        return timetable.due_at(campaign, now)
    except ValueError:
        return None


# --- clocks -----------------------------------------------------------------------------------


def _where(campaign: Campaign, now: datetime) -> tuple[Counts, datetime | None]:
    """Where its people live, and the wall-clock time they are meant to get it at; None: no clock of theirs decides."""
    local = _local(campaign, now) if campaign.document.is_local else None
    return (_counts(campaign), local) if local else (Counts({}), None)


def _local(campaign: Campaign, now: datetime) -> datetime | None:
    try:
        if campaign.document.is_recurring:
            return next((local for local, _ in timetable.coming(campaign, now, most=1)), None)
        return schedules.parsed_local(campaign.document.schedule.starts)
    except ValueError:
        return None


def _counts(campaign: Campaign) -> Counts:
    """Remembered for a minute: another hour does not change where people live."""
    asked = orjson.dumps(
        [campaign.application_id, campaign.category_id, campaign.plan["audience"]],
        option=orjson.OPT_SORT_KEYS,
    )
    key = "carillon:zones:" + hashlib.sha256(asked).hexdigest()
    found: Counts | None = cache.get(key)
    if found is None:
        try:
            found = zones.counts(
                audiences.of(campaign.document),
                application_id=campaign.application_id,
                category_id=campaign.category_id,
                default_zone=campaign.application.default_time_zone,
            )
        except InvalidField:  # a segment is gone; its place says so
            found = Counts({})
        cache.set(key, found, timeout=ZONES_REMEMBERED)
    return found


def _shown(look: Look, *, is_estimate: bool) -> dict[str, Any]:
    """The largest zones where there are too many, in the order in which they have that time."""
    largest = sorted(look.zones, key=lambda zone: -zone.devices)[:ZONES_SHOWN]
    return {
        "is_estimate": is_estimate,
        "total": len(look.zones),
        "first": look.zones[0].at if look.zones else None,
        "last": look.zones[-1].at if look.zones else None,
        "over": sum(zone.devices for zone in look.zones if zone.at < look.now),
        "rows": [
            {
                **moment(zone.at, zone.name),
                "devices": zone.devices,
                "clock": zone.clock,
                "is_over": zone.at < look.now,
            }
            for zone in look.zones
            if zone in largest
        ],
    }


def _runs(campaign: Campaign, now: datetime) -> Iterator[dict[str, Any]]:
    """The next ones of a recurring campaign; clock: whether that wall-clock time exists, and once."""
    if not campaign.document.is_recurring:
        return
    zone = clocks.zone(timetable.zone_name(campaign)) or clocks.zone("UTC")
    assert zone
    try:
        coming = timetable.coming(campaign, now, most=RUNS_SHOWN)
    except ValueError:  # no rule yet, or none that can be read; its place says so
        return
    for local, begins in coming:
        meant = local if campaign.document.is_local else _meant(campaign, local, begins)
        yield {
            "local": f"{meant:%Y-%m-%dT%H:%M}",
            "at": begins.astimezone(UTC),
            "clock": clocks.Clock.USUAL if campaign.document.is_local else clocks.kind(meant, zone),
        }


def _meant(campaign: Campaign, local: datetime, begins: datetime) -> datetime:
    """The rule's own time of a run: clocks show another where they jump over it."""
    schedule = campaign.document.schedule
    starts, zone = schedules.parsed_local(schedule.starts), timetable.zone_name(campaign)
    one = schedules.following(schedule.rule, starts, local - timedelta(hours=3))
    while one is not None and one < local:
        if schedules.instant(one, zone) == begins:
            return one
        one = schedules.following(schedule.rule, starts, one)
    return local


# --- how long ---------------------------------------------------------------------------------


def _pace(look: Look) -> dict[str, Any]:
    """seconds 0: nothing set here holds it back. lasts: from the first to the last who get it, in seconds."""
    begins = max(look.zones[0].at if look.zones else look.begins or look.now, look.now)
    ends = _ends(look, begins)
    return {
        "devices": look.reach.reachable,
        "seconds": round(look.pace.seconds),
        "lasts": round((ends - begins).total_seconds()),
        "because": look.pace.because,
        "per_second": round(look.reach.reachable / look.pace.seconds, 1) if look.pace.seconds else None,
        "ends": moment(ends, timetable.zone_name(look.campaign)),
        "is_estimate": look.reach.is_estimate,
    }


def _ends(look: Look, begins: datetime) -> datetime:
    """At its pace; where people's own clocks decide, one zone after the other, each when its time has come."""
    seconds = min(look.pace.seconds, 3650 * 86_400)
    if not look.zones:
        return begins + timedelta(seconds=seconds)
    whole = sum(zone.devices for zone in look.zones) or 1
    for zone in look.zones:
        begins = max(begins, zone.at) + timedelta(seconds=seconds * zone.devices / whole)
    return begins


# --- what gets in its way ---------------------------------------------------------------------

RULES = {
    Rule.HOLD: "waits until they end",
    Rule.DROP: "is not sent then",
    Rule.INBOX: "goes to the inbox only",
    Rule.IGNORE: "is sent all the same",
}


def _effect(look: Look) -> dict[str, Any]:
    said = terms.of(look.campaign.category_id)
    quiet = [f"{window['start']}–{window['end']}" for window in said.quiet_hours.get(0, ())]
    return {
        "later": look.reach.later,
        "is_estimate": look.reach.is_estimate,
        "held_back": [
            held(reason, count) for reason, count in look.reach.held_back.items() if reason in BY_TIME
        ],
        "quiet": quiet,
        "quiet_rule": RULES.get(Rule(said.quiet_rule), ""),
        "caps": [f"{limit.most} a {'week' if limit.is_weekly else 'day'}" for limit in said.limits],
    }


def _conflicts(look: Look, admin: ConsoleAdmin) -> list[dict[str, Any]]:
    """Others of the app within a day of it, those who may reach the same people first."""
    if look.begins is None:
        return []
    span = (look.begins - NEAR, look.begins + NEAR)
    others = (
        Campaign.objects.filter(application_id=look.campaign.application_id, status__in=Campaign.LIVE)
        .filter(Q(next_run_at__range=span) | Q(next_run_at=None, latest_run__due_at__range=span))
        .select_related("latest_run", "category", "application")
        .order_by("id")[:CONFLICTS_SHOWN]
    )
    rows = [
        {
            "name": str(other),
            "url": admin.url("live", other),
            "category": other.category.name,
            **moment(_due(other), timetable.zone_name(look.campaign)),
            "is_same_people": overlaps(look.campaign.document.audience, other.document.audience),
        }
        for other in others
    ]
    return sorted(rows, key=lambda row: (not row["is_same_people"], row["at"]))


def _due(campaign: Campaign) -> datetime:
    if campaign.next_run_at:
        return campaign.next_run_at
    return campaign.latest_run.due_at if campaign.latest_run else campaign.updated_at
