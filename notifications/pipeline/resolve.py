"""Audience → policy → batches: one SQL statement for a listed audience or a shard of a large one.

Suppressed recipients are recorded by the same statement, so that what is resolved is accounted for
from its first moment (law 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection

from devices import clocks
from notifications import lanes
from notifications.pipeline import audience, caps, policy, terms, timing
from notifications.pipeline.terms import Terms
from notifications.pipeline.timing import Timing
from tenants import selectors as tenants

# How far apart the turns of a notification's batches are. The slower this pace is against the real
# one, the sooner a small notification gets past a large one that started before it.
TURN = "interval '250 milliseconds'"

# Sets of quiet hours up to which all zones are put on the timetable unseen, without a look at the shard.
FEW = 16

_LANE = (
    "CASE d.platform "
    + " ".join(f"WHEN '{platform}' THEN %(lane_{platform})s::text" for platform in lanes.PROVIDER_OF_PLATFORM)
    + " END"
)

# People of a shard are mostly those who came when its devices did: a part of the tables that need not be read for each
# shard as a whole. What follows in the statement sees no others under these names.
PEOPLE = """
        devices_subscriber AS NOT MATERIALIZED (
            SELECT * FROM devices_subscriber WHERE id BETWEEN %(first_person)s AND %(last_person)s
        ),
        devices_preference AS NOT MATERIALIZED (
            SELECT * FROM devices_preference WHERE subscriber_id BETWEEN %(first_person)s AND %(last_person)s
        ),"""

JUDGED = f"""
    WITH {{people}} judged AS MATERIALIZED (
        SELECT d.notification_id, d.subscriber_id, d.device_id, d.asked, {_LANE} AS lane, {{due_at}} AS due_at,
            {{day}} AS day, coalesce(d.unreachable, {{suppressed}}) AS reason
        FROM ({{audience}}) AS d {policy.JOIN_CONSENT} {{timetable}}
    )
"""

UNTIMED = {
    "due_at": "now()",
    "day": "current_date",
    "suppressed": policy.SUPPRESSED_BECAUSE,
    "timetable": "",
}

TIMED = {
    "due_at": "coalesce(t.due_at, now())",
    "day": "coalesce(t.day, current_date)",
    "suppressed": policy.SUPPRESSED_IN_TIME,
    "timetable": f"""{policy.JOIN_PERSON}
        LEFT JOIN jsonb_to_recordset(%(timetable)s::jsonb)
            AS t (zone text, quiet bigint, due_at timestamptz, reason text, day date)
            ON t.zone = CASE WHEN {policy.ZONE} = ANY (%(zones)s) THEN {policy.ZONE} ELSE '' END
            AND t.quiet = coalesce(s.quiet_hours_id, 0)""",
}

PAIRS = f"""
    SELECT DISTINCT {policy.ZONE}, coalesce(s.quiet_hours_id, 0)
    FROM ({{audience}}) AS d {policy.JOIN_PERSON} WHERE d.device_id IS NOT NULL
"""

# {settled}: what the caps have left of `judged`.
BATCHES = f"""{{reserved}},
    grouped AS (
        -- Sorted by number alone: by all that they are grouped by takes five times as long.
        SELECT notification_id, lane, due_at, array_agg(device_id) AS device_ids
        FROM (SELECT * FROM {{settled}} WHERE reason IS NULL ORDER BY device_id) AS sorted
        GROUP BY notification_id, lane, due_at
    ),
    batches AS (
        INSERT INTO notifications_batch
            (application_id, notification_id, lane, status, device_ids, attempt, due_at, turn_at)
        SELECT %(application)s, notification_id, lane, CASE WHEN due_at > now() THEN 'waiting' ELSE 'ready' END,
            device_ids[part * %(batch_size)s + 1 : (part + 1) * %(batch_size)s], 1, greatest(due_at, now()),
            greatest(due_at, now()) + (%(first_turn)s + part) * {TURN}
        FROM grouped, generate_series(0, (cardinality(device_ids) - 1) / %(batch_size)s) AS part
    ),
    suppressed AS (
        INSERT INTO notifications_delivery
            (at, application_id, notification_id, device_id, subscriber_id, lane, outcome, reason, attempt,
             provider_id, detail)
        SELECT now(), %(application)s, notification_id, device_id, subscriber_id, coalesce(lane, ''),
            'suppressed', reason, 0, '', coalesce(asked, '')
        FROM {{settled}} WHERE reason IS NOT NULL
    ),
    tallied AS (
        INSERT INTO notifications_tally AS t (notification_id, slot, outcome, reason, provider, count)
        SELECT notification_id, %(slot)s, 'suppressed', reason, coalesce({lanes.PROVIDER}, '') AS provider, count(*)
        -- All lanes here are of one kind, so each has a provider of its own.
        FROM {{settled}} WHERE reason IS NOT NULL GROUP BY notification_id, reason, lane
        ORDER BY notification_id, reason, provider
        ON CONFLICT (notification_id, slot, outcome, reason, provider) DO UPDATE SET count = t.count + excluded.count
    ) {{also}}
    SELECT notification_id, CASE WHEN reason IS NULL THEN lane END, count(*) FROM {{settled}} GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Resolved:
    """recipients: how many each notification has. lanes: where their batches wait."""

    recipients: dict[UUID, int]
    lanes: set[str]


