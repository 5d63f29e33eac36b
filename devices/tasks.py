"""Queue entry points."""

from __future__ import annotations

from celery import shared_task

from devices import periodic


@shared_task(name="devices.refresh_segments")
def refresh_segments() -> None:
    """Every minute."""
    periodic.refresh_segments()
