"""Laws 2 and 3, counted from the rows and from what truly arrived; nothing of the product's own counting is used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connection

from notifications.pipeline import reap
from notifications.providers.memory import Memory
from tests.notifications.pipeline.fleet import Recipient

NOTIFICATIONS = """
    SELECT n.id, n.recipient_count, c.crash_rule FROM notifications_notification n
    JOIN devices_category c ON c.id = n.category_id
"""
LINES = """
    SELECT notification_id, device_id, outcome, reason, split_part(lane, '.', 1), attempt, count(*)
    FROM notifications_delivery GROUP BY 1, 2, 3, 4, 5, 6
"""
OPEN = "SELECT notification_id, unnest(device_ids), status FROM notifications_batch"
TALLIES = """
    SELECT notification_id, outcome, reason, provider, sum(count)::int FROM notifications_tally GROUP BY 1, 2, 3, 4
"""

NOT_FINAL = ("retry", "blocked", "resent")
UNKNOWABLE = ("uncertain", "resent")


Outcomes = Counter[tuple[str, str, str]]  # with their reasons and providers


def check(arrived: Mapping[Recipient, int]) -> None:
    """At any moment, whatever has happened. arrived: how often each recipient got the message."""
    notifications = {id: (count, rule) for id, count, rule in _rows(NOTIFICATIONS)}
    lines: defaultdict[Recipient, Counter[str]] = defaultdict(Counter)
    waiting: defaultdict[Recipient, list[str]] = defaultdict(list)
    final: defaultdict[UUID, Outcomes] = defaultdict(Counter)
    tallied: defaultdict[UUID, Outcomes] = defaultdict(Counter)
    still_open: Counter[UUID] = Counter()
    for id, device, outcome, reason, provider, attempt, count in _rows(LINES):
        lines[id, device][outcome] += count
        if outcome not in NOT_FINAL:
            final[id][outcome, reason, provider] += count
        _follows(notifications[id][1], outcome, reason, attempt)
    for id, device, status in _rows(OPEN):
        waiting[id, device].append(status)
        still_open[id] += 1
    for id, outcome, reason, provider, count in _rows(TALLIES):
        tallied[id][outcome, reason, provider] = count

    for id, (count, _) in notifications.items():
        assert count == final[id].total() + still_open[id], ("the sum", id, count, final[id], still_open[id])
        assert tallied[id] == final[id], ("tallies and ledger", id, tallied[id], final[id])
    for one in {*lines, *waiting, *arrived}:
        _one(one, notifications[one[0]][1], lines[one], waiting[one], arrived.get(one, 0))


def _follows(crash_rule: str, outcome: str, reason: str, attempt: int) -> None:
    """What is unknowable is left, or else sent again until the attempts are used up."""
    if outcome == "resent":
        assert crash_rule == "resend", "sent again against the rule"
    if outcome == "uncertain" and crash_rule == "resend":
        most = reap.MOST_ATTEMPTS if reason == "sender_died" else Memory.BACKOFF.attempts
        assert attempt >= most, "left against the rule"


def _one(recipient: Recipient, rule: str, lines: Counter[str], waiting: list[str], arrived: int) -> None:
    """In one batch, or with one final outcome: neither would be lost, both would be twice. And it has not arrived
    more often than lines allow for, or a sender that has it now."""
    found = recipient, rule, dict(lines), waiting, arrived
    final = sum(count for outcome, count in lines.items() if outcome not in NOT_FINAL)
    assert final + len(waiting) == 1, ("lost, or twice", *found)
    unknowable = sum(lines[outcome] for outcome in UNKNOWABLE)
    perhaps = lines["accepted"] + unknowable + waiting.count("sending")
    assert lines["accepted"] <= arrived <= perhaps, ("arrived", *found)
    assert arrived <= 1 or rule == "resend", ("left, yet sent twice", *found)
    assert arrived <= 1 + unknowable, ("sent again unrecorded", *found)


def _rows(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()
