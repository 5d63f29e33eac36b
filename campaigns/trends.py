"""The days of the dashboard: what they came to, and their drawings, of which every number is in a table as well.

Counts are `notifications.rollups.days`; widths and places are text with a point, for SVG in every locale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from campaigns.scopes import Scope
from notifications import rollups

DAYS = 30
WIDTH, HEIGHT = 600, 120  # stretched to the place there is
GAP = 0.22  # of a day's width


class Day(NamedTuple):
    """tried: those a provider was asked about. Rates are per cent; None of nothing."""

    day: date
    accepted: int
    failed: int
    uncertain: int
    held: int
    opened: int
    gone: int

    @property
    def tried(self) -> int:
        return self.accepted + self.failed + self.uncertain

    @property
    def accepted_rate(self) -> float | None:
        return share(self.accepted, self.tried)

    @property
    def opened_rate(self) -> float | None:
        return share(self.opened, self.accepted)


class Tile(NamedTuple):
    """change: against the day before, in words; is_worse: whether that needs a look."""

    word: str
    value: str
    change: str
    icon: str
    is_worse: bool
    means: str


class Piece(NamedTuple):
    tone: str
    y: str
    height: str


class Bar(NamedTuple):
    x: str
    width: str
    pieces: list[Piece]
    words: str
    hit: str  # left edge of the place that shows the words
    hit_width: str


class Chart(NamedTuple):
    """top: what the drawing's height stands for, as its axis says it. line: points of a polyline."""

    bars: list[Bar]
    line: str
    top: str
    half: str
    first: date
    middle: date
    last: date
    words: str


def days(scope: Scope) -> list[Day]:
    """The last 30, today included, oldest first."""
    counted = [_days(id) for id in ([None] if scope.ids is None else scope.ids)] or [{}]
    total: dict[date, Counter[str]] = {}
    for found in counted:
        for day, row in found.items():
            total.setdefault(day, Counter()).update(row)
    return [
        Day(
            day,
            *(row[key] for key in ("accepted", "failed", "uncertain", "suppressed", "opened", "gone")),
        )
        for day, row in total.items()
    ]


def _days(application_id: int | None) -> dict[date, Counter[str]]:
    gone = dict(rollups.retirements(application_id, days=DAYS))
    return {
        row["day"]: Counter({"gone": gone.get(row["day"], 0), **_counts(row)})
        for row in rollups.days(application_id, days=DAYS)
    }


def _counts(row: dict[str, Any]) -> dict[str, int]:
    return {key: value for key, value in row.items() if key != "day"}


def share(part: int, whole: int) -> float | None:
    return part * 100 / whole if whole else None


# --- today ------------------------------------------------------------------------------------


def tiles(found: Sequence[Day]) -> list[Tile]:
    """Today beside the day before."""
    if len(found) < 2:
        return []
    before, today = found[-2:]
    return [
        Tile(
            "Sent today",
            f"{today.tried:,}",
            f"{before.tried:,} the day before",
            "",
            False,
            "Messages a provider was asked to deliver since midnight UTC.",
        ),
        _rate(
            "Accepted",
            today.accepted_rate,
            before.accepted_rate,
            "Of those sent, taken by Apple, Google or the browser’s push service. Not yet: seen.",
        ),
        _rate(
            "Opened",
            today.opened_rate,
            before.opened_rate,
            "Opened today, for every hundred accepted today. Opens come for days after a message.",
        ),
        Tile(
            "Uninstalled",
            f"{today.gone:,}",
            f"{before.gone:,} the day before",
            "",
            today.gone > max(10, 2 * before.gone),
            "Devices that providers said are gone: the app was removed, or push was switched off.",
        ),
    ]


