"""Queue entry points."""

from __future__ import annotations

from celery import shared_task

from campaigns import goals, guard, mails, periodic


@shared_task(name="campaigns.tick")
def tick() -> None:
    """Every second."""
    periodic.run_due()
    guard.watch()


@shared_task(name="campaigns.count_goals")
def count_goals() -> None:
    """Every minute."""
    goals.count_due()


@shared_task(name="campaigns.tell_approval")
def tell_approval(approval_id: int) -> None:
    """Mails about an approval that was asked for, or decided."""
    mails.tell(approval_id)
