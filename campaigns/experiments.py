"""A run's variants compared, as its page shows it: a sentence first, then a table, and what may be decided when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from campaigns import results, statistics, watched
from campaigns.models import Stage
from campaigns.results import Variant
from campaigns.statistics import Arm, Interval, Verdict
from campaigns.watched import Watched

METRICS = {"opened": "opened", "clicked": "clicked", "converted": "converted"}
# What is worth seeing: a fifth more.
LIFT = 0.2


@dataclass(frozen=True, slots=True)
class Line:
    """A variant in the table. rate: of the metric, in per cent, with its interval. against: how it differs from the
    first, "" for the first itself and where nobody ought to look yet."""

    key: str
    devices: int
    received: int
    opened: int
    clicked: int
    converted: int
    people: int
    rate: str
    interval: str
    against: str
    against_interval: str
    chance: str
    is_leader: bool


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Those who got nothing, and what they did without it. rate: "" while it is not counted."""

    people: int
    converted: int
    rate: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """waits: why it is too early to decide, "" when it is not. early: the sentence that is kept behind "Look early"."""

    sentence: str
    is_broken: bool
    metric: str
    goal: str
    lines: list[Line]
    early: str
    split: str
    guidance: str
    held_out: HeldOut | None
    waits: str
    leader: str
    keys: list[str]
    has_rest: bool
    is_open: bool  # somebody may still decide
    decided: str


def of(seen: Watched) -> Outlook | None:
    """None: it compares nothing."""
    run, plan = seen.run, seen.run.document
    held_out = _held_out(seen)
    if not plan.is_experiment and held_out is None:
        return None
    compared = results.variants(run, seen.counts) if plan.is_experiment else []
    found = results.verdict(run, compared)
    waits = _waits(seen, compared, found) if compared else ""
    is_shown = not waits or bool(run.decided_at)
    has_rest = any(stage.kind == Stage.Kind.REST for stage in seen.stages)
    return Outlook(
        sentence=_sentence(found, compared, waits if not is_shown else "", is_settled=_is_settled(compared)),
        is_broken=_is_settled(compared) and not found.split_ok,
        metric=METRICS[plan.experiment.metric],
        goal=plan.experiment.goal,
        lines=list(_lines(compared, found, plan.experiment.metric, is_shown=is_shown)),
        early="" if is_shown or not found.leader else _early(found, compared),
        split=_split(compared, found),
        guidance=_guidance(compared, plan.experiment.metric),
        held_out=held_out,
        waits=waits,
        leader=found.winner or found.leader or (compared[0].key if compared else ""),
        keys=[one.key for one in compared],
        has_rest=has_rest,
        is_open=has_rest and run.decided_at is None and seen.is_latest,
        decided=_decided(seen) if has_rest else "",
    )


def _is_settled(compared: list[Variant]) -> bool:
    return not any(one.pending for one in compared)


def _waits(seen: Watched, compared: list[Variant], found: Verdict) -> str:
    """The guard against peeking: the moment was chosen before, and nobody can choose it by what they see."""
    earliest = watched.decision_at(seen.run)
    if seen.now < earliest:
        left = watched.span((earliest - seen.now).total_seconds())
        return f"The comparison runs until {watched.moment(seen.campaign, earliest)}, in {left}."
    if not _is_settled(compared):
        return "Not everybody has been sent it yet."
    if not found.split_ok:
        return "The split is broken: nothing can be concluded from it."
    if not found.enough:
        return "Too few people did it, or too few did not, to compare."
    return ""


def _sentence(found: Verdict, compared: list[Variant], waits: str, *, is_settled: bool) -> str:
    if not compared:
        return "There is one text only; what it came to is compared with those who were held out."
    if is_settled and not found.split_ok:
        return found.sentence
    if waits:
        least = min(one.devices for one in compared)
        return f"No result yet: {least:,} devices per variant so far. {waits}"
    return found.sentence


def _early(found: Verdict, compared: list[Variant]) -> str:
    return found.sentence if found.enough else f"So far {found.leader} leads. {found.sentence}"


