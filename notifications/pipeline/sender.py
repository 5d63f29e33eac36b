"""The sender of a worker process: it turns its lanes over, claim ▸ send ▸ record, again and again.

What it has claimed and not yet recorded is what a `kill -9` leaves unknowable, so that is what its
budget bounds, over all lanes together. A bulkhead at each level keeps a stalled provider from holding
the process: an application may hold a share of a lane's room, a lane all but one batch of the budget,
and whoever holds something leaves room for one batch of whoever holds nothing. A lane that found no room
is hungry: what comes free is its before others claim again.

No network inside a transaction (law 6): a cycle records what has come in, claims what fits, commits,
and only then are the claimed sent (send.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import structlog
from psycopg import AsyncConnection, InterfaceError, OperationalError
from psycopg import Error as DatabaseError
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from notifications import lanes
from notifications.pipeline import claim, limits, record, send, sessions
from notifications.pipeline.claim import Batch
from notifications.providers.base import Provider, TokenStore

log = structlog.get_logger(__name__)

SATED = float("inf")
LOOK_SECONDS = 0.5  # an idle sender looks by itself this often
SERVED_DECAY = 0.7  # of what counts as lately, with each look
PARTIAL_SECONDS = 0.25  # results of a batch that still waits for others are recorded after this

# By the name they give their connections; they share the rates when Redis, which adds them up, is away.
SENDERS = """
    SELECT count(DISTINCT (application_name, client_addr)) FROM pg_stat_activity
    WHERE application_name LIKE 'carillon-sender-%' AND datname = current_database()