def listed(
    kind: str,
    pairs: Sequence[tuple[UUID, str]],
    *,
    application_id: int,
    category_id: int,
    lane_kind: str,
    timed: Timing | None = None,
    throttle: int | None = None,
    also: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> Resolved:
    """Resolve listed audiences of one category and timing, all in one statement.

    kind: "subscribers" (external ids) or "devices" (public ids). pairs: (notification, address), no
    address twice in a notification, nor, where caps count (`is_capped`), at all. throttle: the lowest of
    theirs. also: a further `, name AS (…)` of the same statement, with its parameters; it can read `judged`.
    """
    return relation(
        audience.LISTED[kind],
        {**(parameters or {}), **audience.listing(pairs)},
        application_id=application_id,
        category_id=category_id,
        lane_kind=lane_kind,
        timed=timed,
        throttle=throttle,
        also=also,
    )


def is_capped(category_id: int) -> bool:
    return bool(terms.of(category_id).limits)


def relation(
    source: str,
    parameters: Mapping[str, Any],
    *,
    application_id: int,
    category_id: int,
    lane_kind: str,
    timed: Timing | None = None,
    throttle: int | None = None,
    first_turn: int = 0,
    slot: int = 0,
    also: str = "",
    is_mass: bool = False,
    people: tuple[int, int] | None = None,
) -> Resolved:
    """Resolve an audience (audience.py) with its parameters. timed: None where nothing but now is asked for.
    people: the lowest and highest subscriber among them, where that is known."""
    lane_of = lanes.lanes_of(lane_kind, tenants.configured_providers(application_id))
    said = terms.of(category_id)
    given = {
        **parameters,
        **{f"lane_{platform}": lane for platform, lane in lane_of.items()},
        "application": application_id,
        "category": category_id,
        # A batch goes out as a whole: one second's worth at most.
        "batch_size": min(settings.BATCH_SIZE, throttle or settings.BATCH_SIZE),
        "first_turn": first_turn,
        "slot": slot,
    }
    clocked, asked = clock(timed, said, source, given, is_mass=is_mass, now=timing.now())
    given |= asked
    if people:
        given |= {"first_person": people[0], "last_person": people[1]}
    reserved, counted = caps.reserve(said.limits) if said.limits else ("", {})
    statement = (JUDGED + BATCHES).format(
        people=PEOPLE if people else "",
        audience=source,
        reserved=reserved,
        settled="settled" if reserved else "judged",
        also=also,
        **clocked,
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, given | counted)
        return _resolved(cursor.fetchall())


def _resolved(rows: list[tuple[UUID, str | None, int]]) -> Resolved:
    recipients: Counter[UUID] = Counter()
    for notification_id, _, count in rows:
        recipients[notification_id] += count
    return Resolved(recipients, {lane for _, lane, _ in rows if lane})


def clock(
    timed: Timing | None,
    said: Terms,
    source: str,
    given: Mapping[str, Any],
    *,
    is_mass: bool,
    now: datetime,
) -> tuple[Mapping[str, str], dict[str, Any]]:
    """The parts of JUDGED that look at a clock, and their parameters; UNTIMED where nothing asks for one.

    given: the parameters of `source`. is_mass: its people are too many to ask for their zones first.
    """
    if (looked_at := needed(timed, said, now)) is None:
        return UNTIMED, {}
    return TIMED, _timetable(looked_at, said, source, given, is_mass=is_mass, now=now)


def needed(timed: Timing | None, said: Terms, now: datetime) -> Timing | None:
    """The timing, if there is anything to look at a clock for: a zone's hours, or which day a cap counts."""
    if timed and (timed.local_time or timed.send_window):
        return timed
    if said.has_quiet_hours or said.limits:
        return timed or said.timing(meant_for=now)
    return None


def _timetable(
    timed: Timing, said: Terms, source: str, given: Mapping[str, Any], *, is_mass: bool, now: datetime
) -> dict[str, Any]:
    if is_mass and len(said.quiet_hours) <= FEW:
        pairs: Sequence[tuple[str, int]] = list(product(["", *clocks.names()], said.quiet_hours))
    else:
        with connection.cursor() as cursor:
            cursor.execute(PAIRS.format(audience=source), given)
            pairs = cursor.fetchall()
    rows = timing.table(timed, pairs, said.quiet_hours, now)
    return {"timetable": orjson.dumps(rows).decode(), "zones": sorted({zone for zone, _ in pairs})}
