"""Queue entry points. A message says "look"; losing, doubling or delaying it changes nothing (law 1)."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from celery import shared_task

from notifications import alarms, periodic, workers
from notifications.pipeline import fan_out as fan_out_step
from notifications.pipeline import wake
from tenants import calls

log = structlog.get_logger(__name__)


@shared_task(name="notifications.send")
def send(lane: str) -> None:
    """There may be batches in this lane."""
    wake.lower(lane)
    workers.wake(lane)


@shared_task(name="notifications.fan_out")
def fan_out(shard_id: int) -> None:
    """This shard may still be unresolved."""
    fan_out_step.shard(shard_id)


@shared_task(name="notifications.tick")
def tick() -> None:
    """Every second."""
    _each(periodic.start_due, periodic.keep_paused, periodic.finish)


@shared_task(name="notifications.sweep")
def sweep() -> None:
    """Every five seconds."""
    _each(
        periodic.reap_dead,
        periodic.wake_shards,
        periodic.settle_cancelled,
        alarms.tell,
    )


@shared_task(name="notifications.verify")
def verify() -> None:
    """Every twenty seconds."""
    _each(periodic.end_incidents, periodic.verify_open, periodic.verify_finished)


@shared_task(name="notifications.verify_again")
def verify_again() -> None:
    """Every five minutes."""
    periodic.verify_again()


@shared_task(name="notifications.check_credentials")
def check_credentials() -> None:
    """Every ten seconds, and when one is stored."""
    periodic.check_credentials()


@shared_task(name="notifications.roll_up")
def roll_up() -> None:
    """Every twenty seconds."""
    periodic.roll_up_closed()


@shared_task(name="notifications.make_partitions")
def make_partitions() -> None:
    """Every hour, and what is kept for some time only."""
    _each(periodic.make_partitions, calls.forget_old)


def _each(*steps: Callable[[], None]) -> None:
    """All of them, whatever happens to one."""
    for step in steps:
        try:
            step()
        except Exception:
            log.exception("periodic_failed", action="periodic.failed", step=step.__name__)
