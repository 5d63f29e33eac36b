"""The phones wall: a live page of simulated devices; Server-Sent Events bring a sample of what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

SHOWN_PER_SECOND = 20
BACKLOG = 100  # messages a slow viewer may lag behind before it misses some


class Wall:
    """`is_open` is True when the next arrival shall be shown: at most SHOWN_PER_SECOND times a second, and
    only while someone looks.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._viewers: set[asyncio.Queue[bytes]] = set()

    def tick(self) -> None:
        """Called SHOWN_PER_SECOND times a second."""
        self.is_open = bool(self._viewers)

    def show(self, platform: str, device: str, shown: dict[str, Any]) -> None:
        self.is_open = False
        self._publish("push", {"platform": platform, "device": device[-24:], **shown})

    def report(self, counters: dict[str, Any]) -> None:
        if self._viewers:
            self._publish("stats", counters)

    async def watch(self) -> AsyncIterator[bytes]:
        """Server-Sent Events for one viewer."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        self._viewers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._viewers.discard(queue)

    def _publish(self, event: str, value: dict[str, Any]) -> None:
        message = b"event: %s\ndata: %s\n\n" % (event.encode(), orjson.dumps(value, default=str))
        for queue in self._viewers:
            if not queue.full():
                queue.put_nowait(message)
