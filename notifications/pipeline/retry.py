"""When, if at all, a recipient is tried again. The only owner of retries (law 4)."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from notifications.providers.base import Backoff, Result

HOLD, LONGEST_HOLD = timedelta(seconds=30), timedelta(minutes=5)


def due_at(
    result: Result, *, attempt: int, backoff: Backoff, now: datetime, expires_at: datetime
) -> datetime | None:
    """The time of the next attempt, or None: give up (attempts used up, or too late by then).

    Full jitter (AWS Architecture Blog, "Exponential Backoff and Jitter") on top of what the provider
    asked for: never earlier than its `retry_after`.
    """
    if attempt >= backoff.attempts:
        return None
    is_cured = result.retry_after == 0 and attempt == 1  # a stale token or connection, replaced by now
    seconds = 0 if is_cured else (result.retry_after or 0) + random.uniform(0, backoff.ceiling(attempt))
    due = now + timedelta(seconds=seconds)
    return due if due < expires_at else None


def hold(age: timedelta) -> timedelta:
    """How long a held recipient waits for the next look; it costs no attempt.

    The longer a credential has been out of order the rarer the looks: a million held recipients must not
    keep a lane busy. Mending the credential cuts the wait short (`notifications.services.resume`).
    """
    return min(max(HOLD, age / 4), LONGEST_HOLD)
