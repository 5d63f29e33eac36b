"""What arrived where, counted by device: the witness the product's own ledger is compared with.

Devices of `devices.py` cost two bytes each; other addresses an entry in a dict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

ARRAY_LIMIT = 1 << 26  # indexes above are counted by address instead
SATURATED = 255  # a device's count stops here
NOTIFICATIONS_KEPT = 10_000
_SEVERAL = re.compile(b"[\x02-\xff]")


class Counts:
    """Address -> number, by index where there is one."""

    def __init__(self) -> None:
        self.by_index = bytearray()
        self.by_address: dict[str, int] = {}
        self.total = 0

    def add(self, index: int | None, address: str) -> None:
        self.total += 1
        try:
            self.by_index[index] += 1  # type: ignore[index]
        except (IndexError, TypeError):
            self._add_slowly(index, address)
        except ValueError:
            pass  # saturated

    def _add_slowly(self, index: int | None, address: str) -> None:
        if index is None or index >= ARRAY_LIMIT:
            self.by_address[address] = self.by_address.get(address, 0) + 1
            return
        room = max(1 << 16, 1 << index.bit_length()) - len(self.by_index)
        self.by_index.extend(bytes(room))
        self.by_index[index] += 1

    def get(self, index: int | None, address: str) -> int:
        if index is not None and index < ARRAY_LIMIT:
            return self.by_index[index] if index < len(self.by_index) else 0
        return self.by_address.get(address, 0)

    def devices(self) -> int:
        return len(self.by_index) - self.by_index.count(0) + len(self.by_address)

    def several(self, name: Callable[[int], str]) -> Iterator[tuple[str, int]]:
        """(address, count) of every device counted more than once."""
        for match in _SEVERAL.finditer(self.by_index):
            yield name(match.start()), self.by_index[match.start()]
        yield from ((address, count) for address, count in self.by_address.items() if count > 1)

    def missing(self, start: int, stop: int) -> Iterator[int]:
        """Indexes of [start, stop) never counted."""
        known = self.by_index[start:stop]
        at = known.find(0)
        while at >= 0:
            yield start + at
            at = known.find(0, at + 1)
        yield from range(max(start, len(self.by_index)), stop)


class Book:
    """Arrivals at one provider (APNs: one per environment).

    `accepted`: the provider took the message. `faulted`: it came, and was answered with an injected fault
    or for a dead token.
    """

    def __init__(self, name: Callable[[int], str], find: Callable[[str], int | None]) -> None:
        self.name, self.find = name, find
        self.enabled = True
        self.reset()

    def reset(self) -> None:
        self.accepted, self.faulted = Counts(), Counts()
        self.by_notification: dict[str, int] = {}

    def accept(self, index: int | None, address: str, notification: str) -> None:
        if not self.enabled:
            return
        self.accepted.add(index, address)
        if notification:
            known = self.by_notification
            known[notification] = known.get(notification, 0) + 1
            if len(known) > NOTIFICATIONS_KEPT:
                del known[next(iter(known))]

    def fault(self, index: int | None, address: str) -> None:
        if self.enabled:
            self.faulted.add(index, address)

    def summary(self, duplicates: int = 100) -> dict[str, object]:
        several = list(self.accepted.several(self.name))
        return {
            "accepted": self.accepted.total,
            "accepted_devices": self.accepted.devices(),
            "faulted": self.faulted.total,
            "faulted_devices": self.faulted.devices(),
            "duplicate_devices": len(several),
            "duplicates": dict(several[:duplicates]),
        }

    def lookup(self, address: str) -> dict[str, int]:
        index = self.find(address)
        return {"accepted": self.accepted.get(index, address), "faulted": self.faulted.get(index, address)}
