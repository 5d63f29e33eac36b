"""What a send costs: `python -m benchmarks.providers [apns fcm webpush] [--sends N] [--in-flight N]`.

One JSON line per provider: sends a second of wall time, and microseconds of CPU time per send, of this process
(Python and the HTTP client's threads) and of the simulator's. On few cores the two share them, so the CPU times
are the numbers to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import uvloop

from notifications.providers import registry
from notifications.providers.base import (
    Credential,
    Endpoints,
    Message,
    Outcome,
    Provider,
    Session,
    Target,
    Token,
)
from simulator import devices
from simulator.client import Simulation

NAMES = ("apns", "fcm", "webpush")
MESSAGE = Message(
    notification_id="01890a5d-ac96-774b-bcce-b302099a8057",
    title="Your order is on its way",
    body="It left our warehouse this morning and arrives on Thursday between nine and twelve.",
    url="https://example.com/orders/12",
    data={"order": "12"},
    expires_at=int(time.time()) + 3600,
    collapse_key="order-12",
)


class Tokens:
    """A TokenStore of one process."""

    def __init__(self) -> None:
        self.kept: dict[str, Token] = {}

    async def get(self, key, mint) -> Token:
        if key not in self.kept:
            self.kept[key] = await mint()
        return self.kept[key]

    async def drop(self, key: str, value: str) -> None:
        self.kept.pop(key, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("providers", nargs="*", default=NAMES)
    parser.add_argument("--sends", type=int, default=30_000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3, help="the best round is printed")
    arguments = parser.parse_args()
    with Simulation.start(None, "--decrypt-share", "0", "--no-arrivals") as simulation:
        for name in arguments.providers:
            tokens = Tokens()  # APNs counts new ones
            rounds = [
                uvloop.run(measure(name, simulation, tokens, arguments.sends, arguments.in_flight))
                for _ in range(arguments.rounds)
            ]
            print(json.dumps(min(rounds, key=lambda one: one["cpu_us_per_send"])), flush=True)


async def measure(
    name: str, simulation: Simulation, tokens: Tokens, sends: int, in_flight: int
) -> dict[str, object]:
    endpoints = Endpoints(
        apns_url=simulation.apns,
        apns_sandbox_url=simulation.apns_sandbox,
        fcm_url=simulation.fcm,
        ca_file=simulation.ca_file,
        webpush_allowed_hosts=(simulation.webpush.removeprefix("https://"),),
    )
    provider = registry.load(endpoints)[name]
    session = provider.open(credential(provider, simulation), tokens)
    everyone = list(targets(name, simulation, sends))
    await drive(session, provider, everyone[:500], in_flight)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    simulated = cpu_seconds(simulation.details["pid"])
    outcomes = await drive(session, provider, everyone, in_flight)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    simulated = cpu_seconds(simulation.details["pid"]) - simulated
    await session.close()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "benchmark": "providers",
        "provider": name,
        "sends": sends,
        "in_flight": in_flight,
        "accepted": outcomes[Outcome.ACCEPTED],
        "sends_per_s": round(sends / wall),
        "cpu_us_per_send": round(cpu / sends * 1e6, 1),
        "simulator_us_per_send": round(simulated / sends * 1e6, 1),
    }


async def drive(
    session: Session, provider: Provider, everyone: list[Target], in_flight: int
) -> Counter[Outcome]:
    rendered, outcomes, queue = provider.render(MESSAGE), Counter[Outcome](), iter(everyone)

    async def one_at_a_time() -> None:
        for target in queue:
            result = await session.send(rendered, target)
            outcomes[result.outcome] += 1

    await asyncio.gather(*[one_at_a_time() for _ in range(in_flight)])
    return outcomes


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def credential(provider: Provider, simulation: Simulation) -> Credential:
    known = dict(simulation.credentials.get(provider.name, {"subject": "mailto:push@example.com"}))
    file = known.pop("secret_file", "")
    public, secret = provider.check_credential(known, Path(file).read_text() if file else "")
    return Credential(1, provider.name, public, secret)


def targets(name: str, simulation: Simulation, count: int) -> Iterator[Target]:
    for index in range(count):
        if name == "apns":
            yield Target(index, devices.apns_token(index), "production")
        elif name == "fcm":
            yield Target(index, devices.fcm_token(index))
        else:
            one = devices.web_subscription(index, simulation.webpush)
            yield Target(index, one.endpoint, p256dh=one.p256dh, auth=one.auth)


if __name__ == "__main__":
    main()
