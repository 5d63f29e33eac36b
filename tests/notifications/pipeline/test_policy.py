"""The rules together: what SQL decides for a whole audience is what a plain reference decides one by one."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import datetime
from itertools import combinations

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifications import reach
from notifications.pipeline import resolve, timing
from notifications.reach import Reach
from tests import properties
from tests.notifications.pipeline.conftest import Pipeline
from tests.notifications.pipeline.world import CHANGES, World, decided, start


@pytest.mark.parametrize(("seed", "few", "people", "messages"), [(7, resolve.FEW, 1100, 12), (2, 0, 650, 20)])
def test_sql_and_a_plain_reference_agree(
    steps: Pipeline, monkeypatch: pytest.MonkeyPatch, seed: int, few: int, people: int, messages: int
) -> None:
    """few: whether the timetable is of all zones there are, or of those the audience lives in."""
    monkeypatch.setattr(resolve, "FEW", few)
    world = World(steps, seed, people=people)
    compared: Counter[str] = Counter()
    for number in range(messages):
        message, asked = world.message(world.chance, CHANGES[number // 4 % len(CHANGES)])
        monkeypatch.setattr(timing, "now", lambda now=message.now: now)
        foreseen = reach.of(
            {"all": True},
            application_id=steps.tenant.id,
            category_id=world.categories[message.category].id,
            **asked,
        )
        notification = steps.accept({"all": True}, category=message.category, **asked)
        message.id = notification.id
        start(notification)
        found = decided(notification, message.now)
        assert _foreseen(foreseen) == _counted(found, message.now), message
        for someone in world.people:
            for device, word in world.reference.decide(someone, message).items():
                assert found.pop(device) == word, (message, someone, device)
                compared[word if isinstance(word, str) else "sent"] += 1
        assert not found
        steps.assert_sum(notification.id)
    assert compared.total() >= 10_000
    assert len(compared) >= 10, compared


def _foreseen(found: Reach) -> dict[str, int]:
    words = {**found.held_back, "now": found.reachable - found.later, "later": found.later}
    return {word: count for word, count in words.items() if count}


def _counted(found: dict[int, str | datetime], now: datetime) -> dict[str, int]:
    words = (word if isinstance(word, str) else "later" if word > now else "now" for word in found.values())
    return dict(Counter(words))


def test_no_combination_sends_what_a_higher_rule_forbids(
    steps: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And on record is the highest of the rules that forbid. Some messages of about the same time, to people of every
    kind; what one example sent the next does not know of."""
    monkeypatch.setattr(resolve, "FEW", 0)
    world = World(steps, 3, people=250)
    overruled: Counter[tuple[str, ...]] = Counter()

    @settings(
        max_examples=properties.examples(40, long=1000),
        derandomize=not properties.IS_LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(CHANGES), st.integers(1, 3), st.randoms(use_true_random=False))
    def check(day: tuple[int, int, int], count: int, chance: random.Random) -> None:
        world.reference.got = defaultdict(dict)
        with transaction.atomic():
            for _ in range(count):
                overruled.update(_check(world, monkeypatch, chance, day))
            transaction.set_rollback(True)

    check()
    together = {pair for forbidding in overruled for pair in combinations(forbidding, 2)}
    assert len(together) == 14, together  # every two of the six, but for what the clock says: one thing


def _check(
    world: World, monkeypatch: pytest.MonkeyPatch, chance: random.Random, day: tuple[int, int, int]
) -> list[tuple[str, ...]]:
    """The rules that forbade it, of each device that was refused."""
    message, asked = world.message(chance, day)
    monkeypatch.setattr(timing, "now", lambda: message.now)
    notification = world.pipeline.accept({"all": True}, category=message.category, **asked)
    message.id = notification.id
    start(notification)
    found = decided(notification, message.now)
    seen = []
    for someone in world.people:
        by_caps = world.reference.decide(someone, message)
        for device in someone.devices:
            if device[3]:
                continue
            words, when = world.reference.words(someone, device, message)
            forbidding = {rule: reason for rule, reason in words.items() if reason}
            recorded = found.pop(device[0])
            if forbidding:
                assert recorded == next(iter(forbidding.values())), (message, someone, device)
            else:
                assert recorded == by_caps[device[0]]
                assert recorded in ("capped", when)
            seen.append(tuple(forbidding))
    assert not found
    return seen
