"""How many of those a run was sent to, or held out from, did what its experiment aims at. Counted in the background:
it reads the ledger, which pages must not."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db.models import F
from django.utils import timezone

from campaigns.models import Run, Stage
from notifications import engagement
from notifications.engagement import Converted

log = structlog.get_logger(__name__)

WINDOW = timedelta(days=7)  # after the message, in which it counts
LATEST = timedelta(days=3)  # after a run has begun, until everybody's local time has come
MOST_AT_ONCE = 5

# Counted again after a tenth of its age, within these.
SOONEST, RAREST = timedelta(minutes=5), timedelta(hours=6)


def count_due() -> None:
    now = timezone.now()
    for run in _due(now)[:MOST_AT_ONCE]:
        # Whoever comes second finds that it has been taken.
        taken = Run.objects.filter(id=run.id, goal_counted_at=run.goal_counted_at).update(goal_counted_at=now)
        if taken:
            try:
                count(run)
            except Exception:  # one that cannot be counted must not keep the others from it
                log.exception("count_failed", action="goals.count_failed", run=run.id)


def count(run: Run) -> None:
    """Store what each stage came to."""
    goal = run.document.experiment.goal
    stages = list(run.stages.filter(notification__isnull=False))
    ids = [stage.notification_id for stage in stages if stage.notification_id]
    found = engagement.conversions(ids, goal, WINDOW)
    for stage in stages:
        assert stage.notification_id
        stage.goal_people, stage.goal_count = _of(stage, found[stage.notification_id])
    Stage.objects.bulk_update(stages, ["goal_people", "goal_count"])


def _of(stage: Stage, found: Converted) -> tuple[int, int]:
    if stage.kind == Stage.Kind.HOLDOUT:
        return found.held_out, found.held_out_converted
    return found.people, found.converted


def _due(now: datetime) -> list[Run]:
    young = Run.objects.filter(due_at__lte=now, due_at__gte=now - WINDOW - LATEST)
    with_goal = young.exclude(plan__experiment__goal="").order_by(F("goal_counted_at").asc(nulls_first=True))
    return [run for run in with_goal if run.document.experiment.goal and _is_old(run, now)]


def _is_old(run: Run, now: datetime) -> bool:
    if run.goal_counted_at is None:
        return True
    return now - run.goal_counted_at >= min(max((now - run.due_at) / 10, SOONEST), RAREST)
