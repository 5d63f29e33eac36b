"""One token per key for the fleet, whatever happens to Redis."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest
import redis
from django.conf import settings

from notifications.pipeline.tokens import RedisTokenStore
from notifications.providers.base import REFRESH_AHEAD, Token


class Mint:
    def __init__(self, seconds: float = 3000) -> None:
        self.count, self._seconds = 0, seconds

    async def __call__(self) -> Token:
        self.count += 1
        await asyncio.sleep(0.02)
        return Token(f"token-{self.count}", time.time(), time.time() + self._seconds)


@pytest.fixture
def key() -> str:
    return f"test:{uuid.uuid4()}"


def _stores(count: int) -> list[RedisTokenStore]:
    return [RedisTokenStore(settings.REDIS_URL) for _ in range(count)]


async def _close(stores: list[RedisTokenStore]) -> None:
    for store in stores:
        await store.close()


async def test_processes_share_one_token(key: str) -> None:
    mint, stores = Mint(), _stores(5)
    tokens = await asyncio.gather(*(store.get(key, mint) for store in stores for _ in range(4)))
    await _close(stores)
    assert mint.count == 1
    assert {token.value for token in tokens} == {"token-1"}


async def test_a_token_is_not_readable_in_redis(key: str) -> None:
    stores = _stores(1)
    await stores[0].get(key, Mint())
    await _close(stores)
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        assert b"token-1" not in connection.get(f"carillon:token:{key}")


async def test_a_due_token_is_minted_anew_and_a_refused_one_forgotten(key: str) -> None:
    soon, stores = Mint(seconds=REFRESH_AHEAD - 1), _stores(1)
    assert [(await stores[0].get(key, soon)).value for _ in range(2)] == ["token-1", "token-2"]

    lasting = Mint()
    first = await stores[0].get(key, lasting)
    await stores[0].drop(key, "another")
    assert await stores[0].get(key, lasting) == first
    await stores[0].drop(key, first.value)
    assert await stores[0].get(key, lasting) != first
    await _close(stores)


async def test_a_flushed_redis_costs_no_new_token(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifications.pipeline.tokens.LOCAL_SECONDS", 0)
    mint, stores = Mint(), _stores(2)
    await stores[0].get(key, mint)
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        connection.delete(f"carillon:token:{key}")
    again = [await store.get(key, mint) for store in stores]
    await _close(stores)
    assert mint.count == 1
    assert again[0] == again[1]


async def test_without_redis_a_process_mints_for_itself(key: str) -> None:
    store, mint = RedisTokenStore("unix:///nonexistent.sock"), Mint()
    assert (await store.get(key, mint)).value == "token-1"
    await store.close()
