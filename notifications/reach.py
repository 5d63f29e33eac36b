"""How many of an audience would be sent to, and why not all: the fan-out's own policy, only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError, connection, transaction

from notifications import lanes
from notifications.pipeline import audience as audiences
from notifications.pipeline import policy
from tenants import selectors as tenants

# An exact count of 1 M devices takes 0.7 s on one backend. What takes longer than this is estimated from a sample.
PATIENCE = "4s"
SAMPLE_PERCENT = 1

COUNT = f"""
    SELECT d.platform, coalesce(d.unreachable, {policy.SUPPRESSED_BECAUSE}) AS reason, count(*)
    FROM ({{audience}}) AS d {policy.JOIN_CONSENT}
    GROUP BY 1, 2
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
    """Reach of an audience, listed or mass, right now. Reads only."""
    scope = {"application": application_id, "category": category_id}
    try:
        return _reach(_counted(*_source(audience), scope), application_id, factor=1)
    except OperationalError:  # the statement was cancelled: too many devices to count while somebody waits
        sampled = _source(audience, sample=f"TABLESAMPLE SYSTEM ({SAMPLE_PERCENT})")
        return _reach(_counted(*sampled, scope), application_id, factor=100 // SAMPLE_PERCENT)


def _source(audience: Mapping[str, Any], *, sample: str = "") -> tuple[str, dict[str, Any]]:
    for kind, listed in (
        ("subscribers", audiences.LISTED_SUBSCRIBERS),
        ("devices", audiences.LISTED_DEVICES),
    ):
        if kind in audience:
            return listed, {**audiences.listing([(None, address) for address in audience[kind]])}
    source, filters = audiences.in_shard(audience, sample=sample)
    return source, {**filters, "notification": None, "lower": 0, "upper": 2**63 - 1}


def _counted(
    source: str, filters: dict[str, Any], scope: dict[str, int]
) -> list[tuple[str, str | None, int]]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{PATIENCE}'")
        cursor.execute(COUNT.format(audience=source), {**filters, **scope})
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
