"""Rate limits: token buckets in Redis, asked between claim and send, all batches of a claim in one call.

A bucket is a "leaky bucket as a meter" (GCRA: ITU-T I.371): its level rises by what passes and drains
at its rate; a batch is never split and passes while the level is below the burst, so that over any time t no
more than rate × t + burst + one batch goes out.

Two kinds, because of what waits in them:
- A notification's throttle is its own, so it gives out slots, however far ahead: a batch is put back once.
- Credentials and applications are shared. Slots there would let a large campaign take the next hours, from
  transactional messages (law 8), from smaller campaigns, and even after it was cancelled. So a full bucket
  refuses, charges nothing and says when there is room again; whose turn it is then, the claim decides by
  `turn_at`. Transactional batches wait for transactional ones only.

Slow start (Firebase, "Best practices when sending FCM messages at scale": from zero to the maximum over at least
60 seconds): the rate follows the use. It rises by 90 % of the maximum per busy minute and falls as fast
while idle, between 10 % and the maximum. A trickle thus does not keep the way open for a flood.

Redis away: each sender process takes its share of the rate, by the same rules in its own memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

BURST_SECONDS = 1.0  # of its rate: what a shared bucket holds
# Refused batches come back when half of that has drained: it does not run empty, and nobody asks in vain too often.
RETURN_SECONDS = BURST_SECONDS / 2
AHEAD_SECONDS = 0.25  # a slot that near is now: not worth putting a batch back for
REFUSED_SECONDS = 5.0  # at most, so that a raised limit is noticed
SLOT_GOOD_SECONDS = 5.0  # after that it is asked for anew, so that a pause does not end in a burst
FLOOR, RAMP_SECONDS = 0.1, 60.0  # of slow start

TIMEOUT_SECONDS = 0.5
AWAY_SECONDS = 3.0  # then Redis is tried again
REMEMBERED = 1000  # local buckets

# Firebase, "Throttling and quotas": 600 000 messages per minute and project. Its worst minute is 62 × 9 600: with
# a burst, and the same again by transactional messages.
PER_SECOND = {"fcm": 9_600}
SLOW_START_ABOVE = {"fcm": 1_000}  # what is slower anyway needs none


class Bucket(NamedTuple):
    """gives_slots: it belongs to one notification alone."""

    key: str
    per_second: float
    slow_start: bool = False
    gives_slots: bool = False


class Request(NamedTuple):
    """A batch of `size` recipients and the buckets it has to pass; most pass none. is_urgent: transactional."""

    size: int
    buckets: tuple[Bucket, ...] = ()
    is_urgent: bool = False


class Turn(NamedTuple):
    """When a batch may go: `wait` seconds from now, 0 = now.

    is_slot: that moment is the batch's own, keep it in `slot_at`. Otherwise it was refused: it has to ask again then,
    and before then nothing of its application on this lane would fare better.
    """

    wait: float
    is_slot: bool = False


NOW = Turn(0.0)


def _refused(seconds: float) -> Turn:
    return Turn(min(seconds, REFUSED_SECONDS)) if seconds else NOW


def of(
    *,
    size: int,
    is_transactional: bool,
    application_id: int,
    application_per_second: int | None,
    provider: str,
    credentials: Iterable[tuple[int, int | None]],
    notification_id: UUID,
    throttle_per_second: int | None,
    slot_at: datetime | None,
    now: datetime,
) -> Request:
    """What a claimed batch has to ask for.

    credentials: id and messages_per_second of the application's credentials with the provider. Which of several a
    recipient needs is known only once it is loaded, so each is charged.
    """
    buckets = []
    if throttle_per_second and not (slot_at and (now - slot_at).total_seconds() <= SLOT_GOOD_SECONDS):
        buckets.append(Bucket(f"notification:{notification_id}", throttle_per_second, gives_slots=True))
    if application_per_second:
        buckets.append(Bucket(f"application:{application_id}", application_per_second))
    for id, own in credentials:
        if per_second := own or PER_SECOND.get(provider):
            is_slow = per_second > SLOW_START_ABOVE.get(provider, per_second)
            buckets.append(Bucket(credential_key(id), per_second, slow_start=is_slow))
    return Request(size, tuple(buckets), is_transactional)


def credential_key(id: int) -> str:
    return f"credential:{id}"


class Limits:
    """The limits as one sender process sees them, on its loop.

    senders: how many sender processes share the rates while Redis is away. clock: seconds, for tests; without
    it Redis's own time counts, so that the clocks of hosts do not matter.
    """

    def __init__(
        self, redis_url: str, senders: Callable[[], int], *, clock: Callable[[], float] | None = None
    ) -> None:
        self._redis = redis.Redis.from_url(
            redis_url,
            single_connection_client=True,  # a third less work per call than through the pool
            socket_connect_timeout=TIMEOUT_SECONDS,
            socket_timeout=None,  # one timeout, around the call
            retry=Retry(NoBackoff(), 0),
        )
        self._script = self._redis.register_script(SCRIPT)
        self._senders, self._clock = senders, clock
        self._levels: dict[str, Level] = {}
        self._away_until = 0.0

    async def reserve(self, requests: Sequence[Request]) -> list[Turn]:
        """One turn per request, in their order; what is to go now is charged. Never raises."""
        asking = [request for request in requests if request.buckets]
        if not asking:
            return [NOW] * len(requests)
        turns = iter(await self._shared(asking) or self._local(asking))
        return [next(turns) if request.buckets else NOW for request in requests]

    async def slow_down(self, key: str) -> None:
        """Begin the slow start of this bucket anew: the provider has refused for its quota. Never raises."""
        self._levels.pop(key, None)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._redis.setrange(_name(key), *EMPTIED)
        except (RedisError, OSError) as error:
            self._lost(error)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _shared(self, requests: Sequence[Request]) -> list[Turn] | None:
        """By Redis, for all senders together; None while it is away."""
        if time.monotonic() < self._away_until:
            return None
        buckets = {bucket.key: bucket for request in requests for bucket in request.buckets}
        number = {key: index for index, key in enumerate(buckets, 1)}
        asked = (
            self._clock() if self._clock else 0,
            [(bucket.per_second, bucket.slow_start, bucket.gives_slots) for bucket in buckets.values()],
            [(size, urgent, [number[bucket.key] for bucket in passed]) for size, passed, urgent in requests],
        )
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                waits = await self._script(list(map(_name, buckets)), [_encode(asked)])
        except (RedisError, OSError) as error:
            self._lost(error)
            return None
        return [Turn(wait / 1e6, is_slot=True) if wait > 0 else _refused(-wait / 1e6) for wait in waits]

    def _lost(self, error: Exception) -> None:
        self._away_until = time.monotonic() + AWAY_SECONDS
        log.warning("limits_local", action="limits.away", error=type(error).__name__)

    def _local(self, requests: Sequence[Request]) -> list[Turn]:
        """By this process's share of each rate. What it held of them is forgotten when it has drained."""
        now = self._clock() if self._clock else time.monotonic()
        share = 1 / max(1, self._senders())
        if len(self._levels) > REMEMBERED:
            self._levels = {key: level for key, level in self._levels.items() if level.drained_at > now}
        return [self._turn(request, now, share) for request in requests]

    def _turn(self, request: Request, now: float, share: float) -> Turn:
        """SCRIPT for one request, in Python."""
        levels = [
            (bucket, self._levels.get(bucket.key, EMPTY).drained(bucket, now, share))
            for bucket in request.buckets
        ]
        giving = [(bucket, level) for bucket, level in levels if bucket.gives_slots]
        slot = max((level.seconds(False) for _, level in giving), default=0.0)
        full = max(
            (level.seconds(request.is_urgent) for b, level in levels if not b.gives_slots), default=0.0
        )
        is_slot = slot > AHEAD_SECONDS
        if not is_slot and full >= BURST_SECONDS:
            return _refused(full - RETURN_SECONDS)
        for bucket, level in giving if is_slot else levels:
            self._levels[bucket.key] = level.with_more(request.size, request.is_urgent)
        return Turn(slot, is_slot=True) if is_slot else NOW


