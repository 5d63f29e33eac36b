"""How many of an audience would be sent to, and why not all: the fan-out's own policy, only counted.

What would take too long is estimated from a sample.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

from config.problems import InvalidField
from devices import segments
from notifications import lanes, sample
from notifications.pipeline import audience as audiences
from notifications.pipeline import policy
from notifications.sample import EVERYONE, Sample
from tenants import selectors as tenants

# An exact count of 1 M devices takes 0.7 s on one backend.
PATIENCE = "4s"
SAMPLE = 100_000
# The same for rules, which somebody is just writing; rules about many events are slower.
EXACT_UP_TO, SHORT_PATIENCE = 50_000, "600ms"
SMALL_SAMPLE, MIDDLE_PATIENCE = 20_000, "1500ms"
SMALLEST_SAMPLE, LONG_PATIENCE = 2_000, "10s"

COUNT = f"""
    SELECT d.platform, coalesce(d.unreachable, {policy.SUPPRESSED_BECAUSE}) AS reason, count(*)
    FROM ({{audience}}) AS d {policy.JOIN_CONSENT}
    GROUP BY 1, 2
"""
# Without a category, whether the address itself can be reached.
UNREACHABLE_BECAUSE = "CASE WHEN d.permission = 'denied' THEN 'permission_denied' END"

MATCHED = """
    WITH {ctes} judged AS MATERIALIZED (
        SELECT d.platform, d.subscriber_id, coalesce(d.unreachable, {reason}) AS reason
        FROM ({audience}) AS d {joins}
    )
    SELECT platform, reason, count(*) FROM judged GROUP BY 1, 2
    UNION ALL
    SELECT 'people', NULL, ({people})
"""
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

Rows = list[tuple[str, str | None, int]]


@dataclass(frozen=True, slots=True)
class Reach:
    """devices = reachable + Σ held_back. waiting: reachable ones on platforms without a credential."""

    reachable: int = 0
    held_back: Mapping[str, int] = field(default_factory=dict)  # reason → devices
    platforms: Mapping[str, int] = field(default_factory=dict)  # platform → reachable devices
    waiting: Mapping[str, int] = field(default_factory=dict)  # platform → reachable devices
    people: int | None = None  # who have those devices, where it was asked for
    is_estimate: bool = False

    @property
    def devices(self) -> int:
        return self.reachable + sum(self.held_back.values())


def of(audience: Mapping[str, Any], *, application_id: int, category_id: int) -> Reach:
    """Reach of an audience, listed or mass, right now. Reads only."""
    scope = {"application": application_id, "category": category_id}
    try:
        return _reach(_counted(COUNT, *_source(audience, application_id), scope), application_id)
    except TookTooLong:
        some = sample.of(application_id, SAMPLE)
        source, filters = _source(audience, application_id, some)
        rows = _counted(
            f"WITH {some.cte} {COUNT}", source, {**filters, **some.parameters}, scope, LONG_PATIENCE
        )
        return _reach(rows, application_id, factor=some.factor)


def of_rules(rules: Any, *, application_id: int, category_id: int | None = None) -> Reach:
    """Reach of a segment's rules, stored or not, with the people behind it. Raises InvalidField.

    category_id: whose consent is asked for; None: everyone whose address can be reached.
    """
    found = segments.compiled(rules, application_id)
    attempts = [(SMALL_SAMPLE, MIDDLE_PATIENCE), (SMALLEST_SAMPLE, LONG_PATIENCE)]
    if not sample.has_more_than(EXACT_UP_TO, application_id):
        attempts = [(0, SHORT_PATIENCE), *attempts]
    for size, patience in attempts:
        some = sample.of(application_id, size) if size else EVERYONE
        with contextlib.suppress(TookTooLong):
            rows = _matched(found, some, application_id, category_id, patience)
            return _reach(rows, application_id, factor=some.factor)
    raise InvalidField("/", "these rules take too long to count; use fewer about events")


def _matched(
    found: segments.Condition, some: Sample, application_id: int, category_id: int | None, patience: str
) -> Rows:
    source, scope = _source({"all": True}, application_id, some, join_person=True)
    statement = MATCHED.format(
        ctes=some.cte and f"{some.cte},",
        reason=policy.SUPPRESSED_BECAUSE if category_id else UNREACHABLE_BECAUSE,
        joins=policy.JOIN_CONSENT if category_id else "",
        people=SAMPLED_PEOPLE.format(condition=found.sql) if some.cte else PEOPLE,
        audience=f"{source} AND {found.sql}",
    )
    scope |= {**found.parameters, **some.parameters, "application": application_id, "category": category_id}
    return _counted(statement, "", {}, scope, patience)


def _source(
    audience: Mapping[str, Any], application_id: int, some: Sample = EVERYONE, *, join_person: bool = False
) -> tuple[str, dict[str, Any]]:
    joins = f"{some.join} {policy.JOIN_PERSON if join_person else ''}"
    return audiences.whole(audience, application_id, sample=joins)


def _counted(
    statement: str,
    source: str,
    filters: dict[str, Any],
    scope: Mapping[str, Any],
    patience: str = PATIENCE,
) -> Rows:
    with _named(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{patience}'")
        cursor.execute(statement.format(audience=source) if source else statement, {**filters, **scope})
        rows = cursor.fetchall()
        cursor.execute("SET LOCAL statement_timeout = DEFAULT")  # the caller's transaction may go on
    return rows


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
    people = None
    for platform, reason, count in rows:
        about = round(float(count) * factor)
        if platform == "people":
            people = about
        elif reason is None:
            platforms[platform] += about
        else:
            held_back[reason] += about
    return Reach(
        reachable=platforms.total(),
        held_back=dict(held_back.most_common()),
        platforms=dict(platforms.most_common()),
        waiting=_waiting(platforms, tenants.configured_providers(application_id)),
        people=people,
        is_estimate=factor != 1,
    )


def _waiting(platforms: Mapping[str, int], configured: set[str]) -> dict[str, int]:
    lane_of = lanes.lanes_of(lanes.CAMPAIGN, configured)
    return {
        platform: count
        for platform, count in platforms.items()
        if lanes.provider_of(lane_of[platform]) not in configured
    }
