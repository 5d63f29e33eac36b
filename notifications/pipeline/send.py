"""Claimed batches go out: load ▸ limits ▸ render ▸ one attempt per recipient. Results gather in the batches.

Whatever fails here short of the process's death leaves every recipient with a result: what was not
tried is put back, what was tried and not answered is uncertain.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from notifications import lanes
from notifications.pipeline import claim, limits, load, render, sessions, trouble
from notifications.pipeline.claim import Batch
from notifications.pipeline.load import Content, Recipient
from notifications.providers.base import Outcome, PayloadTooLarge, Provider, Result

log = structlog.get_logger(__name__)

REMEMBERED = 512  # notifications whose content and rendered form are kept

Sent = tuple[UUID, int]  # a notification and which sending of it
Loaded = tuple[dict[Sent, Content], dict[int, list[Recipient]], dict[int, Sequence[sessions.Open]]]


class Attempt(NamedTuple):
    """Somebody to be sent to, and through what."""

    recipient: Recipient
    opened: sessions.Open


class Sending:
    """The attempts of one lane in one process.

    noted: called whenever a batch may be finished. refused: called with an application and for how many seconds
    the rate limits will let nothing more of it through.
    """

    def __init__(
        self,
        provider: Provider,
        pool: AsyncConnectionPool,
        opened: sessions.Sessions,
        *,
        fresh_seconds: float,
        limiting: limits.Limits,
        is_transactional: bool,
        noted: Callable[[Batch], None],
        is_stopping: Callable[[], bool],
        refused: Callable[[int, float], None],
    ) -> None:
        self._contents: OrderedDict[Sent, Content] = OrderedDict()
        self._provider, self._pool, self._sessions = provider, pool, opened
        self._fresh_seconds, self._noted, self._is_stopping = fresh_seconds, noted, is_stopping
        self._limits, self._is_transactional, self._refused = limiting, is_transactional, refused
        self._rendered: OrderedDict[Sent, Any] = OrderedDict()
        kind = lanes.TRANSACTIONAL if is_transactional else lanes.CAMPAIGN
        self._trouble = trouble.Trouble(provider, pool, opened, limiting, kind)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, batches: Sequence[Batch]) -> None:
        """Send these, in the background."""
        self._spawn(self._send(batches))

    async def _send(self, batches: Sequence[Batch]) -> None:
        try:
            contents, recipients, opened = await self._load(batches)
            for batch in batches:
                batch.content = contents.get(batch.sending)
            await self._limit(batches, opened)
        except Exception:
            log.exception("load_failed", action="send.load_failed", provider=self._provider.name)
            for batch in batches:
                self._settle(batch, claim.HELD, claim.NOT_LOADED)
            return
        for batch in batches:
            if batch.content is None:
                self._settle(batch, claim.ERASED, "")
            elif reason := self._obstacle(batch):
                self._settle(batch, claim.HELD, reason)
            else:
                self._begin(batch, batch.content, recipients[batch.id], opened[batch.application_id])

    def _obstacle(self, batch: Batch) -> str:
        """Why the batch is put back as it is, or ""."""
        if self._is_stopping():
            return claim.STOPPING
        if self._trouble.has_stopped(batch):
            return claim.STOPPED
        if batch.held_until:
            return claim.THROTTLED
        # Loading took longer than the lease allows: another may have taken the batch over meanwhile.
        return "" if self._is_fresh(batch) else claim.NOT_LOADED

    async def _limit(self, batches: Sequence[Batch], opened: dict[int, Sequence[sessions.Open]]) -> None:
        """Ask the rate limits, in the order of the claim; who has to wait is given its time. A trial need not ask."""
        asking = [batch for batch in batches if batch.content and not batch.trial]
        now = datetime.now(UTC)
        turns = await self._limits.reserve([self._request(batch, opened, now) for batch in asking])
        for batch, turn in zip(asking, turns, strict=True):
            if turn.wait:
                batch.held_until = now + timedelta(seconds=turn.wait)
                if turn.is_slot:
                    batch.slot_at = batch.held_until
                else:
                    self._refused(batch.application_id, turn.wait)

    def _request(
        self, batch: Batch, opened: dict[int, Sequence[sessions.Open]], now: datetime
    ) -> limits.Request:
        assert batch.content is not None
        mine = opened[batch.application_id]
        return limits.of(
            size=len(batch.device_ids),
            is_transactional=self._is_transactional,
            application_id=batch.application_id,
            application_per_second=mine[0].application_rate if mine else None,
            provider=self._provider.name,
            credentials=[(one.credential.id, one.rate) for one in mine],
            notification_id=batch.notification_id,
            throttle_per_second=batch.content.throttle,
            slot_at=batch.slot_at,
            now=now,
        )

    def _is_fresh(self, batch: Batch) -> bool:
        return time.monotonic() - batch.since < self._fresh_seconds

    async def _load(self, batches: Sequence[Batch]) -> Loaded:
        while True:
            try:
                async with self._pool.connection() as connection:
                    contents = await self._content(connection, batches)
                    known = [batch for batch in batches if batch.sending in contents]
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

    async def _content(self, connection: Any, batches: Sequence[Batch]) -> dict[Sent, Content]:
        """The notifications of these batches; read once per process."""
        wanted = {batch.sending for batch in batches}
        missing = [sent for sent in wanted if sent not in self._contents]
        for sent, content in (await load.contents(connection, missing) if missing else {}).items():
            _remember(self._contents, sent, content)
        return {sent: self._contents[sent] for sent in wanted if sent in self._contents}

    def _begin(
        self, batch: Batch, content: Content, recipients: Sequence[Recipient], opened: Sequence[sessions.Open]
    ) -> None:
        """Decide what needs no provider, and start an attempt for everyone else."""
        batch.subscribers = {r.target.device_id: r.subscriber_id for r in recipients}
        rendered = self._prepared(batch, content)
        if rendered is None:
            return
        try:
            attempts = self._decide(batch, content, recipients, opened)
        except Exception:  # nobody has been sent to yet
            log.exception("not_decided", action="send.not_decided", notification=str(content.id))
            batch.results.clear()
            self._settle(batch, claim.HELD, claim.NOT_LOADED)
            return
        if batch.trial:
            self._spawn(self._try(batch, rendered, attempts))
        else:
            self._attempt_all(batch, rendered, attempts)
        self._noted(batch)

    def _decide(
        self, batch: Batch, content: Content, recipients: Sequence[Recipient], opened: Sequence[sessions.Open]
    ) -> list[Attempt]:
        """Enter the outcomes that need no provider; who is left to be sent to."""
        attempts = []
        for recipient in recipients:
            if recipient.suppressed:
                batch.add(recipient.target.device_id, claim.SUPPRESSED, recipient.suppressed)
            elif recipient.held_until:
                seconds = (recipient.held_until - datetime.now(UTC)).total_seconds()
                batch.add(recipient.target.device_id, claim.HELD, claim.UNTIMELY, max(0.0, seconds))
            elif content.is_rehearsal:
                batch.add(recipient.target.device_id, Outcome.ACCEPTED, "rehearsal")
            elif (session := sessions.fitting(opened, recipient)) is None:
                batch.add(recipient.target.device_id, claim.HELD, "no_credential")
            else:
                attempts.append(Attempt(recipient, session))
        return attempts

    def _prepared(self, batch: Batch, content: Content) -> Any:
        """The rendered message, or None: it cannot be sent, and the batch is settled."""
        if datetime.now(UTC) >= content.expires_at:
            self._settle(batch, claim.FAILED, "expired")
            return None
        try:
            if batch.sending not in self._rendered:
                _remember(self._rendered, batch.sending, render.rendered(content, self._provider))
            return self._rendered[batch.sending]
        except PayloadTooLarge:
            self._settle(batch, Outcome.REJECTED, "payload_too_large")
        except Exception:
            log.exception("render_failed", action="send.render_failed", notification=str(content.id))
            self._settle(batch, Outcome.REJECTED, "not_renderable")
        return None

    def _settle(self, batch: Batch, outcome: str, reason: str) -> None:
        for device_id in batch.device_ids:
            batch.add(device_id, outcome, reason)
        if batch.trial:
            self._trouble.untried(batch)
        self._noted(batch)

    # --- attempts -------------------------------------------------------------------------

    def _attempt_all(self, batch: Batch, rendered: Any, attempts: Iterable[Attempt]) -> None:
        blocked: dict[int, list[Attempt]] = {}
        for attempt in attempts:
            if attempt.opened.is_blocked:
                blocked.setdefault(attempt.opened.credential.id, []).append(attempt)
            else:
                self._spawn(self._attempt(batch, rendered, attempt))
        for waiting in blocked.values():
            self._spawn(self._probe(batch, rendered, waiting))

    async def _attempt(self, batch: Batch, rendered: Any, attempt: Attempt) -> Result:
        target, began = attempt.recipient.target, time.monotonic()
        try:
            result = await attempt.opened.session.send(rendered, target)
        except Exception:
            # A provider never raises for a message; if it does, what happened is unknown.
            log.exception("provider_raised", action="send.provider_raised", provider=self._provider.name)
            result = Result(target.device_id, Outcome.UNCERTAIN, "internal_error")
        self._trouble.note(batch, attempt.opened, result, began)
        batch.results.append(result)
        self._noted(batch)
        return result

    async def _try(self, batch: Batch, rendered: Any, attempts: Sequence[Attempt]) -> None:
        """An incident's trial: one recipient goes ahead; the others follow if that went well, or go back."""
        if not attempts:
            self._trouble.untried(batch)
            return
        first, *rest = attempts
        batch.probe = first.recipient.target.device_id
        result = await self._attempt(batch, rendered, first)
        if self._trouble.tried(batch, first.opened, result):
            self._go_on(batch, rendered, rest)
        else:
            self._put_back(batch, rest, claim.STOPPED)

    def _go_on(self, batch: Batch, rendered: Any, rest: Sequence[Attempt]) -> None:
        """After somebody went ahead, which may have taken long."""
        if reason := self._obstacle(batch):
            self._put_back(batch, rest, reason)
        else:
            self._attempt_all(batch, rendered, rest)

    async def _probe(self, batch: Batch, rendered: Any, waiting: Sequence[Attempt]) -> None:
        """One credential of several is blocked: try one recipient now and then, put the others back until it works."""
        opened, rest = waiting[0].opened, waiting
        if opened.may_probe:
            opened.may_probe, (first, *rest) = False, waiting
            result = await self._attempt(batch, rendered, first)
            if result.outcome is Outcome.BLOCKED:
                self._trouble.block(opened, f"{result.reason}: {result.detail}".rstrip(": "))
            elif trouble.let_in(result):
                self._trouble.unblock(opened)
        if opened.is_blocked:
            self._put_back(batch, rest, "credential_blocked")
        else:
            self._go_on(batch, rendered, rest)

    def _put_back(self, batch: Batch, attempts: Iterable[Attempt], reason: str) -> None:
        for attempt in attempts:
            batch.add(attempt.recipient.target.device_id, claim.HELD, reason)
        self._noted(batch)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("send_failed", action="send.failed", provider=self._provider.name, exc_info=error)


def _remember(cache: OrderedDict[Sent, Any], key: Sent, value: Any) -> None:
    cache[key] = value
    if len(cache) > REMEMBERED:
        cache.popitem(last=False)
