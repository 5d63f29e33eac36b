"""A Celery child process that serves lanes runs one Sender, on a thread with its own event loop."""

from __future__ import annotations

import contextlib
import os
import threading

import structlog
import uvloop
from billiard.process import current_process
from billiard.util import set_pdeathsig
from celery.signals import worker_process_init, worker_process_shutdown
from django.conf import settings

from config import orphans
from config.celery import app
from notifications import lanes

log = structlog.get_logger(__name__)

STOP_SECONDS = 20

_worker: SenderThread | None = None


class SenderThread:
    """The Sender, its loop and its thread. Built after the fork: neither sockets nor loops survive one."""

    def __init__(self, lane_names: list[str]) -> None:
        self.lane_names = lane_names
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(10)

    def wake(self, lane: str) -> None:
        self._loop.call_soon_threadsafe(self._sender.wake, lane)

    def stop(self) -> None:
        """Finish what is under way, within a bound; the rest is settled by the reaper."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has stopped
            self._loop.call_soon_threadsafe(self._sender.stop)
        self._thread.join(STOP_SECONDS)

    def orphaned(self) -> None:
        """The worker was killed: its children must not go on beside those of the next."""
        log.warning("worker_gone", action="worker.orphaned")
        self.stop()

    def _run(self) -> None:
        try:
            uvloop.run(self._main())
        except BaseException:
            # Without its sender the process is of no use; Celery starts another.
            log.exception("sender_crashed", action="worker.sender_crashed")
            os._exit(1)

    async def _main(self) -> None:
        import asyncio

        from notifications.pipeline import build

        self._loop = asyncio.get_running_loop()
        self._sender = build.sender(self.lane_names)
        self._ready.set()
        await self._sender.run()


def wake(lane: str) -> None:
    """Tell this process's sender to look. Nothing to do in a process without one."""
    if _worker is not None:
        _worker.wake(lane)


@worker_process_init.connect
def _start(**_: object) -> None:
    global _worker
    served = [name for name in app.amqp.queues.consume_from if name in lanes.LANES]
    if served:
        _worker = SenderThread(served)
        _worker.start()
        _survive_the_worker(_worker)
        log.info("sender_started", action="worker.started", lanes=served, budget=settings.SENDER_BUDGET)


def _survive_the_worker(sender: SenderThread) -> None:
    """To finish what is under way. Celery has the kernel kill the children of a killed worker, which leaves that
    uncertain; those without a sender have nothing to finish."""
    if parent := current_process()._parent_pid:  # none in a solo worker
        orphans.watch(parent, sender.orphaned)
        with contextlib.suppress(OSError):  # only Linux has it
            set_pdeathsig(0)


@worker_process_shutdown.connect
def _stop(**_: object) -> None:
    if _worker is not None:
        _worker.stop()
