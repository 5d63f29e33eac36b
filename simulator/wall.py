"""The phones wall: a live page of simulated devices; Server-Sent Events bring a sample of what arrives."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import orjson

SHOWN_PER_SECOND = 20
HISTORY = 240  # rates a new viewer is shown: two minutes
BACKLOG = 100  # messages a slow viewer may lag behind before it misses some


class Wall:
    """`is_open` is True when the next arrival shall be shown: at most SHOWN_PER_SECOND times a second, and
    only while someone looks.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._viewers: set[asyncio.Queue[bytes]] = set()
        self._rates: deque[float] = deque(maxlen=HISTORY)

    def tick(self) -> None:
        """Called SHOWN_PER_SECOND times a second."""
        self.is_open = bool(self._viewers)

    def show(self, platform: str, device: str, shown: dict[str, Any]) -> None:
        self.is_open = False
        self._publish("push", {"platform": platform, "device": device.partition(":")[0][-12:], **shown})

    def report(self, counters: dict[str, dict[str, Any]]) -> None:
        """Called twice a second with the statistics of every service."""
        self._rates.append(round(sum(each["rate_1s"] for each in counters.values()), 1))
        if self._viewers:
            self._publish("stats", counters)

    async def watch(self) -> AsyncIterator[bytes]:
        """Server-Sent Events for one viewer."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        self._viewers.add(queue)
        queue.put_nowait(_event("history", list(self._rates)))
        try:
            while True:
                yield await queue.get()
        finally:
            self._viewers.discard(queue)

    def _publish(self, event: str, value: dict[str, Any]) -> None:
        message = _event(event, value)
        for queue in self._viewers:
            if not queue.full():
                queue.put_nowait(message)


def _event(name: str, value: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(value, default=str))
