"""Quiet hours: windows of a week, on the wall clock, in which somebody is left alone. Pure functions.

A window has days (ISO: Monday is 1) on which it starts, a start and an end. One that does not end after its
start ends on the following day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from devices import clocks

DAY, WEEK = 24 * 60, 7 * 24 * 60  # minutes
MOST_WINDOWS = 21
EVERY_DAY = [1, 2, 3, 4, 5, 6, 7]

# Minutes of the week, merged and in order; the last may end after the week's end.
Spans = tuple[tuple[int, int], ...]
Key = tuple[tuple[tuple[int, ...], str, str], ...]

_time = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]").fullmatch


def check(windows: Any) -> list[dict[str, Any]]:
    """The windows in their one normal form: days named and in order, windows in order, none twice.

    Raises ValueError, with the JSON pointer of the fault: "/0/start: …".
    """
    if not isinstance(windows, list):
        raise ValueError(": expected a list of windows")
    if len(windows) > MOST_WINDOWS:
        raise ValueError(f": more than {MOST_WINDOWS} windows")
    checked = {_key(_checked(f"/{index}", window)) for index, window in enumerate(windows)}
    if sum(end - start for start, end in spans(tuple(sorted(checked)))) >= WEEK:
        raise ValueError(": they leave no time at all")
    return [{"days": list(days), "start": start, "end": end} for days, start, end in sorted(checked)]


def ends(windows: Sequence[Mapping[str, Any]], zone: ZoneInfo, at: datetime) -> datetime | None:
    """The first instant from `at` on that is not within the windows; None if `at` already is not."""
    return _left(spans(tuple(map(_key, windows))), zone, at)


def opens(windows: Sequence[Mapping[str, Any]], zone: ZoneInfo, at: datetime) -> datetime | None:
    """The first instant from `at` on that is within the windows; None if `at` already is."""
    return _left(_outside(spans(tuple(map(_key, windows)))), zone, at)


def _left(spans: Spans, zone: ZoneInfo, at: datetime) -> datetime | None:
    moment = at
    while (left := _minutes_left(spans, moment.astimezone(zone))) is not None:
        local = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        end = local.replace(second=0, microsecond=0) + timedelta(minutes=left)
        moment = clocks.instant(end, zone, not_before=moment)
    return None if moment is at else moment


@lru_cache(maxsize=4096)
def _outside(spans: Spans) -> Spans:
    """The rest of the week."""
    if not spans or spans[0][1] - spans[0][0] >= WEEK:
        return ()
    nexts = [*(start for start, _ in spans[1:]), spans[0][0] + WEEK]
    return tuple((end, start) for (_, end), start in zip(spans, nexts, strict=True))


@lru_cache(maxsize=4096)
def spans(windows: Key) -> Spans:
    """The windows on the line of a week's minutes, joined where they touch."""
    merged: list[list[int]] = []
    for start, end in sorted(_each(windows)):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    # What passes the end of the week covers its beginning.
    while len(merged) > 1 and merged[-1][1] - WEEK >= merged[0][0]:
        first = merged.pop(0)
        merged[-1][1] = max(merged[-1][1], first[1] + WEEK)
    return tuple((start, min(end, start + WEEK)) for start, end in merged)


def _each(windows: Key) -> Iterator[tuple[int, int]]:
    for days, start, end in windows:
        first, last = _minutes(start), _minutes(end)
        length = last - first if last > first else last - first + DAY
        for day in days:
            yield (day - 1) * DAY + first, (day - 1) * DAY + first + length


def _minutes_left(merged: Spans, local: datetime) -> int | None:
    """Whole minutes from the one `local` is in to the end of its span, or None."""
    now = local.weekday() * DAY + local.hour * 60 + local.minute
    for start, end in merged:
        for shown in (now, now + WEEK):
            if start <= shown < end:
                return end - shown
    return None


def _checked(path: str, window: Any) -> dict[str, Any]:
    if not isinstance(window, dict):
        raise ValueError(f"{path}: expected an object")
    if unknown := window.keys() - {"days", "start", "end"}:
        raise ValueError(f"{path}/{min(unknown)}: there is no such field")
    for name in ("start", "end"):
        if not isinstance(window.get(name), str) or not _time(window[name]):
            raise ValueError(f"{path}/{name}: expected a time of day, such as 22:00")
    days = window.get("days", EVERY_DAY)
    if (
        not isinstance(days, list)
        or not days
        or any(type(day) is not int or not 1 <= day <= 7 for day in days)
    ):
        raise ValueError(f"{path}/days: expected days from 1 (Monday) to 7")
    return {"days": sorted(set(days)), "start": window["start"], "end": window["end"]}


def _key(window: Mapping[str, Any]) -> tuple[tuple[int, ...], str, str]:
    return tuple(window["days"]), window["start"], window["end"]


def _minutes(time: str) -> int:
    return int(time[:2]) * 60 + int(time[3:])


def describe(windows: Sequence[Mapping[str, Any]]) -> str:
    """In words: "Mon-Fri 22:00-08:00, Sat, Sun 00:00-00:00"."""
    return ", ".join(f"{_days(window['days'])}{window['start']}-{window['end']}" for window in windows)


NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def _days(days: Sequence[int]) -> str:
    if len(days) == 7:
        return ""
    is_run = len(days) > 2 and all(later - earlier == 1 for earlier, later in pairwise(days))
    return (
        f"{NAMES[days[0] - 1]}-{NAMES[days[-1] - 1]}" if is_run else ", ".join(NAMES[day - 1] for day in days)
    ) + " "
