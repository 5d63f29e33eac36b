"""The circuit breaker of one application and provider in one sender: when is a provider in trouble?

It only judges. What follows — the incident that stops the lanes for every sender, the trials that end it —
is in incidents.py, claim.py and send.py.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from notifications.providers import bearer, verdict
from notifications.providers.base import Provider, Result

WINDOW_SECONDS = 5.0  # one and the one before are looked at
KEPT_WINDOWS = 8  # longer than any attempt takes
LEAST_TRIED = 20
FAILED_SHARE = 0.5
IN_A_ROW, ROW_SECONDS = 10, 5.0  # for those who send too little for a share


def troubles(provider: Provider) -> frozenset[str]:
    """The reasons that speak of the provider's health: its 5xx, no connection, no answer, no bearer token. A refusal
    of one message, one device or our pace does not."""
    failing = {said.reason for (status, _), said in provider.OUTCOMES.items() if status >= 500}
    others = (verdict.NOT_CONNECTED, verdict.NO_ANSWER, bearer.UNAVAILABLE)
    return frozenset({*failing, *(said.reason for said in others)})


@dataclass(slots=True)
class Window:
    """Attempts begun in it that have ended."""

    tried: int = 0
    failed: int = 0


NONE = Window()


class Circuit:
    """Trips on a failure share among attempts begun within 5 to 10 seconds, or on failures in a row over some seconds.

    A time-out is told 15 seconds after it began, when those sent beside it have long been answered. So what counts is
    when an attempt began: the last stalled ones of an audience are few among many, and an answer since then speaks
    for the provider.
    """

    def __init__(self, troubles: frozenset[str]) -> None:
        self._troubles = troubles
        self._windows: dict[int, Window] = {}  # by when the attempts began
        self._well_at = self._tripped_at = float("-inf")
        self._in_a_row, self._row_since = 0, 0.0

    def note(self, result: Result, began: float) -> str:
        """Why it has tripped just now, or "". began: on the monotonic clock."""
        if began <= self._tripped_at:
            return ""
        now, number = time.monotonic(), int(began // WINDOW_SECONDS)
        window = self._windows.get(number) or self._opened(number)
        window.tried += 1
        if result.reason not in self._troubles and not result.reason.startswith("http_5"):
            self._well_at, self._in_a_row = now, 0
            return ""
        window.failed += 1
        if began >= self._well_at:
            self._row_since = self._row_since if self._in_a_row else now
            self._in_a_row += 1
        if words := self._judged(number, now):
            self._trip(now)
            return f"{words}: {result.reason}" + (f", {result.detail}" if result.detail else "")
        return ""

    def _judged(self, number: int, now: float) -> str:
        window, before = self._windows[number], self._windows.get(number - 1, NONE)
        tried, failed = window.tried + before.tried, window.failed + before.failed
        if tried >= LEAST_TRIED and failed >= FAILED_SHARE * tried:
            return f"{failed} of {tried} attempts failed"
        if self._in_a_row >= IN_A_ROW and now - self._row_since >= ROW_SECONDS:
            return f"{self._in_a_row} attempts in a row failed"
        return ""

    def _trip(self, now: float) -> None:
        self._tripped_at, self._in_a_row = now, 0
        self._windows.clear()

    def _opened(self, number: int) -> Window:
        for old in [known for known in self._windows if known < number - KEPT_WINDOWS]:
            del self._windows[old]
        window = self._windows[number] = Window()
        return window
