"""The real thing: web server, workers, clock, PostgreSQL, Redis and the simulator as processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config import embedded
from simulator.stack import Stack, request, running

DEVICES = 3_000


@dataclass
class Product:
    """A running stack with one application, seen from outside: REST, and the database to look into."""

    stack: Stack
    application: str
    server_key: str
    client_key: str
    database: psycopg.Connection[Any]

    def call(
        self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str
    ) -> tuple[int, Any]:
        return request(method, f"{self.stack.url}{path}", body, key=key or self.server_key, headers=headers)

    def send(self, body: dict[str, Any]) -> str:
        status, answer = self.call("POST", "/v1/notifications", body)
        assert status == 202, answer
        return str(answer["id"])

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.database.execute(query, parameters).fetchall()

    def hurry(self) -> None:
        """Let every waiting retry and trial fall due: nobody sits out Apple's quarter of an hour."""
        self.database.execute("UPDATE notifications_batch SET due_at = now() WHERE status = 'waiting'")
        self.database.execute(
            "UPDATE notifications_incident SET trial_at = now() WHERE trial_at > now() + interval '1 second'"
        )


@pytest.fixture(scope="package")  # one for all modules here; nothing of it runs beside the other tests
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder: Path = tmp_path_factory.mktemp("stack")
    with running(folder) as stack:
        made = stack.create_application("Shop", devices=DEVICES)
        with psycopg.connect(embedded.ensure(folder).database_url, autocommit=True) as database:
            yield Product(stack, made["application"], made["server_key"], made["client_key"], database)
        embedded.release(folder)


@pytest.fixture(autouse=True)
def without_faults(product: Product) -> Iterator[None]:
    yield
    for provider in ("apns", "fcm", "webpush"):
        product.stack.simulation.set_faults(provider)
