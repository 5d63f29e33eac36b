"""How many of a mass audience would be sent to, and why not all: the fan-out's own policy, only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError, connection, transaction

from notifications import lanes
from notifications.pipeline import policy
from tenants import selectors as tenants

# An exact count of 1 M devices takes 0.7 s on one backend. What takes longer than this is estimated from a sample.
PATIENCE = "4s"
SAMPLE_PERCENT = 1

COUNT = f"""
    WITH judged AS (
        SELECT d.platform, d.subscriber_id, {policy.SUPPRESSED_BECAUSE} AS reason
        FROM devices_device d {{sample}}
        {policy.JOIN_CONSENT}
        LEFT JOIN devices_subscriber s ON s.id = d.subscriber_id AND %(attribute)s::text IS NOT NULL
        WHERE d.application_id = %(application)s AND d.retired_at IS NULL
            AND (%(platforms)s::text[] IS NULL OR d.platform = ANY (%(platforms)s))
            AND (%(attribute)s::text IS NULL OR s.attributes ->> %(attribute)s = %(value)s)
    )
    SELECT platform, reason, count(*) FROM judged GROUP BY platform, reason
"""


@dataclass(frozen=True, slots=True)
class Reach:
    """devices = reachable + Σ held_back. waiting: reachable ones on platforms without a credential."""

    reachable: int = 0
    held_back: Mapping[str, int] = field(default_factory=dict)  # reason → devices
    platforms: Mapping[str, int] = field(default_factory=dict)  # platform → reachable devices
    waiting: Mapping[str, int] = field(default_factory=dict)  # platform → reachable devices
    is_estimate: bool = False

    @property
    def devices(self) -> int:
        return self.reachable + sum(self.held_back.values())


def of(audience: Mapping[str, Any], *, application_id: int, category_id: int) -> Reach:
    """Reach of a mass audience ({"all": true, "platforms"?, "attribute"?}) right now."""
    attribute = audience.get("attribute") or {}
    parameters = {
        "application": application_id,
        "category": category_id,
        "platforms": audience.get("platforms"),
        "attribute": attribute.get("name"),
        "value": attribute.get("value"),
    }
    try:
        return _reach(_counted(COUNT.format(sample=""), parameters), application_id, factor=1)
    except OperationalError:  # the statement was cancelled: too many devices to count while somebody waits
        sampled = COUNT.format(sample=f"TABLESAMPLE SYSTEM ({SAMPLE_PERCENT})")
        return _reach(_counted(sampled, parameters), application_id, factor=100 // SAMPLE_PERCENT)


def _counted(sql: str, parameters: dict[str, Any]) -> list[tuple[str, str | None, int]]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{PATIENCE}'")
        cursor.execute(sql, parameters)
        rows = cursor.fetchall()
        cursor.execute("SET LOCAL statement_timeout = DEFAULT")  # the caller's transaction may go on
    return rows


def _reach(rows: list[tuple[str, str | None, int]], application_id: int, *, factor: int) -> Reach:
    held_back: Counter[str] = Counter()
    platforms: Counter[str] = Counter()
    for platform, reason, count in rows:
        if reason is None:
            platforms[platform] += count * factor
        else:
            held_back[reason] += count * factor
    return Reach(
        reachable=platforms.total(),
        held_back=dict(held_back.most_common()),
        platforms=dict(platforms.most_common()),
        waiting=_waiting(platforms, tenants.configured_providers(application_id)),
        is_estimate=factor != 1,
    )


def _waiting(platforms: Mapping[str, int], configured: set[str]) -> dict[str, int]:
    lane_of = lanes.lanes_of(lanes.CAMPAIGN, configured)
    return {
        platform: count
        for platform, count in platforms.items()
        if lanes.provider_of(lane_of[platform]) not in configured
    }
