"""One JSON object per line, so that runs can be compared by machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from typing import Any


def line(name: str, **figures: Any) -> None:
    """Rates are per second, times in seconds unless the name says otherwise, memory in MiB."""
    print(json.dumps({"benchmark": name, **figures}), flush=True)


def machine() -> dict[str, Any]:
    with open("/proc/meminfo") as memory:
        total = int(memory.readline().split()[1]) // 1024
    return {
        "cpus": os.cpu_count(),
        "memory_mib": total,
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest, in milliseconds, of seconds."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    picked = {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "max_ms": max(values)}
    return {name: round(value * 1000, 1) for name, value in picked.items()}
