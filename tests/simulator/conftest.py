"""One simulator for all tests here, reset before each; requests over HTTP/2 as a client of the product's sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from pyreqwest.client import Client

from simulator.client import Simulation
from tests.simulator.senders import ApnsSender, FcmSender, WebSender, access_token, http2_client


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    with Simulation.start(tmp_path_factory.mktemp("simulator")) as simulation:
        yield simulation


@pytest.fixture
def simulation(running: Simulation) -> Simulation:
    running.reset()
    running.set(
        apns_token_updates=1_000, apns_token_update_seconds=1200.0, decrypt_share=1.0, count_arrivals=True
    )
    running.watch()
    return running


@pytest.fixture
async def client(running: Simulation) -> AsyncIterator[Client]:
    async with http2_client(running).build() as client:
        yield client


@pytest.fixture
def apns(simulation: Simulation, client: Client) -> ApnsSender:
    return ApnsSender(simulation, client)


@pytest.fixture(scope="session")
def google_token(running: Simulation) -> str:
    return access_token(running)


@pytest.fixture
def fcm(simulation: Simulation, client: Client, google_token: str) -> FcmSender:
    return FcmSender(simulation, client, google_token)


@pytest.fixture
def web(simulation: Simulation, client: Client) -> WebSender:
    return WebSender(simulation, client)
