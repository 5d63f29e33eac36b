"""What a live check comes to: the verdict on a message to nobody, and whom it was asked of."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from .base import Check, CheckResult, Outcome, Result, Target

# No device has this address: hexadecimal, and an odd number of digits.
NOBODY: Final = Target(0, "0" * 63)
NOTIFICATION: Final = "00000000-0000-7000-8000-000000000000"

CLOCK = "provider_token_refused_fresh"
# Google, of an assertion too old or from the future: "… in a reasonable timeframe. Check your iat and exp values …"
_TIMES = re.compile(r"timeframe|\b(?:iat|exp)\b", re.IGNORECASE)


def of(result: Result, url: str) -> Check:
    """The check that a message to NOBODY there was: whoever refuses only the address lets the credential in."""
    told = result.detail
    if result.reason == CLOCK or (result.outcome is Outcome.BLOCKED and _TIMES.search(told)):
        return Check(CheckResult.UNABLE, CLOCK, f"{place(url)}: the clocks differ. {told}".strip())
    if result.outcome is Outcome.BLOCKED:
        return Check(CheckResult.REFUSED, result.reason, told)
    if result.outcome in (Outcome.RETRY, Outcome.UNCERTAIN):
        return away(url, told, result.reason)
    return Check(CheckResult.OK)


def away(url: str, words: str, reason: str = "not_connected") -> Check:
    """The server could not be asked, or could not say."""
    return Check(CheckResult.UNABLE, reason, f"{place(url)}: {words or 'no answer that says anything'}")


def place(url: str) -> str:
    """What a firewall has to let through: "api.push.apple.com:443"."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (80 if parts.scheme == 'http' else 443)}"
