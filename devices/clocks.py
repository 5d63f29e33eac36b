"""Wall clocks and instants: what a local time means in a zone, on the days clocks change too. Pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

SECOND = timedelta(seconds=1)


class Clock(StrEnum):
    """What the clocks do at a local time."""

    USUAL = "usual"
    SKIPPED = "skipped"  # it does not exist: the clocks jump over it
    REPEATED = "repeated"  # it comes twice


@lru_cache(maxsize=1024)
def zone(name: str | None) -> ZoneInfo | None:
    """The zone, or None if there is none of that name."""
    return ZoneInfo(name) if name and name in names() else None


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """All there are."""
    return frozenset(available_timezones())


def instant(local: datetime, zone: ZoneInfo, *, not_before: datetime | None = None) -> datetime:
    """When clocks in `zone` show `local` (naive), in UTC. Of two times the first that is not before `not_before`;
    of a time that is skipped, the moment the clocks jump over it."""
    early, late = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if _shows(early, zone, local):
        is_over = not_before is not None and early < not_before
        return late if is_over and _shows(late, zone, local) else early
    return _jump(late, early, zone)


def kind(local: datetime, zone: ZoneInfo) -> Clock:
    """Whether `local` (naive) exists in `zone`, and once."""
    early, late = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if not _shows(early, zone, local):
        return Clock.SKIPPED
    return Clock.USUAL if early == late else Clock.REPEATED


def _shows(at: datetime, zone: ZoneInfo, local: datetime) -> bool:
    return at.astimezone(zone).replace(tzinfo=None, fold=0) == local


def _jump(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second between the two from which the offset of the later one holds."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > SECOND:
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after
