"""Who gets what and when, decided plainly: one recipient at a time, on a clock watched each quarter hour."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

QUARTER = timedelta(minutes=15)
KNOWN = available_timezones()


@dataclass
class Someone:
    """A person with their devices: (id, platform, permission, zone, is retired)."""

    id: int
    zone: str
    quiet: list[dict[str, Any]] | None
    is_unsubscribed: bool
    says: dict[str, bool]  # by category
    is_held_out: bool = False  # of all marketing
    devices: list[tuple[int, str, str, bool]] = field(
        default_factory=list
    )  # id, permission, zone, is retired


@dataclass
class Message:
    id: Any
    category: str
    now: datetime
    local_time: str = ""
    window: dict[str, Any] | None = None
    lifetime: timedelta = timedelta(days=3)
    deadline: datetime | None = None


@dataclass
class Kind:
    """A category's rules; caps: (categories, most, is weekly)."""

    is_marketing: bool
    default: str
    quiet_rule: str
    has_push: bool
    caps: list[tuple[set[str], int, bool]]


class Reference:
    def __init__(self, kinds: dict[str, Kind], zone: str, quiet: list[dict[str, Any]]) -> None:
        self.kinds, self.zone, self.quiet = kinds, zone, quiet
        self.watched: dict[Any, str | datetime] = {}
        self.got: dict[int, dict[Any, tuple[str, date]]] = defaultdict(
            dict
        )  # person → message → category, day

    def decide(self, someone: Someone, message: Message) -> dict[int, str | datetime]:
        """Device → when, or why not; and remember what was got."""
        said = {
            device[0]: self.words(someone, device, message) for device in someone.devices if not device[3]
        }
        decided = {id: next(filter(None, words.values()), when) for id, (words, when) in said.items()}
        reached = [device for device in someone.devices if isinstance(decided.get(device[0]), datetime)]
        days = [self._day(someone, device, decided[device[0]]) for device in reached]
        if not days:
            return decided
        if self._is_full(someone, message, min(days)):
            return {id: "capped" if isinstance(word, datetime) else word for id, word in decided.items()}
        self.got[someone.id][message.id] = message.category, min(days)
        return decided

    def words(
        self, someone: Someone, device: tuple[int, str, str, bool], message: Message
    ) -> tuple[dict[str, str], datetime]:
        """What each rule above the caps says by itself, the strongest first ("" where it lets pass); and when."""
        kind = self.kinds[message.category]
        zone = self._zone(someone, device)
        key = message.id, zone.key, repr(someone.quiet)
        if key not in self.watched:
            self.watched[key] = self._when(someone, zone, message, kind)
        when = self.watched[key]
        untimely = when if isinstance(when, str) else ""
        is_late = untimely.endswith("past_deadline")
        return {
            "address": self._address(device, kind),
            "deadline": untimely if is_late else "",
            "consent": "unsubscribed" if kind.is_marketing and someone.is_unsubscribed else "",
            "preference": self._preference(someone.says.get(message.category), kind),
            "holdout": "global_holdout" if kind.is_marketing and someone.is_held_out else "",
            "quiet hours": "" if is_late else untimely,
        }, (when if isinstance(when, datetime) else message.now)

    def _address(self, device: tuple[int, str, str, bool], kind: Kind) -> str:
        if device[1] == "denied":
            return "permission_denied"
        return "" if kind.has_push else "channel_not_allowed"

    def _preference(self, said: bool | None, kind: Kind) -> str:
        if kind.default == "forced" or said is True:
            return ""
        if said is False:
            return "opted_out"
        return "not_opted_in" if kind.default == "off" else ""

    def _is_full(self, someone: Someone, message: Message, day: date) -> bool:
        for categories, most, is_weekly in self.kinds[message.category].caps:
            counted = 0
            for category, other in self.got[someone.id].values():
                is_same = other.isocalendar()[:2] == day.isocalendar()[:2] if is_weekly else other == day
                counted += category in categories and is_same
            if counted >= most:
                return True
        return False

    def _when(self, someone: Someone, zone: ZoneInfo, message: Message, kind: Kind) -> str | datetime:
        local = self._local(message, zone)
        moment = max(message.now, local or message.now)
        ends = max(message.now, local or message.now) + message.lifetime
        ends = min(ends, message.deadline or ends)
        windows = self.quiet if someone.quiet is None else someone.quiet
        is_held = False
        for _ in range(8 * 7 * 96):
            shown = moment.astimezone(zone)
            is_open = message.window is None or covers(message.window, shown)
            if is_open and (kind.quiet_rule == "ignore" or not any(covers(one, shown) for one in windows)):
                break
            if is_open and kind.quiet_rule == "drop":
                return "quiet_hours"
            if is_open and kind.quiet_rule == "inbox":
                return "quiet_hours_inbox_only"
            moment, is_held = moment + QUARTER, True
        else:
            return "never_in_send_window"
        if (is_held or local) and moment >= ends:
            return "held_past_deadline" if is_held else "local_time_past_deadline"
        return moment

    def _local(self, message: Message, zone: ZoneInfo) -> datetime | None:
        """The first moment at which clocks show the time or, where it is skipped, a later one."""
        if not message.local_time:
            return None
        wanted = datetime.fromisoformat(message.local_time)
        moment = wanted.replace(tzinfo=UTC) - timedelta(hours=16)
        while moment.astimezone(zone).replace(tzinfo=None) < wanted:
            moment += QUARTER
        return moment

    def _zone(self, someone: Someone, device: tuple[int, str, str, bool]) -> ZoneInfo:
        name = someone.zone or device[2]
        return ZoneInfo(name if name in KNOWN else self.zone)

    def _day(self, someone: Someone, device: tuple[int, str, str, bool], at: Any) -> date:
        return at.astimezone(self._zone(someone, device)).date()


def covers(window: dict[str, Any], shown: datetime) -> bool:
    """Whether a wall clock is within a window that started today or yesterday."""
    wall = shown.replace(tzinfo=None, fold=0)
    for back in (0, 1):
        day = datetime.combine(wall.date() - timedelta(days=back), datetime.min.time())
        begin, end = (
            day + timedelta(hours=int(window[name][:2]), minutes=int(window[name][3:]))
            for name in ("start", "end")
        )
        end += timedelta(days=end <= begin)
        if day.isoweekday() in window["days"] and begin <= wall < end:
            return True
    return False
