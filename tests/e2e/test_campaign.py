"""A campaign over all three platforms under faults: everyone ends in one outcome, and the sum always holds."""

from __future__ import annotations

import threading
import time

from tests.e2e.conftest import DEVICES, Product

SECONDS = 120

CAMPAIGN = {
    "to": {"all": True},
    "category": "marketing",
    "content": {"title": "Autumn sale", "body": "Up to 40 % off until Sunday."},
}

# One statement is one snapshot: recipients, final lines and open batches of the same instant (law 2).
SUM = """
    SELECT recipient_count,
        (SELECT count(*) FROM notifications_delivery d
         WHERE d.notification_id = n.id AND d.outcome NOT IN ('retry', 'blocked', 'resent', 'replayed')),
        (SELECT coalesce(sum(cardinality(device_ids)), 0) FROM notifications_batch b WHERE b.notification_id = n.id),
        (SELECT coalesce(sum(count), 0)::bigint FROM notifications_tally t WHERE t.notification_id = n.id)
    FROM notifications_notification n WHERE n.id = %s
"""


def test_every_recipient_of_a_campaign_under_faults_ends_in_exactly_one_outcome(product: Product) -> None:
    simulation = product.stack.simulation
    for provider in ("apns", "fcm", "webpush"):
        errors = [{"status": 429, "share": 0.05, "retry_after": 1}, {"status": 503, "share": 0.05}]
        simulation.set_faults(provider, dead_share=0.05, errors=errors)

    id = product.send(CAMPAIGN)
    samples = _watch(product, id)

    assert len(samples) > 10
    for recipients, final, still_open, tallied in samples:
        assert recipients == final + still_open, samples
        assert tallied == final, samples
    _assert_one_outcome_each(product, id)
    _assert_ledger_agrees_with_simulator(product, id)
    _assert_dead_devices_are_retired(product, id)


def _watch(product: Product, id: str) -> list[tuple[int, int, int, int]]:
    """Hurry the retries along until nothing is open; the sum at every look."""
    samples = []
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        samples += product.rows(SUM, id)
        _, answer = product.call("GET", f"/v1/notifications/{id}")
        if answer["status"] == "done":
            return samples + product.rows(SUM, id)
        product.hurry()
        time.sleep(0.05)
    raise AssertionError(f"not done after {SECONDS} s: {answer}, open: {_open(product)}")


def _open(product: Product) -> list[tuple[object, ...]]:
    return product.rows(
        "SELECT lane, status, attempt, due_at, cardinality(device_ids) FROM notifications_batch"
    )


def _assert_one_outcome_each(product: Product, id: str) -> None:
    twice_or_never = product.rows(
        """
        SELECT d.id, count(l.id) FROM devices_device d
        LEFT JOIN notifications_delivery l ON l.device_id = d.id AND l.notification_id = %s
            AND l.outcome NOT IN ('retry', 'blocked', 'resent', 'replayed')
        GROUP BY d.id HAVING count(l.id) <> 1
        """,
        id,
    )
    assert twice_or_never == []
    outcomes = dict(
        product.rows(
            "SELECT outcome, count(*) FROM notifications_delivery WHERE notification_id = %s"
            " AND outcome NOT IN ('retry', 'blocked', 'resent', 'replayed') GROUP BY 1",
            id,
        )
    )
    # 2 of 100 never opted in; of the rest about a tenth has a dead token.
    assert set(outcomes) == {"accepted", "suppressed", "unregistered"}
    assert outcomes["suppressed"] == DEVICES * 0.02
    assert 0.05 < outcomes["unregistered"] / DEVICES < 0.15


def _assert_ledger_agrees_with_simulator(product: Product, id: str) -> None:
    accepted = product.rows(
        "SELECT count(*) FROM notifications_delivery WHERE notification_id = %s AND outcome = 'accepted'", id
    )[0][0]
    books = product.stack.simulation.stats()
    assert accepted == sum(books[book]["accepted"] for book in ("apns", "fcm", "webpush"))


def _assert_dead_devices_are_retired(product: Product, id: str) -> None:
    disagree = product.rows(
        """
        SELECT d.id, d.retired_reason, l.reason FROM devices_device d
        JOIN notifications_delivery l ON l.device_id = d.id AND l.notification_id = %s
        WHERE l.outcome IN ('accepted', 'suppressed', 'unregistered')
            AND (d.retired_at IS NOT NULL) <> (l.outcome = 'unregistered')
        """,
        id,
    )
    assert disagree == []


def test_a_transactional_notification_reaches_a_freshly_registered_phone(product: Product) -> None:
    token = "ab" * 32
    status, device = product.call(
        "PUT",
        "/v1/devices",
        {"platform": "ios", "token": token, "subscriber": "mia", "environment": "production"},
    )
    assert status == 201, device

    id = product.send(
        {
            "to": {"subscribers": ["mia"]},
            "content": {"title": "Your code", "body": "123456"},
            "priority": "high",
        }
    )

    _watch(product, id)
    arrived = product.stack.simulation.arrivals("apns", token=token)
    assert arrived["accepted"] == 1, arrived
    _, page = product.call("GET", f"/v1/notifications/{id}/deliveries")
    assert [(line["outcome"], line["device"]) for line in page["results"]] == [("accepted", device["id"])]


def test_sixty_four_identical_calls_make_one_notification(product: Product) -> None:
    product.call("PUT", "/v1/devices", {"platform": "ios", "token": "cd" * 32, "subscriber": "noah"})
    body = {"to": {"subscribers": ["noah"]}, "content": {"title": "Once", "body": "only"}}
    answers: list[tuple[int, str]] = []

    def call() -> None:
        status, answer = product.call("POST", "/v1/notifications", body, **{"Idempotency-Key": "order-1"})
        answers.append((status, answer.get("id")))

    threads = [threading.Thread(target=call) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(status for status, _ in answers) == [200] * 63 + [202]
    assert len({id for _, id in answers}) == 1
    status, problem = product.call(
        "POST", "/v1/notifications", {**body, "priority": "high"}, **{"Idempotency-Key": "order-1"}
    )
    assert status == 409, problem
