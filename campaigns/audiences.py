"""A plan's audience as the send API says it, and the slice of it that is a stage's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from campaigns.document import Audience, Plan
from config.problems import InvalidField
from devices import segment_snapshots


def of(plan: Plan) -> dict[str, Any]:
    return said(plan.audience)


def said(audience: Audience) -> dict[str, Any]:
    """Empty narrowings are left out."""
    narrowings: dict[str, Any] = {
        "segments": audience.segments,
        "not_segments": audience.not_segments,
        "platforms": sorted(audience.platforms),
    }
    found = {"all": True, **{name: list(value) for name, value in narrowings.items() if value}}
    if audience.attribute:
        value = audience.attribute.value
        shown = str(value).lower() if isinstance(value, bool) else str(value)  # as PostgreSQL's ->> does
        found["attribute"] = {"name": audience.attribute.name, "value": shown}
    return found


def frozen(audience: dict[str, Any], application_id: int, *, at: datetime) -> dict[str, int]:
    """Its segments as they are at a launch: slug → snapshot. One that is gone is left out: nobody is in it."""
    slugs = [*audience.get("segments", ()), *audience.get("not_segments", ())]
    try:
        return segment_snapshots.freeze(application_id, slugs, at=at) if slugs else {}
    except InvalidField:  # it names one that cannot be asked; the fan-out says so
        return {}


def sliced(audience: dict[str, Any], *, salt: str, lower: int, upper: int, held_out: bool) -> dict[str, Any]:
    """lower, upper: of 10 000 buckets."""
    if (lower, upper) != (0, 10_000):
        audience = {**audience, "slice": {"salt": salt, "from": lower, "to": upper}}
    return {**audience, "held_out": True} if held_out else audience
