"""The sum, counted again from the rows themselves (laws 2 and 3): recipients against results and what is open,
tallies against the ledger, provider by provider, one final outcome per recipient. Everything about one notification
is read from one snapshot, so that work in progress is never taken for a fault.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from notifications import lanes, reasons
from notifications.models import Delivery

# One statement takes as many notifications as fit: single sends by the thousand, a large one alone.
MOST_NOTIFICATIONS, MOST_RECIPIENTS = 1_000, 20_000
# Open notifications whose sum is looked at in one go.
MOST_OPEN = 10_000
# A flush whose COMMIT answer was lost is repeated at once; after this nobody comes back to a finished one.
SETTLE_SECONDS = 5
# Any constant of ours: PostgreSQL advisory lock. Two checkers would do the same work twice.
CHECKER_LOCK = 0x0CA7_1111

WORDS = {
    "sum": "Recipients: {expected:,}, but results and those waiting add up to {found:,}.",
    "tally": "{about}: {found:,} shown, {expected:,} in the ledger.",
    "provider": "{about}: {found:,} shown, {expected:,} in the ledger.",
    "negative": "{about}: {found:,} shown, which is less than none.",
    "twice": "Recipients with more than one final result: {found:,}.",
    "taken_back": "Recipients with a final result taken back that they did not have: {found:,}.",
    "open_and_final": "Recipients waiting who have a final result as well: {found:,}.",
    "open_twice": "Recipients waiting twice: {found:,}.",
    "unfinished": "It is called done, but parts of it are open: {found:,}.",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """kind: a key of WORDS. about: the outcome, reason and provider, if it is about one. devices: a few of them."""

    kind: str
    expected: int
    found: int
    about: str = ""
    devices: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        return WORDS[self.kind].format(about=self.about, expected=self.expected, found=self.found)


@dataclass(frozen=True, slots=True)
class Checked:
    """is_settled: nothing more will happen to it. is_recounted: its ledger lines are all there still, and were
    counted."""

    id: UUID
    application_id: int
    recipients: int
    status: str
    finished_at: datetime | None
    is_settled: bool
    is_recounted: bool
    violations: tuple[Violation, ...]


# --- What to check ------------------------------------------------------------------------------

UNVERIFIED = """
    SELECT id, recipient_count FROM notifications_notification n
    WHERE status IN ('done', 'cancelled') AND verified_at IS NULL
        AND finished_at >= %(ledger_start)s AND created_at >= %(ledger_start)s
        AND finished_at < now() - make_interval(secs => %(settle)s)
        -- What was with a sender when its notification was cancelled comes back.
        AND (status = 'done' OR NOT EXISTS (
            SELECT FROM notifications_batch b WHERE b.notification_id = n.id))
    ORDER BY finished_at LIMIT %(most)s
"""

MATCHING = """
    SELECT id, recipient_count FROM notifications_notification
    WHERE id > %(after)s AND (%(id)s::uuid IS NULL OR id = %(id)s)
        AND (%(application)s::bigint IS NULL OR application_id = %(application)s)
        AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    ORDER BY id LIMIT %(most)s
"""

IN_TROUBLE = """
    SELECT n.id, n.recipient_count FROM notifications_incident i
    JOIN notifications_notification n ON n.id = i.notification_id
    WHERE i.cause = 'ledger' AND i.closed_at IS NULL AND n.id > %(after)s
    ORDER BY n.id LIMIT %(most)s
"""

FIRST = UUID(int=0)


def finished() -> list[Checked]:
    """The next finished notifications nobody has counted again yet, oldest first; none while another counts."""
    with _snapshot() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [CHECKER_LOCK])
        is_alone, start = cursor.fetchone()[0], _ledger_start(cursor)
        if not is_alone or start is None:
            return []
        return _check(cursor, _next(cursor, UNVERIFIED, ledger_start=start, settle=SETTLE_SECONDS), start)


def matching(
    *,
    after: UUID = FIRST,
    id: UUID | None = None,
    application_id: int | None = None,
    since: datetime | None = None,
) -> list[Checked]:
    """The next ones by id, in whatever state."""
    with _snapshot() as cursor:
        ids = _next(cursor, MATCHING, after=after, id=id, application=application_id, since=since)
        return _check(cursor, ids, _ledger_start(cursor))


def in_trouble(*, after: UUID = FIRST) -> list[Checked]:
    """The next ones by id that did not add up when last looked at."""
    with _snapshot() as cursor:
        return _check(cursor, _next(cursor, IN_TROUBLE, after=after), _ledger_start(cursor))


# A slice of the open ones, another each time: of a few all, of a million some every time.
OPEN_SUMS = """
    WITH slice AS (
        SELECT id, application_id, status, recipient_count FROM notifications_notification
        WHERE status IN ('fanning_out', 'sending') ORDER BY id LIMIT %(most)s OFFSET (
            SELECT floor(random() * ceil(count(*) / %(most)s::float)) * %(most)s FROM notifications_notification
            WHERE status IN ('fanning_out', 'sending'))
    )
    SELECT s.id, s.application_id, s.recipient_count, s.status, t.final + b.open
    FROM slice s
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(count), 0)::bigint AS final FROM notifications_tally WHERE notification_id = s.id) t
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(cardinality(device_ids)), 0) AS open FROM notifications_batch
        WHERE notification_id = s.id) b
    WHERE s.recipient_count <> t.final + b.open
