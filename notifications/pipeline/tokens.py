"""The fleet's bearer tokens, shared through PostgreSQL: one mint per key, whatever the number of processes.

Not through Redis, which may lose them: a sender that then mints a second one is refused by Apple for 20
minutes (TooManyProviderTokenUpdates). A session keeps its token, so the hot path asks nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from psycopg_pool import AsyncConnectionPool

from notifications.providers.base import REFRESH_AHEAD, Token
from tenants.fields import cipher

MINT_SECONDS = 20.0  # after this somebody else may try
LOOK_SECONDS = 0.2  # between two looks for what another process mints

READ = "SELECT value, minted_at, expires_at FROM notifications_bearertoken WHERE key = %(key)s AND expires_at > %(due)s"

# No lock and no connection is held while the provider is asked for a token.
TAKE_ON = """
    INSERT INTO notifications_bearertoken AS t (key, minting_until) VALUES (%(key)s, %(until)s)
    ON CONFLICT (key) DO UPDATE SET minting_until = excluded.minting_until
        WHERE t.expires_at <= %(due)s AND t.minting_until < %(now)s
    RETURNING key
"""

KEEP = """
    UPDATE notifications_bearertoken
    SET value = %(value)s, minted_at = %(minted_at)s, expires_at = %(expires_at)s, minting_until = 0
    WHERE key = %(key)s
"""

GIVE_UP = "UPDATE notifications_bearertoken SET minting_until = 0 WHERE key = %(key)s"
DROP = "UPDATE notifications_bearertoken SET expires_at = 0 WHERE key = %(key)s AND value = %(value)s"


class SharedTokens:
    """A `TokenStore`. Tokens are encrypted: they are worth as much as the secret for an hour."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def get(self, key: str, mint: Callable[[], Awaitable[Token]]) -> Token:
        """See `TokenStore.get`. Raises TimeoutError if another process is at it for too long."""
        async with asyncio.timeout(MINT_SECONDS + 5):
            while True:
                now = time.time()
                asked = {"key": key, "now": now, "due": now + REFRESH_AHEAD, "until": now + MINT_SECONDS}
                if row := await self._execute(READ, asked):
                    return Token(_clear(row[0]), *row[1:])
                if await self._execute(TAKE_ON, asked):
                    return await self._minted(key, mint)
                await asyncio.sleep(LOOK_SECONDS)

    async def drop(self, key: str, value: str) -> None:
        """See `TokenStore.drop`."""
        row = await self._execute(READ, {"key": key, "due": time.time()})
        if row and _clear(row[0]) == value:
            await self._execute(DROP, {"key": key, "value": row[0]})

    async def _minted(self, key: str, mint: Callable[[], Awaitable[Token]]) -> Token:
        try:
            token = await mint()
        except BaseException:
            await self._execute(GIVE_UP, {"key": key})
            raise
        kept = token._asdict() | {"key": key, "value": cipher().encrypt(token.value.encode()).decode()}
        await self._execute(KEEP, kept)
        return token

    async def _execute(self, statement: str, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchone() if cursor.description else None


def _clear(value: str) -> str:
    return cipher().decrypt(value.encode()).decode()
