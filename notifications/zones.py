"""When a local time comes, for each zone an audience lives in: the preview before anything is launched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from devices import clocks
from devices.clocks import Clock
from notifications.pipeline import audience as audiences
from notifications.pipeline import policy
from notifications.pipeline.timing import Timing

ZONES = f"""
    SELECT {policy.ZONE}, count(*) FROM ({{audience}}) AS d {policy.JOIN_CONSENT} {policy.JOIN_PERSON}
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
    source, parameters = audiences.whole(audience, application_id)
    with connection.cursor() as cursor:
        cursor.execute(
            ZONES.format(audience=source),
            {**parameters, "application": application_id, "category": category_id},
        )
        found = cursor.fetchall()
    timed, devices = Timing(time_zone=default_zone), dict[str, int]()
    for name, count in found:
        key = timed.zone(name).key
        devices[key] = devices.get(key, 0) + count
    zones = [
        Zone(name, count, clocks.instant(local, timed.zone(name)), clocks.kind(local, timed.zone(name)))
        for name, count in devices.items()
    ]
    return sorted(zones, key=lambda zone: (zone.at, zone.name))
