"""Any interleaving of crashes, lost connections, reapers, late senders, retries and cancellations keeps laws 2 and 3.

Few and always the same examples by default, and what fails is shown as it is; with HYPOTHESIS_PROFILE=long others, for
minutes, and what fails is made short.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from devices.models import Category
from notifications import periodic, services
from notifications.models import Batch, Delivery, Notification
from notifications.pipeline import fan_out, reap, verify
from notifications.providers.base import Outcome
from tests.notifications.pipeline import reckoning
from tests.notifications.pipeline.conftest import LANES, Pipeline
from tests.notifications.pipeline.fleet import BATCH_SIZE, BUDGETS, Answer, Ending, Fleet

settings.register_profile(
    "short",
    max_examples=25,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
settings.register_profile(
    "long",
    settings.get_profile("short"),
    max_examples=500,
    stateful_step_count=50,
    derandomize=False,
    print_blob=True,
    phases=[Phase.generate, Phase.shrink],
)
PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

DEVICES, MESSAGES = 6, 8
# In which everything must come to its end: a message has five attempts, and a sender takes a batch at a time.
ROUNDS, TURNS = 6, 50

ANSWERS = [
    *[Answer(Outcome.ACCEPTED, has_arrived=True)] * 4,
    Answer(Outcome.REJECTED, "invalid_argument"),
    Answer(Outcome.UNREGISTERED, "unregistered"),
    Answer(Outcome.RETRY, "busy"),
    Answer(Outcome.RETRY, "stale_token", retry_after=0),
    Answer(Outcome.UNCERTAIN, "silence", has_arrived=True),
    Answer(Outcome.UNCERTAIN, "silence"),
    Answer(None, has_arrived=True),
    Answer(None),
]

senders = st.integers(0, len(BUDGETS) - 1)
lanes = st.sampled_from(LANES)
messages = st.integers(0, MESSAGES - 1)
# marketing is left after a crash; critical is sent again; transactional too, on a lane of its own.
kinds = st.sampled_from(["marketing", "critical", "transactional"])
endings = st.sampled_from(Ending)
answers = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(ANSWERS)), min_size=1, max_size=6)
others = st.sampled_from(["reaper", "reaper", "reaper", "canceller", "fan-out"])
lates = st.sampled_from([None, "all", *range(len(BUDGETS))])

EMPTY = ";".join(
    f"DELETE FROM notifications_{table}"
    for table in (
        "delivery",
        "batch",
        "tally",
        "shard",
        "retirementcount",
        "suspendedretirement",
        "notification",
    )
)


class World:
    """What stays the same from example to example, and the way back to it."""

    def __init__(self, pipeline: Pipeline, fleet: Fleet, addresses: list[str]) -> None:
        self.pipeline, self.fleet, self.addresses = pipeline, fleet, addresses

    def begin(self) -> None:
        self.fleet.begin()
        with connection.cursor() as cursor:
            cursor.execute(f"{EMPTY}; UPDATE devices_device SET retired_at = NULL, retired_reason = ''")

    def accept(self, kind: str) -> Notification:
        audience = {"devices": self.addresses} if kind == "transactional" else {"all": True}
        return self.pipeline.accept(audience, category=kind)


class Interleavings(RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.fleet = world, world.fleet
        self.messages: list[Notification] = []

    @initialize(kinds=st.lists(kinds, min_size=1, max_size=3))
    def begin(self, kinds: list[str]) -> None:
        self.world.begin()
        for kind in kinds:
            self.send(kind)

    @invariant()
    def the_laws_hold(self) -> None:
        if self.messages:
            reckoning.check(self.fleet.arrived)

    # --- senders --------------------------------------------------------------------------

    @rule(sender=senders, lane=lanes, given=answers, ending=endings)
    def work(self, sender: int, lane: str, given: list[tuple[int, Answer]], ending: Ending) -> None:
        """Claim, send, record and claim again."""
        self.fleet.turn(sender, lane)
        self.fleet.answer(sender, given)
        self.fleet.turn(sender, lane, ending)

    @rule(sender=senders, given=answers)
    def hear(self, sender: int, given: list[tuple[int, Answer]]) -> None:
        self.fleet.answer(sender, given)

    @rule(sender=senders, lane=lanes, ending=endings, other=others, message=messages)
    def work_while_another_does(
        self, sender: int, lane: str, ending: Ending, other: str, message: int
    ) -> None:
        self.fleet.turn(sender, lane, ending, self.fleet.another_does(self._work_of(other, message)))

    @rule(sender=senders, kind=kinds, ending=endings)
    def two_senders_work(self, sender: int, kind: str, ending: Ending) -> None:
        """At once, and on the same."""
        self.send(kind)
        lane = LANES[kind != "transactional"]
        self.fleet.turn(sender, lane, ending, self.fleet.another_turns(sender, lane))

    @rule(sender=senders, arrivals=st.lists(st.booleans(), max_size=6))
    def die(self, sender: int, arrivals: list[bool]) -> None:
        self.fleet.crash(sender, arrivals)

    # --- others ---------------------------------------------------------------------------

    @rule(kind=kinds, shard_messages=st.integers(0, 2), is_undone=st.booleans())
    def send(self, kind: str, shard_messages: int = 2, is_undone: bool = False) -> None:
        """A shard's message may be lost or doubled, and its worker may die just before the COMMIT."""
        if len(self.messages) < MESSAGES:
            self.messages.append(self.world.accept(kind))
        with transaction.atomic():
            self._fan_out(self.messages[-1])
            transaction.set_rollback(is_undone or not shard_messages)
        for _ in range(shard_messages - 1):
            self._fan_out(self.messages[-1])

    @rule(late=lates, one=others, other=st.none() | others, message=messages)
    def others_work(self, late: str | int | None, one: str, other: str | None, message: int) -> None:
        """One, or two at once. late: whose leases have run out; it may be alive."""
        self._let_leases_run_out(late)
        if other:
            self.fleet.together(self._work_of(one, message), self._work_of(other, message))
        else:
            alive = Batch.objects.filter(status="sending", lease_until__gt=timezone.now())
            before = alive.count()
            self._work_of(one, message)()
            assert alive.count() == before, "taken from a sender within its lease"

    @rule()
    def time_passes(self) -> None:
        """Retries come due; the clock's own work is done."""
        periodic.settle_cancelled()
        periodic.finish()
        Batch.objects.filter(status="waiting").update(due_at=timezone.now())
        self.fleet.promote()

    def _let_leases_run_out(self, late: str | int | None) -> None:
        leased = Batch.objects.filter(status="sending")
        if isinstance(late, int):
            leased = leased.filter(id__in=self.fleet.held(late))
        if late is not None:
            leased.update(lease_until=timezone.now() - timedelta(seconds=1))

    def _work_of(self, who: str, message: int) -> Callable[[], Any]:
        notification = self._message(message)
        works: dict[str, Callable[[], Any]] = {
            "reaper": self._reap,
            "canceller": partial(services.cancel, notification),
            "fan-out": partial(self._fan_out, notification),
        }
        return works[who]

    def _reap(self) -> None:
        reap.expired_leases(recovery_seconds=0)

    def _fan_out(self, notification: Notification) -> None:
        for id in notification.shards.order_by("number").values_list("id", flat=True):
            fan_out.shard(id)

    def _message(self, which: int) -> Notification:
        return self.messages[which % len(self.messages)]

    # --- the end --------------------------------------------------------------------------

    def teardown(self) -> None:
        if sys.exc_info()[0] is None and self.messages:
            self._all_comes_to_its_end()

    def _all_comes_to_its_end(self) -> None:
        """Nothing is stuck: once nobody dies any more, everyone has an outcome, soon; the verifier agrees."""
        for notification in self.messages:
            self._fan_out(notification)
        for _ in range(ROUNDS):
            for sender in range(len(BUDGETS)):
                self._take_what_is_ready(sender)
            self._let_leases_run_out("all")
            self._reap()
            self.time_passes()
            reckoning.check(self.fleet.arrived)
            if not Batch.objects.exists():
                break
        assert not Batch.objects.exists(), "stuck"
        checked = verify.matching()
        assert len(checked) == len(self.messages)
        for one in checked:
            assert (one.violations, one.is_settled, one.is_recounted) == ((), True, True)

    def _take_what_is_ready(self, sender: int) -> None:
        """A sender that nothing happens to records all it holds."""
        for _ in range(TURNS):
            for lane in LANES:
                self.fleet.turn(sender, lane)
            self.fleet.accept_all(sender)
            if not self.fleet.held(sender):
                return
        raise AssertionError("a sender is stuck with what it holds")


