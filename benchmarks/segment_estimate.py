"""Estimates of segments' reach, as somebody sees them who is just writing the rules."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks import report
from simulator.stack import Stack, request

ROUNDS = 5

PLATFORM = {"field": "device.platform", "is": "equal", "value": "ios"}
CONSENT = {"consent": "marketing", "is": True}
BOUGHT = {
    "event": "purchase",
    "times": {"at_least": 1},
    "within_days": 30,
    "where": [{"property": "amount", "is": "greater", "value": 50}],
}
RULES: dict[str, Any] = {
    "everyone": {"field": "device.platform", "is": "exists", "value": True},
    "platform_and_consent": {"all": [PLATFORM, CONSENT]},
    "attributes": {
        "any": [
            {"field": "attribute.plan", "is": "in", "value": ["gold", "silver"]},
            {"field": "subscriber.country", "is": "equal", "value": "DE"},
        ]
    },
    "events": {"all": [BOUGHT, {"event": "view", "did": False}]},
    "everything": {
        "all": [
            {"any": [PLATFORM, {"field": "device.app_version", "is": "at_least", "value": "2.0"}]},
            CONSENT,
            {"not": {"event": "refund", "within_days": 30}},
            {"any": [BOUGHT, {"event": "view", "times": {"at_least": 2}}]},
            {"field": "device.last_seen_at", "is": "in_last_days", "value": 60},
        ]
    },
}


def estimates(stack: Stack, key: str) -> None:
    """POST /v1/segments/estimate, each of RULES some times."""
    for name, rules in RULES.items():
        taken, found = [], {}
        for _ in range(ROUNDS):
            began = time.monotonic()
            body = {"rules": rules, "category": "marketing"}
            status, found = request("POST", f"{stack.url}/v1/segments/estimate", body, key=key)
            if status != 200:
                raise SystemExit(f"{status}: {found}")
            taken.append(time.monotonic() - began)
        report.line(
            "segment_estimate",
            rules=name,
            median_seconds=round(statistics.median(taken), 3),
            slowest_seconds=round(max(taken), 3),
            devices=found["devices"],
            people=found["people"],
            is_estimate=found["is_estimate"],
        )
