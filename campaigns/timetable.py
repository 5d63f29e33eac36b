"""When a campaign begins, and begins again: its plan's schedule on the clocks it names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from campaigns import schedules
from campaigns.models import Campaign
from devices import clocks, quiet
from notifications.pipeline import timing

UNDO = timedelta(seconds=60)  # between a launch and the first message, to take it back


def due_at(campaign: Campaign, now: datetime) -> datetime:
    """When it begins: where local time counts, in the first place on earth. Raises ValueError naming the field."""
    schedule = campaign.document.schedule
    if schedule.kind == "now":
        return now + UNDO if schedule.undo else now
    try:
        starts = schedules.parsed_local(schedule.starts)
    except ValueError:
        raise ValueError("starts: choose a date and time") from None
    if schedule.kind == "recurring":
        try:
            schedules.check(schedule.rule, starts)
        except ValueError as error:
            raise ValueError(f"rule: {error}") from None
        return next_run(campaign, None, now) or _over("rule")
    is_local = schedule.kind == "local"
    if (timing.latest(starts) if is_local else schedules.instant(starts, zone_name(campaign))) <= now:
        _over("starts")
    return timing.earliest(starts) if is_local else schedules.instant(starts, zone_name(campaign))


def _over(field: str) -> NoReturn:
    raise ValueError(f"{field}: this moment is over")


def zone_name(campaign: Campaign) -> str:
    return campaign.document.schedule.time_zone or campaign.application.default_time_zone


def coming(campaign: Campaign, now: datetime, *, most: int) -> list[tuple[datetime, datetime]]:
    """A recurring campaign's next runs: on their wall clock (naive), and when they begin."""
    found: list[tuple[datetime, datetime]] = []
    begins = campaign.next_run_at or next_run(campaign, None, now)
    while begins is not None and len(found) < most:
        found.append((local(campaign, begins), begins))
        begins = next_run(campaign, begins, begins)
    return found


def next_run(campaign: Campaign, after: datetime | None, now: datetime) -> datetime | None:
    """When a recurring campaign's next run begins; what was missed is not made up for. None: that was the last."""
    schedule = campaign.document.schedule
    starts = schedules.parsed_local(schedule.starts)
    # Wherever clocks show it, what was two days ago is over: years of an hourly rule are passed by in one go.
    over = local(campaign, now) - timedelta(days=2)
    last = over if after is None else max(over, local(campaign, after))
    coming = schedules.following(schedule.rule, starts, last)
    while coming is not None and (moment := _begins(campaign, coming)) <= now:
        coming = schedules.following(schedule.rule, starts, coming)
    return None if coming is None else moment


def newest_due(campaign: Campaign, now: datetime) -> datetime | None:
    """Of the runs whose moment has come since `next_run_at`, the last; else that itself."""
    due = campaign.next_run_at
    while due is not None and (after := next_run(campaign, due, due)) is not None and after <= now:
        due = after
    return due


def _begins(campaign: Campaign, local: datetime) -> datetime:
    if campaign.document.is_local:
        return timing.earliest(local)
    return schedules.instant(local, zone_name(campaign))


def local(campaign: Campaign, begins: datetime) -> datetime:
    """The occurrence that begins then, on its wall clock."""
    if campaign.document.is_local:
        return (begins + timing.AHEAD).replace(tzinfo=None)
    zone = clocks.zone(zone_name(campaign)) or UTC
    return begins.astimezone(zone).replace(tzinfo=None)


def window(campaign: Campaign) -> dict[str, Any] | None:
    """As the send API says it."""
    if not (window := campaign.document.schedule.window):
        return None
    return {"days": quiet.EVERY_DAY, "start": window.start, "end": window.end}


def wishes(campaign: Campaign, now: datetime) -> dict[str, Any]:
    """What notifications.reach takes of time, as a launch now would say it; of an unfinished schedule what it has."""
    plan = campaign.document
    hours = plan.schedule.lifetime_hours
    found: dict[str, Any] = {
        "send_window": window(campaign),
        "ttl_seconds": hours * 3600 if hours else None,
    }
    if plan.schedule.kind == "now":
        return found
    try:
        due = campaign.next_run_at or due_at(campaign, now)
    except ValueError:
        return found
    found["send_at"] = due if due > now else None
    if plan.is_local:
        found["local_time"] = local(campaign, due).isoformat("T", "minutes")
    return found
