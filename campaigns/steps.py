"""In which steps a run reaches its audience, and how fast, in words: for the review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from campaigns import stages
from campaigns.document import Plan
from campaigns.models import Campaign
from campaigns.stages import BUCKETS, Slice
from config import estimates
from notifications import lanes
from notifications.pipeline import limits
from notifications.reach import Reach
from tenants import selectors as tenants
from tenants.models import Credential


def of(plan: Plan, devices: int, *, is_estimate: bool = False) -> list[str]:
    """Each step as a sentence; one alone needs none."""
    slices = stages.of(plan, devices)
    return [] if len(slices) == 1 else list(_sentences(plan, slices, devices, is_estimate))


def _sentences(plan: Plan, slices: list[Slice], devices: int, is_estimate: bool) -> Iterator[str]:
    def about(some: list[Slice]) -> str:
        count = round(sum(one.upper - one.lower for one in some) * devices / BUCKETS)
        return estimates.said(count, is_estimate=is_estimate)

    by_kind: dict[str, list[Slice]] = {}
    for one in slices:
        by_kind.setdefault(one.kind, []).append(one)
    if held_out := by_kind.get("holdout"):
        yield f"{_share(held_out)} % ({about(held_out)} devices) get nothing, to compare with."
    if canary := by_kind.get("canary"):
        yield f"The first {about(canary)} devices get it{_split(plan, canary)}."
    if everyone := by_kind.get("send"):
        after = "When these went well, " if canary else ""
        who = "the others" if canary or held_out or "rest" in by_kind else "everyone"
        verb = "gets" if who == "everyone" else "get"
        text = f"{after}{who} {verb} it: {about(everyone)} devices{_split(plan, everyone)}."
        yield text[:1].upper() + text[1:]
    if rest := by_kind.get("rest"):
        is_by_hand, hours = plan.experiment.decide == "hand", plan.experiment.hours
        how = "somebody has decided" if is_by_hand else f"{hours} hours have decided"
        yield f"The remaining {_share(rest)} % ({about(rest)} devices) wait until {how} which variant wins."


def _split(plan: Plan, slices: list[Slice]) -> str:
    """ " (A 50 %, B 50 %)"."""
    if not plan.is_experiment:
        return ""
    width = sum(one.upper - one.lower for one in slices)
    return (
        f" ({', '.join(f'{one.variant} {round((one.upper - one.lower) * 100 / width)} %' for one in slices)})"
    )


def _share(slices: list[Slice]) -> str:
    return f"{sum(one.upper - one.lower for one in slices) * 100 / BUCKETS:g}"


# --- how fast ---------------------------------------------------------------------------------


class Pace(NamedTuple):
    """What holds it back most, and how long it takes then; seconds 0: nothing does."""

    seconds: float
    because: str


def pace(campaign: Campaign, reach: Reach) -> Pace:
    """From what was set here and what the providers allow; how fast the machines are is not known here."""
    application = campaign.application
    slowest = Pace(0, "")
    for per_second, devices, because in _limits(campaign, application.messages_per_second, reach):
        if per_second and devices / per_second > slowest.seconds:
            slowest = Pace(devices / per_second, because)
    return slowest


def _limits(
    campaign: Campaign, of_application: int | None, reach: Reach
) -> Iterator[tuple[float | None, int, str]]:
    yield campaign.document.schedule.per_second, reach.reachable, "the pace chosen"
    yield of_application, reach.reachable, "the app’s own limit"
    lane_of = lanes.lanes_of(lanes.CAMPAIGN, tenants.configured_providers(campaign.application_id))
    by_provider: Counter[str] = Counter()
    for platform, count in reach.platforms.items():
        if platform in lane_of:
            by_provider[lanes.provider_of(lane_of[platform])] += count
    credentials = Credential.objects.filter(application_id=campaign.application_id, is_active=True)
    for provider, own in credentials.values_list("provider", "messages_per_second"):
        allowed = own or limits.PER_SECOND.get(provider)
        yield allowed, by_provider[provider], "the credential’s limit" if own else "what Google allows"
