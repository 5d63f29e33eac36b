"""Write down what came of a claim: ledger lines, counts, retired devices, retries, and the batch itself,
in one transaction. A batch that another took over meanwhile (its lease ran out) is left to the other.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from notifications import lanes
from notifications.models import Delivery
from notifications.pipeline import claim, retire, retry
from notifications.pipeline.claim import Batch
from notifications.providers.base import Backoff, Outcome, Result

log = structlog.get_logger(__name__)

# Spreads the increments of concurrent senders over rows; readers sum.
SLOTS = 16

Final = Delivery.Outcome


class Next(NamedTuple):
    """What recipients must have in common to wait in one batch."""

    application_id: int
    notification_id: UUID
    attempt: int
    replay: int
    due_at: datetime
    slot_at: datetime | None


@dataclass(slots=True)
class Entries:
    """What one flush will write, gathered per batch."""

    lines: list[str] = field(default_factory=list)
    tallies: Counter[tuple[UUID, str, str]] = field(default_factory=Counter)
    gone: defaultdict[int, list[retire.Gone]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by application
    environments: dict[int, str] = field(default_factory=dict)
    retries: defaultdict[Next, list[int]] = field(default_factory=lambda: defaultdict(list))


# Under one claim a batch only shrinks: its size tells whether this flush was recorded already (its COMMIT
# went through, but the answer was lost).
SETTLE = """
    WITH given AS (
        SELECT * FROM unnest(%(ids)s::bigint[], %(claims)s::uuid[], %(had)s::int[], %(left)s::text[])
            AS g (id, claim, had, left_over)
    ),
    deleted AS (
        DELETE FROM notifications_batch b USING given g
        WHERE b.id = g.id AND b.claim = g.claim AND cardinality(b.device_ids) = g.had AND g.left_over = '{}'
        RETURNING b.id
    ),
    shrunk AS (
        UPDATE notifications_batch b SET device_ids = g.left_over::bigint[] FROM given g
        WHERE b.id = g.id AND b.claim = g.claim AND cardinality(b.device_ids) = g.had AND g.left_over <> '{}'
        RETURNING b.id
    )
    SELECT id FROM deleted UNION ALL SELECT id FROM shrunk
"""

COPY = """
    COPY notifications_delivery (at, application_id, notification_id, device_id, subscriber_id, lane, outcome,
        reason, attempt, provider_id, detail) FROM STDIN
"""

# A flush is of one lane, so of one provider: this is the order of the whole key, the same for all who count.
TALLY = """
    INSERT INTO notifications_tally AS t (notification_id, slot, outcome, reason, provider, count)
    SELECT n, %(slot)s, o, r, %(provider)s, c
    FROM unnest(%(notifications)s::uuid[], %(outcomes)s::text[], %(reasons)s::text[], %(counts)s::bigint[])
        AS g (n, o, r, c)
    ORDER BY n, o, r
    ON CONFLICT (notification_id, slot, outcome, reason, provider) DO UPDATE SET count = t.count + excluded.count
"""

LEARN_ENVIRONMENT = """
    UPDATE devices_device d SET environment = g.environment
    FROM unnest(%(ids)s::bigint[], %(environments)s::text[]) AS g (id, environment)
    WHERE d.id = g.id AND d.environment = ''
"""

RETRY = """
    INSERT INTO notifications_batch
        (application_id, notification_id, lane, status, device_ids, attempt, replay, due_at, turn_at, slot_at)
    SELECT application_id, notification_id, %(lane)s, 'waiting', devices::bigint[], attempt, replay, due_at, due_at,
        slot_at
    FROM unnest(%(applications)s::bigint[], %(notifications)s::uuid[], %(attempts)s::int[], %(replays)s::int[],
        %(dues)s::timestamptz[], %(slots)s::timestamptz[], %(devices)s::text[])
        AS g (application_id, notification_id, attempt, replay, due_at, slot_at, devices)
