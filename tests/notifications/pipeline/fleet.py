"""Real senders on the real database, in the hand of a test: it decides what the provider answers and what truly
arrives, how a transaction ends, and who comes in between. Every call returns when all that is left waits for
an answer.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

import pytest
from django.db import connections, transaction
from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool

from notifications.pipeline import claim, sender
from notifications.pipeline.sender import Lane, Sender
from notifications.providers.base import Outcome, Result, Session, Target
from notifications.providers.memory import Memory
from tests.notifications.pipeline.conftest import LANES, Pipeline

BUDGETS = (4, 12)  # one sender holds a batch at a time, the other several
BATCH_SIZE = 3
# Whoever is not done by then waits for a lock.
PATIENCE_SECONDS = 0.05

Recipient = tuple[UUID, int]  # a notification and one of its devices


class Ending(StrEnum):
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    ANSWER_LOST = "answer lost"  # committed, but the sender does not learn of it


Beside = Callable[[], Awaitable[Any]] | None


class Connection(AsyncConnection[Any]):
    """The next transaction of any of them goes as planned: just before its end, something happens beside it."""

    planned: ClassVar[tuple[Ending, Beside]] = Ending.COMMITTED, None

    @classmethod
    def plan(cls, ending: Ending = Ending.COMMITTED, beside: Beside = None) -> None:
        cls.planned = ending, beside

    @asynccontextmanager
    async def transaction(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        ending, beside = self.planned
        self.plan()
        async with super().transaction(*args, **options) as entered:
            yield entered
            if beside:
                await beside()
            if ending is Ending.ROLLED_BACK:
                raise OperationalError(ending)
        if ending is Ending.ANSWER_LOST:
            raise OperationalError(ending)


class Answer(NamedTuple):
    """outcome: None, the provider's code raises. has_arrived: the device got it, whatever the provider says."""

    outcome: Outcome | None
    reason: str = ""
    has_arrived: bool = False
    retry_after: float | None = None


class Attempt(NamedTuple):
    recipient: Recipient
    answer: asyncio.Future[Result]


@dataclass
class Wire(Memory):
    """What one sender has on its way to the provider."""

    waiting: list[Attempt] = field(default_factory=list)

    def open(self, credential: Any, tokens: Any) -> Session:
        return WireSession(self.waiting)

    def take(self, position: int) -> Attempt:
        self.waiting.sort(key=lambda attempt: attempt.recipient)
        return self.waiting.pop(position % len(self.waiting))


@dataclass
class WireSession(Session):
    waiting: list[Attempt]

    async def send(self, rendered: Any, target: Target) -> Result:
        recipient = UUID(rendered.message.notification_id), target.device_id
        attempt = Attempt(recipient, asyncio.get_running_loop().create_future())
        self.waiting.append(attempt)
        return await attempt.answer


