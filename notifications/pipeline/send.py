"""Claimed batches go out: load ▸ render ▸ one attempt per recipient. Results gather in the batches.

Whatever fails here short of the process's death leaves every recipient with a result: what was not
tried is put back, what was tried and not answered is uncertain.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from notifications.pipeline import claim, load, render, sessions
from notifications.pipeline.claim import Batch
from notifications.pipeline.load import Content, Recipient
from notifications.providers.base import Outcome, PayloadTooLarge, Provider, Result

log = structlog.get_logger(__name__)

REMEMBERED = 512  # notifications whose content and rendered form are kept

Loaded = tuple[dict[UUID, Content], dict[int, list[Recipient]], dict[int, Sequence[sessions.Open]]]


class Sending:
    """The attempts of one lane in one process. `noted` is called whenever a batch may be finished."""

    def __init__(
        self,
        provider: Provider,
        pool: AsyncConnectionPool,
        opened: sessions.Sessions,
        *,
        fresh_seconds: float,
        noted: Callable[[Batch], None],
    ) -> None:
        self._contents: OrderedDict[UUID, Content] = OrderedDict()
        self._provider, self._pool, self._sessions = provider, pool, opened
        self._fresh_seconds, self._noted = fresh_seconds, noted
        self._rendered: OrderedDict[UUID, Any] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, batches: Sequence[Batch]) -> None:
        """Send these, in the background."""
        self._spawn(self._send(batches))

    async def _send(self, batches: Sequence[Batch]) -> None:
        try:
            contents, recipients, opened = await self._load(batches)
        except Exception:
            log.exception("load_failed", action="send.load_failed", provider=self._provider.name)
            for batch in batches:
                self._settle(batch, claim.HELD, "not_loaded")
            return
        for batch in batches:
            batch.content = contents.get(batch.notification_id)
            if batch.content is None:
                self._settle(batch, claim.ERASED, "")
            elif not self._is_fresh(batch):
                self._settle(batch, claim.HELD, "not_loaded")
            else:
                self._begin(batch, batch.content, recipients[batch.id], opened[batch.application_id])

    def _is_fresh(self, batch: Batch) -> bool:
        """Loading took no longer than the lease allows: nobody else has taken the batch over meanwhile."""
        return (datetime.now(UTC) - batch.claimed_at).total_seconds() < self._fresh_seconds

    async def _load(self, batches: Sequence[Batch]) -> Loaded:
        while True:
            try:
                async with self._pool.connection() as connection:
                    contents = await self._content(connection, batches)
                    known = [batch for batch in batches if batch.notification_id in contents]
                    recipients = await load.recipients(connection, known, contents)
                    opened = {
                        id: await self._sessions.of(connection, id, self._provider.name)
                        for id in {batch.application_id for batch in batches}
                    }
                    return contents, recipients, opened
            except (DatabaseError, PoolTimeout):
                if not all(map(self._is_fresh, batches)):
                    raise
                await asyncio.sleep(0.5)

    async def _content(self, connection: Any, batches: Sequence[Batch]) -> dict[UUID, Content]:
        """The notifications of these batches; read once per process."""
        wanted = {batch.notification_id for batch in batches}
        missing = [id for id in wanted if id not in self._contents]
        for content in await load.contents(connection, missing) if missing else ():
            _remember(self._contents, content.id, content)
        return {id: self._contents[id] for id in wanted if id in self._contents}

    def _begin(
        self, batch: Batch, content: Content, recipients: Sequence[Recipient], opened: Sequence[sessions.Open]
    ) -> None:
        """Decide what needs no provider, and start an attempt for everyone else."""
        batch.subscribers = {r.target.device_id: r.subscriber_id for r in recipients}
        rendered = self._prepared(batch, content)
        if rendered is None:
            return
        blocked: dict[int, tuple[sessions.Open, list[Recipient]]] = {}
        for recipient in recipients:
            if recipient.suppressed:
                batch.add(recipient.target.device_id, claim.SUPPRESSED, recipient.suppressed)
            elif content.is_rehearsal:
                batch.add(recipient.target.device_id, Outcome.ACCEPTED, "rehearsal")
            elif (session := sessions.fitting(opened, recipient)) is None:
                batch.add(recipient.target.device_id, claim.HELD, "no_credential")
            elif session.is_blocked:
                blocked.setdefault(session.credential.id, (session, []))[1].append(recipient)
            else:
                self._spawn(self._attempt(batch, session, rendered, recipient))
        for session, waiting in blocked.values():
            self._spawn(self._probe(batch, session, rendered, waiting))
        self._noted(batch)

    def _prepared(self, batch: Batch, content: Content) -> Any:
        """The rendered message, or None: it cannot be sent, and the batch is settled."""
        if datetime.now(UTC) >= content.expires_at:
            self._settle(batch, claim.FAILED, "expired")
            return None
        try:
            if content.id not in self._rendered:
                _remember(self._rendered, content.id, render.rendered(content, self._provider))
            return self._rendered[content.id]
        except PayloadTooLarge:
            self._settle(batch, Outcome.REJECTED, "payload_too_large")
        except Exception:
            log.exception("render_failed", action="send.render_failed", notification=str(content.id))
            self._settle(batch, Outcome.REJECTED, "not_renderable")
        return None

    def _settle(self, batch: Batch, outcome: str, reason: str) -> None:
        for device_id in batch.device_ids:
            batch.add(device_id, outcome, reason)
        self._noted(batch)

    async def _attempt(
        self, batch: Batch, opened: sessions.Open, rendered: Any, recipient: Recipient
    ) -> Outcome:
        try:
            result = await opened.session.send(rendered, recipient.target)
        except Exception:
            # A provider never raises for a message; if it does, what happened is unknown.
            log.exception("provider_raised", action="send.provider_raised", provider=self._provider.name)
            result = Result(recipient.target.device_id, Outcome.UNCERTAIN, "internal_error")
        # With a scope (one push service of many) the others go on; these recipients are held.
        if result.outcome is Outcome.BLOCKED and not result.scope and not opened.is_blocked:
            opened.is_blocked = True
            self._spawn(self._block(opened, f"{result.reason}: {result.detail}".rstrip(": ")))
        batch.results.append(result)
        self._noted(batch)
        return result.outcome

    async def _probe(
        self, batch: Batch, opened: sessions.Open, rendered: Any, waiting: Sequence[Recipient]
    ) -> None:
        """With a blocked credential: try one recipient now and then, put the others back until it works."""
        rest = list(waiting)
        if opened.may_probe:
            opened.may_probe = False
            outcome = await self._attempt(batch, opened, rendered, rest.pop(0))
            if outcome is Outcome.BLOCKED:
                self._spawn(self._block(opened, "still refused"))
            elif outcome in (Outcome.ACCEPTED, Outcome.UNREGISTERED, Outcome.REJECTED):  # it was let in
                opened.is_blocked = False
                self._spawn(self._unblock(opened))
        for recipient in rest:
            if opened.is_blocked:
                batch.add(recipient.target.device_id, claim.HELD, "credential_blocked")
            else:
                self._spawn(self._attempt(batch, opened, rendered, recipient))
        self._noted(batch)

    async def _block(self, opened: sessions.Open, reason: str) -> None:
        log.error("credential_blocked", action="send.blocked", credential=opened.credential.id)
        async with self._pool.connection() as connection:
            await self._sessions.block(connection, opened, reason)

    async def _unblock(self, opened: sessions.Open) -> None:
        async with self._pool.connection() as connection:
            await self._sessions.unblock(connection, opened)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("send_failed", action="send.failed", provider=self._provider.name, exc_info=error)


def _remember(cache: OrderedDict[UUID, Any], key: UUID, value: Any) -> None:
    cache[key] = value
    if len(cache) > REMEMBERED:
        cache.popitem(last=False)
