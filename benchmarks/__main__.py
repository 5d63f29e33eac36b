"""`make bench`: one JSON object per line. SIZE: devices of the large campaign (default 100 000)."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks import (
    admin_pages,
    api,
    campaign,
    events_ingest,
    fairness,
    latency,
    report,
    rules,
    segment_estimate,
)
from simulator.stack import Stack, running

SIZE = int(os.environ.get("SIZE", "100000"))


def main() -> int:
    report.line("machine", **report.machine())
    with (
        tempfile.TemporaryDirectory(prefix="carillon-bench-", ignore_cleanup_errors=True) as folder,
        running(
            Path(folder),
            simulator_options=("--decrypt-share", "0.05"),
            processes=("web", "background", "clock"),
        ) as stack,
    ):
        application = stack.create_application("Bench")
        key = application["server_key"]
        _devices(stack, application["application"])
        campaign.fan_out(stack, key)
        rules.fan_out(stack, key, application["application"])
        events_ingest.ingest(stack, key, SIZE)
        segment_estimate.estimates(stack, key)
        api.single(stack, key, SIZE)
        api.batch(stack, key, SIZE)
        _senders(stack, key)
        campaign.whole(stack, key)
        latency.under_campaign(stack, key)
        fairness.beside_a_large_campaign(stack, key)
        admin_pages.pages(stack, application["application"])
    return 0


def _devices(stack: Stack, application: str) -> None:
    stack.manage("simulate_devices", application, str(SIZE), "--origin", stack.simulation.webpush)


def _senders(stack: Stack, key: str) -> None:
    """Start the senders and let them clear what the API benchmarks left, timed: it is the transactional rate."""
    campaign.drain(stack, ("transactional", "campaign"))


if __name__ == "__main__":
    sys.exit(main())
