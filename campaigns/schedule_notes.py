"""Where parts of a schedule work against each other, said at the field it is about. None of it keeps it from going."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from typing import NamedTuple

from campaigns import schedules, steps, timetable
from campaigns.document import Window
from campaigns.models import Campaign
from devices import clocks
from notifications.pipeline.timing import LIFETIME
from notifications.reach import Reach
from notifications.zones import Zone


class Look(NamedTuple):
    """What an answer is made of. begins: None while the schedule is not finished. zones: where the people's own
    clocks decide."""

    campaign: Campaign
    now: datetime
    begins: datetime | None
    reach: Reach
    zones: Sequence[Zone]
    pace: steps.Pace


class Note(NamedTuple):
    """pointer: of the field. level: warn, or note for what is only good to know."""

    pointer: str
    detail: str
    level: str = "warn"


def of(look: Look) -> Iterator[Note]:
    for notes in (_clock, _over, _window, _lifetime, _wave, _limit, _late):
        yield from notes(look)


def _starts(look: Look) -> datetime | None:
    schedule = look.campaign.document.schedule
    try:
        return None if schedule.kind == "now" else schedules.parsed_local(schedule.starts)
    except ValueError:
        return None


def _clock(look: Look) -> Iterator[Note]:
    """One moment on a day the clocks change."""
    starts, zone = _starts(look), clocks.zone(timetable.zone_name(look.campaign))
    if starts is None or zone is None or look.campaign.document.schedule.kind != "at":
        return
    kind, city = clocks.kind(starts, zone), _city(zone.key)
    if kind == clocks.Clock.SKIPPED:
        begins = schedules.instant(starts, zone.key).astimezone(zone)
        yield Note(
            "/schedule/starts",
            f"Clocks in {city} jump over {starts:%H:%M} that night: it begins at the jump, {begins:%H:%M}.",
        )
    elif kind == clocks.Clock.REPEATED:
        yield Note(
            "/schedule/starts",
            f"Clocks in {city} show {starts:%H:%M} twice that night: it begins the first time.",
        )


def _over(look: Look) -> Iterator[Note]:
    """Places where the local time has passed already."""
    over = [zone for zone in look.zones if zone.at < look.now]
    if over and len(over) < len(look.zones):
        count = sum(zone.devices for zone in over)
        yield Note(
            "/schedule/starts",
            f"In {len(over)} of {len(look.zones)} time zones this time is over already: "
            f"{_devices(count)} there get it at once. Choose a later time if they should not.",
        )


def _window(look: Look) -> Iterator[Note]:
    """A time outside the hours in which it may go out."""
    plan = look.campaign.document
    window, starts = plan.schedule.window, _starts(look)
    if window is None or window.start == window.end:
        return
    if starts is None:
        if plan.schedule.kind == "now" and look.reach.later:
            yield Note(
                "/schedule/window",
                f"For {_devices(look.reach.later)} it is outside these hours or quiet just now: they get it later.",
                "note",
            )
        return
    if not _is_within(starts.time(), window):
        whose = "everybody’s" if plan.is_local else _city(timetable.zone_name(look.campaign))
        yield Note(
            "/schedule/window",
            f"{starts:%H:%M} {'on ' + whose + ' clock' if plan.is_local else 'in ' + whose} is outside these hours: "
            f"there it waits until {window.start}.",
        )


def _is_within(at: time, window: Window) -> bool:
    shown = f"{at:%H:%M}"
    if window.start < window.end:
        return window.start <= shown < window.end
    return shown >= window.start or shown < window.end


def _lifetime(look: Look) -> Iterator[Note]:
    """Messages that expire before their turn comes."""
    hours = look.campaign.document.schedule.lifetime_hours
    lifetime, lasts = timedelta(hours=hours) if hours else LIFETIME, look.pace.seconds
    if lasts <= lifetime.total_seconds():
        return
    late = look.reach.reachable - round(look.reach.reachable * lifetime.total_seconds() / lasts)
    yield Note(
        "/schedule/lifetime_hours" if hours else "/schedule/per_second",
        f"It takes longer than a message lives: about {_devices(late)} would get nothing. "
        "Let it live longer, or send faster.",
    )


def _wave(look: Look) -> Iterator[Note]:
    """A speed that cannot bring a local time's largest wave out in time."""
    per_second = look.campaign.document.schedule.per_second
    if not per_second or not look.zones:
        return
    waves: Counter[datetime] = Counter()
    for zone in look.zones:
        waves[zone.at] += zone.devices
    seconds = max(waves.values()) / per_second
    if seconds >= 600:
        yield Note(
            "/schedule/per_second",
            f"Everybody at the same local time and {per_second:,} per second do not go together: the largest group, "
            f"{_devices(max(waves.values()))}, takes {_long(seconds)}. Its last people get it that much later.",
        )


def _limit(look: Look) -> Iterator[Note]:
    """A speed that another limit makes impossible."""
    chosen, own = look.campaign.document.schedule.per_second, look.campaign.application.messages_per_second
    if chosen and own and chosen > own:
        yield Note(
            "/schedule/per_second", f"The app’s own limit is {own:,} per second: that one holds.", "note"
        )


def _late(look: Look) -> Iterator[Note]:
    """Held beyond its life by quiet hours or the window."""
    if count := look.reach.held_back.get("held_past_deadline", 0):
        yield Note(
            "/schedule/lifetime_hours",
            f"Quiet hours or the send window would hold it for {_devices(count)} beyond its life: they get nothing.",
        )
    if count := look.reach.held_back.get("never_in_send_window", 0):
        yield Note(
            "/schedule/window",
            f"Quiet hours and this window leave {_devices(count)} no time at all: they get nothing.",
        )


def _city(zone_name: str) -> str:
    return zone_name.rpartition("/")[2].replace("_", " ")


def _devices(count: int) -> str:
    return f"{count:,} device{'' if count == 1 else 's'}"


def _long(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"
