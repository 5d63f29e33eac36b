"""`make smoke`: boot everything on fresh data, do the main job as a client would, and report.

The last line is one JSON object; the exit status says whether every check held.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from simulator import devices as virtual
from simulator.stack import Stack, request, running

DEVICES = 3_000
SETTLE_SECONDS = 60.0

_local = threading.local()


def main() -> int:
    began = time.monotonic()
    summary: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="carillon-smoke-") as folder, running(Path(folder)) as stack:
        application = stack.create_application("Smoke")
        say(f"booted at {stack.url}")
        summary["boot_seconds"] = round(time.monotonic() - began, 1)
        summary |= _register(stack, application["server_key"])
        summary["transactional"] = _transactional(stack, application["server_key"])
        summary["campaign"] = _campaign(stack, application["server_key"])
        arrivals = {book: stats["accepted"] for book, stats in _books(stack).items()}
        summary["arrivals"] = arrivals
    problems = _problems(summary)
    summary |= {"seconds": round(time.monotonic() - began, 1), "ok": not problems, "problems": problems}
    print(json.dumps(summary), flush=True)
    return 1 if problems else 0


def say(words: str) -> None:
    print(words, flush=True)


def _register(stack: Stack, key: str) -> dict[str, Any]:
    """Subscribers by one import, their devices one by one over REST."""
    lines = [
        json.dumps({"external_id": f"user-{i}", "attributes": {"n": i}, "preferences": {"marketing": True}})
        for i in range(DEVICES)
    ]
    began = time.monotonic()
    status, answer = _call(
        stack, "POST", "/v1/subscribers/import", key, "\n".join(lines).encode(), "application/x-ndjson"
    )
    if status != 200:
        raise SystemExit(f"import: {status} {answer}")
    imported = time.monotonic() - began
    began = time.monotonic()
    statuses = list(
        _parallel(lambda i: _call(stack, "PUT", "/v1/devices", key, _device(stack, i))[0], range(DEVICES))
    )
    seconds = time.monotonic() - began
    created = statuses.count(201)
    say(f"registered {created} devices at {created / seconds:.0f}/s")
    return {
        "subscribers": answer["subscribers"]["created"],
        "import_seconds": round(imported, 2),
        "devices": created,
        "devices_per_second": round(created / seconds),
    }


def _device(stack: Stack, index: int) -> bytes:
    body: dict[str, Any] = {"subscriber": f"user-{index}", "installation_id": f"smoke-{index}"}
    match index % 3:
        case 0:
            body |= {"platform": "ios", "token": virtual.apns_token(index), "environment": "production"}
        case 1:
            body |= {"platform": "android", "token": virtual.fcm_token(index)}
        case _:
            web = virtual.web_subscription(index, stack.simulation.webpush)
            keys = {"p256dh": web.p256dh, "auth": web.auth}
            body |= {"platform": "web", "token": web.endpoint, "keys": keys}
    return json.dumps(body).encode()


def _transactional(stack: Stack, key: str) -> dict[str, Any]:
    body = {
        "to": {"subscribers": ["user-0", "user-1", "user-2"]},
        "category": "transactional",
        "content": {"title": "Your code", "body": "123456"},
        "priority": "high",
    }
    headers = {"Idempotency-Key": "smoke-otp"}
    began = time.monotonic()
    status, sent = request("POST", f"{stack.url}/v1/notifications", body, key=key, headers=headers)
    replayed, again = request("POST", f"{stack.url}/v1/notifications", body, key=key, headers=headers)
    if (status, replayed) != (202, 200) or sent["id"] != again["id"]:
        raise SystemExit(f"idempotent send: {status} {sent}, then {replayed} {again}")
    counts = _settled(stack, key, sent["id"])
    say(f"transactional: {counts['accepted']} accepted")
    return {**counts, "seconds": round(time.monotonic() - began, 2)}


def _campaign(stack: Stack, key: str) -> dict[str, Any]:
    body = {
        "to": {"all": True},
        "category": "marketing",
        "content": {"title": "Autumn sale", "body": "Up to 40 % off until Sunday."},
    }
    began = time.monotonic()
    status, sent = request("POST", f"{stack.url}/v1/notifications", body, key=key)
    if status != 202:
        raise SystemExit(f"campaign: {status} {sent}")
    counts = _settled(stack, key, sent["id"])
    seconds = time.monotonic() - began
    say(f"campaign: {counts['accepted']} accepted in {seconds:.1f} s")
    return {**counts, "seconds": round(seconds, 2)}


def _settled(stack: Stack, key: str, id: str) -> dict[str, Any]:
    """The counts once nothing is pending; the sum must hold at every look (law 2)."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        _, answer = request("GET", f"{stack.url}/v1/notifications/{id}", key=key)
        counts = answer["counts"]
        if answer["status"] == "done" and counts["recipients"]:
            return counts
        if time.monotonic() > deadline:
            raise SystemExit(f"not settled after {SETTLE_SECONDS:.0f} s: {answer}\n{_logs(stack)}")
        time.sleep(0.1)


def _logs(stack: Stack) -> str:
    return "\n".join(f"--- {name}\n{stack.log_tail(name)}" for name in stack.processes)


def _books(stack: Stack) -> dict[str, Any]:
    stats = stack.simulation.stats()
    return {book: stats[book] for book in ("apns", "fcm", "webpush")}


def _problems(summary: dict[str, Any]) -> list[str]:
    campaign, transactional = summary["campaign"], summary["transactional"]
    checks = {
        f"{DEVICES} devices registered": summary["devices"] == DEVICES,
        "every transactional recipient accepted": transactional["accepted"]
        == transactional["recipients"]
        == 3,
        "every campaign recipient accepted": campaign["accepted"] == campaign["recipients"] == DEVICES,
        "the simulator received what the ledger says": sum(summary["arrivals"].values()) == DEVICES + 3,
    }
    return [words for words, holds in checks.items() if not holds]


def _parallel(do: Callable[[int], Any], items: Iterable[int]) -> Iterable[Any]:
    with ThreadPoolExecutor(8) as pool:
        yield from pool.map(do, items)


def _call(
    stack: Stack, method: str, path: str, key: str, body: bytes, media_type: str = "application/json"
) -> tuple[int, Any]:
    """One call over this thread's kept-alive connection."""
    connection = getattr(_local, "connection", None)
    if connection is None:
        connection = _local.connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": media_type}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    raw = response.read()
    return response.status, json.loads(raw) if raw else None


if __name__ == "__main__":
    sys.exit(main())
