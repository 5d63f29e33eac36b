"""Claimed batches go out: load ▸ limits ▸ render ▸ one attempt per recipient. Results gather in the batches.

Whatever fails here short of the process's death leaves every recipient with a result: what was not
tried is put back, what was tried and not answered is uncertain.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from notifications import lanes
from notifications.pipeline import claim, limits, load, render, sessions, trouble
from notifications.pipeline.claim import Batch
from notifications.pipeline.load import Content, Recipient
from notifications.pipeline.render import Sent
from notifications.providers.base import Outcome, PayloadTooLarge, Provider, Result
from notifications.templating import Missing, NotRenderable

log = structlog.get_logger(__name__)

# Rendering for many people makes way for what else goes on in the process after so many seconds.
AT_A_STRETCH = 0.005

Loaded = tuple[dict[Sent, Content], dict[int, list[Recipient]], dict[int, Sequence[sessions.Open]]]


class Attempt(NamedTuple):
    """Somebody to be sent to, what, and through what."""

    recipient: Recipient
    opened: sessions.Open
    rendered: Any


class Unsaid(NamedTuple):
    """Why there is nothing to be sent to somebody."""

    outcome: str
    reason: str


Rendered = Callable[[int], Any]  # device id → what it is sent, or Unsaid


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
        self._renderings = render.Renderings(provider)
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
                await self._begin(batch, batch.content, recipients[batch.id], opened[batch.application_id])

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
            render.remember(self._contents, sent, content)
        return {sent: self._contents[sent] for sent in wanted if sent in self._contents}

    async def _begin(
        self, batch: Batch, content: Content, recipients: Sequence[Recipient], opened: Sequence[sessions.Open]
    ) -> None:
        """Decide what needs no provider, and start an attempt for everyone else."""
        batch.subscribers = {r.target.device_id: r.subscriber_id for r in recipients}
        rendered = await self._prepared(batch, content, recipients)
        if rendered is None:
            return
        try:
            attempts = self._decide(batch, content, recipients, opened, rendered)
        except Exception:  # nobody has been sent to yet
            log.exception("not_decided", action="send.not_decided", notification=str(content.id))
            batch.results.clear()
            self._settle(batch, claim.HELD, claim.NOT_LOADED)
            return
        if batch.trial:
            self._spawn(self._try(batch, attempts))
        else:
            self._attempt_all(batch, attempts)
        self._noted(batch)

    def _decide(
        self,
        batch: Batch,
        content: Content,
        recipients: Sequence[Recipient],
        opened: Sequence[sessions.Open],
        rendered: Rendered,
    ) -> list[Attempt]:
        """Enter the outcomes that need no provider; who is left to be sent to."""
        attempts = []
        for recipient in recipients:
            device_id = recipient.target.device_id
            said = rendered(device_id)
            if recipient.suppressed:
                batch.add(device_id, claim.SUPPRESSED, recipient.suppressed)
            elif recipient.held_until:
                seconds = (recipient.held_until - datetime.now(UTC)).total_seconds()
                batch.add(device_id, claim.HELD, claim.UNTIMELY, max(0.0, seconds))
            elif isinstance(said, Unsaid):
                batch.add(device_id, said.outcome, said.reason)
            elif content.is_rehearsal:
                batch.add(device_id, Outcome.ACCEPTED, "rehearsal")
            elif (session := sessions.fitting(opened, recipient)) is None:
                batch.add(device_id, claim.HELD, "no_credential")
            else:
                attempts.append(Attempt(recipient, session, said))
        return attempts

    async def _prepared(
        self, batch: Batch, content: Content, recipients: Sequence[Recipient]
    ) -> Rendered | None:
        """What is said to each device, or None: it cannot be sent, and the batch is settled."""
        if datetime.now(UTC) >= content.expires_at:
            self._settle(batch, claim.FAILED, "expired")
            return None
        if content.wording is not None:
            return await self._prepared_each(batch, content, recipients)
        said = self._said(content, lambda: self._renderings.for_all(batch.sending, content))
        if isinstance(said, Unsaid):
            self._settle(batch, said.outcome, said.reason)
            return None
        return lambda device_id: said

    async def _prepared_each(
        self, batch: Batch, content: Content, recipients: Sequence[Recipient]
    ) -> Rendered | None:
        rendered: dict[int, Any] = {}
        began = time.monotonic()
        for recipient in recipients:
            if recipient.suppressed or recipient.held_until:
                continue
            one = functools.partial(self._renderings.for_one, batch.sending, content, recipient)
            rendered[recipient.target.device_id] = self._said(content, one)
            if time.monotonic() - began > AT_A_STRETCH:
                await asyncio.sleep(0)
                began = time.monotonic()
        if reason := self._obstacle(batch):  # it may have taken long
            self._settle(batch, claim.HELD, reason)
            return None
        return rendered.get

    def _said(self, content: Content, rendering: Callable[[], Any]) -> Any:
        """The rendered message, or why there is none. One that cannot be rendered harms no other."""
        try:
            return rendering()
        except Missing:
            return Unsaid(claim.SUPPRESSED, "missing_variable")
        except PayloadTooLarge:
            return Unsaid(Outcome.REJECTED, "payload_too_large")
        except render.TemplateGone:
            return Unsaid(Outcome.REJECTED, "template_deleted")
        except NotRenderable:  # with these values; its words may hold them
            log.warning("not_renderable", action="send.not_renderable", notification=str(content.id))
        except Exception:
            log.exception("render_failed", action="send.render_failed", notification=str(content.id))
        return Unsaid(Outcome.REJECTED, "not_renderable")

    def _settle(self, batch: Batch, outcome: str, reason: str) -> None:
        for device_id in batch.device_ids:
            batch.add(device_id, outcome, reason)
        if batch.trial:
            self._trouble.untried(batch)
        self._noted(batch)

    # --- attempts -------------------------------------------------------------------------

    def _attempt_all(self, batch: Batch, attempts: Iterable[Attempt]) -> None:
        blocked: dict[int, list[Attempt]] = {}
        for attempt in attempts:
            if attempt.opened.is_blocked:
                blocked.setdefault(attempt.opened.credential.id, []).append(attempt)
            else:
                self._spawn(self._attempt(batch, attempt))
        for waiting in blocked.values():
            self._spawn(self._probe(batch, waiting))

    async def _attempt(self, batch: Batch, attempt: Attempt) -> Result:
        target, began = attempt.recipient.target, time.monotonic()
        try:
            result = await attempt.opened.session.send(attempt.rendered, target)
        except Exception:
            # A provider never raises for a message; if it does, what happened is unknown.
            log.exception("provider_raised", action="send.provider_raised", provider=self._provider.name)
            result = Result(target.device_id, Outcome.UNCERTAIN, "internal_error")
        self._trouble.note(batch, attempt.opened, result, began)
        batch.results.append(result)
        self._noted(batch)
        return result

    async def _try(self, batch: Batch, attempts: Sequence[Attempt]) -> None:
        """An incident's trial: one recipient goes ahead; the others follow if that went well, or go back."""
        if not attempts:
            self._trouble.untried(batch)
            return
        first, *rest = attempts
        batch.probe = first.recipient.target.device_id
        result = await self._attempt(batch, first)
        if self._trouble.tried(batch, first.opened, result):
            self._go_on(batch, rest)
        else:
            self._put_back(batch, rest, claim.STOPPED)

    def _go_on(self, batch: Batch, rest: Sequence[Attempt]) -> None:
        """After somebody went ahead, which may have taken long."""
        if reason := self._obstacle(batch):
            self._put_back(batch, rest, reason)
        else:
            self._attempt_all(batch, rest)

    async def _probe(self, batch: Batch, waiting: Sequence[Attempt]) -> None:
        """One credential of several is blocked: try one recipient now and then, put the others back until it works."""
        opened, rest = waiting[0].opened, waiting
        if opened.may_probe:
            opened.may_probe, (first, *rest) = False, waiting
            result = await self._attempt(batch, first)
            if result.outcome is Outcome.BLOCKED:
                self._trouble.block(opened, f"{result.reason}: {result.detail}".rstrip(": "))
            elif trouble.let_in(result):
                self._trouble.unblock(opened)
        if opened.is_blocked:
            self._put_back(batch, rest, "credential_blocked")
        else:
            self._go_on(batch, rest)

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
