"""What an answer means: the provider's table first, then one rule for every code nobody foresaw."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from .base import Outcome, Result, Target, Verdict

AGAIN = frozenset({408, 421, 425, 429})  # client errors that are nobody's fault
LONGEST_WAIT = 6 * 3600.0  # seconds; a Retry-After above it is taken for a mistake

NOT_CONNECTED = Verdict(Outcome.RETRY, "not_connected")
NO_ANSWER = Verdict(Outcome.UNCERTAIN, "no_answer")
MALFORMED = Verdict(
    Outcome.REJECTED, "malformed_token"
)  # seen here, not said by the provider: the device stays

Table = Mapping[tuple[int, str], Verdict]


def of(table: Table, status: int, code: str = "") -> Verdict:
    """The verdict on `status` with the provider's `code` ("" when the answer names none)."""
    return table.get((status, code)) or table.get((status, "")) or unknown(status, code)


def unknown(status: int, code: str = "") -> Verdict:
    """A status no table names. An unknown refusal of our credentials blocks; it never costs a device."""
    reason = snake(code) or f"http_{status}"
    if 200 <= status < 300:
        return Verdict(Outcome.ACCEPTED, "")
    if status in (401, 403, 407):
        return Verdict(Outcome.BLOCKED, reason)
    if status in AGAIN:
        return Verdict(Outcome.RETRY, reason)
    if 400 <= status < 500:
        return Verdict(Outcome.REJECTED, reason)
    return Verdict(Outcome.RETRY, reason)  # 5xx, and redirects, which no push service means


def result(
    verdict: Verdict,
    target: Target,
    *,
    wait: float | None = None,
    provider_id: str = "",
    detail: str = "",
    retired_since: float | None = None,
    environment: str = "",
) -> Result:
    """A verdict as this device's result. `wait`: what the answer's own Retry-After says."""
    outcome, reason, retry_after, attempts = verdict
    if outcome is Outcome.RETRY and attempts is not None and target.attempt >= attempts:
        outcome = Outcome.REJECTED
    if outcome is not Outcome.RETRY:
        retry_after = None
    elif wait is not None:
        retry_after = wait
    return Result(
        target.device_id,
        outcome,
        reason,
        provider_id,
        retry_after,
        retired_since,
        _clean(detail, target),
        environment,
    )


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds named by a Retry-After header: a number or an HTTP date (RFC 9110, 10.2.3); None if neither."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None


def json_object(body: bytes) -> dict[str, Any]:
    """The body if it is a JSON object, else {}: an answer may be empty, cut, or a proxy's web page."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def snake(code: str) -> str:
    """`BadDeviceToken`, `QUOTA_EXCEEDED`, `sender-id` -> stable snake_case."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", code)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:60]


def _clean(detail: str, target: Target) -> str:
    """A provider quotes what it dislikes; what it quotes may be a token or the payload."""
    if not detail:
        return ""
    for secret in (target.token, target.fid):
        if secret:
            detail = detail.replace(secret, "…")
    detail = re.sub(r"\"[^\"]*\"?|https?://\S+|[A-Za-z0-9_:\-]{40,}", "…", detail)
    return " ".join(detail.split())[:200]
