"""A run's not reached, as a list and the draft of another try. Nothing is sent by this."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from campaigns import document, services
from campaigns.models import Campaign, Run
from devices.models import Segment, SegmentSize
from notifications import reasons

# People none of whose devices was reached, or may have been, whatever else became of it: a replay may have
# reached them since.
FILL = """
    INSERT INTO devices_segmentmember (segment_id, subscriber_id)
    SELECT DISTINCT %(segment)s::bigint, l.subscriber_id
    FROM notifications_delivery l
    WHERE l.notification_id = ANY (%(ids)s) AND l.at >= %(since)s AND l.application_id = %(application)s
        AND l.subscriber_id IS NOT NULL
        AND l.outcome IN ('failed', 'rejected', 'suppressed') AND l.reason = ANY (%(reasons)s)
        AND NOT EXISTS (
            SELECT FROM notifications_delivery y
            WHERE y.notification_id = ANY (%(ids)s) AND y.at >= %(since)s AND y.subscriber_id = l.subscriber_id
                AND y.outcome IN ('accepted', 'uncertain')
        )
    ON CONFLICT DO NOTHING
"""


class NobodyLeft(Exception):
    """Everybody who could be reached has been, or is no known person."""


def draft(campaign: Campaign, run: Run, *, by: User) -> Campaign:
    """A new draft that says what this run said, to the people it did not reach. Raises NobodyLeft."""
    with transaction.atomic():
        segment = _segment(campaign, run)
        size = _fill(segment, run)
        if not size:
            raise NobodyLeft  # the list goes with it
        Segment.objects.filter(id=segment.id).update(size=size, refreshed_at=timezone.now())
        SegmentSize.objects.create(segment=segment, size=size)
        fields = {
            "name": f"{campaign.name[:100]} (not reached)",
            "category": campaign.category.slug,
            **_plan(run, segment),
        }
        return services.create(campaign.application, by=by, fields=fields)


def _segment(campaign: Campaign, run: Run) -> Segment:
    """A list of its own each time: drafts made before keep theirs."""
    slug = f"not-reached-{campaign.pk}-{run.number}"
    own = Segment.objects.filter(application_id=campaign.application_id, slug__startswith=slug)
    taken = set(own.values_list("slug", flat=True))
    names = (slug, *(f"{slug}-again-{number}" for number in range(1, len(taken) + 2)))
    return Segment.objects.create(
        application_id=campaign.application_id,
        slug=next(name for name in names if name not in taken),
        name=f"Not reached by {campaign}, run {run.number}"[:120],
        kind=Segment.Kind.LIST,
    )


def _fill(segment: Segment, run: Run) -> int:
    ids = [stage.notification_id for stage in run.stages.all() if stage.notification_id]
    given: dict[str, Any] = {
        "segment": segment.pk,
        "ids": ids,
        "since": run.created_at - timedelta(hours=1),
        "application": segment.application_id,
        "reasons": sorted(reasons.WORTH_ANOTHER_TRY),
    }
    with connection.cursor() as cursor:
        cursor.execute(FILL, given)
        return cursor.rowcount


def _plan(run: Run, segment: Segment) -> dict[str, Any]:
    """As it was sent; of an experiment the winner, to compare nothing again; to be sent now."""
    plan = dict(run.plan)
    if run.winner:
        plan["variants"] = [
            {**one, "key": "A", "share": 1} for one in plan["variants"] if one["key"] == run.winner
        ]
    blank = document.blank()
    kept = {"window", "lifetime_hours", "per_second", "undo", "time_zone"}
    schedule = {**blank["schedule"], **{name: plan["schedule"][name] for name in kept}}
    platforms = plan["audience"]["platforms"]
    audience = {**blank["audience"], "segments": [segment.slug], "platforms": platforms}
    return {**plan, "audience": audience, "schedule": schedule, "experiment": blank["experiment"]}
