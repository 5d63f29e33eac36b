"""Who is meant, as a relation in SQL: a list of people or devices, or a shard of everyone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from devices import segment_snapshots, segments
from notifications.pipeline import buckets, policy

bucket = buckets.bucket  # of a slice, for one person

# An audience is a relation of: notification_id, asked (the address as listed, for the ledger),
# unreachable (why there is no device, or NULL), and the device's columns the policy looks at.
_DEVICE = "d.id AS device_id, d.subscriber_id, d.platform, d.permission, d.retired_at, d.time_zone"

# Lists come as JSON (psycopg dumps an array ten times slower) and go through ARRAY(): of a set from JSON the
# planner expects 100 rows, and for 10 000 it would rather read all subscribers than look one up.
_PAIRS = """unnest(
        ARRAY(SELECT n::uuid FROM jsonb_array_elements_text(%(notifications)s::jsonb) AS n),
        ARRAY(SELECT jsonb_array_elements_text(%(addresses)s::jsonb))
    ) AS a (notification_id, address)"""

LISTED_SUBSCRIBERS = f"""
    SELECT a.notification_id, a.address AS asked,
        CASE WHEN s.id IS NULL THEN 'unknown_subscriber' WHEN d.id IS NULL THEN 'no_device' END AS unreachable,
        d.id AS device_id, s.id AS subscriber_id, d.platform, d.permission, d.retired_at, d.time_zone
    FROM {_PAIRS}
    LEFT JOIN devices_subscriber s ON s.application_id = %(application)s AND s.external_id = a.address
    LEFT JOIN devices_device d ON d.subscriber_id = s.id AND d.retired_at IS NULL
"""

LISTED_DEVICES = f"""
    SELECT a.notification_id, a.address AS asked,
        CASE WHEN d.id IS NULL THEN 'unknown_device' END AS unreachable, {_DEVICE}
    FROM {_PAIRS}
    LEFT JOIN devices_device d ON d.application_id = %(application)s AND d.public_id = a.address::uuid
"""

LISTED = {"subscribers": LISTED_SUBSCRIBERS, "devices": LISTED_DEVICES}

IN_SHARD = f"""
    SELECT %(notification)s::uuid AS notification_id, NULL::text AS asked, {{unreachable}} AS unreachable, {_DEVICE}
    FROM devices_device d {{joins}}
    WHERE d.application_id = %(application)s AND d.retired_at IS NULL
        AND d.id >= %(lower)s AND d.id < %(upper)s {{filters}}
"""

ABOUT_PEOPLE = {"attribute", "segment", "segments", "not_segments"}
REACHABLE, HELD_OUT = "NULL::text", "'holdout'::text"
SLICE = buckets.SQL.format(person="coalesce(d.subscriber_id, -d.id)", seed="%(slice_seed)s")

NOBODY = IN_SHARD.format(unreachable=REACHABLE, joins="", filters="AND false")


def listing(pairs: Sequence[tuple[UUID | None, str]]) -> dict[str, str]:
    """The parameters of the LISTED_… audiences."""
    return {
        "notifications": orjson.dumps([notification for notification, _ in pairs]).decode(),
        "addresses": orjson.dumps([address for _, address in pairs]).decode(),
    }


def in_shard(
    audience: Mapping[str, Any],
    application_id: int,
    *,
    now: datetime | None = None,
    sample: str = "",
    within: tuple[int, int] | None = None,
) -> tuple[str, dict[str, Any]]:
    """SQL and parameters of a mass audience: {"all": true, "attribute"?} or {"segment": slug}, narrowed down by

    "platforms": any of these; "segments": in any of them; "not_segments": in none of them;
    "slice": {"salt", "from", "to"}: people whose bucket (0 … 9999 by the salt) is at least from and below to.

    "held_out": true has all of them suppressed, to be compared with. "frozen": {slug: snapshot}, segments as they were
    at launch (devices/segment_snapshots.py), if within, the shard's bounds, is given. sample: joins that narrow it
    down, to estimate rather than count. now: what a segment's "days ago" counts from.
    Raises InvalidField for a segment that is gone or cannot be asked any more.
    """
    filters, parameters = "", dict[str, Any]()
    if platforms := audience.get("platforms"):
        filters += " AND d.platform = ANY (%(platforms)s)"
        parameters["platforms"] = platforms
    if part := audience.get("slice"):
        filters += f" AND {SLICE} >= %(slice_from)s AND {SLICE} < %(slice_to)s"
        parameters |= {"slice_seed": buckets.seed(part["salt"])}
        parameters |= {"slice_from": part["from"], "slice_to": part["to"]}
    if attribute := audience.get("attribute"):
        filters += " AND s.attributes ->> %(attribute)s::text = %(value)s::text"
        parameters |= {"attribute": attribute["name"], "value": str(attribute["value"])}
    for condition, given in _in_segments(audience, application_id, now, within):
        filters += f" AND {condition}"
        parameters |= given
    joins = sample
    if audience.keys() & ABOUT_PEOPLE and policy.JOIN_PERSON not in joins:
        joins += f" {policy.JOIN_PERSON}"
    unreachable = HELD_OUT if audience.get("held_out") else REACHABLE
    return IN_SHARD.format(unreachable=unreachable, joins=joins, filters=filters), parameters


def _in_segments(
    audience: Mapping[str, Any], application_id: int, now: datetime | None, within: tuple[int, int] | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Conditions that all have to hold, with their parameters."""

    def asked(slug: str) -> tuple[str, dict[str, Any]]:
        snapshot = audience.get("frozen", {}).get(slug)
        frozen = segment_snapshots.condition(snapshot, *within) if snapshot and within else None
        return frozen or segments.condition({"segment": slug}, application_id, now=now)

    alone = [audience["segment"]] if "segment" in audience else []
    for slugs, words in (
        (alone, "({})"),
        (audience.get("segments", ()), "({})"),
        (audience.get("not_segments", ()), "(NOT ({}))"),
    ):
        if slugs:
            # Each by itself: together they might be too many rules for one.
            found = [asked(slug) for slug in slugs]
            parameters = {name: value for _, given in found for name, value in given.items()}
            yield words.format(" OR ".join(sql for sql, _ in found)), parameters


def whole(
    audience: Mapping[str, Any], application_id: int, *, sample: str = ""
) -> tuple[str, dict[str, Any]]:
    """An audience of any kind, all of it, of no notification: to count it."""
    for kind, source in LISTED.items():
        if kind in audience:
            return source, dict(listing([(None, address) for address in audience[kind]]))
    source, parameters = in_shard(audience, application_id, sample=sample)
    return source, {**parameters, "notification": None, "lower": 0, "upper": 2**63 - 1}
