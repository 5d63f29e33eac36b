"""The ticks as the scheduler sees them, and who may run them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.celery import app
from config.clock import LeaderScheduler


@pytest.fixture
def clocks(transactional_db: None) -> Iterator[list[LeaderScheduler]]:
    made = [LeaderScheduler(app=app) for _ in range(2)]
    yield made
    for clock in made:
        clock.close()


def test_a_tick_nobody_took_expires(clocks: list[LeaderScheduler]) -> None:
    schedule = clocks[0].schedule
    for name in ("tick", "sweep", "partitions"):
        assert schedule[name].options["expires"] is not None, name


def test_one_of_two_clocks_leads_and_the_other_takes_over(clocks: list[LeaderScheduler]) -> None:
    first, second = clocks
    assert first._leads()
    assert not second._leads()
    assert first._connection is not None
    first._connection.close()
    assert second._leads()
    assert not first._leads()
