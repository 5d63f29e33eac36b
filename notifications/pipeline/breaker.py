"""The circuit breaker of one application and provider in one sender: when is a provider in trouble?

It only judges. What follows — the incident that stops the lanes for every sender, the trials that end it —
is in incidents.py, claim.py and send.py.
"""

from __future__ import annotations

import time

from notifications.providers import bearer, verdict
from notifications.providers.base import Provider, Result

WINDOW_SECONDS = 5.0  # of this and the one before
LEAST_TRIED = 20
FAILED_SHARE = 0.5
IN_A_ROW, ROW_SECONDS = 10, 5.0  # for those who send too little for a share


def troubles(provider: Provider) -> frozenset[str]:
    """The reasons that speak of the provider's health: its 5xx, no connection, no answer, no bearer token. A refusal
    of one message, one device or our pace does not."""
    failing = {said.reason for (status, _), said in provider.OUTCOMES.items() if status >= 500}
    others = (verdict.NOT_CONNECTED, verdict.NO_ANSWER, bearer.UNAVAILABLE)
    return frozenset({*failing, *(said.reason for said in others)})


class Circuit:
    """Trips on a failure share over the last 5 to 10 seconds, or on failures in a row over some seconds."""

    def __init__(self, troubles: frozenset[str]) -> None:
        self._troubles = troubles
        self._since = self._row_since = time.monotonic()
        self._in_a_row = self._tried = self._failed = self._tried_before = self._failed_before = 0

    def note(self, result: Result) -> str:
        """Why it has tripped just now, or ""."""
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            self._turn(now)
        self._tried += 1
        if result.reason not in self._troubles and not result.reason.startswith("http_5"):
            self._in_a_row = 0
            return ""
        self._failed += 1
        self._in_a_row += 1
        if self._in_a_row == 1:
            self._row_since = now
        return self._judged(result, now)

    def _judged(self, result: Result, now: float) -> str:
        tried, failed = self._tried + self._tried_before, self._failed + self._failed_before
        if tried >= LEAST_TRIED and failed >= FAILED_SHARE * tried:
            words = f"{failed} of the last {tried} attempts failed"
        elif self._in_a_row >= IN_A_ROW and now - self._row_since >= ROW_SECONDS:
            words = f"{self._in_a_row} attempts in a row failed"
        else:
            return ""
        self._since, self._in_a_row = now, 0
        self._tried = self._failed = self._tried_before = self._failed_before = 0
        return f"{words}: {result.reason}" + (f", {result.detail}" if result.detail else "")

    def _turn(self, now: float) -> None:
        is_recent = now - self._since <= 2 * WINDOW_SECONDS
        self._tried_before = self._tried if is_recent else 0
        self._failed_before = self._failed if is_recent else 0
        self._since, self._tried, self._failed = now, 0, 0
