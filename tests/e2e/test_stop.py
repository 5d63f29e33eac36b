"""A worker that is told to stop, or whose parent was killed, finishes what is under way, gives back the rest, and is
gone within its bound."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from notifications.workers import STOP_SECONDS
from tests.e2e.conftest import Product

CAMPAIGN = {
    "to": {"all": True},
    "category": "marketing",
    "content": {"title": "Autumn sale", "body": "Up to 40 % off until Sunday."},
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_worker_that_ends_in_the_middle_of_a_campaign_leaves_nothing_uncertain(
    product: Product, number: signal.Signals
) -> None:
    simulation = product.stack.simulation
    for provider in ("apns", "fcm", "webpush"):
        simulation.set_faults(provider, latency=1.0)
    id = product.send(CAMPAIGN)
    _wait(lambda: _settled(product, id) > 0)

    worker = product.stack.processes["campaign"]
    processes = _processes(product, "campaign")
    os.kill(worker.pid, number)
    worker.wait(STOP_SECONDS)
    _wait(lambda: not any(map(_is_alive, processes)), STOP_SECONDS)
    assert product.rows(
        "SELECT count(*) FROM notifications_batch WHERE notification_id = %s AND status = 'sending'", id
    ) == [(0,)]
    settled = _settled(product, id)
    assert settled < product.call("GET", f"/v1/notifications/{id}")[1]["counts"]["recipients"]

    for provider in ("apns", "fcm", "webpush"):
        simulation.set_faults(provider)
    product.stack.restart("campaign")
    _wait(lambda: product.call("GET", f"/v1/notifications/{id}")[1]["status"] == "done")
    counts = product.call("GET", f"/v1/notifications/{id}")[1]["counts"]
    assert (counts["uncertain"], counts["failed"]) == (0, {})
    assert counts["accepted"] + sum(counts["suppressed"].values()) == counts["recipients"]


def test_without_a_sender_the_processes_of_a_killed_worker_end_at_once(product: Product) -> None:
    worker = product.stack.processes["background"]
    processes = _processes(product, "background")
    worker.kill()
    worker.wait()
    _wait(lambda: not any(map(_is_alive, processes)), 5)
    product.stack.restart("background")


def _processes(product: Product, name: str) -> list[psutil.Process]:
    processes = psutil.Process(product.stack.processes[name].pid).children()
    assert len(processes) == 2  # as in Procfile
    return processes


def _is_alive(process: psutil.Process) -> bool:
    """Where nobody waits for a process that has ended it stays a zombie."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _settled(product: Product, id: str) -> int:
    counts = product.call("GET", f"/v1/notifications/{id}")[1]["counts"]
    return int(counts["accepted"])


def _wait(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
