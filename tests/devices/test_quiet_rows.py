"""Each set of quiet hours is one row, whoever asks for it at the same time."""

from __future__ import annotations

import itertools
import threading

import pytest
from django.db import connection, transaction

from devices import quiet, quiet_rows
from devices.models import QuietHours
from tests.conftest import Tenant

SETS = [quiet.check([{"start": f"{hour}:00", "end": "08:00"}]) for hour in (20, 21, 22, 23)]


def test_they_come_in_the_order_they_were_asked_for(shop: Tenant, rival: Tenant) -> None:
    made = quiet_rows.ids(shop.id, [*SETS, [], SETS[0]])
    assert made[0] == made[-1]
    assert quiet_rows.ids(shop.id, [[], *reversed(SETS)]) == [made[4], *reversed(made[:4])]
    assert set(quiet_rows.ids(rival.id, SETS)).isdisjoint(made)
    assert quiet_rows.ids(shop.id, []) == []


@pytest.mark.django_db(transaction=True)
def test_eight_at_once_make_each_once(shop: Tenant) -> None:
    answers: list[object] = []

    def ask(order: tuple[int, ...]) -> None:
        try:
            with transaction.atomic():
                found = quiet_rows.ids(shop.id, [SETS[at] for at in order])
            answers.append(dict(zip(order, found, strict=True)))
        except Exception as error:
            answers.append(error)
        finally:
            connection.close()

    orders = itertools.islice(itertools.permutations(range(4)), 0, 24, 3)
    threads = [threading.Thread(target=ask, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)
    assert QuietHours.objects.count() == 4