"""


async def results(
    connection: AsyncConnection,
    lane: str,
    batches: Sequence[Batch],
    backoff: Backoff,
    *,
    batch_size: int,
) -> None:
    """Settle the results gathered in `batches`, in the caller's transaction. Idempotent per claim: a batch is
    settled only while it still is this claim's."""
    owned = await _settle(connection, batches)
    now = datetime.now(UTC)
    entries = Entries()
    for batch in batches:
        if batch.id in owned:
            _enter(entries, lane, batch, backoff, now)
        else:
            log.warning("batch_lost", action="record.lost", batch=batch.id, results=len(batch.flushing))
    await _write(connection, lane, entries, batch_size)


async def _settle(connection: AsyncConnection, batches: Sequence[Batch]) -> set[int]:
    left = [_array(batch.left_over()) for batch in batches]
    cursor = await connection.execute(
        SETTLE,
        {
            "ids": [b.id for b in batches],
            "claims": [b.claim for b in batches],
            "had": [len(b.device_ids) for b in batches],
            "left": left,
        },
    )
    return {id for (id,) in await cursor.fetchall()}


def _enter(entries: Entries, lane: str, batch: Batch, backoff: Backoff, now: datetime) -> None:
    prefix = f"{now.isoformat()}\t{batch.application_id}\t{batch.notification_id}\t"
    tallies: Counter[tuple[str, str]] = Counter()
    for result in batch.flushing:
        if result.outcome == claim.ERASED:
            continue
        if result.outcome == claim.HELD and _put_back(entries, result, batch, now):
            continue
        outcome, reason = _judge(entries, result, batch, backoff, now)
        subscriber = batch.subscribers.get(result.device_id)
        entries.lines.append(
            f"{prefix}{result.device_id}\t{NULL if subscriber is None else subscriber}\t{lane}\t{outcome}\t"
            f"{_text(reason)}\t{batch.attempt}\t{_text(result.provider_id)}\t{_text(result.detail)}\n"
        )
        if outcome not in Delivery.NOT_FINAL:
            tallies[outcome, reason] += 1
    for (outcome, reason), count in tallies.items():
        entries.tallies[batch.notification_id, outcome, reason] += count


def _judge(
    entries: Entries, result: Result, batch: Batch, backoff: Backoff, now: datetime
) -> tuple[str, str]:
    """The ledger's outcome for a result, and what else follows from it."""
    outcome, reason = result.outcome, result.reason
    if outcome is Outcome.ACCEPTED:
        if result.environment:
            entries.environments[result.device_id] = result.environment
    elif outcome is Outcome.UNREGISTERED:
        before = batch.claimed_at
        if result.retired_since:
            before = min(before, datetime.fromtimestamp(result.retired_since, UTC))
        entries.gone[batch.application_id].append(retire.Gone(result.device_id, reason, before))
    elif (
        outcome is Outcome.RETRY
        and result.device_id == batch.probe
        and _put_back(entries, result, batch, now)
    ):
        return Final.RETRY, reason  # it was tried for all; that is not counted against it
    elif outcome is Outcome.RETRY:
        return _again(entries, Final.RETRY, result, batch, backoff, now)
    elif outcome is Outcome.BLOCKED and _put_back(entries, result, batch, now):
        return Final.BLOCKED, reason
    elif outcome in (Outcome.BLOCKED, claim.HELD):
        return Final.FAILED, reason
    elif outcome is Outcome.UNCERTAIN and batch.content and batch.content.resend_after_crash:
        return _again(entries, Final.RESENT, result, batch, backoff, now)
    return outcome, reason


def _again(
    entries: Entries, outcome: str, result: Result, batch: Batch, backoff: Backoff, now: datetime
) -> tuple[str, str]:
    """Queue the next attempt; giving up is an outcome too."""
    assert batch.content is not None  # it was sent
    due = retry.due_at(
        result, attempt=batch.attempt, backoff=backoff, now=now, expires_at=batch.content.expires_at
    )
    if due is None:
        given_up = Final.UNCERTAIN if result.outcome is Outcome.UNCERTAIN else Final.FAILED
        return given_up, result.reason
    if due > now:
        due += timedelta(
            seconds=1
        )  # it is cut to whole seconds, and must not be earlier than the provider said
    _queue(entries, batch, result.device_id, batch.attempt + 1, due)
    return outcome, result.reason


