"""How long a one-time code takes from the API call to the provider while a campaign keeps the machine busy."""

from __future__ import annotations

import time

from benchmarks import campaign, report
from simulator.stack import Stack, request

PER_SECOND = 20.0
MOST = 600
LEAST = 20


def under_campaign(stack: Stack, key: str) -> None:
    """Clocked from before the request is sent (so the API's own time is in it) to the simulator's receipt.

    Recipients are iOS and Android devices; sending stops when the campaign is done.
    """
    stack.simulation.watch(high_priority=True)
    since = time.time_ns()
    busy = campaign.launch(stack, key)
    time.sleep(1.0)
    began: dict[str, int] = {}
    accepted: dict[str, int] = {}
    while len(began) < MOST and (len(began) < LEAST or _is_running(stack, key, busy, len(began))):
        asked = time.time_ns()
        id = _send(stack, key, len(began))
        began[id], accepted[id] = asked, time.time_ns()
        time.sleep(1 / PER_SECOND)
    time.sleep(2.0)
    arrived = {
        receipt["notification"]: receipt["at"] for receipt in reversed(stack.simulation.receipts(since=since))
    }
    waits = [(arrived[id] - at) / 1e9 for id, at in began.items() if id in arrived]
    after = [(arrived[id] - at) / 1e9 for id, at in accepted.items() if id in arrived]
    report.line(
        "latency_under_campaign",
        sent=len(began),
        arrived=len(waits),
        **report.percentiles(waits),
        after_answer=report.percentiles(after),
    )
    campaign.until_done(stack, key, busy)


def _is_running(stack: Stack, key: str, id: str, number: int) -> bool:
    # Asked now and then: the question itself costs the machine something.
    return bool(number % 20) or campaign.progress(stack, key, id)["status"] != "done"


def _send(stack: Stack, key: str, number: int) -> str:
    user = number * 100 % 10_000 + number % 90  # of 100 devices the first 90 are iOS and Android
    body = {
        "to": {"subscribers": [f"user-{user}"]},
        "category": "transactional",
        "priority": "high",
        "content": {"title": "Your code", "body": "123456"},
    }
    status, answer = request("POST", f"{stack.url}/v1/notifications", body, key=key)
    if status != 202:
        raise SystemExit(f"send: {status} {answer}")
    return str(answer["id"])
