"""Campaigns, runs and versions as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from campaigns import approving, checking, preflight, results, selectors, transitions
from campaigns.models import Campaign, Run, Stage, Version
from notifications import selectors as notifications
from notifications.reach import Reach

# What programs may ask for; approving and asking for it is people's.
DEEDS = ("launch", "pause", "resume", "cancel", "unschedule", "decide")
BUCKETS = 10_000


def campaigns(found: Sequence[Campaign]) -> list[dict[str, Any]]:
    """Each with its category and latest run loaded."""
    return [_campaign(campaign) for campaign in found]


def _campaign(campaign: Campaign) -> dict[str, Any]:
    possible = transitions.possible(campaign)
    return {
        "id": campaign.pk,
        "version": campaign.version,
        "status": campaign.status,
        "name": campaign.name,
        "category": campaign.category.slug,
        "deeds": [deed for deed in DEEDS if deed in possible],
        "latest_run": campaign.latest_run.number if campaign.latest_run else None,
        "next_run_at": campaign.next_run_at,
        "created_at": campaign.created_at,
        "updated_at": campaign.updated_at,
        "launched_at": campaign.launched_at,
    }


def campaign(found: Campaign) -> dict[str, Any]:
    """With its plan, and what is missing yet."""
    is_open = found.status in Campaign.EDITABLE
    faults = [fault._asdict() for fault in checking.faults(found)] if is_open else []
    return {**_campaign(found), **found.plan, "faults": faults}


def reach(campaign: Campaign, found: Reach) -> dict[str, Any]:
    return {
        "devices": found.devices,
        "reachable": found.reachable,
        "held_back": dict(found.held_back),
        "platforms": dict(found.platforms),
        "waiting": dict(found.waiting),
        "later": found.later,
        "is_estimate": found.is_estimate,
        "needs_approval": approving.is_needed(campaign, found.reachable),
    }


def report(found: preflight.Report) -> dict[str, Any]:
    return {
        "is_clear": not found.blocks,
        "needs_reason": bool(found.warnings),
        "checks": [
            {"key": check.key, "level": check.level, "words": check.words, "todo": check.todo}
            for check in found.checks
        ],
    }


def runs(found: Sequence[Run]) -> list[dict[str, Any]]:
    """With the sums of their counts: two queries for all of them."""
    notified = selectors.notified([run.id for run in found])
    all_of_them = [notification for own in notified.values() for notification in own]
    counts = notifications.counts(all_of_them) if all_of_them else {}
    return [
        _run(run, notifications.added(counts[notification.id] for notification in notified[run.id]))
        for run in found
    ]


def _run(run: Run, counts: dict[str, Any]) -> dict[str, Any]:
    names = ("number", "due_at", "created_at", "devices", "overridden", "paused_for", "paused_detail")
    decided = ("winner", "decided_by", "decided_at")
    return {**{name: getattr(run, name) for name in (*names, *decided)}, "counts": counts}


def run(found: Run) -> dict[str, Any]:
    """With its stages, and what its variants came to."""
    stages = list(found.stages.select_related("notification__category"))
    notified = [stage.notification for stage in stages if stage.notification]
    counts = notifications.counts(notified) if notified else {}
    verdict = results.verdict(found).sentence if found.document.is_experiment else ""
    return {
        **_run(found, notifications.added(counts.values())),
        "stages": [_stage(stage, counts) for stage in stages],
        "variants": [
            {
                name: getattr(one, name)
                for name in ("key", "devices", "received", "opened", "clicked", "converted")
            }
            for one in results.variants(found)
        ],
        "verdict": verdict,
    }


def _stage(stage: Stage, counts: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    return {
        "position": stage.position,
        "kind": stage.kind,
        "variant": stage.variant,
        "share": (stage.upper - stage.lower) / BUCKETS,
        "is_held": stage.is_held,
        "notification": stage.notification_id,
        "counts": counts.get(stage.notification_id),
    }


def version(found: Version) -> dict[str, Any]:
    return {
        "number": found.number,
        "name": found.name,
        "category": found.category.slug,
        "by": found.created_by.get_username() if found.created_by else "",
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "kept_for": found.kept_for,
    }
