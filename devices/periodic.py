"""What the clock calls: segments that are refreshed on a schedule. Safe to run twice at once."""

from __future__ import annotations

import time
from datetime import timedelta

import structlog
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from devices import segments
from devices.models import Segment, SegmentSize
from devices.segment_lists import note_size

log = structlog.get_logger(__name__)

SECONDS = 60.0  # after which no further segment is begun; the next tick goes on
PATIENCE = "100s"  # for one segment: no task runs longer than Celery's visibility timeout
HISTORY = timedelta(days=90)


def refresh_segments() -> None:
    """Find the members of those whose time has come, the one that waits longest first."""
    until = time.monotonic() + SECONDS
    for id in list(_due().values_list("id", flat=True)):
        if time.monotonic() > until:
            return
        try:
            refresh(id)
        except Exception:  # one that cannot be refreshed must not keep the others from it
            log.exception("refresh_failed", action="segments.refresh_failed", segment=id)
            # It keeps the members it had, and is tried again when it is due again.
            Segment.objects.filter(pk=id).update(refreshed_at=timezone.now())


def _due() -> QuerySet[Segment]:
    period = F("refresh_minutes") * timedelta(minutes=1)
    return Segment.objects.filter(
        Q(refreshed_at=None) | Q(refreshed_at__lte=Now() - period),
        kind=Segment.Kind.RULES,
        refresh_minutes__isnull=False,
    ).order_by(F("refreshed_at").asc(nulls_first=True), "id")


# Only what changed is written. People without a device are members too: they may get one before the next refresh.
REFRESH = """
    WITH found AS MATERIALIZED (
        SELECT {distinct} s.id FROM devices_subscriber s {devices}
        WHERE s.application_id = %(application)s AND {condition}
    ),
    gone AS (
        DELETE FROM devices_segmentmember m
        WHERE m.segment_id = %(segment)s AND NOT EXISTS (SELECT FROM found f WHERE f.id = m.subscriber_id)
    ),
    come AS (
        INSERT INTO devices_segmentmember (segment_id, subscriber_id)
        SELECT %(segment)s, f.id FROM found f
        WHERE NOT EXISTS (
            SELECT FROM devices_segmentmember m WHERE m.segment_id = %(segment)s AND m.subscriber_id = f.id
        )
    )
    SELECT count(*) FROM found
"""
DEVICES = "LEFT JOIN devices_device d ON d.subscriber_id = s.id AND d.retired_at IS NULL"


def refresh(id: int) -> None:
    """Write the members of one segment, if it is due and nobody else is at it."""
    with transaction.atomic(), connection.cursor() as cursor:
        segment = _due().select_for_update(skip_locked=True, no_key=True).filter(pk=id).first()
        if segment is None:
            return
        cursor.execute(f"SET LOCAL statement_timeout = '{PATIENCE}'")
        found = segments.compiled(segment.rules, segment.application_id)
        statement = REFRESH.format(
            condition=found.sql,
            distinct="DISTINCT" if found.is_about_devices else "",
            devices=DEVICES if found.is_about_devices else "",
        )
        scope = {"application": segment.application_id, "segment": segment.pk}
        cursor.execute(statement, {**found.parameters, **scope})
        (size,) = cursor.fetchone()
        note_size(segment, size)
        now = timezone.now()
        Segment.objects.filter(pk=segment.pk).update(refreshed_at=now)
        SegmentSize.objects.filter(segment=segment, at__lt=now - HISTORY).delete()
        cursor.execute("SET LOCAL statement_timeout = DEFAULT")
