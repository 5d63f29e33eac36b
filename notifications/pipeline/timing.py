"""When a message may reach somebody: local time, quiet hours, send window and deadline, for one zone at a time.

A million recipients live in a few hundred pairs of a zone and quiet hours. Each pair is decided here, in
Python, and joined by the statements that resolve an audience; claims ask again for what has waited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from devices import clocks, quiet
from devices.models import Category

Rule = Category.QuietRule

LIFETIME = timedelta(days=3)  # of a message that says none, in a category that says none

# Longer than any sequence of windows that ends at all: what is held by turns for this long never goes.
ROUNDS = 50

# Why somebody is not sent to after all.
QUIET = "quiet_hours"  # the category's messages are dropped in them
INBOX_ONLY = "quiet_hours_inbox_only"
PAST_DEADLINE = "held_past_deadline"  # by quiet hours or the send window
LATE = "local_time_past_deadline"
NEVER = "never_in_send_window"  # quiet hours and send window leave no time
LATE_REASONS = (PAST_DEADLINE, LATE)

Windows = Sequence[Mapping[str, Any]]


class Moment(NamedTuple):
    """due_at: not before; None with the reason why never. day: that of due_at, on the recipient's calendar."""

    due_at: datetime | None
    reason: str
    day: date


@dataclass(frozen=True, slots=True)
class Timing:
    """What one notification and its application say about time.

    quiet_hours: the application's. local_time: naive. meant_for: when it was to be sent, where nothing holds it.
    """

    quiet_rule: str = Rule.IGNORE
    time_zone: str = "UTC"
    quiet_hours: Windows = ()
    local_time: datetime | None = None
    send_window: Mapping[str, Any] | None = None
    meant_for: datetime = field(default_factory=lambda: datetime.now(UTC))
    lifetime: timedelta = LIFETIME
    deadline: datetime | None = None

    @property
    def holds(self) -> bool:
        """Whether there is anything to look at a clock for."""
        return self.quiet_rule != Rule.IGNORE or self.local_time is not None or self.send_window is not None

    @property
    def last_expires_at(self) -> datetime:
        """The end of its life for those who get it last."""
        begins = max(self.meant_for, latest(self.local_time)) if self.local_time else self.meant_for
        return min(begins + self.lifetime, self.deadline) if self.deadline else begins + self.lifetime

    def zone(self, name: str | None) -> ZoneInfo:
        """The recipient's zone, or where that is not known the application's."""
        return clocks.zone(name) or clocks.zone(self.time_zone) or ZoneInfo("UTC")

    def expires_at(self, zone: ZoneInfo) -> datetime:
        """The end of its life for who lives there."""
        end = max(self.meant_for, self._local(zone) or self.meant_for) + self.lifetime
        return min(end, self.deadline) if self.deadline else end

    def moment(self, zone_name: str | None, own: Windows | None, now: datetime) -> Moment:
        """When somebody of this zone, with quiet hours of their own (None: the application's), may be reached."""
        zone = self.zone(zone_name)
        windows = self._windows(own)
        due = max(now, self._local(zone) or now)
        is_held = False
        for _ in range(ROUNDS):
            opens = self._opens(zone, due)
            over = quiet.ends(windows, zone, opens or due) if windows else None
            if over and self.quiet_rule != Rule.HOLD:
                reason = QUIET if self.quiet_rule == Rule.DROP else INBOX_ONLY
                return Moment(None, reason, _day(opens or due, zone))
            if not opens and not over:
                return self._in_time(due, zone, is_held)
            due, is_held = over or opens or due, True
        return Moment(None, NEVER, _day(now, zone))

    def _in_time(self, due: datetime, zone: ZoneInfo, is_held: bool) -> Moment:
        # What nothing holds is the sender's to give up.
        is_kept = is_held or self.local_time is not None
        if is_kept and due >= self.expires_at(zone):
            return Moment(None, PAST_DEADLINE if is_held else LATE, _day(due, zone))
        return Moment(due, "", _day(due, zone))

    def _windows(self, own: Windows | None) -> Windows:
        if self.quiet_rule == Rule.IGNORE:
            return ()
        return self.quiet_hours if own is None else own

    def _local(self, zone: ZoneInfo) -> datetime | None:
        return clocks.instant(self.local_time, zone) if self.local_time else None

    def _opens(self, zone: ZoneInfo, at: datetime) -> datetime | None:
        return quiet.opens([self.send_window], zone, at) if self.send_window else None


def now() -> datetime:
    return datetime.now(UTC)


def table(
    timing: Timing, pairs: Iterable[tuple[str, int]], windows: Mapping[int, Windows], now: datetime
) -> list[dict[str, Any]]:
    """One row per pair of a zone ("": the application's) and a QuietHours id (0: the application's)."""
    rows = []
    for zone, quiet_id in pairs:
        due_at, reason, day = timing.moment(zone, windows.get(quiet_id), now)
        rows.append({"zone": zone, "quiet": quiet_id, "due_at": due_at, "reason": reason or None, "day": day})
    return rows


AHEAD = timedelta(hours=14)  # of UTC: Kiribati


def earliest(local_time: datetime) -> datetime:
    """When the first place on earth has this time: from then on there is something to do."""
    return local_time.replace(tzinfo=UTC) - AHEAD


def latest(local_time: datetime) -> datetime:
    """When the last one has."""
    return local_time.replace(tzinfo=UTC) + timedelta(hours=12)


# The same in SQL, of a batch `b` of a notification `n`: from when its lifetime counts for the last who get it.
BEGINS = """greatest(
    coalesce(CASE WHEN b.replay > 0 THEN n.replayed_at END, n.send_at, n.created_at),
    (nullif(n.local_time, '')::timestamp AT TIME ZONE 'UTC') + interval '12 hours')"""


def _day(at: datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date()