def _rate(word: str, now: float | None, before: float | None, means: str) -> Tile:
    value = "—" if now is None else f"{now:.1f} %"
    if now is None or before is None:
        return Tile(word, value, "nothing to compare with yet", "", False, means)
    points = round(now - before, 1)
    if not points:
        return Tile(word, value, "as the day before", "trending_flat", False, means)
    icon = "trending_up" if points > 0 else "trending_down"
    change = f"{points:+.1f} points, {before:.1f} % the day before".replace("-", "−")
    return Tile(word, value, change, icon, points <= -5, means)


# --- drawings -----------------------------------------------------------------------------------


def messages(found: Sequence[Day]) -> Chart:
    bars = [([("bad", day.failed + day.uncertain), ("good", day.accepted)], _said(day)) for day in found]
    accepted, failed = sum(day.accepted for day in found), sum(day.failed for day in found)
    words = f"{accepted:,} messages accepted and {failed:,} failed in {len(found)} days"
    return _bars(found, bars, words)


def _said(day: Day) -> str:
    return f"{day.day:%-d %b}: {day.accepted:,} accepted, {day.failed + day.uncertain:,} failed or uncertain"


def retirements(found: Sequence[Day]) -> Chart:
    bars = [([("held", day.gone)], f"{day.day:%-d %b}: {day.gone:,} devices gone") for day in found]
    words = f"{sum(day.gone for day in found):,} devices uninstalled in {len(found)} days"
    return _bars(found, bars, words)


def opens(found: Sequence[Day]) -> Chart:
    """The share that opens, as a line."""
    rates = [day.opened_rate or 0 for day in found]
    top = _round_up(max(rates, default=0) or 1)
    step = WIDTH / max(1, len(found))
    points = (
        f"{step * (index + 0.5):.1f},{HEIGHT - rate * HEIGHT / top:.1f}" for index, rate in enumerate(rates)
    )
    bars = [
        _hit(index, step, f"{day.day:%-d %b}: {rate:.1f} % opened")
        for index, (day, rate) in enumerate(zip(found, rates, strict=True))
    ]
    opened, accepted = sum(day.opened for day in found), sum(day.accepted for day in found)
    words = f"{share(opened, accepted) or 0:.1f} % of the messages accepted in {len(found)} days were opened"
    return _chart(found, bars, " ".join(points), f"{top:g} %", f"{top / 2:g} %", words)


def _bars(found: Sequence[Day], bars: Sequence[tuple[list[tuple[str, int]], str]], words: str) -> Chart:
    """Each of pieces that stand on each other, the first at the top."""
    top = _round_up(max((sum(count for _, count in pieces) for pieces, _ in bars), default=0) or 4)
    step = WIDTH / max(1, len(bars))
    drawn = []
    for index, (pieces, said) in enumerate(bars):
        above, stacked = float(HEIGHT), []
        for tone, count in reversed(pieces):
            # A day with few failures among millions shows that it has some.
            height = max(count * HEIGHT / top, 1.5) if count else 0
            above -= height
            if count:
                stacked.append(Piece(tone, f"{above:.1f}", f"{height:.1f}"))
        place = _hit(index, step, said)
        drawn.append(place._replace(pieces=stacked))
    return _chart(found, drawn, "", _short(top), _short(top / 2), words)


def _hit(index: int, step: float, said: str) -> Bar:
    left, width = step * (index + GAP / 2), step * (1 - GAP)
    return Bar(f"{left:.1f}", f"{width:.1f}", [], said, f"{step * index:.1f}", f"{step:.1f}")


def _chart(found: Sequence[Day], bars: list[Bar], line: str, top: str, half: str, words: str) -> Chart:
    first, middle, last = (found[index].day for index in (0, len(found) // 2, -1))
    return Chart(bars, line, top, half, first, middle, last, words)


def _round_up(value: float) -> float:
    """The next number that reads well on an axis, and half of it too: 1, 2, 4, 6, 10 and so on."""
    unit = 1.0
    while unit * 10 <= value:
        unit *= 10
    while unit > value:
        unit /= 10
    return next(unit * step for step in (1, 2, 4, 6, 10, 20) if unit * step >= value)


def _short(value: float) -> str:
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"
