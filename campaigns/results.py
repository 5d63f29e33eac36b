"""What a run's variants came to, and which is better. From tallies; never from the ledger's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from campaigns import statistics
from campaigns.models import Run, Stage
from campaigns.statistics import Arm
from notifications import selectors as notifications
from notifications.models import Notification

COMPARED = (Stage.Kind.CANARY, Stage.Kind.SEND)

VERBS = {"opened": "opens", "clicked": "clicks", "converted": "converts"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of a run: how many got it, and how many of these did what the experiment counts.

    Devices, but `converted`: where the experiment has a goal, people of `people`.
    """

    key: str
    devices: int
    received: int
    opened: int
    clicked: int
    converted: int
    people: int
    share: int = 1
    pending: int = 0

    def hits(self, metric: str) -> int:
        return int(getattr(self, metric))

    def arm(self, metric: str) -> Arm:
        of = self.people if metric == "converted" else self.devices
        return Arm(self.key, of, self.hits(metric), self.share)


def variants(run: Run, counts: Mapping[UUID, Mapping[str, Any]] | None = None) -> list[Variant]:
    """Of the stages that are compared: what the winner's remainder came to says nothing about the others.

    counts: of its notifications, where they are at hand.
    """
    stages = list(
        run.stages.filter(kind__in=COMPARED, notification__isnull=False)
        .select_related("notification")
        .order_by("variant", "position")
    )
    found = counts or notifications.counts([stage.notification for stage in stages if stage.notification])
    plan = run.document
    own: dict[str, list[Stage]] = {}
    for stage in stages:
        own.setdefault(stage.variant, []).append(stage)
    return [
        _variant(key, of, found, share=plan.variant(key).share, has_goal=bool(plan.experiment.goal))
        for key, of in own.items()
    ]


def _variant(
    key: str, stages: list[Stage], counts: Mapping[UUID, Mapping[str, Any]], *, share: int, has_goal: bool
) -> Variant:
    rows = [counts[stage.notification_id] for stage in stages if stage.notification_id]
    told = {
        name: sum(row.get(name, 0) for row in rows)
        for name in ("accepted", "received", "opened", "clicked", "converted", "pending")
    }
    converted, people = told["converted"], told["accepted"]
    if has_goal:
        converted = sum(stage.goal_count or 0 for stage in stages)
        people = sum(stage.goal_people or 0 for stage in stages)
    return Variant(
        key,
        told["accepted"],
        told["received"],
        told["opened"],
        told["clicked"],
        converted,
        people,
        share,
        told["pending"] + sum(not _has_begun(stage) for stage in stages),
    )


def _has_begun(stage: Stage) -> bool:
    """Whether all whom it is for are known."""
    early = (Notification.Status.SCHEDULED, Notification.Status.FANNING_OUT)
    return stage.notification is not None and stage.notification.status not in early


def verdict(run: Run, found: list[Variant] | None = None) -> statistics.Verdict:
    """At the moment that was planned for it, which is for the caller to know."""
    metric = run.document.experiment.metric
    arms = [one.arm(metric) for one in found or variants(run)]
    return statistics.verdict(arms, planned=None, verb=VERBS[metric])


def winner(run: Run) -> str | None:
    """By the experiment's rule, when its time is over. None: nobody gets the remainder."""
    compared = variants(run)
    found = verdict(run, compared)
    if found.winner:
        return found.winner
    if run.document.experiment.fallback == "nothing":
        return None
    arms = [one.arm(run.document.experiment.metric) for one in compared]
    best = max(arms, key=lambda arm: arm.rate, default=None)
    return best.key if best else None
