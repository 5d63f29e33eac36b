"""The ledger against what arrived: counted here and by the simulator, by nothing of the product's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tests.chaos.product import AUDIENCE, BOOK_OF_PLATFORM, PROVIDERS, Product

FINAL = "outcome NOT IN ('retry', 'blocked', 'resent', 'replayed')"
# What registers at the moment of a launch may be in or out.
MARGIN = timedelta(seconds=1)

# Laws 2 and 3 for every notification of the application; one statement sees one instant.
WRONG_SUMS = f"""
    WITH lines AS (
        SELECT notification_id AS id, count(*) AS lines,
            -- Whom no device belongs to is a recipient too.
            count(DISTINCT coalesce(device_id::text, 'subscriber ' || subscriber_id)) AS recipients
        FROM notifications_delivery WHERE application_id = %s AND {FINAL} GROUP BY 1
    ),
    tallied AS (SELECT notification_id AS id, sum(count) AS tallied FROM notifications_tally GROUP BY 1),
    opened AS (
        SELECT notification_id AS id, sum(cardinality(device_ids)) AS open
        FROM notifications_batch WHERE application_id = %s GROUP BY 1
    )
    SELECT n.id::text, n.status, n.recipient_count, lines, recipients, tallied, open
    FROM notifications_notification n
    LEFT JOIN lines USING (id) LEFT JOIN tallied USING (id) LEFT JOIN opened USING (id)
    WHERE n.application_id = %s AND (
        n.recipient_count <> coalesce(lines, 0) + coalesce(open, 0)
        OR coalesce(lines, 0) <> coalesce(tallied, 0) OR lines <> recipients
    )
"""

LINES = f"""
    SELECT notification_id::text, device_id, outcome, reason FROM notifications_delivery
    WHERE notification_id = ANY (%s::uuid[]) AND {FINAL}
"""

ORDERS = f"""
    SELECT notification_id::text, min(outcome) FILTER (WHERE {FINAL}),
        count(*) FILTER (WHERE outcome IN ('uncertain', 'resent'))
    FROM notifications_delivery WHERE application_id = %s AND notification_id = ANY (%s::uuid[]) GROUP BY 1
"""


@dataclass
class Recorded:
    """The final outcomes of one device, by notification."""

    outcomes: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def count(self, outcome: str) -> int:
        return sum(outcomes.count(outcome) for outcomes in self.outcomes.values())


def assert_sums(product: Product) -> None:
    """The sum holds, by our own count and by the product's verifier."""
    wrong = product.rows(WRONG_SUMS, *[product.application_id] * 3)
    assert not wrong, f"{len(wrong)} sums do not hold: {wrong[:5]}"
    product.stack.manage("verify_ledger")


def assert_campaigns(product: Product, *ids: str) -> Counter[str]:
    """Lost 0, doubled 0, one final outcome each; the audience's outcomes, with their reasons.

    Of what the simulator counted since its last reset, nothing but these campaigns went to the audience.
    """
    recorded: defaultdict[int, Recorded] = defaultdict(Recorded)
    reasons: Counter[str] = Counter()
    for id, device_id, outcome, reason in product.rows(LINES, list(ids)):
        recorded[device_id].outcomes[id].append(outcome)
        reasons[f"{outcome} {reason}".strip()] += 1
    _assert_one_each(product, ids, recorded)
    _assert_arrivals(product, recorded)
    return reasons


def _assert_one_each(product: Product, ids: Sequence[str], recorded: defaultdict[int, Recorded]) -> None:
    """Every device that was there at launch has its one final line."""
    devices = product.rows(
        "SELECT id, platform, registered_at, retired_at FROM devices_device WHERE application_id = %s",
        product.application_id,
    )
    launches = product.rows(
        "SELECT id::text, created_at, audience -> 'platforms' FROM notifications_notification"
        " WHERE id = ANY (%s::uuid[])",
        list(ids),
    )
    wrong = []
    for id, created_at, platforms in launches:
        for device_id, platform, registered_at, retired_at in devices:
            was_there = registered_at < created_at - MARGIN and not (retired_at and retired_at < created_at)
            is_meant = was_there and (not platforms or platform in platforms)
            lines = recorded[device_id].outcomes.get(id, [])
            if len(lines) > 1 or (is_meant and not lines):
                wrong.append((id, device_id, lines))
    assert not wrong, f"{len(wrong)} without their one final line: {wrong[:5]}"


def _assert_arrivals(product: Product, recorded: defaultdict[int, Recorded]) -> None:
    counts = {book: product.simulation.counts(book) for book in PROVIDERS}
    audience = product.rows(
        "SELECT id, platform, substr(installation_id, %s)::int FROM devices_device"
        " WHERE application_id = %s AND starts_with(installation_id, %s)",
        len(AUDIENCE) + 1,
        product.application_id,
        AUDIENCE,
    )
    lost, doubled = [], []
    for device_id, platform, index in audience:
        book, lines = counts[BOOK_OF_PLATFORM[platform]], recorded[device_id]
        arrivals, accepted = book[index] if index < len(book) else 0, lines.count("accepted")
        if arrivals < accepted:
            lost.append((platform, index, arrivals, dict(lines.outcomes)))
        elif arrivals > accepted + lines.count("uncertain"):
            doubled.append((platform, index, arrivals, dict(lines.outcomes)))
    assert not lost, f"{len(lost)} accepted, not arrived: {lost[:5]}"
    assert not doubled, f"{len(doubled)} arrived more often than recorded: {doubled[:5]}"


def assert_orders(product: Product, accepted: Iterable[str]) -> Counter[str]:
    """Every one-off the API took arrived, or is recorded as not accepted; twice only where that is recorded."""
    arrivals: Counter[str] = Counter()
    for book in PROVIDERS:
        arrivals.update(product.simulation.arrivals(book)["by_notification"])
    ids = list(accepted)
    rows = product.rows(ORDERS, product.application_id, ids)
    recorded = {id: (outcome, unknown) for id, outcome, unknown in rows}
    outcomes: Counter[str] = Counter(resent=0, twice=0)
    for id in ids:
        assert id in recorded, f"{id} was accepted and has no outcome"
        outcome, unknown = recorded[id]
        outcomes[outcome] += 1
        outcomes["resent"] += unknown
        outcomes["twice"] += max(0, arrivals[id] - 1)
        assert arrivals[id] or outcome != "accepted", f"{id} never arrived"
        assert arrivals[id] <= 1 + unknown, f"{id} arrived {arrivals[id]} times, {unknown} recorded unknown"
    return outcomes
