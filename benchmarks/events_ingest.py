"""Custom events: batches of 1 000 over a few connections, each committed before it is answered."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import uvloop

from benchmarks import api, report
from simulator.stack import Stack

CALLS = 200
PER_CALL = 1_000
CONNECTIONS = 4


def ingest(stack: Stack, key: str, devices: int) -> None:
    """POST /v1/events, half of them with an id, over the last 20 days; "purchase" with an amount, and "view"."""
    bodies = iter([_body(devices) for _ in range(CALLS)])
    sent, seconds = uvloop.run(
        api._load(stack.url, key, bodies, None, path="/v1/events", connections=CONNECTIONS)
    )
    total = sent * PER_CALL
    report.line("events_ingest", events=total, seconds=round(seconds, 2), per_second=round(total / seconds))


def _body(devices: int) -> bytes:
    now = datetime.now(UTC)
    return json.dumps({"events": [_event(random.randrange(devices), now) for _ in range(PER_CALL)]}).encode()


def _event(user: int, now: datetime) -> dict[str, object]:
    at = now - timedelta(seconds=random.uniform(0, 20 * 86_400))
    event: dict[str, object] = {"subscriber": f"user-{user}", "name": "view", "at": at.isoformat()}
    if user % 2:
        number = random.getrandbits(128)
        event |= {"id": f"{number:032x}", "name": "purchase", "properties": {"amount": user % 100}}
    return event
