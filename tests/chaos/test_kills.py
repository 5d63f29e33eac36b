"""`kill -9` of every process in the middle of a campaign with one-off messages beside it: nothing is lost, nothing
comes twice unless the ledger says so, and every recipient ends in one outcome.

CHAOS_SEED repeats a run's moments.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil
import pytest

from tests.chaos import books
from tests.chaos import product as products
from tests.chaos.killing import CHILDREN, TARGETS
from tests.chaos.producer import Producer
from tests.chaos.product import Product, report

pytestmark = pytest.mark.chaos

SENDER_BUDGET = 500
SENDERS_IN_CAMPAIGN = CHILDREN["campaign"]
UP_SECONDS = 60.0
# A dead sender's lease (60 s), the reaper's tick, and the second attempt.
SETTLE_SECONDS = 240.0
EACH_FIVE_TIMES = {
    "web": ("web server", "web worker"),
    "campaign": ("campaign worker", "campaign sender"),
    "transactional": ("transactional worker", "transactional sender"),
    "background": ("background worker", "background process"),
    "clock": ("clock",),
    "redis": ("Redis", "what Redis holds"),
    "postgres": ("PostgreSQL",),
}


@dataclass
class Killed:
    moments: list[str]
    senders: int = 0


@pytest.fixture(scope="module")
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with products.running(tmp_path_factory.mktemp("kills"), request.param) as product:
        yield product


@pytest.fixture(autouse=True)
def quiet(product: Product) -> Iterator[None]:
    """What a failed test leaves does not reach the next."""
    yield
    product.set_faults()
    product.wait_until_done(SETTLE_SECONDS)


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("CHAOS_SEED") or time.time())
    report(chaos_seed=seed)
    return random.Random(seed)


@pytest.mark.parametrize("product", [100_000], indirect=True)
@pytest.mark.parametrize("targets", EACH_FIVE_TIMES.values(), ids=EACH_FIVE_TIMES.keys())
def test_five_kills_lose_and_double_nothing(
    product: Product, targets: Sequence[str], chance: random.Random
) -> None:
    _survives(product, [*targets] * 5, chance, campaign_seconds=18.0 * len(targets) + 25)


@pytest.mark.short
@pytest.mark.parametrize("product", [15_000], indirect=True)
def test_one_kill_of_each_loses_and_doubles_nothing(product: Product, chance: random.Random) -> None:
    _survives(product, list(TARGETS), chance, campaign_seconds=40)


def _survives(
    product: Product, targets: list[str], chance: random.Random, *, campaign_seconds: float
) -> None:
    restarts, orphans = product.stack.restarts.copy(), set(product.stack.orphans())
    product.simulation.reset()
    product.set_faults(latency=campaign_seconds * SENDER_BUDGET * SENDERS_IN_CAMPAIGN / product.devices)
    chance.shuffle(targets)
    with Producer(product) as producer:
        began = time.monotonic()
        id = product.launch()
        killed = _kill(product, id, targets, chance)
    settled = product.wait_until_done(SETTLE_SECONDS)
    orders = books.assert_orders(product, producer.accepted)
    campaign = books.assert_campaigns(product, id)
    orphans = set(product.stack.orphans()) - orphans
    report(
        killed=killed.moments,
        seconds=round(time.monotonic() - began),
        after_last_kill=round(settled),
        campaign=campaign,
        orders=orders,
        answers=producer.answers,
        restarts=product.stack.restarts - restarts,
        orphans=sorted(orphans),
    )
    assert producer.faults == []
    books.assert_sums(product)
    uncertain = campaign["uncertain sender_died"]
    assert set(campaign) <= {"accepted", "suppressed not_opted_in", "uncertain sender_died"}
    assert uncertain + orders["resent"] <= SENDER_BUDGET * killed.senders
    assert not orphans


def _kill(product: Product, id: str, targets: Sequence[str], chance: random.Random) -> Killed:
    """Each target once, at moments spread over the campaign's course as the simulator sees it."""
    killed = Killed([])
    began = time.monotonic()
    for name, share in zip(targets, sorted(chance.uniform(0, 0.85) for _ in targets), strict=True):
        while (arrived := product.arrived(id)) < share * product.devices:
            time.sleep(0.05)
            assert time.monotonic() - began < SETTLE_SECONDS, (
                f"stuck at {arrived} before {name} was killed; {killed.moments}"
            )
        killed.senders += _strike(product, name, chance)
        killed.moments.append(f"{time.monotonic() - began:.1f} s: {name} after {product.arrived(id)}")
    assert product.arrived(id) < product.devices * 0.95, f"the campaign was over too soon: {killed.moments}"
    return killed


def _strike(product: Product, name: str, chance: random.Random) -> int:
    """Again, if it ended of itself between the look and the blow: a parent may give up on children that die."""
    while True:
        _wait_until_up(product, name)
        with contextlib.suppress(IndexError, ProcessLookupError, psutil.NoSuchProcess):
            return TARGETS[name].strike(product, chance)


def _wait_until_up(product: Product, name: str) -> None:
    deadline = time.monotonic() + UP_SECONDS
    while not TARGETS[name].is_up(product):
        assert time.monotonic() < deadline, f"{name} does not come back"
        time.sleep(0.05)
