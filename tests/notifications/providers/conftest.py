"""The cast: a push service at the wire, credentials as the vendors issue them, a token store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from notifications.providers.base import REFRESH_AHEAD, Credential, Endpoints, Message, Token

from . import wire

NOTIFICATION = "01890a5d-ac96-774b-bcce-b302099a8057"  # UUIDv7
APNS_TOKEN = "a1" * 32


class Tokens:
    """A TokenStore of one process, as the contract words it."""

    def __init__(self) -> None:
        self.kept: dict[str, Token] = {}
        self.minted = 0
        self.dropped: list[str] = []
        self.lock = asyncio.Lock()

    async def get(self, key: str, mint: Callable[[], Awaitable[Token]]) -> Token:
        async with self.lock:
            token = self.kept.get(key)
            if token is None or time.time() >= token.expires_at - REFRESH_AHEAD:
                self.minted += 1
                token = self.kept[key] = await mint()
            return token

    async def drop(self, key: str, value: str) -> None:
        self.dropped.append(key)
        if key in self.kept and self.kept[key].value == value:
            del self.kept[key]

    def age(self, seconds: float) -> None:
        self.kept = {
            key: Token(token.value, token.minted_at - seconds, token.expires_at - seconds)
            for key, token in self.kept.items()
        }


def pem(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def message(**changes: Any) -> Message:
    return Message(**{"notification_id": NOTIFICATION, "title": "Hello", "body": "World", **changes})


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> wire.Certificates:
    return wire.certificates(tmp_path_factory.mktemp("certificates"))


@pytest_asyncio.fixture
async def service(certificates: wire.Certificates) -> AsyncIterator[wire.PushService]:
    service = wire.PushService()
    await service.start(certificates)
    yield service
    await service.stop()


@pytest_asyncio.fixture
async def sandbox(certificates: wire.Certificates) -> AsyncIterator[wire.PushService]:
    service = wire.PushService()
    await service.start(certificates)
    yield service
    await service.stop()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def endpoints(
    service: wire.PushService, sandbox: wire.PushService, certificates: wire.Certificates
) -> Endpoints:
    return Endpoints(
        apns_url=service.url,
        apns_sandbox_url=sandbox.url,
        fcm_url=service.url,
        ca_file=certificates.authority,
        webpush_allowed_hosts=(service.url.removeprefix("https://"),),
        timeout=1.0,
    )


@pytest.fixture(scope="session")
def apns_key() -> str:
    return pem(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="session")
def rsa_key() -> str:
    return pem(rsa.generate_private_key(65537, 2048))


@pytest.fixture
def apns_credential(apns_key: str) -> Credential:
    public = {
        "team_id": "TEAM123456",
        "key_id": "KEY1234567",
        "bundle_id": "com.example.app",
        "environment": "both",
    }
    return Credential(1, "apns", public, apns_key)


@pytest.fixture
def service_account(rsa_key: str, endpoints: Endpoints) -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": "example-project",
        "private_key_id": "0123456789abcdef",
        "private_key": rsa_key,
        "client_email": "push@example-project.iam.gserviceaccount.com",
        "token_uri": endpoints.fcm_url + "/token",
    }


@pytest.fixture
def fcm_credential(service_account: dict[str, str]) -> Credential:
    return Credential(2, "fcm", {}, orjson.dumps(service_account).decode())
