"""Steady traffic of every kind under mixed faults, for MINUTES (15): what the processes hold must not grow.

A sender and Redis are killed early on; afterwards the last third of the time is compared with the second.
"""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

import psutil
import pytest

from tests.chaos import books
from tests.chaos import product as products
from tests.chaos.killing import TARGETS
from tests.chaos.producer import Producer
from tests.chaos.product import Product, report

pytestmark = pytest.mark.soak

MINUTES = float(os.environ.get("MINUTES", "15"))
DEVICES = 5_000
NEWCOMERS_PER_SECOND = 2
CAMPAIGN_SECONDS, SAMPLE_SECONDS = 60.0, 5.0
KILLS = {"campaign sender": 0.15, "Redis": 0.25}  # at these shares of the time
SETTLE_SECONDS = 240.0
FAULTS = {
    "errors": [{"status": 503, "share": 0.02}],
    "dead_share": 0.002,
    "stall_share": 0.001,
    "goaway_every": 1_000,
    "latency": 0.05,
}
# How much more the mean of the last third may be than that of the second: a share, and a little more.
GROWTH = 1.1
SLACK = {"mib": 8, "files": 8, "connections": 4}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with products.running(tmp_path_factory.mktemp("soak"), DEVICES) as product:
        yield product


def test_what_the_processes_hold_does_not_grow(product: Product) -> None:
    product.set_faults(**FAULTS)
    over = threading.Event()
    newcomers = threading.Thread(target=_register, args=(product, over))
    newcomers.start()
    try:
        with Producer(product, per_second=20) as producer:
            campaigns, samples = _run(product)
    finally:
        over.set()
        newcomers.join()
    product.wait_until_done(SETTLE_SECONDS, hurrying=True)
    means = _thirds(samples)
    report(
        minutes=MINUTES,
        answers=producer.answers,
        campaigns=books.assert_campaigns(product, *campaigns),
        orders=books.assert_orders(product, producer.accepted),
        restarts=product.stack.restarts,
        second_and_last_third=means,
    )
    books.assert_sums(product)
    assert producer.faults == []
    grown = {
        name: (second, last)
        for name, (second, last) in means.items()
        if last > GROWTH * second + SLACK[name.rpartition("_")[2]]
    }
    assert not grown


def _run(product: Product) -> tuple[list[str], list[dict[str, float]]]:
    """Launch campaigns, kill and sample until the time is up."""
    began, seconds = time.monotonic(), MINUTES * 60
    campaigns: list[str] = []
    samples: list[dict[str, float]] = []
    kills = {name: share * seconds for name, share in KILLS.items()}
    while (elapsed := time.monotonic() - began) < seconds:
        if elapsed >= len(campaigns) * CAMPAIGN_SECONDS:
            campaigns.append(product.launch())
        for name in [name for name, at in kills.items() if elapsed >= at]:
            del kills[name]
            TARGETS[name].strike(product, random.Random(0))
            report(at=round(elapsed), killed=name)
        samples.append(_sample(product))
        report(at=round(elapsed), **samples[-1])
        time.sleep(max(0.0, SAMPLE_SECONDS - (time.monotonic() - began - elapsed)))
    return campaigns, samples


def _sample(product: Product) -> dict[str, float]:
    """Resident memory (MiB) and open files of each kind of process, its children included; connections."""
    sample: defaultdict[str, float] = defaultdict(float)
    for name, process in list(product.stack.processes.items()):
        for member in _family(process.pid):
            try:
                sample[f"{name}_mib"] += member.memory_info().rss / (1 << 20)
                sample[f"{name}_files"] += member.num_fds()
            except psutil.NoSuchProcess:
                continue
    sample["postgres_connections"] = product.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )[0][0]
    if product.is_redis_up():
        with product.redis() as client:
            sample["redis_connections"] = client.info("clients")["connected_clients"]
            sample["redis_mib"] = client.info("memory")["used_memory"] / (1 << 20)
    return {name: round(value, 1) for name, value in sample.items()}


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _thirds(samples: list[dict[str, float]]) -> Mapping[str, tuple[float, float]]:
    """The means over the second and over the last third of the time."""
    third = len(samples) // 3
    parts = samples[third : 2 * third], samples[2 * third :]
    names = set().union(*samples)

    def mean(name: str, part: list[dict[str, float]]) -> float:
        return round(statistics.fmean(sample[name] for sample in part if name in sample), 1)

    return {name: (mean(name, parts[0]), mean(name, parts[1])) for name in sorted(names)}


def _register(product: Product, over: threading.Event) -> None:
    number = products.BUYERS
    while not over.wait(1 / NEWCOMERS_PER_SECOND):
        products.register(product, f"newcomer-{number}", products.FIRST_BUYER + number)
        number += 1