"""


class Sender:
    """One per worker process, on an event loop of its own. Everything but `wake` and `stop` runs in that loop.

    tokens: makes the token store of the sender's connections.
    """

    def __init__(
        self,
        lane_names: Sequence[str],
        *,
        conninfo: str,
        providers: Mapping[str, Provider],
        tokens: Callable[[AsyncConnectionPool], TokenStore],
        redis_url: str,
        budget: int,
        share: float,
        batch_size: int,
        lease_seconds: float,
    ) -> None:
        self.pool = AsyncConnectionPool(
            conninfo,
            min_size=1,
            max_size=6,
            open=False,
            timeout=10,
            # Give up early and try anew at the next use: the pool's own pauses double to minutes, and leases
            # would run out while the database is back already.
            reconnect_timeout=3,
            configure=_configure,
            kwargs={
                "autocommit": True,
                "prepare_threshold": 2,
                "application_name": f"carillon-sender-{os.getpid()}",
            },
        )
        self.providers = providers
        self.sessions = sessions.Sessions(providers, tokens(self.pool))
        self.limits = limits.Limits(redis_url, lambda: self._senders)
        self._senders = 1
        self.budget, self.batch_size, self.lease_seconds = budget, batch_size, lease_seconds
        self.lane_budget = max(batch_size, budget - batch_size)
        self.application_budget = max(batch_size, int(budget * share))
        self.lanes = {name: Lane(self, name) for name in lane_names}
        self.is_stopping = False

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
            await self.limits.close()
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

    @property
    def free(self) -> int:
        """How many more recipients this process may claim."""
        return self.budget - sum(lane.held + lane.claiming for lane in self.lanes.values())

    def kept_from(self, lane: Lane) -> int:
        """Room of lanes that have been hungry for longer."""
        return self.batch_size * sum(one.hungry_since < lane.hungry_since for one in self.lanes.values())

    def feed(self) -> None:
        """There may be room again."""
        for lane in sorted(self.lanes.values(), key=lambda one: one.hungry_since):
            if lane.hungry_since < SATED:
                lane.wake()

    async def _look(self) -> None:
        """What has come due, or was left without a wake-up, is found here."""
        while True:
            try:
                async with self.pool.connection() as connection:
                    for name in await claim.ready_lanes(connection, list(self.lanes)):
                        self.lanes[name].wake()
                    cursor = await connection.execute(SENDERS)
                    (self._senders,) = await cursor.fetchone() or (1,)
            except (DatabaseError, PoolTimeout) as error:
                log.warning("database_away", action="send.database_away", error=type(error).__name__)
            for lane in self.lanes.values():
                lane.forget()
            await asyncio.sleep(LOOK_SECONDS)


async def _configure(connection: AsyncConnection) -> None:
    """All a sender asks is found by an index. A plan made while the tables were empty reads them whole, though, and is
    kept until the statistics are taken again: a claim of 1 ms then takes 100."""
    await connection.execute("SET enable_seqscan = off")


def _age(batch: Batch, now: datetime) -> float:
    return (now - batch.claimed_at).total_seconds()


class Lane:
    """One lane in one process: its claimed batches and the loop that turns them over."""

    def __init__(self, sender: Sender, name: str) -> None:
        self.name = name
        self.provider = sender.providers[lanes.provider_of(name)]
        self.signal = asyncio.Event()
        self.held = 0  # recipients claimed and not yet recorded
        self.claiming = 0  # room set aside for a claim under way
        self.hungry_since = SATED  # monotonic
        self._held_by: Counter[int] = Counter()  # the same by application
        self._served: defaultdict[int, float] = defaultdict(float)  # recipients lately, by application
        self._refused_until: dict[
            int, float
        ] = {}  # applications the rate limits let nothing through of; monotonic
        self._sender = sender
        self._sending = send.Sending(
            self.provider,
            sender.pool,
            sender.sessions,
            fresh_seconds=sender.lease_seconds / 4,
            noted=self._noted,
            limiting=sender.limits,
            is_transactional=lanes.is_transactional(name),
            is_stopping=lambda: sender.is_stopping,
            refused=self._refused,
        )
        self._claimed: dict[int, Batch] = {}
        self._may_have_work = self._has_claimed = self._did_not_fit = False
        is_mass = not lanes.is_transactional(name)
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
                is_away = isinstance(error, OperationalError | InterfaceError | PoolTimeout)
                (log.warning if is_away else log.exception)(
                    "not_recorded",
                    action="send.database_away" if is_away else "send.not_recorded",
                    lane=self.name,
                    error=type(error).__name__,
                )
                await asyncio.sleep(0.5)
                continue
            if not has_moved:
                await self._sleep()

    async def _cycle(self) -> bool:
        """Record and claim in one transaction. False: there was nothing to do."""
        flush = self._take()
        room = self.claiming = self._set_aside()
        if not flush and not room:
            return False
        fresh: list[Batch] = []
        try:
            async with self._sender.pool.connection() as connection, connection.transaction():
                if flush:
                    await record.results(
                        connection,
                        self.name,
                        flush,
                        self.provider.BACKOFF,
                        batch_size=self._sender.batch_size,
                    )
                if room:
                    fresh = await self._claim(connection, room)
        except BaseException:
            self.claiming = 0
            self._may_have_work = True
            raise
        self.claiming = 0
        self._release(flush)
        self._begin(fresh)
        self._sender.feed()
        return True

    def _take(self) -> list[Batch]:
        """The batches to record now: finished ones, and partial ones whose first results have waited."""
        now = datetime.now(UTC)
        taken = [
            batch
            for batch in self._claimed.values()
            if batch.flushing or (batch.results and (batch.is_finished or _age(batch, now) > PARTIAL_SECONDS))
        ]
        for batch in taken:
            # A flush that failed is repeated as it was: it may have been committed, and only the answer lost.
            if not batch.flushing:
                batch.flushing, batch.results = batch.results, []
        return taken

    def forget(self) -> None:
        """What was served a while ago counts less."""
        for application in list(self._served):
            self._served[application] *= SERVED_DECAY
            if self._served[application] < 1:
                del self._served[application]

    def _set_aside(self) -> int:
        """Room for a claim, or 0."""
        sender, mine = self._sender, self._sender.lane_budget - self.held
        if sender.is_stopping or not self._may_have_work or mine < self._least_room:
            return 0
        room = min(sender.free - sender.kept_from(self), mine)
        if room < self._least_room:
            self.hungry_since = min(self.hungry_since, time.monotonic())
            return 0
        return room

    def _shares(self, room: int) -> dict[int, claim.Share]:
        """The applications this lane has served lately or holds something of; all others have the lane's room."""
        now = time.monotonic()
        self._refused_until = {id: until for id, until in self._refused_until.items() if until > now}
        known = {*self._served, *+self._held_by, *self._refused_until}
        return {id: claim.Share(self._served.get(id, 0.0), self._room_of(id, room)) for id in known}

    def _room_of(self, application_id: int, room: int) -> int:
        if application_id in self._refused_until:
            return 0
        sender, held = self._sender, self._held_by[application_id]
        if not held:
            return min(room, sender.application_budget)
        return min(room, sender.application_budget - held, sender.free + room - sender.batch_size)

    def _refused(self, application_id: int, seconds: float) -> None:
        self._refused_until[application_id] = time.monotonic() + seconds

    async def _claim(self, connection: AsyncConnection, room: int) -> list[Batch]:
        fresh = await claim.batches(
            connection,
            self.name,
            room=room,
            each=min(room, self._sender.application_budget),
            most=self._most_batches,
            is_idle=not self._claimed,
            lease_seconds=self._sender.lease_seconds,
            shares=self._shares(room),
        )
        # Nothing after something: another sender may have had its hand on all there was. It is asked once more.
        self._may_have_work = bool(fresh) or self._has_claimed
        self._has_claimed = bool(fresh)
        self.hungry_since = SATED
        # The first in line may have been too large for the room: look again as soon as there is more.
        self._did_not_fit = not fresh and self._sender.free < self._sender.budget
        return fresh

    def _release(self, flushed: Sequence[Batch]) -> None:
        if flushed and self._did_not_fit:
            self._may_have_work = True
        for batch in flushed:
            self.held -= len(batch.flushing)
            self._held_by[batch.application_id] -= len(batch.flushing)
            batch.device_ids = batch.left_over()
            batch.flushing = []
            if not batch.device_ids:
                del self._claimed[batch.id]

    def _begin(self, fresh: Sequence[Batch]) -> None:
        if not fresh:
            return
        for batch in fresh:
            self._claimed[batch.id] = batch
            self.held += len(batch.device_ids)
            self._held_by[batch.application_id] += len(batch.device_ids)
            self._served[batch.application_id] += len(batch.device_ids)
        self._sending.start(fresh)

    def _noted(self, batch: Batch) -> None:
        if batch.is_finished:
            self.signal.set()

    async def _sleep(self) -> None:
        has_partial = any(batch.results for batch in self._claimed.values())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.signal.wait(), PARTIAL_SECONDS if has_partial else LOOK_SECONDS)
