"""What watches a campaign under way: canaries, failures, refused credentials, experiments whose time is over.

Called every second; each step is safe to run twice at once, late, or not at all for a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from campaigns import approving, results, runs, services, transitions
from campaigns.models import Campaign, Run, Stage
from notifications import reasons
from notifications import selectors as notifications
from notifications.models import Incident, Notification

log = structlog.get_logger(__name__)

Status = Campaign.Status

# Of fewer tries a share says little.
LEAST_TRIED = 100


def watch() -> None:
    for id in _live():
        try:
            with transaction.atomic():
                _watch(id)
        except Exception:  # one that cannot be looked at must not keep the others from it
            log.exception("watch_failed", action="campaigns.watch_failed", campaign=id)


def _live() -> list[int]:
    live = Campaign.objects.filter(status__in=(Status.SCHEDULED, Status.SENDING)) | Campaign.objects.filter(
        status=Status.RECURRING, latest_run__isnull=False
    )
    return list(live.order_by("id").values_list("id", flat=True)[:1000])


def _watch(id: int) -> None:
    campaign = (
        Campaign.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("application", "category", "latest_run")
        .filter(id=id)
        .first()
    )
    if campaign is None or (run := campaign.latest_run) is None:
        return
    if campaign.status == Status.SCHEDULED:
        if any(one.status != Notification.Status.SCHEDULED for one in runs.notified(run)):
            transitions.move(campaign, "begin", Status.SENDING)
        return
    for one in runs.under_way(campaign):
        counts = notifications.counts(runs.notified(one))
        if trouble := _trouble(campaign, one, counts):
            if not one.paused_for:
                _hold(campaign, one, *trouble)
            return
        _after_canary(campaign, one, counts)
        if campaign.status == Status.PAUSED:
            return
    _decide(campaign, run)
    _finish(campaign, run)


# --- stops ------------------------------------------------------------------------------------


def _trouble(campaign: Campaign, run: Run, counts: Mapping[Any, Mapping[str, Any]]) -> tuple[str, str] | None:
    """Why it has to stop, and in words; None: it may go on."""
    if all(not count["pending"] for count in counts.values()) and not _held(run):
        return None
    tried, failed = tries(list(counts.values()))
    limit = run.document.safety.stop_percent
    is_waived = "problems" in run.waived or "canary" in run.waived
    if limit and not is_waived and tried >= LEAST_TRIED and failed * 100 > limit * tried:
        if _held(run):  # the others have got nothing: to go on means, with everyone
            return "canary", _of_the_first(tried, failed, limit)
        share = f"{failed * 100 / tried:.1f}"
        return "problems", f"{failed:,} of {tried:,} tried have failed ({share} %); the limit is {limit} %."
    incident = Incident.objects.filter(
        application_id=campaign.application_id,
        cause=Incident.Cause.CREDENTIAL,
        closed_at=None,
        opened_at__gte=run.resumed_at or run.created_at,
    ).first()
    if incident:
        return "credential", f"The credential for {incident.provider} was refused: {incident.words}"
    return None


def tries(counts: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Of how many an outcome is known, and how many of these failed for reasons that are not everyday's."""
    failed = sum(
        count for row in counts for reason, count in row["failed"].items() if reason not in reasons.ORDINARY
    )
    ordinary = sum(
        count for row in counts for reason, count in row["failed"].items() if reason in reasons.ORDINARY
    )
    accepted = sum(row["accepted"] for row in counts)
    return accepted + ordinary + failed, failed


def _hold(campaign: Campaign, run: Run, why: str, detail: str) -> None:
    if campaign.status == Status.SENDING:
        transitions.move(campaign, "hold", Status.PAUSED)
    else:  # a recurring one: its runs stop with it
        transitions.move(campaign, "pause", Status.PAUSED)
        approving.drop(campaign)
    for other in runs.under_way(campaign):
        if other != run:
            runs.hold(other, why="person", detail=f"Stopped with run {run.number}.")
    runs.hold(run, why=why, detail=detail)
    log.warning("campaign_paused", action="campaigns.paused", campaign=campaign.id, why=why, detail=detail)


# --- stages -----------------------------------------------------------------------------------


def _held(run: Run) -> list[Stage]:
    """Stages that wait for the canary."""
    return list(run.stages.select_related("notification").filter(is_held=True, kind=Stage.Kind.SEND))


def _after_canary(campaign: Campaign, run: Run, counts: Mapping[Any, Mapping[str, Any]]) -> None:
    """Once all of the first devices have an outcome."""
    held = _held(run)
    if not held:
        return
    canaries = list(run.stages.filter(kind=Stage.Kind.CANARY).select_related("notification"))
    if any(
        stage.notification is None
        or stage.notification.status in (Notification.Status.SCHEDULED, Notification.Status.FANNING_OUT)
        or counts[stage.notification.id]["pending"]
        for stage in canaries
    ):
        return
    rows = [counts[stage.notification.id] for stage in canaries if stage.notification]
    tried, failed = tries(rows)
    limit = run.document.safety.stop_percent or 100
    if tried and failed * 100 <= limit * tried:
        runs.open_all(held)
        log.info("canary_well", action="campaigns.canary_well", campaign=campaign.id, tried=tried)
    else:
        _hold(campaign, run, "canary", _of_the_first(tried, failed, limit))


def _of_the_first(tried: int, failed: int, limit: int) -> str:
    what = f"{failed:,} of {tried:,} failed; the limit is {limit} %" if tried else "nobody was reached"
    return f"Of the first devices {what}. The others wait."


def _decide(campaign: Campaign, run: Run) -> None:
    """An experiment whose time is over, where the rule decides."""
    experiment = run.document.experiment
    if experiment.decide != "rule" or run.decided_at or not run.stages.filter(kind=Stage.Kind.REST).exists():
        return
    if timezone.now() < run.due_at + timedelta(hours=experiment.hours):
        return
    winner = results.winner(run)
    services.decide(campaign, winner or "", by="rule")
    log.info("experiment_decided", action="campaigns.decided", campaign=campaign.id, winner=winner)


def _finish(campaign: Campaign, run: Run) -> None:
    if campaign.status != Status.SENDING or campaign.next_run_at:
        return
    run.refresh_from_db(fields=["decided_at"])
    statuses = [one.status for each in runs.under_way(campaign) for one in runs.notified(each)]
    if runs.is_over(statuses, run):
        transitions.move(campaign, "finish", Status.FINISHED)
