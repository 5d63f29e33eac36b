"""When a notification first reached a device, for latency measurements; bounded in memory.

Kept: high-priority messages and those of watched notifications, up to a limit; of the rest, the last few
thousand. The notification's id travels in the payload under `carillon`, as a string or in an object.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

KEY = "carillon"
RECENT = 5_000
_NAMES = ("id", "notification_id", "notification", "n")


class Receipt(NamedTuple):
    at: int  # unix nanoseconds
    provider: str
    device: str
    notification: str


class Receipts:
    def __init__(self) -> None:
        self.watch_high_priority = True
        self.limit = 200_000
        self.watched: frozenset[str] = frozenset()
        self.reset()

    def reset(self) -> None:
        self.kept: dict[tuple[str, str], Receipt] = {}  # by notification and device: first arrival
        self.recent: deque[Receipt] = deque(maxlen=RECENT)
        self.dropped = 0

    def watch(self, notifications: Iterable[str], high_priority: bool, limit: int) -> None:
        self.watched = frozenset(notifications)
        self.watch_high_priority, self.limit = high_priority, limit

    def add(self, provider: str, device: str, notification: str, high: bool) -> None:
        receipt = Receipt(time.time_ns(), provider, device, notification)
        if (high and self.watch_high_priority) or notification in self.watched:
            if len(self.kept) < self.limit:
                self.kept.setdefault((notification, device), receipt)
            else:
                self.dropped += 1
        else:
            self.recent.append(receipt)

    def find(self, notification: str = "", since: int = 0) -> Iterator[Receipt]:
        """Receipts of a notification ("": of all) that came after `since` (unix nanoseconds)."""
        for receipts in (self.kept.values(), self.recent):
            for receipt in list(receipts):
                if receipt.at > since and notification in ("", receipt.notification):
                    yield receipt


def notification_id(value: Any) -> str:
    """The id out of what stands under `carillon`."""
    if isinstance(value, str):
        if not value.startswith("{"):
            return value
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    if isinstance(value, dict):
        for name in _NAMES:
            found = value.get(name)
            if found is not None:
                return found if isinstance(found, str) else ""
    return ""
