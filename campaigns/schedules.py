"""When a campaign runs: once, or by a recurrence rule (RFC 5545) on a wall clock. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import dropwhile, islice, pairwise, takewhile
from zoneinfo import ZoneInfo

from dateutil.rrule import DAILY, HOURLY, WEEKLY, rruleset, rrulestr

from devices import clocks

LONGEST_RULE = 500
SOONEST = timedelta(hours=1)  # between two runs
LONGEST = timedelta(days=3653)  # a rule ends after ten years
LOOKED_AT = 400  # occurrences, to see that none come too soon after each other


def check(rule: str, starts: datetime) -> None:
    """Raises ValueError, in words, for a rule that is none, never comes about or comes too often."""
    occurrences = list(islice(_occurrences(rule, starts), LOOKED_AT))
    if not occurrences:
        raise ValueError("This rule never comes about.")
    for earlier, later in pairwise(occurrences):
        if later - earlier < SOONEST:
            raise ValueError("It may run once an hour at most.")


def following(rule: str, starts: datetime, after: datetime | None) -> datetime | None:
    """The first occurrence, or the one after `after`; naive, as `starts`. None: that was the last."""
    return next((one for one in _occurrences(rule, starts, after) if after is None or one > after), None)


def between(rule: str, starts: datetime, first: datetime, last: datetime) -> Iterator[datetime]:
    """Occurrences from `first` to before `last`; naive. Raises ValueError for a rule that is none."""
    later = dropwhile(lambda one: one < first, _occurrences(rule, starts))
    return takewhile(lambda one: one < last, later)


def instant(local: datetime, zone_name: str) -> datetime:
    """When clocks in a zone show a naive time; an unknown zone is UTC's."""
    return clocks.instant(local, clocks.zone(zone_name) or ZoneInfo("UTC"))


def parsed_local(text: str) -> datetime:
    """ "2026-11-25T09:00" as a naive datetime. Raises ValueError."""
    if len(text) != 16:
        raise ValueError("expected a date and time")
    return datetime.fromisoformat(text)


PERIODS = {HOURLY: timedelta(hours=1), DAILY: timedelta(days=1), WEEKLY: timedelta(weeks=1)}


def _occurrences(rule: str, starts: datetime, after: datetime | None = None) -> Iterator[datetime]:
    """after: whole periods before it may be left out, where they need not be counted: years of hours take seconds."""
    text = rule.strip().removeprefix("RRULE:")
    if len(text) > LONGEST_RULE or "\n" in text:
        raise ValueError(f"A rule is one line of at most {LONGEST_RULE} characters.")
    try:
        # A UNTIL in UTC would not compare with wall-clock times.
        parsed = rrulestr(text, dtstart=starts, ignoretz=True)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"Not a recurrence rule such as FREQ=WEEKLY;BYDAY=MO,TH: {error}") from error
    if isinstance(parsed, rruleset) or parsed._freq > HOURLY:
        raise ValueError("It may run once an hour at most.")
    # A rule that never comes about would be looked for until the year 9999.
    last, count = starts + LONGEST, parsed._count
    begins = starts
    if after is not None and count is None and (period := PERIODS.get(parsed._freq)):
        step = period * parsed._interval
        begins += max(0, (after - starts) // step - 1) * step
    return islice(parsed.replace(dtstart=begins, count=None, until=min(parsed._until or last, last)), count)