class Level(NamedTuple):
    """What a bucket holds. urgent: what of it is transactional. ramp: 0 at the floor, 1 at the maximum."""

    at: float = 0.0
    total: float = 0.0
    urgent: float = 0.0
    ramp: float = 0.0
    speed: float = 1.0

    def drained(self, bucket: Bucket, now: float, share: float) -> Level:
        elapsed = max(0.0, now - self.at)
        speed = _speed(bucket, self.ramp) * share
        busy = min(self.total / speed, elapsed)
        ramp = min(1.0, max(0.0, self.ramp + (2 * busy - elapsed) / RAMP_SECONDS))
        total, urgent = (max(0.0, held - speed * elapsed) for held in (self.total, self.urgent))
        return Level(now, total, urgent, ramp, _speed(bucket, ramp) * share)

    def seconds(self, is_urgent: bool) -> float:
        """Until it is empty, for whom it matters."""
        return (self.urgent if is_urgent else self.total) / self.speed

    def with_more(self, size: int, is_urgent: bool) -> Level:
        return self._replace(total=self.total + size, urgent=self.urgent + size * is_urgent)

    @property
    def drained_at(self) -> float:
        return self.at + self.total / self.speed + RAMP_SECONDS


EMPTY = Level()


def _speed(bucket: Bucket, ramp: float) -> float:
    return bucket.per_second * (FLOOR + (1 - FLOOR) * ramp if bucket.slow_start else 1)