"""


def open_sums() -> list[Checked]:
    """Open notifications whose recipients do not add up; their lines are not counted yet. One statement, so one
    snapshot."""
    with connection.cursor() as cursor:
        cursor.execute(OPEN_SUMS, {"most": MOST_OPEN})
        return [
            Checked(
                id, application, recipients, status, None, False, False, tuple(_sum(recipients, accounted))
            )
            for id, application, recipients, status, accounted in cursor.fetchall()
        ]


@contextmanager
def _snapshot() -> Iterator[CursorWrapper]:
    """Read only, everything as of one instant. The lock comes before the snapshot: no partition is dropped
    in between. Indexes are insisted on: right after a campaign the planner's statistics would have it read
    the whole ledger for a thousand single sends. work_mem bounds what a recount holds; the rest is on disk."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("LOCK TABLE notifications_delivery IN ACCESS SHARE MODE")
        cursor.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL work_mem = '32MB';"
            "SET LOCAL max_parallel_workers_per_gather = 0"
        )
        yield cursor


def _next(cursor: CursorWrapper, query: str, **parameters: Any) -> list[UUID]:
    cursor.execute(query, {"most": MOST_NOTIFICATIONS, **parameters})
    ids: list[UUID] = []
    total = 0
    for id, recipients in cursor.fetchall():
        total += recipients
        if ids and total > MOST_RECIPIENTS:
            break
        ids.append(id)
    return ids


PARTITIONS = r"""
    SELECT m[1]::timestamptz, m[2]::timestamptz
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(
        pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS m
    WHERE i.inhparent = 'notifications_delivery'::regclass ORDER BY 1 DESC
"""


def _ledger_start(cursor: CursorWrapper) -> datetime | None:
    """From when on every ledger line is still there: older partitions, or one in between, were dropped."""
    cursor.execute(PARTITIONS)
    months: list[tuple[datetime, datetime]] = cursor.fetchall()
    after_gaps = (later for (later, _), (_, end) in pairwise(months) if end != later)
    return next(after_gaps, months[-1][0] if months else None)


def array(ids: Iterable[UUID]) -> str:
    """For PostgreSQL to parse: psycopg takes 40 µs for each id of a list."""
    return "{" + ",".join(map(str, ids)) + "}"


# --- The check ----------------------------------------------------------------------------------

NOTIFICATIONS = """
    SELECT n.id, n.application_id, n.recipient_count, n.status, n.finished_at, n.created_at,
        n.replay_count, coalesce(b.parts, 0), coalesce(b.recipients, 0)::bigint,
        coalesce(b.parts, 0) + coalesce(s.parts, 0)
    FROM notifications_notification n
    LEFT JOIN (
        SELECT notification_id AS id, count(*) AS parts, sum(cardinality(device_ids)) AS recipients
        FROM notifications_batch WHERE notification_id = ANY (%(ids)s::uuid[]) GROUP BY 1
    ) b ON b.id = n.id
    LEFT JOIN (
        SELECT notification_id AS id, count(*) AS parts
        FROM notifications_shard WHERE notification_id = ANY (%(ids)s::uuid[]) AND done_at IS NULL GROUP BY 1
    ) s ON s.id = n.id
    WHERE n.id = ANY (%(ids)s::uuid[]) ORDER BY n.id
"""

TALLIES = """
    SELECT notification_id, outcome, reason, provider, sum(count)::bigint
    FROM notifications_tally WHERE notification_id = ANY (%(ids)s::uuid[]) GROUP BY 1, 2, 3, 4
"""

