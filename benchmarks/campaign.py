"""A marketing campaign to everyone: fan-out alone, then launch to last outcome, and what the workers weigh."""

from __future__ import annotations

import time
from typing import Any

import psutil

from benchmarks import report
from simulator.stack import Stack, request

POLL_SECONDS = 0.1
LIMIT_SECONDS = 900.0

BODY = {
    "to": {"all": True},
    "category": "marketing",
    "content": {
        "title": "Autumn sale",
        "body": "Up to 40 % off until Sunday.",
        "url": "https://shop.example",
    },
}


def launch(stack: Stack, key: str) -> str:
    status, answer = request("POST", f"{stack.url}/v1/notifications", BODY, key=key)
    if status != 202:
        raise SystemExit(f"launch: {status} {answer}")
    return str(answer["id"])


def progress(stack: Stack, key: str, id: str) -> dict[str, Any]:
    return dict(request("GET", f"{stack.url}/v1/notifications/{id}", key=key)[1])


def fan_out(stack: Stack, key: str, name: str = "fan_out") -> None:
    """Launch with no sender running, until every shard is resolved; then cancel, and wait until everyone is settled."""
    began = time.monotonic()
    id = launch(stack, key)
    found = _until(stack, key, id, lambda answer: answer["status"] != "fanning_out")
    seconds = time.monotonic() - began
    recipients = found["counts"]["recipients"]
    report.line(name, devices=recipients, seconds=round(seconds, 2), per_second=round(recipients / seconds))
    began = time.monotonic()
    request("POST", f"{stack.url}/v1/notifications/{id}/cancel", key=key)
    stopped = time.monotonic() - began
    _until(stack, key, id, lambda answer: not answer["counts"]["pending"])
    report.line(
        name.replace("fan_out", "cancel"),
        devices=recipients,
        seconds=round(stopped, 2),
        settled_seconds=round(time.monotonic() - began, 2),
    )


def whole(stack: Stack, key: str) -> None:
    """From the call that launches it to the last recorded outcome, with everything on this machine."""
    before = _accepted(stack)
    began = time.monotonic()
    id = launch(stack, key)
    weight = Weight(stack)
    found = _until(stack, key, id, lambda answer: weight.look() or answer["status"] == "done")
    seconds = time.monotonic() - began
    counts = found["counts"]
    report.line(
        "campaign",
        devices=counts["recipients"],
        seconds=round(seconds, 2),
        per_second=round(counts["recipients"] / seconds),
        accepted=counts["accepted"],
        suppressed=sum(counts["suppressed"].values()),
        failed=sum(counts["failed"].values()),
        uncertain=counts["uncertain"],
        received_by_simulator=_accepted(stack) - before,
    )
    report.line("worker_memory", **weight.most)


def until_done(stack: Stack, key: str, id: str) -> None:
    _until(stack, key, id, lambda answer: answer["status"] == "done")


def drain(stack: Stack, processes: tuple[str, ...]) -> None:
    """Start senders on a backlog of one-recipient notifications and time them until they stand still."""
    before = _accepted(stack)
    stack.start(*processes)
    arrived, began, moved = before, time.monotonic(), time.monotonic()
    while time.monotonic() - moved < 2 or (arrived == before and time.monotonic() - began < 20):
        time.sleep(POLL_SECONDS)
        if (now := _accepted(stack)) != arrived:
            if arrived == before:
                began = time.monotonic()
            arrived, moved = now, time.monotonic()
    sent, seconds = arrived - before, max(moved - began, POLL_SECONDS)
    report.line(
        "transactional_backlog",
        notifications=sent,
        seconds=round(seconds, 2),
        per_second=round(sent / seconds),
    )


def _accepted(stack: Stack) -> int:
    return sum(
        book["accepted"]
        for book in stack.simulation.stats().values()
        if isinstance(book, dict) and "accepted" in book
    )


def _until(stack: Stack, key: str, id: str, holds: Any) -> dict[str, Any]:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        answer = progress(stack, key, id)
        if holds(answer):
            return answer
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"not there after {LIMIT_SECONDS:.0f} s: {answer}")


class Weight:
    """The most resident memory (MiB, shared pages included) seen in any process of each kind of worker."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._looked = 0.0
        self.most: dict[str, int] = {}

    def look(self) -> None:
        if time.monotonic() - self._looked < 1:
            return
        self._looked = time.monotonic()
        for name, process in self._stack.processes.items():
            for member in _family(process.pid):
                mib = member.memory_info().rss >> 20
                self.most[f"{name}_mib"] = max(self.most.get(f"{name}_mib", 0), mib)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
