"""Queue entry points."""

from __future__ import annotations

from celery import shared_task

from campaigns import guard, periodic


@shared_task(name="campaigns.tick")
def tick() -> None:
    """Every second."""
    periodic.run_due()
    guard.watch()