# One pass over the lines, grouped at once by outcome and by recipient (1 M lines: 1.3 to 1.8 s in 64 MB).
# Whoever leads to no device is known by the address asked for; of whom was erased nothing is left but the count.
RECOUNT = f"""
    WITH lines AS (
        SELECT notification_id, reason, lane, device_id, CASE WHEN device_id IS NULL THEN detail END AS address,
            CASE outcome WHEN 'replayed' THEN detail ELSE outcome END AS outcome,
            CASE outcome WHEN 'replayed' THEN -1 ELSE 1 END AS final, 0 AS open
        FROM notifications_delivery
        WHERE notification_id = ANY (%(ids)s::uuid[]) AND at >= %(since)s::timestamptz
            AND outcome <> ALL (%(not_final)s)
        UNION ALL
        SELECT notification_id, NULL, NULL, unnest(device_ids), NULL, NULL, 0, 1
        FROM notifications_batch WHERE notification_id = ANY (%(ids)s::uuid[])
    ),
    grouped AS (
        SELECT notification_id, outcome, reason, lane, device_id, address, GROUPING(outcome) AS is_recipient,
            sum(final) AS final, sum(open) AS open, count(*) AS lines
        FROM lines
        GROUP BY GROUPING SETS ((notification_id, outcome, reason, lane), (notification_id, device_id, address))
        HAVING GROUPING(outcome) = 0 AND outcome IS NOT NULL
            OR GROUPING(outcome) = 1 AND (address = '' OR sum(final) < 0 OR sum(final) + sum(open) > 1)
    )
    SELECT notification_id,
        CASE WHEN is_recipient = 0 THEN 'count' WHEN address = '' THEN 'erased' WHEN final < 0 THEN 'taken_back'
            WHEN final > 1 THEN 'twice' WHEN open > 1 THEN 'open_twice' ELSE 'open_and_final' END,
        outcome, reason, {lanes.PROVIDER}, sum(final)::bigint, sum(lines)::bigint,
        count(*), (array_agg(device_id ORDER BY device_id))[1:5]
    FROM grouped GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""

# Replayed lines take back what they name.
NOT_FINAL = [str(outcome) for outcome in Delivery.NOT_FINAL if outcome != Delivery.Outcome.REPLAYED]

Counts = Counter[tuple[str, str, str]]  # (outcome, reason, provider)


def _check(cursor: CursorWrapper, ids: Sequence[UUID], ledger_start: datetime | None) -> list[Checked]:
    cursor.execute(NOTIFICATIONS, {"ids": array(ids)})
    rows = cursor.fetchall()
    created = {row[0]: row[5] for row in rows if ledger_start and row[5] >= ledger_start}
    tallies = _tallies(cursor, ids)
    counts, faults, erased = _recount(cursor, created)
    return [
        Checked(
            id,
            application_id,
            recipients,
            status,
            finished_at,
            is_settled=status == "done" or (status == "cancelled" and not batches),
            is_recounted=id in counts,
            violations=(
                *_sum(recipients, tallies[id].total() + still_open),
                *_below_zero(tallies[id]),
                *(_differences(tallies[id], counts[id]) if id in counts else ()),
                # A replay's line may be of a person erased since, and the rest of the device's not.
                *(fault for fault in faults[id] if not replays or fault.found > erased[id]),
                *([Violation("unfinished", 0, parts)] if status == "done" and parts else ()),
            ),
        )
        for id, application_id, recipients, status, finished_at, _, replays, batches, still_open, parts in rows
    ]


def _tallies(cursor: CursorWrapper, ids: Sequence[UUID]) -> Mapping[UUID, Counts]:
    tallies: defaultdict[UUID, Counts] = defaultdict(Counter)
    cursor.execute(TALLIES, {"ids": array(ids)})
    for id, outcome, reason, provider, count in cursor.fetchall():
        tallies[id][outcome, reason, provider] = count
    return tallies


def _recount(
    cursor: CursorWrapper, created: Mapping[UUID, datetime]
) -> tuple[dict[UUID, Counts], Mapping[UUID, list[Violation]], Counter[UUID]]:
    """By notification: final outcomes, recipients that are wrong, and lines that belong to nobody any more."""
    counts: dict[UUID, Counts] = {id: Counter() for id in created}
    faults: defaultdict[UUID, list[Violation]] = defaultdict(list)
    erased: Counter[UUID] = Counter()
    if created:
        # Older partitions need not be looked at; a day for clocks that differ.
        since = min(created.values()) - timedelta(days=1)
        cursor.execute(RECOUNT, {"ids": array(created), "since": since, "not_final": NOT_FINAL})
        for id, kind, outcome, reason, provider, final, lines, recipients, devices in cursor.fetchall():
            if kind == "count":
                counts[id][outcome, reason, provider] = final
            elif kind == "erased":
                erased[id] = lines
            else:
                named = tuple(device for device in devices if device is not None)
                faults[id].append(Violation(kind, 0, recipients, devices=named))
    return counts, faults, erased


def _sum(recipients: int, accounted: int) -> list[Violation]:
    return [] if recipients == accounted else [Violation("sum", recipients, accounted)]


def _below_zero(tallies: Counts) -> list[Violation]:
    """Of all providers together: a replay may take back by name what was counted without one."""
    found = _of_all(tallies)
    return [Violation("negative", 0, count, _about(*key)) for key, count in found.items() if count < 0]


def _differences(tallies: Counts, ledger: Counts) -> list[Violation]:
    shown, written = _of_all(tallies), _of_all(ledger)
    wrong = {key for key in shown.keys() | written.keys() if shown[key] != written[key]}
    return [
        *(Violation("tally", written[key], shown[key], _about(*key)) for key in sorted(wrong)),
        # Where the sum is right, no provider has more than its lines. Less it may have: what was counted before
        # tallies knew of providers is under none of them.
        *(
            Violation("provider", ledger[key], count, _about(*key))
            for key, count in sorted(tallies.items())
            if key[:2] not in wrong and key[2] and count > ledger[key]
        ),
    ]


def _of_all(counts: Counts) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for (outcome, reason, _), count in counts.items():
        found[outcome, reason] += count
    return found


def _about(outcome: str, reason: str, provider: str = "") -> str:
    label = dict(Delivery.Outcome.choices).get(outcome, outcome)
    said = f"{label} ({reasons.words(reason).title})" if reason else str(label)
    return f"{said}, {reasons.PROVIDERS.get(provider, provider)}" if provider else said
