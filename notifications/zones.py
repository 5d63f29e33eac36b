"""When a local time comes, for each zone an audience lives in: the preview before anything is launched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

from devices import clocks
from devices.clocks import Clock
from notifications import sample
from notifications.pipeline import audience as audiences
from notifications.pipeline import policy
from notifications.pipeline.timing import Timing
from notifications.sample import EVERYONE

# An exact count of more takes longer than somebody waits.
EXACT_UP_TO, SAMPLE = 50_000, 10_000

ZONES = f"""
    {{ctes}} SELECT {policy.ZONE}, count(*) FROM ({{audience}}) AS d {policy.JOIN_CONSENT} {policy.JOIN_PERSON}
    WHERE coalesce(d.unreachable, {policy.SUPPRESSED_BECAUSE}) IS NULL GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Zone:
    """at: when clocks there show it, in UTC; of a time that comes twice the first, of one that is skipped the
    moment it is jumped over (`clock` says so). Unknown zones are counted with the application's."""

    name: str
    devices: int
    at: datetime
    clock: Clock


def moments(
    audience: Mapping[str, Any], local: datetime, *, application_id: int, category_id: int, default_zone: str
) -> list[Zone]:
    """The zones of those who would be reached now, the first to have that time first. local: naive."""
    found = counts(
        audience, application_id=application_id, category_id=category_id, default_zone=default_zone
    )
    return at(local, found.devices)


@dataclass(frozen=True, slots=True)
class Counts:
    """Reachable devices by zone. is_estimate: from a sample."""

    devices: Mapping[str, int]
    is_estimate: bool = False


def counts(
    audience: Mapping[str, Any], *, application_id: int, category_id: int, default_zone: str
) -> Counts:
    """Where those live who would be reached now. Raises InvalidField."""
    is_large = sample.has_more_than(EXACT_UP_TO, application_id)
    some = sample.of(application_id, SAMPLE) if is_large else EVERYONE
    source, parameters = audiences.whole(audience, application_id, sample=some.join)
    scope = {"application": application_id, "category": category_id}
    with some.looked_up(), connection.cursor() as cursor:
        cursor.execute(
            ZONES.format(ctes=some.cte and f"WITH {some.cte}", audience=source),
            {**parameters, **some.parameters, **scope},
        )
        found = cursor.fetchall()
    timed, devices = Timing(time_zone=default_zone), dict[str, int]()
    for name, count in found:
        key = timed.zone(name).key
        devices[key] = devices.get(key, 0) + round(count * some.factor)
    return Counts(devices, is_estimate=some.factor != 1)


def at(local: datetime, devices: Mapping[str, int]) -> list[Zone]:
    """When each of these zones has that time, the first first. local: naive."""
    zones = [
        Zone(name, count, clocks.instant(local, ZoneInfo(name)), clocks.kind(local, ZoneInfo(name)))
        for name, count in devices.items()
    ]
    return sorted(zones, key=lambda zone: (zone.at, zone.name))