def _lines(compared: list[Variant], found: Verdict, metric: str, *, is_shown: bool) -> Iterator[Line]:
    pairs = statistics.comparisons(len(compared))
    first = compared[0].arm(metric) if compared else None
    for one in compared:
        arm = one.arm(metric)
        against = likely = chance = ""
        if is_shown and first and arm.key != first.key and found.split_ok:
            between = statistics.difference(arm, first, alpha=statistics.ALPHA / pairs)
            against = points(arm.rate - first.rate)
            likely = f"{points(between.low)} to {points(between.high)}"
            chance = statistics.chance(min(1.0, statistics.two_proportions(arm, first) * pairs))
        yield Line(
            one.key,
            one.devices,
            one.received,
            one.opened,
            one.clicked,
            one.converted,
            one.people,
            percent(arm),
            _between(statistics.wilson(arm.hits, arm.people)) if arm.people else "",
            against,
            likely,
            chance,
            is_shown and one.key == found.winner,
        )


def _split(compared: list[Variant], found: Verdict) -> str:
    if not compared or not _is_settled(compared):
        return ""
    sizes = " / ".join(f"{one.devices:,}" for one in compared)
    return f"Split as planned: {sizes}." if found.split_ok else f"Split is not as planned: {sizes}."


def _guidance(compared: list[Variant], metric: str) -> str:
    """What a comparison of this size can show."""
    arms = [one.arm(metric) for one in compared]
    people, hits = sum(arm.people for arm in arms), sum(arm.hits for arm in arms)
    if len(arms) < 2 or not people or not 0 < hits < people:
        return ""
    usual, least = hits / people, min(arm.people for arm in arms)
    lift = statistics.detectable_lift(usual, least, variants=len(arms))
    needed = statistics.people_needed(usual, LIFT, variants=len(arms))
    can = f"{least:,} per variant can show a difference of {lift * 100:.0f} % or more" if lift else ""
    wants = f"to show one of {LIFT * 100:.0f} % takes {needed:,} each" if needed and needed > least else ""
    said = "; ".join(part for part in (can, wants) if part)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _held_out(seen: Watched) -> HeldOut | None:
    stages = [stage for stage in seen.stages if stage.kind == Stage.Kind.HOLDOUT and stage.notification_id]
    if not stages:
        return None
    devices = sum(_recipients(seen.counts, stage) for stage in stages)
    if not seen.run.document.experiment.goal or seen.run.goal_counted_at is None:
        return HeldOut(devices, 0, "", "")
    without = _goal_arm("held out", stages)
    got = _goal_arm("sent to", [stage for stage in seen.stages if stage.kind != Stage.Kind.HOLDOUT])
    return HeldOut(without.people, without.hits, percent(without), _effect(got, without))


def _recipients(counts: Mapping[Any, Mapping[str, Any]], stage: Stage) -> int:
    return int(counts[stage.notification_id]["recipients"])


def _goal_arm(name: str, stages: list[Stage]) -> Arm:
    return Arm(name, sum(one.goal_people or 0 for one in stages), sum(one.goal_count or 0 for one in stages))


def _effect(got: Arm, without: Arm) -> str:
    """The one comparison that says whether sending did anything."""
    if not statistics.is_enough([got, without], planned=None):
        return "Too few did it to say what sending changed."
    between = statistics.difference(got, without)
    found = f"{percent(got)} of those who got it, {percent(without)} of those held out"
    likely = f"likely between {points(between.low)} and {points(between.high)}"
    change = f"Difference {points(got.rate - without.rate)} points, {likely}."
    if between.low <= 0 <= between.high:
        return f"No clear effect of sending: {found}, which may be chance. {change}"
    return f"Sending it {'raised' if between.low > 0 else 'lowered'} it: {found}. {change}"


def _decided(seen: Watched) -> str:
    run = seen.run
    if run.decided_at is None:
        return ""
    who = "the rule" if run.decided_by == "rule" else run.decided_by or "cancelling"
    what = f"{run.winner} goes to the remainder" if run.winner else "The remainder gets nothing"
    why = run.overridden.get("decided_early")
    early = f" Before its time, because: “{why}”." if why else ""
    return f"{what}: decided by {who}, {watched.moment(seen.campaign, run.decided_at)}.{early}"


# --- numbers ------------------------------------------------------------------------------------


def percent(arm: Arm) -> str:
    return f"{arm.rate * 100:.{_digits(arm.rate)}f} %" if arm.people else "—"


def _between(interval: Interval) -> str:
    digits = _digits(interval.high)
    return f"{interval.low * 100:.{digits}f}–{interval.high * 100:.{digits}f} %"


def points(share: float) -> str:
    """ "+0.8", in hundredths."""
    return f"{share * 100:+.{_digits(share)}f}".replace("-", "\N{MINUS SIGN}")


def _digits(share: float) -> int:
    return 1 if abs(share) >= 0.01 else 2