def _put_back(entries: Entries, result: Result, batch: Batch, now: datetime) -> bool:
    """Hold the recipient at no cost of attempts; False where that would outlast the message."""
    due = _held_until(result, batch, now)
    if batch.content and due >= batch.content.expires_at:
        return False
    slot_at = batch.slot_at if result.reason == claim.THROTTLED else None
    _queue(entries, batch, result.device_id, batch.attempt, due, slot_at)
    return True


def _held_until(result: Result, batch: Batch, now: datetime) -> datetime:
    if result.reason == claim.THROTTLED and batch.held_until:
        return batch.held_until
    if result.reason == claim.UNTIMELY and result.retry_after is not None:
        return now + timedelta(seconds=result.retry_after + 0.5)  # it is cut to whole seconds
    # An open incident, or nobody's fault: there is nothing to wait for here.
    if result.device_id == batch.probe or result.reason in (claim.STOPPED, claim.STOPPING):
        return now
    if (result.outcome is Outcome.BLOCKED and not result.scope) or result.reason == claim.NOT_LOADED:
        return now + retry.HOLD  # the incident says when it goes on
    return now + retry.hold(now - batch.content.meant_for if batch.content else timedelta())


def _queue(
    entries: Entries,
    batch: Batch,
    device_id: int,
    attempt: int,
    due: datetime,
    slot_at: datetime | None = None,
) -> None:
    if slot_at is None:
        due = due.replace(microsecond=0)  # retries of a second share a batch
    key = Next(batch.application_id, batch.notification_id, attempt, batch.replay, due, slot_at)
    entries.retries[key].append(device_id)


async def _write(connection: AsyncConnection, lane: str, entries: Entries, most: int) -> None:
    async with connection.cursor() as cursor:
        if entries.lines:
            async with cursor.copy(COPY) as copy:
                await copy.write("".join(entries.lines))
        if entries.tallies:
            await cursor.execute(TALLY, _tally_columns(lane, entries.tallies))
        for application_id in sorted(entries.gone):
            gone = entries.gone[application_id]
            await retire.devices(connection, application_id, lanes.provider_of(lane), gone)
        if entries.environments:
            ids = sorted(entries.environments)
            learned = {"ids": ids, "environments": [entries.environments[id] for id in ids]}
            await cursor.execute(LEARN_ENVIRONMENT, learned)
        if entries.retries:
            await cursor.execute(RETRY, {"lane": lane, **_retry_columns(entries.retries, most)})


def _tally_columns(lane: str, tallies: Mapping[tuple[UUID, str, str], int]) -> dict[str, object]:
    return {
        "slot": os.getpid() % SLOTS,
        "provider": lanes.provider_of(lane),
        "notifications": [notification for notification, _, _ in tallies],
        "outcomes": [str(outcome) for _, outcome, _ in tallies],
        "reasons": [reason for _, _, reason in tallies],
        "counts": list(tallies.values()),
    }


def _retry_columns(retries: Mapping[Next, Sequence[int]], most: int) -> dict[str, object]:
    """Cut to batches that fit wherever there is room for one."""
    rows = [
        (*key, _array(devices[start : start + most]))
        for key, devices in retries.items()
        for start in range(0, len(devices), most)
    ]
    names = ("applications", "notifications", "attempts", "replays", "dues", "slots", "devices")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": " ", "\n": " ", "\r": " ", "\0": " "})


def _text(value: str) -> str:
    """A value for COPY's text format (PostgreSQL docs, COPY, "Text Format")."""
    return value.translate(_ESCAPES).encode("utf-8", "replace").decode() if value else ""


def _array(ids: Iterable[int]) -> str:
    return "{" + ",".join(map(str, ids)) + "}"
