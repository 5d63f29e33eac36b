"""The whole product under supervision with one application and its audience, seen from outside."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis

from config import embedded
from simulator import devices as virtual
from simulator import stack as stacks
from simulator.client import Simulation
from simulator.stack import Stack

PROVIDERS = ("apns", "fcm", "webpush")
BOOK_OF_PLATFORM = {"ios": "apns", "android": "fcm", "web": "webpush"}
AUDIENCE = "simulated-"  # their installation ids, followed by their number
BUYERS = 200
FIRST_BUYER = 1 << 20  # their devices' numbers; those of the audience stay below
CAMPAIGN = {
    "to": {"all": True},
    "category": "marketing",
    "content": {"title": "Autumn sale", "body": "Up to 40 % off until Sunday."},
}


@dataclass
class Product:
    """`buyers` get one-off messages only: they never opted in to marketing, as a campaign must respect."""

    stack: Stack
    services: embedded.Services
    application: str
    application_id: int
    key: str
    devices: int

    @property
    def simulation(self) -> Simulation:
        return self.stack.simulation

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return stacks.request(method, f"{self.stack.url}{path}", body, key=self.key)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """On a connection of its own: the database is killed now and then. Waits until it is back."""
        while True:
            try:
                with psycopg.connect(self.services.database_url) as database:
                    return database.execute(query, parameters).fetchall()
            except psycopg.OperationalError:
                if not _comes_back(self.is_database_up):
                    raise

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.services.redis_url, socket_timeout=5)

    def is_database_up(self) -> bool:
        try:
            psycopg.connect(self.services.database_url).close()
        except psycopg.OperationalError:
            return False
        return True

    def is_redis_up(self) -> bool:
        try:
            with self.redis() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def is_web_up(self) -> bool:
        try:
            return self.call("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def set_faults(self, **plan: Any) -> None:
        """The same plan for every provider; none: no faults."""
        for provider in PROVIDERS:
            self.simulation.set_faults(provider, **plan)

    def launch(self, **more: Any) -> str:
        status, answer = self.call("POST", "/v1/notifications", {**CAMPAIGN, **more})
        assert status == 202, answer
        return str(answer["id"])

    def arrived(self, id: str) -> int:
        """How many messages of a notification the simulator has taken."""
        return sum(self.simulation.arrivals(book, notification=id)["accepted"] for book in PROVIDERS)

    def hurry(self) -> None:
        """Let every waiting retry fall due: nobody sits out Apple's quarter of an hour."""
        self.rows(
            "UPDATE notifications_batch SET due_at = now() WHERE status = 'waiting' AND due_at > now() RETURNING id"
        )

    def revive(self) -> None:
        """Give every device its address back."""
        self.rows(
            "UPDATE devices_device SET retired_at = NULL, retired_reason = ''"
            " WHERE application_id = %s AND retired_at IS NOT NULL RETURNING id",
            self.application_id,
        )

    def unfinished(self, *ids: str) -> list[tuple[Any, ...]]:
        """Of these notifications; of all, if none is named."""
        return self.rows(
            "SELECT id::text, status FROM notifications_notification WHERE application_id = %s"
            " AND status NOT IN ('done', 'cancelled') AND (%s::uuid[] = '{}' OR id = ANY (%s::uuid[]))",
            self.application_id,
            list(ids),
            list(ids),
        )

    def wait_until_done(self, seconds: float, *ids: str, hurrying: bool = False) -> float:
        """Until none of these notifications (of all, if none is named) is open; how long that took."""
        began = time.monotonic()
        while unfinished := self.unfinished(*ids):
            assert time.monotonic() - began < seconds, f"after {seconds:.0f} s: {self._open(unfinished)}"
            if hurrying:
                self.hurry()
            time.sleep(0.5)
        return time.monotonic() - began

    def _open(self, unfinished: list[tuple[Any, ...]]) -> str:
        batches = self.rows(
            "SELECT lane, status, attempt, count(*), sum(cardinality(device_ids)), min(due_at), min(lease_until)"
            " FROM notifications_batch WHERE application_id = %s GROUP BY 1, 2, 3",
            self.application_id,
        )
        return f"{len(unfinished)} open, as {unfinished[:3]}; batches: {batches}"


@contextlib.contextmanager
def running(folder: Path, devices: int) -> Iterator[Product]:
    with stacks.running(folder) as stack:
        services = embedded.ensure(folder)
        try:
            made = stack.create_application("Shop", devices=devices)
            with psycopg.connect(services.database_url) as database:
                row = database.execute(
                    "SELECT id FROM tenants_application WHERE slug = %s", [made["application"]]
                ).fetchone()
            assert row
            product = Product(stack, services, made["application"], row[0], made["server_key"], devices)
            for number in range(BUYERS):
                register(product, f"buyer-{number}", FIRST_BUYER + number)
            stack.supervise()
            yield product
        finally:
            embedded.release(folder)


def register(product: Product, subscriber: str, index: int) -> None:
    """A device over REST, on one of the three platforms by turns."""
    body: dict[str, Any] = {"subscriber": subscriber, "installation_id": subscriber}
    match index % 3:
        case 0:
            body |= {"platform": "ios", "token": virtual.apns_token(index), "environment": "production"}
        case 1:
            body |= {"platform": "android", "token": virtual.fcm_token(index)}
        case _:
            web = virtual.web_subscription(index, product.simulation.webpush)
            keys = {"p256dh": web.p256dh, "auth": web.auth}
            body |= {"platform": "web", "token": web.endpoint, "keys": keys}
    status, answer = product.call("PUT", "/v1/devices", body)
    assert status in (200, 201), answer


def _comes_back(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def report(**figures: Any) -> None:
    print(json.dumps(figures, default=str), flush=True)
