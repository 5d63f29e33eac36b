"""A run over time as shapes for an SVG: numbers in, positions out. The page draws them; a table says the same."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Of the drawing, which is stretched to the page's width; lines keep theirs.
WIDTH, HEIGHT = 720, 160
WIDEST_BAR = 40


@dataclass(frozen=True, slots=True)
class Series:
    """key: of a point. tone: a class of live.css. points: of a polyline; bars: x, y, width, height."""

    key: str
    word: str
    tone: str
    total: int
    points: str = ""
    bars: tuple[tuple[str, str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """says: the description for who does not see it. rows: the table: a moment and a number for each series."""

    title: str
    says: str
    most: int
    first: datetime
    last: datetime
    series: tuple[Series, ...]
    rows: tuple[tuple[datetime, tuple[int, ...]], ...]


Kind = tuple[str, str, str]  # key, word, tone

SENT: Sequence[Kind] = (
    ("accepted", "Accepted", "good"),
    ("failed", "Failed", "bad"),
    ("uncertain", "Uncertain", "odd"),
)
TOLD: Sequence[Kind] = (
    ("opened", "Opened", "p1"),
    ("clicked", "Clicked", "p2"),
    ("converted", "Converted", "p3"),
)


def sent(points: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Stacked bars. None: there is nothing to draw."""
    used = _used(points, SENT)
    shown = _trimmed(points, used)
    if not shown:
        return None
    most = max(sum(point[key] for key, *_ in used) for point in shown)
    width = WIDTH / len(shown)
    below = [0.0] * len(shown)
    series = []
    for key, word, tone in used:
        bars = []
        for index, point in enumerate(shown):
            height = point[key] * HEIGHT / most
            if point[key]:
                y = HEIGHT - below[index] - height
                wide = min(width * 0.84, WIDEST_BAR)
                bars.append((_n((index + 0.5) * width - wide / 2), _n(y), _n(wide), _n(height)))
            below[index] += height
        series.append(Series(key, word, tone, _total(shown, key), bars=tuple(bars)))
    return _chart("Sent over time", shown, most, series)


def told(points: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Lines, on a scale of their own."""
    return _lines("Opened, clicked and converted over time", points, TOLD)


def compared(
    points: Sequence[Mapping[str, Any]], variants: Mapping[str, Sequence[Mapping[str, Any]]], metric: str
) -> Chart | None:
    """A line for each variant. points: of all together, whose distances are a multiple of a variant's own."""
    moments = [point["at"] for point in points]
    own: dict[Any, dict[str, Any]] = {at: {"at": at, **dict.fromkeys(variants, 0)} for at in moments}
    for key, rows in variants.items():
        for row in rows:
            if row[metric] and (index := bisect_right(moments, row["at"])):
                own[moments[index - 1]][key] += row[metric]
    kinds = [(key, key, f"p{number}") for number, key in enumerate(variants, 1)]
    return _lines(f"{metric.capitalize()} over time, by variant", list(own.values()), kinds)


def _lines(title: str, points: Sequence[Mapping[str, Any]], kinds: Sequence[Kind]) -> Chart | None:
    used = _used(points, kinds)
    shown = _trimmed(points, used)
    if not shown:
        return None
    most = max(point[key] for point in shown for key, *_ in used)
    step = WIDTH / max(1, len(shown) - 1)
    series = [
        Series(
            key,
            word,
            tone,
            _total(shown, key),
            points=" ".join(
                f"{_n(index * step)},{_n(HEIGHT - point[key] * (HEIGHT - 4) / most)}"
                for index, point in enumerate(shown)
            ),
        )
        for key, word, tone in used
    ]
    return _chart(title, shown, most, series)


def _chart(title: str, shown: Sequence[Mapping[str, Any]], most: int, series: list[Series]) -> Chart:
    peak = max(shown, key=lambda point: sum(point[one.key] for one in series))
    totals = ", ".join(f"{one.word} {one.total:,}" for one in series)
    says = f"From {shown[0]['at']:%-d %b %H:%M} to {shown[-1]['at']:%-d %b %H:%M} UTC: {totals}. "
    says += f"Most at {peak['at']:%-d %b %H:%M}."
    rows = tuple(
        (point["at"], tuple(point[one.key] for one in series))
        for point in shown
        if any(point[one.key] for one in series)
    )
    return Chart(title, says, most, shown[0]["at"], shown[-1]["at"], tuple(series), rows)


def _used(points: Iterable[Mapping[str, Any]], kinds: Sequence[Kind]) -> list[Kind]:
    seen = {key for point in points for key, *_ in kinds if point[key] > 0}
    return [kind for kind in kinds if kind[0] in seen]


def _trimmed(points: Sequence[Mapping[str, Any]], used: list[Kind]) -> Sequence[Mapping[str, Any]]:
    """From the first point with something in it to the last."""
    filled = [index for index, point in enumerate(points) if any(point[key] for key, *_ in used)]
    return points[filled[0] : filled[-1] + 1] if filled else []


def _total(points: Iterable[Mapping[str, Any]], key: str) -> int:
    return sum(point[key] for point in points)


def _n(value: float) -> str:
    """With a point in every language."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