@pytest.fixture
def world(
    pipeline: Pipeline, make_device: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    settings.BATCH_SIZE, settings.SHARD_SIZE = BATCH_SIZE, 4
    Category.objects.filter(slug="marketing").update(default=Category.Default.ON)
    devices = [make_device(pipeline.tenant, f"user-{number}") for number in range(DEVICES)]
    fleet = Fleet(pipeline, monkeypatch)
    logging.disable(logging.CRITICAL)  # thousands of alarms, all staged
    yield World(pipeline, fleet, [str(device.public_id) for device in devices[:4]])
    logging.disable(logging.NOTSET)
    fleet.close()


def test_what_is_known_is_not_lost_with_the_answer_to_a_commit(world: World) -> None:
    story, lane = Interleavings(world), "memory.transactional"
    story.begin(["transactional"])
    taken = Answer(Outcome.ACCEPTED, has_arrived=True)
    world.fleet.turn(0, lane)
    world.fleet.answer(0, [(0, taken)])
    world.fleet.turn(0, lane, Ending.ANSWER_LOST)
    world.fleet.answer(0, [(0, taken)])  # comes in before the flush is repeated
    story.teardown()
    assert (
        not Delivery.objects.exclude(outcome="accepted").filter(notification_id=story.messages[0].id).exists()
    )


def test_any_interleaving_of_crash_points_keeps_the_books(world: World) -> None:
    run_state_machine_as_test(lambda: Interleavings(world), settings=PROFILE)
