"""How many of an audience would be sent to, when, and why not all: the fan-out's own policy, only counted.

What would take too long is estimated from a sample.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

from config import estimates
from config.problems import InvalidField
from devices import segments
from notifications import lanes, sample
from notifications.pipeline import audience as audiences
from notifications.pipeline import caps, policy, resolve, terms, timing
from notifications.pipeline.terms import Terms
from notifications.pipeline.timing import Timing
from notifications.sample import EVERYONE, Sample
from tenants import selectors as tenants

# How many are looked at, all up to so many, and for how long: an answer takes a second at most. An exact count of 1 M
# devices takes 0.7 s where only consent counts, 1.3 s with quiet hours, 2 s to 6 s with caps.
PATIENCE, SAMPLE = "4s", 100_000  # consent only
RULED_UP_TO = 300_000  # quiet hours, caps, a time asked for
EXACT_UP_TO = 50_000  # a segment's rules, which somebody is just writing; those about many events are slower
SHORT_PATIENCE = "600ms"
SMALL_SAMPLE, MIDDLE_PATIENCE = 20_000, "1500ms"
SMALLEST_SAMPLE, LONG_PATIENCE = 2_000, "10s"
QUICK_SAMPLE = 10_000  # for a page: of 20 000 it takes 0.1 s, with clocks 0.2 s
# Where a sample has met few, its estimate is rough; those of a small segment are counted by its members in no time.
ROUGH, ROUGH_PATIENCE = 0.1, "100ms"

# As resolve.JUDGED, of no notification. is_later: something holds it past %(at)s.
JUDGED = """
    WITH judged AS (
        SELECT d.platform, d.subscriber_id, d.device_id, {day} AS day, {is_later} AS is_later,
            coalesce(d.unreachable, {suppressed}) AS reason
        FROM ({audience}) AS d {joins} {timetable}
    ) {looked}
"""
COUNT = "SELECT platform, reason, is_later, count(*) FROM {settled} GROUP BY 1, 2, 3"
COUNT_PEOPLE = " UNION ALL SELECT 'people', NULL, false, ({people})"
# Without a category, whether the address itself can be reached.
UNREACHABLE_BECAUSE = "CASE WHEN d.permission = 'denied' THEN 'permission_denied' END"

PEOPLE = "SELECT count(DISTINCT subscriber_id) FROM judged"
# In a sample somebody with several devices that match is as often met as they have such devices.
SAMPLED_PEOPLE = """
    SELECT coalesce(sum(1.0 / own.count), 0) FROM judged j
    CROSS JOIN LATERAL (
        SELECT count(*) FROM devices_device d JOIN devices_subscriber s ON s.id = d.subscriber_id
        WHERE d.subscriber_id = j.subscriber_id AND d.application_id = %(application)s
            AND d.retired_at IS NULL AND {condition}
    ) AS own
    WHERE own.count > 0
