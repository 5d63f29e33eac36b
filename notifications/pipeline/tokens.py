"""The fleet's bearer tokens, shared through Redis: one mint per key, whatever the number of processes.

A process keeps what it has seen for `LOCAL_SECONDS`, so the hot path does not touch Redis. Without
Redis every process mints for itself, which providers bear for a while.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from notifications.providers.base import REFRESH_AHEAD, Token
from tenants.fields import cipher

log = structlog.get_logger(__name__)

LOCAL_SECONDS = 30.0
LOCK_SECONDS = 20


class RedisTokenStore:
    """A `TokenStore`. Tokens are encrypted in Redis: they are worth as much as the secret for an hour."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2)
        self._seen: dict[str, tuple[float, Token]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, key: str, mint: Callable[[], Awaitable[Token]]) -> Token:
        """See `TokenStore.get`."""
        if token := self._recent(key):
            return token
        async with self._locks.setdefault(key, asyncio.Lock()):
            token = self._recent(key) or await self._shared(key, mint)
            self._seen[key] = time.time(), token
            return token

    async def drop(self, key: str, value: str) -> None:
        """See `TokenStore.drop`."""
        _, token = self._seen.get(key, (0.0, None))
        if token and token.value == value:
            del self._seen[key]
        try:
            shared = await self._read(key)
            if shared and shared.value == value:
                await self._redis.delete(_name(key))
        except RedisError as error:
            log.warning("token_store_away", action="tokens.away", error=type(error).__name__)

    async def close(self) -> None:
        await self._redis.aclose()

    def _recent(self, key: str) -> Token | None:
        checked_at, token = self._seen.get(key, (0.0, None))
        return token if token and time.time() - checked_at < LOCAL_SECONDS and not _is_due(token) else None

    async def _shared(self, key: str, mint: Callable[[], Awaitable[Token]]) -> Token:
        try:
            if token := await self._read(key):
                return token
            async with self._redis.lock(
                f"{_name(key)}:mint", timeout=LOCK_SECONDS, blocking_timeout=LOCK_SECONDS
            ):
                return await self._read(key) or await self._publish(key, await self._own(key, mint))
        except RedisError as error:
            log.warning("token_store_away", action="tokens.away", error=type(error).__name__)
            return await self._own(key, mint)

    async def _own(self, key: str, mint: Callable[[], Awaitable[Token]]) -> Token:
        """What this process last saw, if it is still good: a flushed Redis must not cost a new token.

        Apple answers a second token within 20 minutes with TooManyProviderTokenUpdates.
        """
        _, token = self._seen.get(key, (0.0, None))
        return token if token and not _is_due(token) else await mint()

    async def _read(self, key: str) -> Token | None:
        raw = await self._redis.get(_name(key))
        token = Token(*json.loads(cipher().decrypt(raw))) if raw else None
        return token if token and not _is_due(token) else None

    async def _publish(self, key: str, token: Token) -> Token:
        seconds = max(1, int(token.expires_at - time.time()))
        await self._redis.set(_name(key), cipher().encrypt(json.dumps(token).encode()), ex=seconds)
        return token


def _is_due(token: Token) -> bool:
    return time.time() >= token.expires_at - REFRESH_AHEAD


def _name(key: str) -> str:
    return f"carillon:token:{key}"