# A bucket in Redis: the four doubles at, total, urgent, ramp. Without the last three it is empty and slow.
EMPTIED = 8, bytes(24)

# KEYS: the buckets. ARGV[1], MessagePack: the time (0: the server's); per bucket rate, slow start, gives slots; per
# request size, urgent, the numbers of its buckets. Answers microseconds per request: 0 now, below 0 refused.
SCRIPT = f"""
local now, buckets, requests = unpack(cmsgpack.unpack(ARGV[1]))
if now == 0 then
    local clock = redis.call('TIME')
    now = clock[1] + clock[2] / 1e6
end

local function speed(b)
    return b.slow_start and b.rate * ({FLOOR} + {1 - FLOOR} * b.ramp) or b.rate
end

for i, key in ipairs(KEYS) do
    local b = {{total = 0, urgent = 0, ramp = 0}}
    b.rate, b.slow_start, b.gives_slots = unpack(buckets[i])
    local kept = redis.call('GET', key)
    if kept and #kept == 32 then
        local at
        at, b.total, b.urgent, b.ramp = struct.unpack('dddd', kept)
        local elapsed, drained = math.max(0, now - at), speed(b)
        local busy = math.min(b.total / drained, elapsed)
        b.ramp = math.min(1, math.max(0, b.ramp + (2 * busy - elapsed) / {RAMP_SECONDS}))
        b.total = math.max(0, b.total - drained * elapsed)
        b.urgent = math.max(0, b.urgent - drained * elapsed)
    end
    b.speed = speed(b)
    buckets[i] = b
end

local waits = {{}}
for i, request in ipairs(requests) do
    local size, is_urgent, passed = unpack(request)
    local slot, full = 0, 0
    for _, number in ipairs(passed) do
        local b = buckets[number]
        if b.gives_slots then
            slot = math.max(slot, b.total / b.speed)
        else
            full = math.max(full, (is_urgent and b.urgent or b.total) / b.speed)
        end
    end
    local is_slot = slot > {AHEAD_SECONDS}
    local is_refused = not is_slot and full >= {BURST_SECONDS}
    for _, number in ipairs(passed) do
        local b = buckets[number]
        if not is_refused and (b.gives_slots or not is_slot) then
            b.total = b.total + size
            b.urgent = b.urgent + (is_urgent and size or 0)
            b.is_charged = true
        end
    end
    waits[i] = is_slot and math.ceil(slot * 1e6) or is_refused and -math.ceil((full - {RETURN_SECONDS}) * 1e6) or 0
end

for i, key in ipairs(KEYS) do
    local b = buckets[i]
    if b.is_charged then
        local kept = struct.pack('dddd', now, b.total, b.urgent, b.ramp)
        redis.call('SET', key, kept, 'PX', math.ceil((b.total / b.speed + {RAMP_SECONDS}) * 1000))
    end
end
return waits
"""

_encode = msgspec.msgpack.Encoder().encode


def _name(key: str) -> str:
    return f"carillon:limit:{key}"