class Fleet:
    """arrived: how often each recipient truly got the message."""

    def __init__(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sender, "PARTIAL_SECONDS", -1)
        pool = functools.partial(AsyncConnectionPool, connection_class=Connection)
        monkeypatch.setattr(sender, "AsyncConnectionPool", pool)
        self.arrived: Counter[Recipient] = Counter()
        self._thread = ThreadPoolExecutor(1)
        self._others: list[asyncio.Future[Any]] = []
        self._runner = asyncio.Runner()
        self._wires = [Wire() for _ in BUDGETS]
        self.senders = self._runner.run(self._open(pipeline))

    async def _open(self, pipeline: Pipeline) -> list[Sender]:
        opened = []
        for wire, budget in zip(self._wires, BUDGETS, strict=True):
            pipeline.provider = wire
            opened.append(pipeline.sender(budget=budget, batch_size=BATCH_SIZE, lease_seconds=1000))
            await opened[-1].pool.open(wait=True)
        return opened

    def begin(self) -> None:
        for index in range(len(self.senders)):
            self.crash(index)
        self.arrived.clear()

    def close(self) -> None:
        self.begin()
        for one in self.senders:
            self._runner.run(one.pool.close())
            self._runner.run(one.limits.close())
        self._runner.close()
        self._thread.submit(connections.close_all).result()
        self._thread.shutdown()

    # --- senders --------------------------------------------------------------------------

    def turn(self, index: int, lane: str, ending: Ending = Ending.COMMITTED, beside: Beside = None) -> None:
        """Record and claim, then load and begin to send. beside: what happens just before the COMMIT."""
        self._run(self._turn(index, lane, ending, beside))

    async def _turn(self, index: int, name: str, ending: Ending, beside: Beside = None) -> None:
        lane = self.senders[index].lanes[name]
        lane.wake()
        Connection.plan(ending, beside)
        try:
            await lane._cycle()
        except OperationalError:
            if ending is Ending.COMMITTED:
                raise
        finally:
            Connection.plan()

    def another_turns(self, index: int, lane: str) -> Beside:
        return lambda: self._come_in(self._turn((index + 1) % len(self.senders), lane, Ending.COMMITTED))

    def another_does(self, work: Callable[[], Any]) -> Beside:
        return lambda: self._come_in(asyncio.get_running_loop().run_in_executor(self._thread, work))

    async def _come_in(self, work: Awaitable[Any]) -> None:
        """Go on when it is done, or waits for a lock of ours."""
        task = asyncio.ensure_future(work)
        self._others.append(task)
        await asyncio.wait({task}, timeout=PATIENCE_SECONDS)

    def answer(self, index: int, given: Sequence[tuple[int, Answer]]) -> None:
        """Answer some of what it waits for: which, and what."""
        self._run(self._answer(self._wires[index], given))

    async def _answer(self, wire: Wire, given: Sequence[tuple[int, Answer]]) -> None:
        for position, answer in given:
            if not wire.waiting:
                return
            attempt = wire.take(position)
            self.arrived[attempt.recipient] += answer.has_arrived
            if answer.outcome is None:
                attempt.answer.set_exception(RuntimeError("of the provider's own"))
            else:
                told = Result(attempt.recipient[1], answer.outcome, answer.reason, "", answer.retry_after)
                attempt.answer.set_result(told)

    def accept_all(self, index: int) -> None:
        taken = Answer(Outcome.ACCEPTED, has_arrived=True)
        self.answer(index, [(0, taken)] * len(self._wires[index].waiting))

    def crash(self, index: int, arrivals: Sequence[bool] = ()) -> None:
        """Its memory is lost, and another takes its place. arrivals: which of what was on its way got there."""
        self._run(self._crash(index, arrivals))

    async def _crash(self, index: int, arrivals: Sequence[bool]) -> None:
        lost, wire = self.senders[index], self._wires[index]
        for has_arrived in arrivals:
            if wire.waiting:
                self.arrived[wire.take(0).recipient] += has_arrived
        tasks = [task for lane in lost.lanes.values() for task in lane._sending._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        wire.waiting.clear()
        lost.lanes = {name: Lane(lost, name) for name in LANES}

    def held(self, index: int) -> list[int]:
        """The ids of the batches it takes for its own."""
        return [id for lane in self.senders[index].lanes.values() for id in lane._claimed]

    # --- others ---------------------------------------------------------------------------

    def promote(self) -> None:
        """As every sender does while it looks."""
        self._run(self._promote())

    async def _promote(self) -> None:
        async with self.senders[0].pool.connection() as opened:
            await claim.ready_lanes(opened, LANES)

    def together(self, work: Callable[[], Any], other: Callable[[], Any]) -> None:
        """The other comes just before the COMMIT of the one."""
        with transaction.atomic():
            work()
            running = self._thread.submit(other)
            wait([running], PATIENCE_SECONDS)
        running.result()

    # --- the loop -------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._runner.run(self._settled(work))

    async def _settled(self, work: Coroutine[Any, Any, None]) -> None:
        self._others.clear()
        await work
        await asyncio.gather(*self._others)
        while tasks := self._unsettled():
            await asyncio.wait(tasks, timeout=0.001, return_when=asyncio.FIRST_COMPLETED)

    def _unsettled(self) -> set[asyncio.Task[Any]]:
        """The tasks of the senders, unless each waits for its answer."""
        lanes = [lane._sending for one in self.senders for lane in one.lanes.values()]
        tasks = {task for lane in lanes for task in lane._tasks | lane._trouble._tasks}
        return set() if len(tasks) == sum(len(wire.waiting) for wire in self._wires) else tasks
