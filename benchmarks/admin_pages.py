"""The console's pages beside one large run: how long each takes. `python -m benchmarks.admin_pages [devices]` alone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report
from simulator.stack import ROOT, Stack, running


def pages(stack: Stack, application: str) -> None:
    """In a process of its own, which is Django's; its lines are ours."""
    command = [sys.executable, "-m", "benchmarks.admin_inside", application]
    done = subprocess.run(command, cwd=ROOT, env=stack.environment, check=False)
    if done.returncode:
        raise SystemExit("admin_pages failed")


def main(devices: int) -> None:
    report.line("machine", **report.machine())
    with (
        tempfile.TemporaryDirectory(prefix="carillon-bench-", ignore_cleanup_errors=True) as folder,
        running(Path(folder), processes=("web",)) as stack,
    ):
        began = time.monotonic()
        application = stack.create_application("Bench", devices=devices)["application"]
        report.line("admin_devices", devices=devices, seconds=round(time.monotonic() - began, 1))
        pages(stack, application)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
