"""What a run's variants came to, and which is better. From tallies; never from the ledger's rows."""

from __future__ import annotations

from dataclasses import dataclass

from campaigns import statistics
from campaigns.models import Run, Stage
from notifications import selectors as notifications


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of a run: how many got it, and how many of these did what the experiment counts."""

    key: str
    devices: int
    received: int
    opened: int
    clicked: int
    converted: int

    def hits(self, metric: str) -> int:
        return int(getattr(self, metric))


def variants(run: Run) -> list[Variant]:
    """Of the stages that are compared: what the winner's remainder came to says nothing about the others."""
    stages = list(
        run.stages.filter(kind__in=(Stage.Kind.CANARY, Stage.Kind.SEND), notification__isnull=False)
        .select_related("notification")
        .order_by("variant", "position")
    )
    counts = notifications.counts([stage.notification for stage in stages if stage.notification])
    found: dict[str, list[dict[str, int]]] = {}
    for stage in stages:
        assert stage.notification
        found.setdefault(stage.variant, []).append(counts[stage.notification.id])
    return [
        Variant(
            key,
            *(sum(row.get(name, 0) for row in rows) for name in ("accepted", "received", "opened")),
            *(sum(row.get(name, 0) for row in rows) for name in ("clicked", "converted")),
        )
        for key, rows in found.items()
    ]


def verdict(run: Run) -> statistics.Verdict:
    metric = run.document.experiment.metric
    arms = [statistics.Arm(one.key, one.devices, one.hits(metric)) for one in variants(run)]
    return statistics.verdict(arms, planned=None)


def winner(run: Run) -> str | None:
    """By the experiment's rule, when its time is over. None: nobody gets the remainder."""
    found = verdict(run)
    if found.winner:
        return found.winner
    if run.document.experiment.fallback == "nothing":
        return None
    metric = run.document.experiment.metric
    best = max(variants(run), key=lambda one: one.hits(metric) / max(1, one.devices), default=None)
    return best.key if best else None
