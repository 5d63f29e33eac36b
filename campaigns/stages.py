"""How a run's audience is cut: who is held out, who is first, who gets which variant, who waits for the winner.

Pure. Shares are buckets of a stable hash of the campaign and the person, so nobody changes sides between runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from campaigns.document import Plan, Variant

BUCKETS = 10_000
# A canary of more than this part of the audience protects nobody.
LARGEST_CANARY = 0.5


@dataclass(frozen=True, slots=True)
class Slice:
    """kind: of models.Stage. Buckets lower … upper − 1. is_held: until what is before it has gone well."""

    kind: str
    variant: str
    lower: int
    upper: int
    is_held: bool = False


def of(plan: Plan, devices: int) -> list[Slice]:
    """The slices of a run that reaches so many devices; together they are the whole audience, once."""
    held_out = plan.experiment.holdout * BUCKETS // 100
    test = plan.experiment.test if plan.is_experiment else 100
    end = held_out + (BUCKETS - held_out) * test // 100
    slices = [Slice("holdout", "", 0, held_out)] if held_out else []
    arms = list(_arms(plan.variants, held_out, end))
    canary = _canary(plan.safety.canary, devices, end - held_out)
    for variant, lower, upper in arms:
        first = lower + math.ceil((upper - lower) * canary)
        if canary:
            slices.append(Slice("canary", variant, lower, first))
        slices.append(Slice("send", variant, first, upper, is_held=bool(canary)))
    if end < BUCKETS:
        slices.append(Slice("rest", "", end, BUCKETS, is_held=True))
    return [one for one in slices if one.lower < one.upper]


def pace(per_second: int, width: int, widths: Sequence[int]) -> int:
    """What a slice of this width gets of a pace that slices of these widths share. Of everybody's together not more
    than the pace; but nobody waits for ever, so each has at least one."""
    return max(1, per_second * width // sum(widths))


def _arms(variants: Sequence[Variant], lower: int, upper: int) -> Iterator[tuple[str, int, int]]:
    total, given = sum(variant.share for variant in variants), 0
    width = upper - lower
    for variant in variants:
        begins, given = given, given + variant.share
        yield variant.key, lower + width * begins // total, lower + width * given // total


def _canary(wanted: int | None, devices: int, width: int) -> float:
    """The part of each arm that goes first; 0: there is no canary, or it would be most of the audience."""
    reached = devices * width / BUCKETS
    if not wanted or reached <= 0 or wanted / reached > LARGEST_CANARY:
        return 0
    return wanted / reached
