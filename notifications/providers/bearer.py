"""The bearer token of one session: read from the fleet's store, refreshed ahead, never waited for twice."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from .base import REFRESH_AHEAD, Outcome, Token, TokenStore, Verdict
from .transport import NoAnswer, NotSent

logger = logging.getLogger(__name__)

FRESH_SECONDS = 300.0  # a token refused this soon after it was minted was never good
ASK_AGAIN = 5.0  # seconds between two looks at the store, so 500 waiting sends are one question

UNAVAILABLE = Verdict(Outcome.RETRY, "token_unavailable", 5.0)


class Refused(Exception):
    """No token, and what that means for a message."""

    def __init__(self, verdict: Verdict, detail: str = "") -> None:
        super().__init__(verdict.reason)
        self.verdict, self.detail = verdict, detail


class Bearer:
    """`mint` may raise Refused, NotSent or NoAnswer."""

    def __init__(self, tokens: TokenStore, key: str, mint: Callable[[], Awaitable[Token]]) -> None:
        self._tokens, self._key, self._mint = tokens, key, mint
        self._token: Token | None = None
        self._ask_at = 0.0
        self._task: asyncio.Task[Token] | None = None
        self._refused: Refused | None = None

    def current(self) -> Token | None:
        """The token, if there is one; a due one is replaced behind the senders."""
        now, token = time.time(), self._token
        if token is None or now >= token.expires_at:
            return None
        if now >= self._ask_at and self._task is None:
            self._fetch()
        return token

    async def get(self) -> Token:
        """The token. Waits only when there is none."""
        token = self.current()
        if token is not None:
            return token
        if self._refused is not None and time.time() < self._ask_at:
            raise Refused(self._refused.verdict, self._refused.detail)
        return await asyncio.shield(self._task or self._fetch())

    async def refused(self, token: Token) -> bool:
        """The provider refused `token`. True: try a new one. False: it was fresh, so the fault is ours."""
        if self._token is token:
            self._token = None
        if time.time() - token.minted_at < FRESH_SECONDS:
            return False
        try:
            await self._tokens.drop(self._key, token.value)
        except Exception:
            logger.warning("bearer token not dropped", extra={"action": "bearer.drop_failed"}, exc_info=True)
        return True

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _fetch(self) -> asyncio.Task[Token]:
        self._task = asyncio.create_task(self._ask())
        self._task.add_done_callback(self._asked)
        return self._task

    async def _ask(self) -> Token:
        try:
            return await self._tokens.get(self._key, self._mint)
        except Refused:
            raise
        except (NotSent, NoAnswer) as error:
            raise Refused(UNAVAILABLE, str(error)) from None
        except Exception:
            logger.warning("bearer token unavailable", extra={"action": "bearer.unavailable"}, exc_info=True)
            raise Refused(UNAVAILABLE) from None

    def _asked(self, task: asyncio.Task[Token]) -> None:
        self._task, now = None, time.time()
        error = None if task.cancelled() else task.exception()
        self._refused = error if isinstance(error, Refused) else None
        self._ask_at = now + ASK_AGAIN
        if not task.cancelled() and error is None:
            self._token = task.result()
            self._ask_at = max(self._ask_at, self._token.expires_at - REFRESH_AHEAD)
