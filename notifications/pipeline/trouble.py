"""What a sender does about a provider's refusals, silence and quotas: it opens, prolongs and ends incidents.

All of it in the background: a sender never waits for its own bookkeeping of trouble.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog
from psycopg_pool import AsyncConnectionPool

from notifications import lanes
from notifications.pipeline import breaker, incidents, limits, sessions
from notifications.pipeline.claim import Batch
from notifications.providers import verdict
from notifications.providers.base import Outcome, Provider, Result

log = structlog.get_logger(__name__)

# The provider let the message in, whatever it thought of it.
WELL = (Outcome.ACCEPTED, Outcome.UNREGISTERED, Outcome.REJECTED)
# Refused here: the provider has not been asked.
NOT_ASKED = frozenset({verdict.MALFORMED.reason, "environment_not_covered"})
AGAIN_SECONDS = 5.0  # the same trouble is reported no more often than this


def let_in(result: Result) -> bool:
    return result.outcome in WELL and result.reason not in NOT_ASKED


class Trouble:
    """Of one provider in one sender. kind: of the lane, transactional or campaign."""

    def __init__(
        self,
        provider: Provider,
        pool: AsyncConnectionPool,
        opened: sessions.Sessions,
        limiting: limits.Limits,
        kind: str,
    ) -> None:
        self._kind = kind
        self._provider, self._pool, self._sessions, self._limits = provider, pool, opened, limiting
        self._troubles = breaker.troubles(provider)
        self._circuits: dict[int, breaker.Circuit] = {}
        self._stopped_at: dict[int, float] = {}  # application → when it was stopped last, monotonic
        self._reported_at: dict[tuple[int, str], float] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def has_stopped(self, batch: Batch) -> bool:
        """The application was stopped after this batch was claimed: it is better put back than tried."""
        return self._stopped_at.get(batch.application_id, 0.0) > batch.since and not batch.trial

    def note(self, batch: Batch, opened: sessions.Open, result: Result, began: float) -> None:
        """Look at a provider's answer to an attempt begun then (monotonic); called once for each."""
        circuit = self._circuits.get(batch.application_id)
        if circuit is None:
            circuit = self._circuits[batch.application_id] = breaker.Circuit(self._troubles)
        if words := circuit.note(result, began):
            self._stop(batch.application_id, "circuit", words)
        if result.outcome is Outcome.BLOCKED:
            self._refused(batch.application_id, opened, result)
        elif result.outcome is Outcome.RETRY and result.reason in self._provider.QUOTA:
            words = f"{result.reason}: {result.detail}".rstrip(": ")
            if self._stop(batch.application_id, "quota", words, result.retry_after):
                self._spawn(self._limits.slow_down(limits.credential_key(opened.credential.id)))

    def tried(self, batch: Batch, opened: sessions.Open, result: Result) -> bool:
        """End the incidents a trial was for, or prolong them. True: all is well again."""
        is_well = let_in(result)
        if is_well:
            self._stopped_at.pop(batch.application_id, None)
            self._spawn(self._end(batch, opened))
        elif result.reason in NOT_ASKED:
            self.untried(batch)
        else:
            words = f"{result.reason}: {result.detail}".rstrip(": ")
            self._spawn(self._prolong(batch.application_id, batch.trial, words, result.retry_after or 0.0))
        return is_well

    def untried(self, batch: Batch) -> None:
        """A trial that found nobody to try: the next batch may have somebody."""
        self._spawn(self._execute(incidents.TRIAL_VOID, self._named(batch.application_id, batch.trial)))

    def block(self, opened: sessions.Open, reason: str) -> None:
        """Stop sending with this credential, everywhere, and say why."""
        if not opened.is_blocking:
            opened.is_blocked = opened.is_blocking = True
            self._spawn(self._block(opened, reason))

    def unblock(self, opened: sessions.Open) -> None:
        opened.is_blocked = False
        self._spawn(self._unblock(opened))

    # --- what was met ---------------------------------------------------------------------

    def _refused(self, application_id: int, opened: sessions.Open, result: Result) -> None:
        words = f"{result.reason}: {result.detail}".rstrip(": ")
        if result.scope:
            # One push service of many refuses us: its recipients are held, the others go on.
            if self._is_news(application_id, result.scope):
                named = self._named(application_id, ("credential",)) | {
                    "words": f"{result.scope}: {words}"[:300]
                }
                self._spawn(self._execute(incidents.OPEN_PARTIAL, named))
        elif not opened.is_blocked:
            self._stopped_at[application_id] = time.monotonic()
            self.block(opened, words)

    def _stop(self, application_id: int, cause: str, words: str, pause: float | None = None) -> bool:
        """True: it was not stopped just now for the same."""
        self._stopped_at[application_id] = time.monotonic()
        is_news = self._is_news(application_id, cause)
        if is_news:
            self._spawn(self._open(application_id, cause, words, pause))
        return is_news

    def _is_news(self, application_id: int, what: str) -> bool:
        key, now = (application_id, what), time.monotonic()
        is_news = now - self._reported_at.get(key, float("-inf")) > AGAIN_SECONDS
        if is_news:
            self._reported_at[key] = now
        return is_news

    # --- what is written ------------------------------------------------------------------

    async def _open(self, application_id: int, cause: str, words: str, pause: float | None) -> None:
        log.error(
            "lanes_stopped",
            action="trouble.stopped",
            application=application_id,
            cause=cause,
            provider=self._provider.name,
        )
        parameters = incidents.opening(
            application_id=application_id,
            provider=self._provider.name,
            cause=cause,
            words=words,
            pause=pause,
            # A campaign that has used up a quota leaves one-off messages their chance.
            lane_kind=lanes.CAMPAIGN if cause == "quota" and self._kind == lanes.CAMPAIGN else "",
        )
        try:
            await self._execute(incidents.OPEN, parameters)
        except BaseException:
            self._reported_at.pop((application_id, cause), None)
            raise

    async def _end(self, batch: Batch, opened: sessions.Open) -> None:
        log.info(
            "lanes_resumed",
            action="trouble.resumed",
            application=batch.application_id,
            provider=self._provider.name,
        )
        if opened.is_blocked:  # before the lanes go on, so that nobody takes it for blocked any more
            opened.is_blocked = False
            await self._unblock(opened)
        await self._execute(
            incidents.CLOSE,
            incidents.closing(
                application_id=batch.application_id, provider=self._provider.name, causes=batch.trial
            ),
        )

    async def _prolong(
        self, application_id: int, causes: tuple[str, ...], words: str, at_least: float
    ) -> None:
        for cause in causes:
            parameters = incidents.failing(
                application_id=application_id,
                provider=self._provider.name,
                cause=cause,
                words=words,
                at_least=at_least,
            )
            await self._execute(incidents.TRIAL_FAILED, parameters)

    async def _block(self, opened: sessions.Open, reason: str) -> None:
        log.error("credential_blocked", action="send.blocked", credential=opened.credential.id)
        try:
            async with self._pool.connection() as connection:
                await self._sessions.block(connection, opened, reason)
        finally:
            opened.is_blocking = False

    async def _unblock(self, opened: sessions.Open) -> None:
        async with self._pool.connection() as connection:
            await self._sessions.unblock(connection, opened)

    def _named(self, application_id: int, causes: tuple[str, ...]) -> dict[str, object]:
        return {"application": application_id, "provider": self._provider.name, "causes": list(causes)}

    async def _execute(self, statement: str, parameters: dict[str, object]) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(statement, parameters)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # The next answer of the kind reports it again; a trial not concluded is let through again.
            log.error(
                "trouble_not_written", action="trouble.lost", provider=self._provider.name, exc_info=error
            )
