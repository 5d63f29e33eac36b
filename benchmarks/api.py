"""The send API under load: one recipient per call, and a thousand notifications per call."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import count

import uvloop
from pyreqwest.client import Client, ClientBuilder

from benchmarks import report
from simulator.stack import Stack

CONNECTIONS = 16
SINGLE_SECONDS = 8.0
BATCH_CALLS = 60
PER_BATCH = 1_000


def single(stack: Stack, key: str, devices: int) -> None:
    """POST /v1/notifications, one subscriber each, every call committed before it is answered."""
    sent, seconds = uvloop.run(_load(stack.url, key, _singles(devices), SINGLE_SECONDS))
    report.line("api_single", notifications=sent, seconds=round(seconds, 2), per_second=round(sent / seconds))


def batch(stack: Stack, key: str, devices: int) -> None:
    """POST /v1/notifications/batch with 1 000 one-recipient notifications."""
    bodies = [body for body, _ in zip(_batches(devices), range(BATCH_CALLS), strict=False)]
    sent, seconds = uvloop.run(
        _load(stack.url, key, iter(bodies), None, path="/v1/notifications/batch", connections=4)
    )
    total = sent * PER_BATCH
    report.line(
        "api_batch", notifications=total, seconds=round(seconds, 2), per_second=round(total / seconds)
    )


def _singles(devices: int) -> Iterator[bytes]:
    return (json.dumps(_notification(number % devices)).encode() for number in count())


def _batches(devices: int) -> Iterator[bytes]:
    for start in count(0, PER_BATCH):
        wanted = [_notification((start + offset) % devices) for offset in range(PER_BATCH)]
        yield json.dumps({"notifications": wanted}).encode()


def _notification(user: int) -> dict[str, object]:
    return {
        "to": {"subscribers": [f"user-{user}"]},
        "category": "transactional",
        "content": {"title": "Your parcel", "body": "It arrives today between 14 and 16."},
    }


async def _load(
    url: str,
    key: str,
    bodies: Iterator[bytes],
    seconds: float | None,
    *,
    path: str = "/v1/notifications",
    connections: int = CONNECTIONS,
) -> tuple[int, float]:
    builder = ClientBuilder().http1_only().max_connections(connections).no_proxy()
    async with builder.build() as client:
        await asyncio.sleep(0)
        began = time.monotonic()
        deadline = began + seconds if seconds else float("inf")
        callers = [_call(client, url + path, key, bodies, deadline) for _ in range(connections)]
        sent = sum(await asyncio.gather(*callers))
        return sent, time.monotonic() - began


async def _call(client: Client, url: str, key: str, bodies: Iterator[bytes], deadline: float) -> int:
    sent = 0
    for body in bodies:
        request = (
            client.post(url)
            .header("Authorization", f"Bearer {key}")
            .header("Content-Type", "application/json")
        )
        response = await request.body_bytes(body).build().send()
        if response.status not in (200, 202):
            raise SystemExit(f"{response.status}: {await response.text()}")
        sent += 1
        if time.monotonic() > deadline:
            break
    return sent
