"""A small campaign of one application beside a large one of another (law 8)."""

from __future__ import annotations

import time

from benchmarks import campaign, report
from simulator.stack import Stack

DEVICES = 1_000


def beside_a_large_campaign(stack: Stack, key: str) -> None:
    """Launch call → last outcome of a small campaign: alone, and five seconds into a large one of another's."""
    other = stack.create_application("Small")
    stack.manage("simulate_devices", other["application"], str(DEVICES), "--origin", stack.simulation.webpush)
    alone = _seconds(stack, other["server_key"])
    large = campaign.launch(stack, key)
    time.sleep(5)
    beside = _seconds(stack, other["server_key"])
    pending = campaign.progress(stack, key, large)["counts"]["pending"]
    report.line(
        "fairness",
        devices=DEVICES,
        alone=round(alone, 2),
        beside=round(beside, 2),
        large_still_pending=pending,
    )
    campaign.until_done(stack, key, large)


def _seconds(stack: Stack, key: str) -> float:
    began = time.monotonic()
    campaign.until_done(stack, key, campaign.launch(stack, key))
    return time.monotonic() - began
