"""What charts show of notifications and applications, from counts by minute and day (pipeline/roll_up.py).

A minute is there about a minute and a half after it began; sums that are exact at once are in `selectors.counts`.
Times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db import connection
from django.db.models import Sum

from notifications.models import Delivery, Engagement, Notification, RollupDay
from notifications.pipeline.roll_up import LANGUAGE, NET
from notifications.selectors import FAILURES

Outcome = Delivery.Outcome

# What an outcome or kind of engagement is shown as; attempts that were not the last are not shown.
SHOWN: dict[str, str] = {
    **{
        str(outcome): str(outcome)
        for outcome in (Outcome.ACCEPTED, Outcome.SUPPRESSED, Outcome.UNCERTAIN, Outcome.CANCELLED)
    },
    **{str(outcome): "failed" for outcome in FAILURES},
    **{kind: kind for kind in Engagement.Kind.values},
}
KEYS = tuple(dict.fromkeys(SHOWN.values()))
RESULTS = tuple(key for key in KEYS if key not in Engagement.Kind.values)

# Seconds between points, the narrowest that will do.
WIDTHS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400)
ORIGIN = datetime(2001, 1, 1, tzinfo=UTC)  # a Monday

ROLLED = "SELECT at, platform, language, outcome, count FROM notifications_rollup WHERE notification_id = ANY (%(ids)s)"

# Notifications to listed people have few lines, and no rows of their own: of them the lines are read.
MOST_LISTED = 50
DEVICE = f"coalesce(d.platform, '') AS platform, {LANGUAGE} AS language"
PEOPLE = """
    LEFT JOIN devices_device d ON d.id = l.device_id LEFT JOIN devices_subscriber s ON s.id = l.subscriber_id
    WHERE l.notification_id = ANY (%(listed)s)"""
LISTED = f"""
    UNION ALL SELECT l.at, {DEVICE}, {NET} FROM notifications_delivery l {PEOPLE}
    UNION ALL SELECT l.at, {DEVICE}, l.kind, 1 FROM notifications_engagement l {PEOPLE}
"""

SPAN = "SELECT min(at), max(at) FROM ({rows}) AS r WHERE outcome = ANY (%(outcomes)s)"
POINTS = """
    SELECT date_bin(make_interval(secs => %(width)s), at, %(origin)s), outcome, sum(count)::bigint
    FROM ({rows}) AS r WHERE outcome = ANY (%(outcomes)s) GROUP BY 1, 2
"""
SPLIT = """
    SELECT {by}, outcome, sum(count)::bigint FROM ({rows}) AS r WHERE outcome = ANY (%(outcomes)s) GROUP BY 1, 2
"""


def timeline(notification_ids: Sequence[UUID], *, most_points: int = 120) -> list[dict[str, Any]]:
    """Points at even distances, oldest first, gaps filled: `at`, and a count for each of KEYS. A minute apart,
    or as far as it takes for them to be `most_points` at most."""
    rows, given = _rows(notification_ids)
    ((first, last),) = _read(SPAN.format(rows=rows), given)
    if first is None:
        return []
    width = _width(last - first, most_points)
    found = _read(POINTS.format(rows=rows), {**given, "width": width, "origin": ORIGIN})
    start = first - (first - ORIGIN) % timedelta(seconds=width)
    number = (last - start) // timedelta(seconds=width) + 1
    points: dict[datetime, dict[str, Any]] = {
        at: {"at": at, **_nothing()} for at in _moments(start, timedelta(seconds=width), number)
    }
    for at, outcome, count in found:
        points[at][SHOWN[outcome]] += count
    for point in points.values():
        # A replay may take back what failed long before.
        point.update({key: max(0, point[key]) for key in RESULTS})
    return list(points.values())


def split(notification_ids: Sequence[UUID], *, by: Literal["platform", "language"]) -> list[dict[str, Any]]:
    """A row for each platform or language ("": not known), the largest first: it, `recipients` so far, and a count
    for each of KEYS."""
    if by not in ("platform", "language"):
        raise ValueError(by)
    rows, given = _rows(notification_ids)
    parts: dict[str, dict[str, Any]] = {}
    for part, outcome, count in _read(SPLIT.format(rows=rows, by=by), given):
        parts.setdefault(part, {by: part, **_nothing()})[SHOWN[outcome]] += count
    for row in parts.values():
        row["recipients"] = sum(row[key] for key in RESULTS)
    return sorted(parts.values(), key=lambda row: (-row["recipients"], row[by]))


def days(application_id: int | None = None, *, days: int = 30) -> list[dict[str, Any]]:
    """The last days, today included, oldest first: `day`, and a count for each of KEYS. None: of all applications."""
    by_day: dict[date, dict[str, Any]] = {day: {"day": day, **_nothing()} for day in _last(days)}
    for day, outcome, count in _daily(application_id, by_day, SHOWN):
        by_day[day][SHOWN[outcome]] += count
    for row in by_day.values():
        row.update({key: max(0, row[key]) for key in RESULTS})
    return list(by_day.values())


def retirements(application_id: int | None = None, *, days: int = 30) -> list[tuple[date, int]]:
    """How many devices providers said were gone, by day."""
    by_day = dict.fromkeys(_last(days), 0)
    for day, _, count in _daily(application_id, by_day, [str(Outcome.UNREGISTERED)]):
        by_day[day] = max(0, count)
    return list(by_day.items())


def _rows(notification_ids: Sequence[UUID]) -> tuple[str, dict[str, Any]]:
    """Counts of these notifications, as SQL and its parameters."""
    listed = list(
        Notification.objects.filter(
            id__in=notification_ids, audience__has_any_keys=["subscribers", "devices"]
        )
        .order_by("-id")
        .values_list("id", flat=True)[:MOST_LISTED]
    )
    given = {"ids": list(notification_ids), "listed": listed, "outcomes": list(SHOWN)}
    return ROLLED + LISTED if listed else ROLLED, given


def _read(query: str, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, given)
        return cursor.fetchall()


def _width(span: timedelta, most_points: int) -> int:
    wide_enough = (width for width in WIDTHS if width * (most_points - 1) >= span.total_seconds())
    return next(wide_enough, WIDTHS[-1])


def _moments(start: datetime, step: timedelta, number: int) -> Iterable[datetime]:
    return (start + step * index for index in range(number))


def _last(days: int) -> list[date]:
    today = datetime.now(UTC).date()
    return [today - timedelta(days=ago) for ago in reversed(range(days))]


def _daily(
    application_id: int | None, wanted: Iterable[date], outcomes: Iterable[str]
) -> Iterable[tuple[date, str, int]]:
    rows = RollupDay.objects.filter(day__gte=min(wanted), outcome__in=list(outcomes))
    if application_id is not None:
        rows = rows.filter(application_id=application_id)
    sums = rows.values_list("day", "outcome").annotate(Sum("count"))
    return [(day, outcome, count) for day, outcome, count in sums if day in set(wanted)]


def _nothing() -> dict[str, int]:
    return dict.fromkeys(KEYS, 0)
