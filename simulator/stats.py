"""Counters of one provider: how much came, what was answered, how fast."""

from __future__ import annotations

import time
from collections import Counter, deque

SAMPLES = 240  # half a second each: two minutes


class Stats:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.received = 0
        self.accepted = 0
        self.answers: Counter[tuple[int, str]] = Counter()  # (status, provider's code), without the accepted
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.samples: deque[tuple[float, int, int]] = deque(maxlen=SAMPLES)  # (at, received, accepted)

    def sample(self) -> None:
        """Called twice a second."""
        now = time.time()
        if self.samples and self.received != self.samples[-1][1]:
            self.first_at = self.first_at or self.samples[-1][0]
            self.last_at = now
        self.samples.append((now, self.received, self.accepted))

    def rate(self, seconds: float) -> float:
        """Received per second over the last `seconds`."""
        if len(self.samples) < 2:
            return 0.0
        newest = self.samples[-1]
        oldest = next(s for s in self.samples if s[0] >= newest[0] - seconds - 0.1)
        return (newest[1] - oldest[1]) / (newest[0] - oldest[0]) if newest is not oldest else 0.0

    def summary(self) -> dict[str, object]:
        return {
            "received": self.received,
            "accepted": self.accepted,
            "answers": {f"{status} {code}".rstrip(): count for (status, code), count in self.answers.items()},
            "rate_1s": round(self.rate(1.0), 1),
            "rate_10s": round(self.rate(10.0), 1),
            "first_at": self.first_at,
            "last_at": self.last_at,
        }
