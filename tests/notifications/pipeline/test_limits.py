"""Rates hold for any number of senders, whatever happens to Redis; and nobody waits for the wrong reason."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import settings

from notifications.pipeline import limits
from notifications.pipeline.limits import Bucket, Limits, Request, Turn

NOWHERE = "redis://127.0.0.1:1/0"
BATCH = 150


@dataclass
class Clock:
    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key() -> Iterator[str]:
    """A bucket of this test alone."""
    key = f"test:{uuid.uuid4()}"
    yield key
    forget(key)


def forget(key: str) -> None:
    """What a flush does to the buckets whose keys begin so."""
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        for name in connection.scan_iter(f"carillon:limit:{key}*"):
            connection.delete(name)


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Limits]]:
    made = []

    def one(url: str = settings.REDIS_URL, senders: int = 1, **options: Any) -> Limits:
        made.append(Limits(url, lambda: senders, **options))
        return made[-1]

    yield one
    for one_made in made:
        await one_made.close()


@pytest.fixture(params=["redis", "local"])
def simulated(request: pytest.FixtureRequest, clock: Clock, make: Callable[..., Limits]) -> Limits:
    """By the clock of the test; the rules are the same in Redis and without it."""
    return make(settings.REDIS_URL if request.param == "redis" else NOWHERE, clock=clock)


@pytest.fixture
def real(make: Callable[..., Limits]) -> Limits:
    return make()


async def ask(of: Limits, *buckets: Bucket, size: int = BATCH, is_urgent: bool = False) -> Turn:
    (turn,) = await of.reserve([Request(size, buckets, is_urgent)])
    return turn


async def passed(of: Limits, clock: Clock, bucket: Bucket, seconds: float, size: int = BATCH) -> int:
    """What a greedy sender gets through in this time, coming back when it is told to."""
    total, end = 0, clock.now + seconds
    while clock.now < end:
        turn = await ask(of, bucket, size=size)
        total += 0 if turn.wait else size
        clock.now = min(clock.now + turn.wait, end)
    return total


# --- Rates --------------------------------------------------------------------------------------


async def test_without_limits_redis_is_not_asked(make: Callable[..., Limits]) -> None:
    away = make(NOWHERE)
    assert await away.reserve([Request(500), Request(1, is_urgent=True)]) == [limits.NOW, limits.NOW]
    assert away._away_until == 0


@pytest.mark.parametrize(
    ("rate", "size", "seconds"), [(1, 1, 300), (7, 150, 400), (1000, 150, 60), (700_000, 500, 2)]
)
async def test_a_shared_bucket_lets_its_rate_pass_and_a_burst(
    simulated: Limits, clock: Clock, key: str, rate: int, size: int, seconds: int
) -> None:
    total = await passed(simulated, clock, Bucket(key, rate), seconds, size)
    assert rate * seconds - size <= total <= rate * (seconds + limits.BURST_SECONDS) + size


@pytest.mark.parametrize(("rate", "size"), [(1, 150), (3, 1), (1000, 150), (999_983, 7)])
async def test_slots_follow_each_other_at_the_rate_however_far_ahead(
    simulated: Limits, key: str, rate: int, size: int
) -> None:
    throttle = Bucket(key, rate, gives_slots=True)
    turns = await simulated.reserve([Request(size, (throttle,))] * 4000)
    for number, turn in enumerate(turns):
        slot = number * size / rate
        assert turn.wait == pytest.approx(slot if slot > limits.AHEAD_SECONDS else 0, abs=2e-6)
        assert turn.is_slot == (turn.wait > 0)


async def test_a_batch_larger_than_the_rate_passes_and_is_paid_for(
    simulated: Limits, clock: Clock, key: str
) -> None:
    bucket = Bucket(key, 2)
    assert await ask(simulated, bucket) == limits.NOW
    assert (await ask(simulated, bucket)).wait == limits.REFUSED_SECONDS
    clock.now += BATCH / 2 - 1.1
    assert (await ask(simulated, bucket)).wait == pytest.approx(0.6, abs=1e-3)
    clock.now += 0.6
    assert await ask(simulated, bucket) == limits.NOW


async def test_a_refused_batch_is_not_charged(simulated: Limits, clock: Clock, key: str) -> None:
    narrow, wide = Bucket(f"{key}:narrow", 10), Bucket(f"{key}:wide", 1000)
    assert await ask(simulated, narrow, wide) == limits.NOW
    for _ in range(100):
        refused = await ask(simulated, narrow, wide)
        assert refused.wait and not refused.is_slot
    # Had the wide one been charged, it would be full.
    assert await ask(simulated, wide, size=800) == limits.NOW
    assert (await ask(simulated, wide)).wait == pytest.approx(0.95 - 0.5, abs=0.51)


async def test_the_tightest_of_several_buckets_decides(simulated: Limits, clock: Clock, key: str) -> None:
    buckets = [Bucket(f"{key}:{rate}", rate) for rate in (5000, 200, 1000)]
    total, end = 0, clock.now + 60
    while clock.now < end:
        turn = await ask(simulated, *buckets)
        total += 0 if turn.wait else BATCH
        clock.now += turn.wait
    assert 200 * 60 - BATCH <= total <= 200 * 61 + BATCH


async def test_a_throttled_batch_takes_nothing_of_what_is_shared_before_its_slot(
    simulated: Limits, key: str
) -> None:
    throttle, shared = Bucket(f"{key}:throttle", 10, gives_slots=True), Bucket(f"{key}:shared", 1000)
    turns = await simulated.reserve([Request(BATCH, (throttle, shared))] * 50)
    assert turns[0] == limits.NOW
    assert all(turn.is_slot for turn in turns[1:])
    assert await ask(simulated, shared, size=800) == limits.NOW  # 150 of 1000 are used


async def test_transactional_messages_never_wait_behind_a_campaign(
    simulated: Limits, clock: Clock, key: str
) -> None:
    bucket, urgent, bulk = Bucket(key, 100), 0, 0
    start = clock.now
    while clock.now < start + 120:
        turn = await ask(simulated, bucket)
        bulk += 0 if turn.wait else BATCH
        if urgent < 20 * (clock.now - start):
            assert await ask(simulated, bucket, size=1, is_urgent=True) == limits.NOW
            urgent += 1
        clock.now += 0.05
    assert urgent >= 20 * 119
    # They share the rate: what they take, the campaign leaves.
    assert 100 * 119 - BATCH <= bulk + urgent <= 100 * 122 + BATCH


async def test_transactional_messages_alone_keep_to_the_rate(
    simulated: Limits, clock: Clock, key: str
) -> None:
    answers = [await ask(simulated, Bucket(key, 50), size=1, is_urgent=True) for _ in range(60)]
    assert [turn.wait > 0 for turn in answers] == [False] * 50 + [True] * 10


async def test_redis_and_the_fallback_decide_alike(
    clock: Clock, key: str, make: Callable[..., Limits]
) -> None:
    chance = random.Random(7)
    pair = [make(url, clock=clock) for url in (settings.REDIS_URL, NOWHERE)]
    buckets = [
        Bucket(f"{key}:{number}", chance.choice((1, 30, 900, 5000)), number % 3 == 0, number % 3 == 1)
        for number in range(9)
    ]
    for _ in range(600):
        requests = [
            Request(
                chance.randint(1, 500),
                tuple(chance.sample(buckets, chance.randint(0, 3))),
                chance.random() < 0.3,
            )
            for _ in range(chance.randint(1, 4))
        ]
        shared, local = [await one.reserve(requests) for one in pair]
        assert [turn.is_slot for turn in shared] == [turn.is_slot for turn in local]
        assert [turn.wait for turn in shared] == pytest.approx([turn.wait for turn in local], abs=3e-6)
        clock.now += chance.choice((0, 0.01, 0.4, 3, -2))


# --- Many senders -------------------------------------------------------------------------------


def _greedy(url: str, key: str, rate: int, until: float) -> int:
    async def run() -> int:
        mine, total = Limits(url, lambda: 1), 0
        while time.time() < until:
            turn = await ask(mine, Bucket(key, rate))
            total += 0 if turn.wait else BATCH
            if turn.wait:
                await asyncio.sleep(min(turn.wait, max(0, until - time.time())))
        await mine.close()
        return total

    return asyncio.run(run())


def test_four_processes_share_one_rate(key: str) -> None:
    rate, seconds = 20_000, 2.0
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        list(
            processes.map(_greedy, *zip(*[(settings.REDIS_URL, key, rate, 0.0)] * 4, strict=True))
        )  # started
        start = time.time()
        work = [processes.submit(_greedy, settings.REDIS_URL, key, rate, start + seconds) for _ in range(4)]
        total = sum(one.result() for one in work)
        spent = time.time() - start
    assert rate * seconds * 0.9 <= total <= rate * (spent + limits.BURST_SECONDS) + BATCH


# --- Slow start ---------------------------------------------------------------------------------


async def test_a_slow_start_rises_from_a_tenth_to_the_maximum_in_a_minute(
    simulated: Limits, clock: Clock, key: str
) -> None:
    bucket = Bucket(key, 10_000, slow_start=True)
    by_ten_seconds = [await passed(simulated, clock, bucket, 10) for _ in range(8)]
    linear = [10_000 * 10 * min(1, 0.1 + 0.9 * (ten * 10 + 5) / 60) for ten in range(6)] + [100_000] * 2
    linear[0] += 1000  # a burst, at the rate of its beginning
    assert by_ten_seconds == pytest.approx(linear, rel=0.05)


async def test_after_a_minute_without_traffic_it_starts_anew(
    simulated: Limits, clock: Clock, key: str
) -> None:
    bucket = Bucket(key, 10_000, slow_start=True)
    await passed(simulated, clock, bucket, 70)
    clock.now += 5
    assert await passed(simulated, clock, bucket, 5) == pytest.approx(50_000, rel=0.25)
    clock.now += 61
    assert await passed(simulated, clock, bucket, 5) == pytest.approx(5 * 1340 + 1000, rel=0.15)


async def test_a_trickle_does_not_keep_the_way_open_for_a_flood(
    simulated: Limits, clock: Clock, key: str
) -> None:
    bucket = Bucket(key, 10_000, slow_start=True)
    for _ in range(3000):
        assert await ask(simulated, bucket, size=1, is_urgent=True) == limits.NOW
        clock.now += 0.05
    assert await passed(simulated, clock, bucket, 5) == pytest.approx(5 * 1340 + 1000, rel=0.15)


async def test_steady_traffic_keeps_its_pace(simulated: Limits, clock: Clock, key: str) -> None:
    bucket = Bucket(key, 10_000, slow_start=True)
    waits = []
    for _ in range(2400):  # 3 000 a second for 120 seconds
        waits.append((await ask(simulated, bucket)).wait)
        clock.now += 0.05
    assert not any(waits[800:])


async def test_a_quota_stop_begins_the_slow_start_anew(simulated: Limits, clock: Clock, key: str) -> None:
    bucket = Bucket(key, 10_000, slow_start=True)
    await passed(simulated, clock, bucket, 70)
    await simulated.slow_down(key)
    clock.now += 2
    assert await passed(simulated, clock, bucket, 5) == pytest.approx(5 * 1340 + 1000, rel=0.15)


# --- Trouble ------------------------------------------------------------------------------------


async def test_without_redis_each_process_takes_its_share(
    clock: Clock, key: str, make: Callable[..., Limits]
) -> None:
    fleet = [make(NOWHERE, senders=4, clock=clock) for _ in range(4)]
    start, total = clock.now, 0
    for one in fleet:
        clock.now = start
        total += await passed(one, clock, Bucket(key, 1000), 60)
    assert 1000 * 60 - 4 * BATCH <= total <= 1000 * 61 + 4 * BATCH


async def test_a_redis_that_does_not_answer_costs_one_timeout_and_is_tried_again_later(
    key: str, make: Callable[..., Limits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AWAY_SECONDS", 0.3)
    asked = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hanging = make(f"redis://127.0.0.1:{port}/0")
    took = []
    for pause in (0, 0, 0.35):
        await asyncio.sleep(pause)
        start = time.monotonic()
        assert await ask(hanging, Bucket(key, 100_000)) == limits.NOW
        took.append(time.monotonic() - start)
    await hanging.close()
    server.close()
    assert took[0] == pytest.approx(limits.TIMEOUT_SECONDS, abs=0.2)
    assert took[1] < 0.05
    assert asked == 2


async def test_redis_is_used_again_once_it_is_back(
    real: Limits, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(key, 10)
    assert await ask(real, bucket) == limits.NOW
    real._away_until = time.monotonic() + 0.2
    assert await ask(real, bucket) == limits.NOW  # its own share
    await asyncio.sleep(0.25)
    assert (await ask(real, bucket)).wait > 0


async def test_a_flushed_redis_starts_with_a_burst_and_no_more(real: Limits, key: str) -> None:
    bucket = Bucket(key, 20)

    async def at_once() -> int:
        turns = await real.reserve([Request(10, (bucket,))] * 50)
        return sum(10 for turn in turns if not turn.wait)

    assert await at_once() == 20
    assert await at_once() <= 10  # a moment has passed
    forget(key)
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        connection.script_flush()
    assert await at_once() == 20


async def test_a_connection_that_was_cut_costs_no_error(real: Limits, key: str) -> None:
    bucket = Bucket(key, 1000)
    await ask(real, bucket)
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        mine = await real._redis.client_id()
        connection.client_kill_filter(_id=mine)
    assert [(await ask(real, bucket)).wait for _ in range(3)] == [0, 0, 0]


async def test_buckets_leave_redis_when_they_have_drained(real: Limits, key: str) -> None:
    await ask(real, Bucket(key, 10))
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        assert 70_000 < connection.pttl(f"carillon:limit:{key}") <= 75_000


async def test_a_slow_start_can_be_asked_of_any_key_at_any_time(
    real: Limits, key: str, make: Callable[..., Limits]
) -> None:
    await real.slow_down(key)
    assert await ask(real, Bucket(key, 10_000, slow_start=True)) == limits.NOW
    await make(NOWHERE).slow_down(key)


# --- What a batch has to ask for ----------------------------------------------------------------

NOTIFICATION = uuid.UUID(int=7)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def request_of(**changes: Any) -> Request:
    given: dict[str, Any] = {
        "size": BATCH,
        "is_transactional": False,
        "application_id": 1,
        "application_per_second": None,
        "provider": "apns",
        "credentials": [(5, None)],
        "notification_id": NOTIFICATION,
        "throttle_per_second": None,
        "slot_at": None,
        "now": AT,
    }
    return limits.of(**{**given, **changes})


def test_most_batches_have_nothing_to_ask() -> None:
    for provider in ("apns", "webpush", "console", "memory"):
        assert request_of(provider=provider).buckets == ()
    assert request_of(application_per_second=0, throttle_per_second=0).buckets == ()


def test_google_has_a_limit_of_its_own_and_a_slow_start() -> None:
    buckets = [request_of(provider="fcm", credentials=[(5, own)]).buckets for own in (None, 50_000, 1000)]
    assert buckets == [
        (Bucket("credential:5", 9600, slow_start=True),),
        (Bucket("credential:5", 50_000, slow_start=True),),
        (Bucket("credential:5", 1000),),
    ]
    # The worst minute: two bursts (campaigns, transactional) and a full minute, below Google's 600 000.
    assert (60 + 2 * limits.BURST_SECONDS) * 9600 + 2 * 500 < 600_000


def test_each_limit_that_is_set_has_its_bucket() -> None:
    request = request_of(
        application_per_second=300,
        credentials=[(5, 100), (6, None), (7, 200)],
        throttle_per_second=50,
        is_transactional=True,
    )
    assert (request.size, request.is_urgent) == (BATCH, True)
    assert request.buckets == (
        Bucket(f"notification:{NOTIFICATION}", 50, gives_slots=True),
        Bucket("application:1", 300),
        Bucket("credential:5", 100),
        Bucket("credential:7", 200),
    )


@pytest.mark.parametrize(("late", "asks"), [(-0.2, False), (4.9, False), (5.1, True), (3600, True)])
def test_a_slot_is_good_for_a_few_seconds(late: float, asks: bool) -> None:
    request = request_of(
        throttle_per_second=50, application_per_second=9, slot_at=AT - timedelta(seconds=late)
    )
    assert any(bucket.gives_slots for bucket in request.buckets) == asks
    assert any(bucket.key == "application:1" for bucket in request.buckets)
