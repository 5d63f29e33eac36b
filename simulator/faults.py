"""Faults on demand: dead tokens, error injections, latency, stalls, resets, outages, revoked credentials.

One `Plan` per provider, replaced as a whole by the control API. Random faults draw from a seeded generator;
whether a token is dead depends on the token alone, so every send to it agrees.
"""

from __future__ import annotations

import math
import random
import time
import zlib
from typing import Literal

import msgspec

from simulator.answers import REFUSE, RESET, RESET_STREAM, STALL, Answer, ill_fated

_MASK = 0xFFFFFFFF


class Injection(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An answer in the provider's own form. `share` of the requests get it; ignored for a single token."""

    status: int
    code: str = ""  # the provider's word; its usual one for the status when empty
    share: float = 0.0
    retry_after: int | str | None = None  # seconds, or an HTTP date as it stands


class Spread(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Log-normal latency, in seconds."""

    median: float
    p99: float


class Outage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A window counted from when the plan is set."""

    seconds: float
    start: float = 0.0
    mode: Literal["error", "stall", "reset"] = "error"
    status: int = 503
    retry_after: int | str | None = None


class Plan(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    dead_share: float = 0.0
    dead: Injection | None = None  # how a dead token is answered; None: the provider's usual way
    dead_since: float | None = None  # unix seconds named in APNs' 410; None: the moment of the answer
    tokens: dict[str, Injection | Literal["alive"]] = {}  # single tokens, before dead_share
    errors: tuple[Injection, ...] = ()
    latency: float | Spread = 0.0
    stall_share: float = 0.0  # received, never answered
    reset_share: float = 0.0  # received, connection cut; nothing was accepted
    reset_stream_share: float = 0.0  # received, RST_STREAM; nothing was accepted
    refuse_share: float = 0.0  # RST_STREAM with REFUSED_STREAM: nothing was processed
    lost_answer_share: float = 0.0  # accepted and counted, then the connection is cut before the answer
    goaway_every: int = 0  # GOAWAY on a connection after so many streams
    single_stream_first: bool = False  # apns: new connections get one stream until a request succeeds
    outages: tuple[Outage, ...] = ()
    revoked: bool | tuple[str, ...] = False  # every credential, or these (key id, client e-mail, VAPID key)
    seed: int = 0


class Faults:
    """A plan at work. `active` is False for the empty plan: the hot path asks nothing more."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.set(plan or Plan())

    def set(self, plan: Plan) -> None:
        self.plan = plan
        self.active = plan != Plan()
        self.random = random.Random(plan.seed)
        self.since = time.monotonic()
        self._dead_below = plan.dead_share * (_MASK + 1)
        shares = (
            (STALL, plan.stall_share),
            (RESET, plan.reset_share),
            (RESET_STREAM, plan.reset_stream_share),
            (REFUSE, plan.refuse_share),
        )
        self._fates = [(fate, share) for fate, share in shares if share]
        self._error_total = sum(error.share for error in plan.errors)

    def network(self) -> Answer | Injection | None:
        """What happens before the request is looked at: an outage, a stall, a cut connection."""
        for outage in self.plan.outages:
            if outage.start <= time.monotonic() - self.since < outage.start + outage.seconds:
                return _outage_answer(outage)
        if not self._fates:
            return None
        draw = self.random.random()
        for fate, share in self._fates:
            draw -= share
            if draw < 0:
                return ill_fated(fate)
        return None

    def device(self, token: str) -> Injection | Literal["dead"] | None:
        """What the provider says of this token, whatever the message."""
        verdict = self.plan.tokens.get(token)
        if verdict is not None:
            return None if verdict == "alive" else verdict
        if self._dead_below and spread(token) < self._dead_below:
            return self.plan.dead or "dead"
        return None

    def error(self) -> Injection | None:
        """An injected error for this request, or None."""
        if not self._error_total:
            return None
        draw = self.random.random()
        for error in self.plan.errors:
            draw -= error.share
            if draw < 0:
                return error
        return None

    def answer_lost(self) -> bool:
        return self.plan.lost_answer_share > 0 and self.random.random() < self.plan.lost_answer_share

    def latency(self) -> float:
        wanted = self.plan.latency
        if not isinstance(wanted, Spread):
            return wanted
        # 2.326 standard deviations lie between the median and the 99th percentile.
        sigma = math.log(max(wanted.p99 / wanted.median, 1.0)) / 2.326
        return wanted.median * math.exp(self.random.gauss(0.0, sigma))

    def is_revoked(self, credential: str) -> bool:
        revoked = self.plan.revoked
        return revoked if isinstance(revoked, bool) else credential in revoked


def spread(token: str) -> int:
    """A well-mixed 32-bit hash of a token, the same in every process (CRC-32 and Murmur's finaliser)."""
    value = zlib.crc32(token.encode())
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & _MASK
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & _MASK
    return value ^ (value >> 16)


def is_dead(token: str, share: float) -> bool:
    """Whether a plan with this `dead_share` holds the token dead."""
    return spread(token) < share * (_MASK + 1)


def _outage_answer(outage: Outage) -> Answer | Injection:
    if outage.mode == "stall":
        return ill_fated(STALL)
    if outage.mode == "reset":
        return ill_fated(RESET)
    return Injection(status=outage.status, retry_after=outage.retry_after)
