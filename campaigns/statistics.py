"""Whether one variant of a campaign does better than another: shares compared, with the standard library alone.

Pure: counts in, words and numbers out. Whose counts these are, and what follows from a verdict, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, erfc, exp, inf, lgamma, log, sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

ALPHA: Final = 0.05  # two-sided, over all comparisons of an experiment together
POWER: Final = 0.8
BROKEN_SPLIT: Final = 0.001  # Fabijan et al., "Diagnosing Sample Ratio Mismatch", KDD 2019
LEAST_EXPECTED: Final = (
    5.0  # hits and misses per variant below which the normal curve is no good: Cochran 1954
)

_NORMAL = NormalDist()


class Arm(NamedTuple):
    """A variant and what came of it. weight: its planned share of the people, relative to the other arms'."""

    key: str
    people: int
    hits: int
    weight: float = 1.0

    @property
    def rate(self) -> float:
        return min(self.hits, self.people) / self.people if self.people else 0.0


class Interval(NamedTuple):
    low: float
    high: float


class Verdict(NamedTuple):
    """Shares and differences as fractions of 1, the differences leader minus rival.

    leader, rival: whose rate is the highest, and from whom it is hardest to tell; "" while there is nothing to tell.
    winner: the leader, if all there is to know says so. p: over all comparisons together (Bonferroni).
    enough: the look was planned, or there are as many people as were. Until then interval and p are not to be read.
    chance: how often such a difference comes without a cause, in words.
    """

    sentence: str
    winner: str | None
    leader: str
    rival: str
    p: float
    difference: float
    interval: Interval
    enough: bool
    split_ok: bool
    chance: str


# --- The mathematics --------------------------------------------------------------------------


def comparisons(variants: int) -> int:
    """Pairs among so many: the leader is only known afterwards, so each may turn out to be the one that is judged."""
    return max(1, variants * (variants - 1) // 2)


def wilson(hits: int, people: int, *, alpha: float = ALPHA) -> Interval:
    """The interval of a share. E. B. Wilson, "Probable Inference", JASA 22 (1927)."""
    if people <= 0:
        return Interval(0.0, 1.0)
    z, rate = _NORMAL.inv_cdf(1 - alpha / 2), min(hits, people) / people
    middle = rate + z * z / (2 * people)
    half = z * sqrt(rate * (1 - rate) / people + z * z / (4 * people * people))
    scale = 1 + z * z / people
    return Interval(max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))


def difference(one: Arm, other: Arm, *, alpha: float = ALPHA) -> Interval:
    """The interval of one's share minus the other's. R. G. Newcombe, Statistics in Medicine 17 (1998), method 10."""
    mine, theirs = (wilson(arm.hits, arm.people, alpha=alpha) for arm in (one, other))
    found = one.rate - other.rate
    below = sqrt((one.rate - mine.low) ** 2 + (theirs.high - other.rate) ** 2)
    above = sqrt((mine.high - one.rate) ** 2 + (other.rate - theirs.low) ** 2)
    return Interval(max(-1.0, found - below), min(1.0, found + above))


def two_proportions(one: Arm, other: Arm) -> float:
    """p of the two-sided z-test with the pooled share: Fleiss, Levin and Paik, "Rates and Proportions" (2003), 3.1."""
    people = one.people + other.people
    if not one.people or not other.people:
        return 1.0
    pooled = (min(one.hits, one.people) + min(other.hits, other.people)) / people
    spread = sqrt(pooled * (1 - pooled) * (1 / one.people + 1 / other.people))
    return erfc(abs(one.rate - other.rate) / spread / sqrt(2)) if spread else 1.0


def chi_square_tail(value: float, freedom: int) -> float:
    """The chance of a chi-square of this value or above, for whole degrees of freedom.

    Q(a, x) climbed from Q(1/2, x) = erfc(√x) or Q(1, x) = exp(-x) by DLMF 8.4.6, 8.8.2 and 8.8.6.
    """
    x, a = value / 2, 1.0 if freedom % 2 == 0 else 0.5
    if x <= 0 or freedom <= 0:
        return 1.0
    tail = exp(-x) if a == 1.0 else erfc(sqrt(x))
    while a < freedom / 2:
        tail += exp(a * log(x) - x - lgamma(a + 1))
        a += 1
    return min(tail, 1.0)


def split_p(arms: Sequence[Arm]) -> float:
    """How likely people fell to the arms like this, given the weights: Pearson's chi-square test of fit."""
    people, weight = sum(arm.people for arm in arms), sum(arm.weight for arm in arms)
    if not people or not weight:
        return 1.0
    if any(arm.people and not arm.weight for arm in arms):
        return 0.0
    planned = [(arm, people * arm.weight / weight) for arm in arms if arm.weight]
    value = sum((arm.people - expected) ** 2 / expected for arm, expected in planned)
    return chi_square_tail(value, len(planned) - 1)


