"""The sender: claim ▸ load ▸ render ▸ send ▸ record, over and over, for the lanes of one worker process.

What it has claimed and not yet recorded is what a `kill -9` leaves unknowable, so that is what its
budget bounds, over all lanes together; a lane may hold only a share, so a stalled provider cannot
hold the process. No network inside a transaction (law 6): a cycle records what has come in, claims
what fits, commits, and only then are the claimed sent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from psycopg import AsyncConnection, Error as DatabaseError
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from notifications import lanes
from notifications.pipeline import claim, load, record, render, sessions
from notifications.pipeline.claim import Batch
from notifications.pipeline.load import Content, Recipient
from notifications.providers.base import Outcome, PayloadTooLarge, Provider, Result, TokenStore

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5  # an idle sender looks by itself this often
PARTIAL_SECONDS = 0.25  # results of a batch that still waits for others are recorded after this
REMEMBERED = 512  # notifications whose content and rendered form are kept


class Sender:
    """One per worker process, on an event loop of its own. Everything but `wake` and `stop` runs in that loop."""

    def __init__(
        self,
        lane_names: Sequence[str],
        *,
        conninfo: str,
        providers: Mapping[str, Provider],
        tokens: TokenStore,
        budget: int,
        lane_share: float,
        batch_size: int,
        lease_seconds: float,
    ) -> None:
        self.pool = AsyncConnectionPool(
            conninfo, min_size=1, max_size=6, open=False, timeout=10, kwargs={"autocommit": True, "prepare_threshold": 2}
        )
        self.providers = providers
        self.sessions = sessions.Sessions(providers, tokens)
        self.budget, self.batch_size, self.lease_seconds = budget, batch_size, lease_seconds
        self.lane_budget = max(batch_size, int(budget * lane_share))
        self.lanes = {name: Lane(self, name) for name in lane_names}
        self.is_stopping = False
        self._contents: OrderedDict[UUID, Content] = OrderedDict()
        self._rendered: OrderedDict[tuple[UUID, str], Any] = OrderedDict()

    async def run(self) -> None:
        """Work until `stop`, then finish what is under way."""
        await self.pool.open()
        try:
            async with asyncio.TaskGroup() as group:
                look = group.create_task(self._look())
                await asyncio.gather(*(group.create_task(lane.run()) for lane in self.lanes.values()))
                look.cancel()
        finally:
            await self.sessions.close()
            await self.pool.close()

    def wake(self, name: str) -> None:
        """There may be something in this lane."""
        if lane := self.lanes.get(name):
            lane.wake()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when the claimed is recorded."""
        self.is_stopping = True
        for lane in self.lanes.values():
            lane.signal.set()

    def room(self, lane: Lane) -> int:
        """How many more recipients the lane may claim."""
        held = sum(other.held for other in self.lanes.values())
        return min(self.budget - held, self.lane_budget - lane.held)

    async def content(self, connection: AsyncConnection, batches: Sequence[Batch]) -> dict[UUID, Content]:
        """The notifications of these batches; read once per process."""
        wanted = {batch.notification_id for batch in batches}
        missing = [id for id in wanted if id not in self._contents]
        if missing:
            for content in await load.contents(connection, missing):
                _remember(self._contents, content.id, content)
        return {id: self._contents[id] for id in wanted if id in self._contents}

    def rendered(self, content: Content, provider: Provider) -> Any:
        key = content.id, provider.name
        if key not in self._rendered:
            _remember(self._rendered, key, render.rendered(content, provider))
        return self._rendered[key]

    async def _look(self) -> None:
        """What has come due, or was left without a wake-up, is found here."""
        while True:
            try:
                async with self.pool.connection() as connection:
                    for name in await claim.ready_lanes(connection, list(self.lanes)):
                        self.lanes[name].wake()
            except (DatabaseError, PoolTimeout) as error:
                log.warning("database_away", action="send.database_away", error=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)