"""

Rows = list[tuple[str, str | None, bool, int]]
Attempts = Sequence[tuple[int, str]]  # devices to look at (0: all), patience


@dataclass(frozen=True, slots=True)
class Reach:
    """devices = reachable + Σ held_back. waiting: reachable ones on platforms without a credential."""

    reachable: int = 0
    held_back: Mapping[str, int] = field(default_factory=dict)  # reason → devices
    platforms: Mapping[str, int] = field(default_factory=dict)  # platform → reachable devices
    waiting: Mapping[str, int] = field(default_factory=dict)  # platform → reachable devices
    people: int | None = None  # who have those devices, where it was asked for
    is_estimate: bool = False
    # Of the reachable ones: held by quiet hours, a local time or a send window for the time being.
    later: int = 0
    margin: int = 0  # of an estimate: by more than so many `reachable` is hardly ever off

    @property
    def devices(self) -> int:
        return self.reachable + sum(self.held_back.values())

    @property
    def said(self) -> int:
        """`reachable` as people are told it, confirm it and launch against it."""
        return estimates.rounded(self.reachable) if self.is_estimate else self.reachable

    @property
    def is_rough(self) -> bool:
        return self.margin > ROUGH * self.reachable


@dataclass(frozen=True, slots=True)
class Question:
    """Whose reach, of what message. category_id: None asks for the address only. at: when it would be sent."""

    application_id: int
    category_id: int | None
    at: datetime
    timed: Timing | None = None

    @property
    def said(self) -> Terms | None:
        return terms.of(self.category_id) if self.category_id else None

    @property
    def is_ruled(self) -> bool:
        """Whether there is more to look at than consent."""
        said = self.said
        return said is not None and resolve.needed(self.timed, said, self.at) is not None


def of(
    audience: Mapping[str, Any],
    *,
    application_id: int,
    category_id: int,
    send_at: datetime | None = None,
    local_time: str = "",
    send_window: Mapping[str, Any] | None = None,
    deadline: datetime | None = None,
    ttl_seconds: int | None = None,
    is_quick: bool = False,
) -> Reach:
    """Reach of an audience, listed or mass, if it were sent now, or at `send_at`. Reads only. is_quick: an estimate
    will do where there are many devices."""
    at = max(timing.now(), send_at or timing.now())
    timed = terms.of(category_id).timing(
        meant_for=at,
        ttl_seconds=ttl_seconds,
        local_time=local_time,
        send_window=send_window,
        deadline=deadline,
    )
    asked = Question(application_id, category_id, at, timed)

    def counted(some: Sample, patience: str) -> Rows:
        return _counted(asked, *_source(audience, application_id, some), patience)

    found = _in_time(asked, _attempts(audience, asked, is_quick), counted)
    if is_quick and found.is_rough:
        with contextlib.suppress(TookTooLong):
            return _attempt(asked, 0, ROUGH_PATIENCE, counted)
    return found


def _attempts(audience: Mapping[str, Any], asked: Question, is_quick: bool) -> Attempts:
    if not audiences.LISTED.keys().isdisjoint(audience):
        return [(0, LONG_PATIENCE)]
    if is_quick:
        return _exact_or_sampled(asked.application_id, EXACT_UP_TO, QUICK_SAMPLE)
    if not asked.is_ruled:
        return [(0, PATIENCE), (SAMPLE, LONG_PATIENCE)]
    return _exact_or_sampled(asked.application_id, RULED_UP_TO)


def of_rules(rules: Any, *, application_id: int, category_id: int | None = None) -> Reach:
    """Reach of a segment's rules, stored or not, with the people behind it. Raises InvalidField.

    category_id: whose consent, quiet hours and caps are asked for; None: everyone whose address can be reached.
    """
    found = segments.compiled(rules, application_id)
    asked = Question(application_id, category_id, timing.now())

    def counted(some: Sample, patience: str) -> Rows:
        source, parameters = _source({"all": True}, application_id, some, join_person=True)
        people = SAMPLED_PEOPLE.format(condition=found.sql) if some.cte else PEOPLE
        source = f"{source} AND {found.sql}"
        return _counted(asked, source, parameters | found.parameters, patience, people=people)

    try:
        return _in_time(asked, _exact_or_sampled(application_id, EXACT_UP_TO), counted)
    except TookTooLong as error:
        raise InvalidField("/", "these rules take too long to count; use fewer about events") from error


def _exact_or_sampled(application_id: int, exact_up_to: int, size: int = 0) -> Attempts:
    sampled = [(size or SMALL_SAMPLE, MIDDLE_PATIENCE), (SMALLEST_SAMPLE, LONG_PATIENCE)]
    return sampled if sample.has_more_than(exact_up_to, application_id) else [(0, SHORT_PATIENCE), *sampled]


def _in_time(asked: Question, attempts: Attempts, counted: Callable[[Sample, str], Rows]) -> Reach:
    """Of the first attempt that is in time. Raises TookTooLong if none is."""
    for size, patience in attempts[:-1]:
        with contextlib.suppress(TookTooLong):
            return _attempt(asked, size, patience, counted)
    return _attempt(asked, *attempts[-1], counted)


def _attempt(asked: Question, size: int, patience: str, counted: Callable[[Sample, str], Rows]) -> Reach:
    some = sample.of(asked.application_id, size) if size else EVERYONE
    with some.looked_up():
        rows = counted(some, patience)
    return _reach(rows, asked.application_id, factor=some.factor)


def _source(
    audience: Mapping[str, Any], application_id: int, some: Sample = EVERYONE, *, join_person: bool = False
) -> tuple[str, dict[str, Any]]:
    joins = f"{some.join} {policy.JOIN_PERSON if join_person else ''}"
    source, parameters = audiences.whole(audience, application_id, sample=joins)
    return f"{some.cte and f'WITH {some.cte}'} {source}", parameters | some.parameters


def _counted(
    asked: Question, source: str, parameters: Mapping[str, Any], patience: str, *, people: str = ""
) -> Rows:
    with _named(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{patience}'")
        cursor.execute(*_statement(asked, source, parameters, people))
        rows = cursor.fetchall()
        cursor.execute("SET LOCAL statement_timeout = DEFAULT")  # the caller's transaction may go on
    return rows


def _statement(
    asked: Question, source: str, parameters: Mapping[str, Any], people: str
) -> tuple[str, dict[str, Any]]:
    said, given = asked.said, {**parameters, "application": asked.application_id, "at": asked.at}
    clocked: Mapping[str, str] = {**resolve.UNTIMED, "suppressed": UNREACHABLE_BECAUSE}
    looked = ""
    if said:
        is_mass = "addresses" not in given
        clocked, clocks = resolve.clock(asked.timed, said, source, given, is_mass=is_mass, now=asked.at)
        looked, counted = caps.look(said.limits) if said.limits else ("", {})
        given |= {**clocks, **counted, "category": asked.category_id}
    is_timed = clocked is resolve.TIMED
    statement = JUDGED + COUNT + (COUNT_PEOPLE if people else "")
    return statement.format(
        **clocked,
        audience=source,
        is_later="coalesce(t.due_at > %(at)s, false)" if is_timed else "false",
        joins=policy.JOIN_CONSENT if said else "",
        looked=looked,
        settled="settled" if looked else "judged",
        people=people,
    ), given


class TookTooLong(Exception):
    """Too many devices to count while somebody waits."""


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TookTooLong from error
        raise


def _reach(rows: Rows, application_id: int, *, factor: float = 1.0) -> Reach:
    held_back: Counter[str] = Counter()
    platforms: Counter[str] = Counter()
    later, people, met = 0, None, 0
    for platform, reason, is_later, count in rows:
        about = round(float(count) * factor)
        if platform == "people":
            people = about
        elif reason is None:
            platforms[platform] += about
            met += count
            later += about if is_later else 0
        else:
            held_back[reason] += about
    return Reach(
        reachable=platforms.total(),
        held_back=dict(held_back.most_common()),
        platforms=dict(platforms.most_common()),
        waiting=_waiting(platforms, tenants.configured_providers(application_id)),
        people=people,
        is_estimate=factor != 1,
        later=later,
        margin=round(3 * factor * math.sqrt(met + 1)) if factor != 1 else 0,
    )


def _waiting(platforms: Mapping[str, int], configured: set[str]) -> dict[str, int]:
    lane_of = lanes.lanes_of(lanes.CAMPAIGN, configured)
    return {
        platform: count
        for platform, count in platforms.items()
        if lanes.provider_of(lane_of[platform]) not in configured
    }
