"""The circuit breaker of one application and provider in one sender: when is a provider in trouble?

It only judges. What follows — the incident that stops the lanes for every sender, the trials that end it —
is in incidents.py, claim.py and send.py.
"""

from __future__ import annotations

import time

from notifications.providers import verdict
from notifications.providers.base import Outcome, Provider, Result

WINDOW_SECONDS = 5.0  # of this and the one before
LEAST_TRIED = 20
FAILED_SHARE = 0.5
SILENCES = 10  # answers missing in a row


def troubles(provider: Provider) -> frozenset[str]:
    """The reasons that speak of the provider's health: its 5xx, no connection, no answer. A refusal of one
    message, one device or our pace does not."""
    failing = {said.reason for (status, _), said in provider.OUTCOMES.items() if status >= 500}
    return frozenset({*failing, verdict.NOT_CONNECTED.reason, verdict.NO_ANSWER.reason})


class Circuit:
    """Trips on a failure share over the last 5 to 10 seconds, or on silence."""

    def __init__(self, troubles: frozenset[str]) -> None:
        self._troubles = troubles
        self._since, self._silences = time.monotonic(), 0
        self._tried = self._failed = self._tried_before = self._failed_before = 0

    def note(self, result: Result) -> str:
        """Why it has tripped just now, or ""."""
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            self._turn(now)
        self._tried += 1
        if result.reason not in self._troubles and not result.reason.startswith("http_5"):
            self._silences = 0
            return ""
        self._failed += 1
        self._silences = self._silences + 1 if result.outcome is Outcome.UNCERTAIN else 0
        return self._judged(result, now)

    def _judged(self, result: Result, now: float) -> str:
        tried, failed = self._tried + self._tried_before, self._failed + self._failed_before
        is_failing = tried >= LEAST_TRIED and failed >= FAILED_SHARE * tried
        if not is_failing and self._silences < SILENCES:
            return ""
        words = (
            f"{self._silences} messages in a row without an answer"
            if not is_failing
            else (
                f"{failed} of the last {tried} attempts failed: {result.reason}"
                + (f", {result.detail}" if result.detail else "")
            )
        )
        self._since, self._silences = now, 0
        self._tried = self._failed = self._tried_before = self._failed_before = 0
        return words

    def _turn(self, now: float) -> None:
        is_recent = now - self._since <= 2 * WINDOW_SECONDS
        self._tried_before = self._tried if is_recent else 0
        self._failed_before = self._failed if is_recent else 0
        self._since, self._tried, self._failed = now, 0, 0
