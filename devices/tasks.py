"""Queue entry points."""

from __future__ import annotations

from celery import shared_task

from devices import periodic, segment_snapshots


@shared_task(name="devices.refresh_segments")
def refresh_segments() -> None:
    """Every minute."""
    periodic.refresh_segments()
    segment_snapshots.drop_old()
