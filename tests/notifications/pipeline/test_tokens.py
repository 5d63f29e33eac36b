"""One token per key for the fleet, whatever happens to Redis and to the process that mints it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from notifications.pipeline import tokens
from notifications.pipeline.tokens import SharedTokens
from notifications.providers.base import REFRESH_AHEAD, Token
from tests.notifications.pipeline.conftest import _conninfo

KEY = "apns:TEAM:KEY"


class Mint:
    def __init__(self, seconds: float = 3000, takes: float = 0.02) -> None:
        self.count, self._seconds, self._takes = 0, seconds, takes

    async def __call__(self) -> Token:
        self.count += 1
        await asyncio.sleep(self._takes)
        return Token(f"token-{self.count}", time.time(), time.time() + self._seconds)


class BrokenMint(Mint):
    async def __call__(self) -> Token:
        await super().__call__()
        raise OSError("no route")


@pytest.fixture
async def stores(transactional_db: None) -> AsyncIterator[list[SharedTokens]]:
    """Those of five processes."""
    pools = [
        AsyncConnectionPool(_conninfo(), min_size=1, max_size=2, open=False, kwargs={"autocommit": True})
        for _ in range(5)
    ]
    for pool in pools:
        await pool.open()
    yield [SharedTokens(pool) for pool in pools]
    for pool in pools:
        await pool.close()


@pytest.fixture
def store(stores: list[SharedTokens]) -> SharedTokens:
    return stores[0]


async def test_processes_share_one_token(stores: list[SharedTokens]) -> None:
    mint = Mint(takes=0.3)
    got = await asyncio.gather(*(store.get(KEY, mint) for store in stores for _ in range(4)))
    assert mint.count == 1
    assert {token.value for token in got} == {"token-1"}
    assert await stores[4].get("apns:TEAM:OTHER", Mint(seconds=1)) not in got


async def test_a_token_is_kept_encrypted(store: SharedTokens) -> None:
    token = await store.get(KEY, Mint())
    async with store._pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT value, minted_at, expires_at FROM notifications_bearertoken"
        )
        kept = await cursor.fetchall()
    assert [times for _, *times in kept] == [[token.minted_at, token.expires_at]]
    assert "token-1" not in kept[0][0]


async def test_a_due_token_is_minted_anew(stores: list[SharedTokens]) -> None:
    soon = Mint(seconds=REFRESH_AHEAD - 1)
    assert [(await store.get(KEY, soon)).value for store in stores[:2]] == ["token-1", "token-2"]


async def test_a_refused_token_is_forgotten_by_all_unless_it_was_replaced(stores: list[SharedTokens]) -> None:
    mint = Mint()
    first = await stores[0].get(KEY, mint)
    await stores[1].drop(KEY, "another")
    assert await stores[2].get(KEY, mint) == first
    await stores[1].drop(KEY, first.value)
    second = await stores[2].get(KEY, mint)
    assert second.value == "token-2"
    await stores[0].drop(KEY, first.value)
    assert await stores[3].get(KEY, mint) == second


async def test_who_fails_to_mint_leaves_it_to_the_next_at_once(stores: list[SharedTokens]) -> None:
    with pytest.raises(OSError, match="no route"):
        await stores[0].get(KEY, BrokenMint())
    async with asyncio.timeout(2):
        assert (await stores[1].get(KEY, Mint())).value == "token-1"


async def test_who_died_while_minting_is_not_waited_for_long(
    stores: list[SharedTokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MINT_SECONDS", 0.5)
    died = asyncio.create_task(stores[0].get(KEY, Mint(takes=60)))
    await asyncio.sleep(0.1)
    assert (await stores[1].get(KEY, Mint())).value == "token-1"
    died.cancel()


async def test_a_process_that_never_answers_is_an_error(
    stores: list[SharedTokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    mint = Mint(takes=60)
    first = asyncio.create_task(stores[0].get(KEY, mint))
    await asyncio.sleep(0.1)
    monkeypatch.setattr(tokens, "MINT_SECONDS", -4.5)
    with pytest.raises(TimeoutError):
        await stores[1].get(KEY, mint)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert mint.count == 1