class Lane:
    """One lane in one process: its claimed batches and the loop that turns them over."""

    def __init__(self, sender: Sender, name: str) -> None:
        self.name = name
        self.provider = sender.providers[lanes.provider_of(name)]
        self.signal = asyncio.Event()
        self.held = 0  # recipients claimed and not yet recorded
        self._sender = sender
        self._claimed: dict[int, Batch] = {}
        self._contents: dict[UUID, Content] = {}
        self._may_have_work = False
        self._tasks: set[asyncio.Task[None]] = set()
        is_mass = name.endswith(lanes.CAMPAIGN)
        # A lane of one-recipient batches claims many at once; a campaign's are full or nearly so.
        self._least_room = sender.batch_size if is_mass else 1
        self._most_batches = max(1, sender.budget // 25) if is_mass else sender.budget

    def wake(self) -> None:
        self._may_have_work = True
        self.signal.set()

    async def run(self) -> None:
        """Cycle while there is something to record or claim; sleep otherwise."""
        while not (self._sender.is_stopping and not self._claimed):
            self.signal.clear()
            try:
                has_moved = await self._cycle()
            except (DatabaseError, PoolTimeout) as error:
                # What was being recorded stays in memory; the leases outlast a restart of the database.
                log.warning("database_away", action="send.database_away", lane=self.name, error=type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            if not has_moved:
                await self._sleep()

    async def _cycle(self) -> bool:
        """Record and claim in one transaction. False: there was nothing to do."""
        flush = self._take()
        room = 0 if self._sender.is_stopping or not self._may_have_work else self._sender.room(self)
        if not flush and room < self._least_room:
            return False
        fresh: list[Batch] = []
        try:
            async with self._sender.pool.connection() as connection, connection.transaction():
                if flush:
                    await record.results(connection, self.name, flush, self._contents, self.provider.BACKOFF)
                if room >= self._least_room:
                    fresh = await self._claim(connection, room)
        except BaseException:
            for batch in flush:
                batch.results, batch.flushing = batch.flushing + batch.results, []
            self._may_have_work = True
            raise
        self._release(flush)
        self._begin(fresh)
        return True

    def _take(self) -> list[Batch]:
        """The batches to record now: finished ones, and partial ones whose first results have waited."""
        now = datetime.now(UTC)
        taken = [
            batch
            for batch in self._claimed.values()
            if batch.results
            and (batch.is_finished or (now - batch.claimed_at).total_seconds() > PARTIAL_SECONDS)
        ]
        for batch in taken:
            batch.flushing, batch.results = batch.results, []
        return taken

    async def _claim(self, connection: AsyncConnection, room: int) -> list[Batch]:
        self._may_have_work = False
        fresh = await claim.batches(
            connection, self.name, room=room, most=self._most_batches, lease_seconds=self._sender.lease_seconds
        )
        if fresh:
            self._may_have_work = True
        return fresh

    def _release(self, flushed: Sequence[Batch]) -> None:
        for batch in flushed:
            self.held -= len(batch.flushing)
            batch.device_ids = batch.left_over()
            batch.flushing = []
            if not batch.device_ids:
                del self._claimed[batch.id]
        live = {batch.notification_id for batch in self._claimed.values()}
        self._contents = {id: content for id, content in self._contents.items() if id in live}

    def _begin(self, fresh: Sequence[Batch]) -> None:
        if not fresh:
            return
        for batch in fresh:
            self._claimed[batch.id] = batch
            self.held += len(batch.device_ids)
        self._spawn(self._send(fresh))

    async def _sleep(self) -> None:
        has_partial = any(batch.results for batch in self._claimed.values())
        try:
            await asyncio.wait_for(self.signal.wait(), PARTIAL_SECONDS if has_partial else LOOK_SECONDS)
        except TimeoutError:
            pass

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("send_failed", action="send.failed", lane=self.name, exc_info=error)

    async def _send(self, batches: Sequence[Batch]) -> None:
        """Load what was claimed and start its attempts."""
        contents, recipients, opened = await self._load(batches)
        for batch in batches:
            content = contents.get(batch.notification_id)
            if content is None:
                self._abandon(batch)
                continue
            self._contents[content.id] = content
            self._start(batch, content, recipients[batch.id], opened[batch.application_id])

    def _abandon(self, batch: Batch) -> None:
        """Its notification was erased with its application: nobody is left to account to."""
        self.held -= len(batch.device_ids)
        del self._claimed[batch.id]

    async def _load(self, batches: Sequence[Batch]) -> Any:
        while True:
            try:
                async with self._sender.pool.connection() as connection:
                    contents = await self._sender.content(connection, batches)
                    known = [batch for batch in batches if batch.notification_id in contents]
                    recipients = await load.recipients(connection, known, contents)
                    opened = {
                        id: await self._sender.sessions.of(connection, id, self.provider.name)
                        for id in {batch.application_id for batch in batches}
                    }
                    return contents, recipients, opened
            except (DatabaseError, PoolTimeout):
                await asyncio.sleep(0.5)

    def _start(
        self,
        batch: Batch,
        content: Content,
        recipients: Sequence[Recipient],
        opened: Sequence[sessions.Open],
    ) -> None:
        """Decide what needs no provider, and start an attempt for everyone else."""
        batch.subscribers = {r.target.device_id: r.subscriber_id for r in recipients}
        if datetime.now(UTC) >= content.expires_at:
            return self._settle(batch, claim.FAILED, "expired")
        try:
            rendered = self._sender.rendered(content, self.provider)
        except PayloadTooLarge:
            return self._settle(batch, Outcome.REJECTED, "payload_too_large")
        except ValueError:
            log.exception("render_failed", action="render.failed", notification=str(content.id))
            return self._settle(batch, Outcome.REJECTED, "not_renderable")
        held: dict[int, tuple[sessions.Open, list[Recipient]]] = {}
        for recipient in recipients:
            if recipient.suppressed:
                batch.add(recipient.target.device_id, claim.SUPPRESSED, recipient.suppressed)
            elif content.is_rehearsal:
                batch.add(recipient.target.device_id, Outcome.ACCEPTED, "rehearsal")
            elif (session := sessions.fitting(opened, recipient)) is None:
                batch.add(recipient.target.device_id, claim.HELD, "no_credential")
            elif session.is_blocked:
                held.setdefault(session.credential.id, (session, []))[1].append(recipient)
            else:
                self._spawn(self._attempt(batch, session, rendered, recipient))
        for session, waiting in held.values():
            self._spawn(self._probe(batch, session, rendered, waiting))
        self._note(batch)

    def _settle(self, batch: Batch, outcome: str, reason: str) -> None:
        for device_id in batch.device_ids:
            batch.add(device_id, outcome, reason)
        self._note(batch)

    def _note(self, batch: Batch) -> None:
        if batch.is_finished:
            self.signal.set()

    async def _attempt(
        self, batch: Batch, opened: sessions.Open, rendered: Any, recipient: Recipient
    ) -> Outcome:
        try:
            result = await opened.session.send(rendered, recipient.target)
        except Exception:
            # A provider never raises for a message; if it does, what happened is unknown.
            log.exception("provider_raised", action="send.provider_raised", lane=self.name)
            result = Result(recipient.target.device_id, Outcome.UNCERTAIN, "internal_error")
        batch.results.append(result)
        if result.outcome is Outcome.BLOCKED and not opened.is_blocked:
            await self._block(opened, result)
        self._note(batch)
        return result.outcome

    async def _block(self, opened: sessions.Open, result: Result) -> None:
        opened.is_blocked = True
        reason = f"{result.reason}: {result.detail}" if result.detail else result.reason
        log.error("credential_blocked", action="send.blocked", credential=opened.credential.id, reason=result.reason)
        async with self._sender.pool.connection() as connection:
            await self._sender.sessions.block(connection, opened, reason)

    async def _probe(
        self, batch: Batch, opened: sessions.Open, rendered: Any, waiting: Sequence[Recipient]
    ) -> None:
        """With a blocked credential: try one recipient now and then, hold the others until it works."""
        rest = list(waiting)
        if opened.may_probe:
            opened.may_probe = False
            outcome = await self._attempt(batch, opened, rendered, rest.pop(0))
            async with self._sender.pool.connection() as connection:
                if outcome is Outcome.BLOCKED:
                    await self._sender.sessions.block(connection, opened, "still refused")
                elif outcome is not Outcome.UNCERTAIN:
                    await self._sender.sessions.unblock(connection, opened)
        for recipient in rest:
            if opened.is_blocked:
                batch.add(recipient.target.device_id, claim.HELD, "credential_blocked")
            else:
                self._spawn(self._attempt(batch, opened, rendered, recipient))
        self._note(batch)


def _remember(cache: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    cache[key] = value
    if len(cache) > REMEMBERED:
        cache.popitem(last=False)
