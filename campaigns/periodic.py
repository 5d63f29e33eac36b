"""The runs of recurring campaigns, which the clock asks for. Safe to run twice at once, late, or not for a while."""

from __future__ import annotations

import structlog
from django.db import transaction
from django.utils import timezone

from campaigns import selectors, services
from campaigns.models import Campaign
from config.problems import InvalidField

log = structlog.get_logger(__name__)


def run_due() -> None:
    """Make the runs whose moment has come."""
    due = Campaign.objects.filter(status=Campaign.Status.RECURRING, next_run_at__lte=timezone.now())
    due = due.exclude(id__in=selectors.asked())
    for id in due.order_by("next_run_at").values_list("id", flat=True)[:100]:
        try:
            _run(id)
        except Exception:  # one that cannot run must not keep the others from it
            log.exception("run_failed", action="campaigns.run_failed", campaign=id)


def _run(id: int) -> None:
    now = timezone.now()
    with transaction.atomic():
        campaign = (
            Campaign.objects.select_for_update(of=("self",), skip_locked=True)
            .select_related("category", "application", "latest_run")
            .filter(id=id, status=Campaign.Status.RECURRING, next_run_at__lte=now)
            .first()
        )
        if (
            campaign is None
            or campaign.next_run_at is None
            or selectors.asked().filter(campaign=campaign).exists()
        ):
            return
        try:
            with transaction.atomic():
                services.next_run(campaign, now)
        except InvalidField as error:  # a segment is gone since: it would be tried, in vain, every second
            detail = f"Its next run could not be made: {error.detail}."
            services.pause(campaign, why="problems", detail=detail)
            log.warning("run_impossible", action="campaigns.run_impossible", campaign=id, detail=detail)