def people_needed(baseline: float, lift: float, *, variants: int = 2) -> int | None:
    """Per variant, to see a relative lift (0.2: from 5 % to 6 %) with POWER at ALPHA. None: no number is enough.

    Fleiss, Levin and Paik, "Rates and Proportions" (2003), 4.4, without continuity correction.
    """
    hoped = baseline * (1 + lift)
    if not 0 < baseline < 1 or not 0 <= hoped <= 1 or hoped == baseline:
        return None
    pooled = (baseline + hoped) / 2
    certain = _NORMAL.inv_cdf(1 - ALPHA / comparisons(variants) / 2) * sqrt(2 * pooled * (1 - pooled))
    powerful = _NORMAL.inv_cdf(POWER) * sqrt(baseline * (1 - baseline) + hoped * (1 - hoped))
    return ceil(((certain + powerful) / (hoped - baseline)) ** 2)


def detectable_lift(baseline: float, people: int, *, variants: int = 2) -> float | None:
    """The least relative lift that so many people per variant can show: people_needed, turned round by bisection."""
    if not 0 < baseline < 1:
        return None
    low, high = 0.0, 1 / baseline - 1
    if (people_needed(baseline, high, variants=variants) or inf) > people:
        return None
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if (people_needed(baseline, middle, variants=variants) or inf) > people:
            low = middle
        else:
            high = middle
    return high


# --- The verdict ------------------------------------------------------------------------------


def is_enough(arms: Sequence[Arm], *, planned: int | None) -> bool:
    """The guard against peeking: who looks again and again finds a difference where there is none.

    planned: people per variant, decided on before. None: the moment of the look was, such as the end of the window.
    Either way enough for a normal curve.
    """
    people = sum(arm.people for arm in arms)
    pooled = sum(min(arm.hits, arm.people) for arm in arms) / people if people else 0.0
    rarer = min(pooled, 1 - pooled)
    return len(arms) > 1 and all(
        arm.people >= (planned or 1) and arm.people * rarer >= LEAST_EXPECTED for arm in arms
    )


def verdict(arms: Sequence[Arm], *, planned: int | None, verb: str = "opens") -> Verdict:
    """What the arms of an experiment say, as a sentence first. A control group is not an arm where opens are counted.

    planned: see is_enough. verb: what a hit is, after a variant's name.
    """
    split_ok = split_p(arms) >= BROKEN_SPLIT
    enough = is_enough(arms, planned=planned)
    if len(arms) < 2 or not any(arm.people for arm in arms):
        nothing = Interval(-1.0, 1.0)
        return Verdict("No result yet.", None, "", "", 1.0, 0.0, nothing, False, split_ok, chance(1.0))
    leader = max(arms, key=lambda arm: arm.rate)
    rival = max((arm for arm in arms if arm is not leader), key=lambda arm: two_proportions(leader, arm))
    pairs = comparisons(len(arms))
    p = min(1.0, two_proportions(leader, rival) * pairs)
    interval = difference(leader, rival, alpha=ALPHA / pairs)
    winner = leader.key if enough and split_ok and p < ALPHA else None
    if not split_ok:
        sentence = f"The split is broken, do not use this: {_split(arms)}."
    elif not enough:
        sentence = _not_yet(arms, planned)
    else:
        sentence = _compared(leader, rival, interval, verb if winner else "")
    found = leader.rate - rival.rate
    return Verdict(sentence, winner, leader.key, rival.key, p, found, interval, enough, split_ok, chance(p))


def _compared(leader: Arm, rival: Arm, interval: Interval, verb: str) -> str:
    """verb: "" where there is no winner."""
    found = leader.rate - rival.rate
    digits = 1 if abs(found) >= 0.001 else 2
    rates = f"{leader.rate * 100:.{digits}f} % against {rival.rate * 100:.{digits}f} %"
    low, high = (_points(bound, digits) for bound in interval)
    told = f"Difference {_points(found, digits)} points, likely between {low} and {high}."
    if verb:
        return f"{leader.key} {verb} more: {rates}. {told}"
    return f"No clear winner: {leader.key} {rates} for {rival.key}, which may be chance. {told}"


def _points(share: float, digits: int) -> str:
    return f"{share * 100:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _not_yet(arms: Sequence[Arm], planned: int | None) -> str:
    least = min(arm.people for arm in arms)
    if planned and least < planned:
        return f"No result yet: {least:,} of {planned:,} people per variant."
    return "No result yet: too few did it, or too few did not, to compare."


def _split(arms: Sequence[Arm]) -> str:
    people, weight = sum(arm.people for arm in arms), sum(arm.weight for arm in arms) or 1.0
    return ", ".join(
        f"{arm.key} has {arm.people:,} people where {people * arm.weight / weight:,.0f} were to be expected"
        for arm in arms
    )


def chance(p: float) -> str:
    """How often two variants that are alike differ as much."""
    if p >= 0.5:
        return "as often as not by chance"
    if p < 0.0001:
        return "less than once in 10,000 times by chance"
    return f"once in {round(1 / p):,} times by chance"
