"""A worker that is told to stop finishes what is under way, gives back the rest, and is gone within its bound."""

from __future__ import annotations

import os
import signal
import time

from notifications.workers import STOP_SECONDS
from tests.e2e.conftest import Product

DEVICES = 3_000
CAMPAIGN = {
    "to": {"all": True},
    "category": "marketing",
    "content": {"title": "Autumn sale", "body": "Up to 40 % off until Sunday."},
}


def test_a_deploy_in_the_middle_of_a_campaign_leaves_nothing_uncertain(product: Product) -> None:
    simulation = product.stack.simulation
    product.stack.manage(
        "simulate_devices", product.application, str(DEVICES), "--origin", simulation.webpush
    )
    for provider in ("apns", "fcm", "webpush"):
        simulation.set_faults(provider, latency=1.0)
    id = product.send(CAMPAIGN)
    _wait(lambda: _settled(product, id) > 0)

    worker = product.stack.processes["campaign"]
    began = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait(STOP_SECONDS + 10)
    assert time.monotonic() - began < STOP_SECONDS
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


def _settled(product: Product, id: str) -> int:
    counts = product.call("GET", f"/v1/notifications/{id}")[1]["counts"]
    return int(counts["accepted"])


def _wait(holds: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
