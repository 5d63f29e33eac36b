"""Take ready batches of a lane under a lease. From the commit on, their recipients count as perhaps sent.

The turns are fair between applications, and an application with an open incident is passed over: its
work waits as it is, at no cost of attempts. When the incident's time for a trial has come, one sender
gets one of its batches to try it with (send.py, `_try`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import UUID

from psycopg import AsyncConnection

from notifications import lanes
from notifications.ids import uuid7
from notifications.pipeline import incidents
from notifications.providers.base import Outcome, Result

if TYPE_CHECKING:
    from notifications.pipeline.load import Content

# What a sender decides without asking a provider; recorded like a provider's outcome.
SUPPRESSED, FAILED = "suppressed", "failed"
# Put back untouched, to be looked at again later: not an attempt, and no line in the ledger.
HELD = "held"
# Its notification is gone with its application: nobody is left to account to.
ERASED = "erased"

MOST_TURNS = 128  # applications in one claim

# Why a recipient is put back at once: the incident, or the slot, says when it goes on.
STOPPED, THROTTLED, STOPPING = "stopped", "throttled", "stopping"
UNTIMELY = "quiet_hours"  # for as long as the result says
NOT_LOADED = "not_loaded"  # what it takes to send could not be had in time


@dataclass(slots=True, eq=False)
class Batch:
    """A claimed batch in a sender's memory.

    device_ids: those without an outcome on record. results: what has come in since the last flush.
    flushing: what is being recorded now. content: once it is loaded. replay: which sending of the
    notification this is. slot_at: the moment the rate limits gave it; held_until: not before.
    trial: the causes of the incidents this batch is to end or prolong; probe: the device it is tried with.
    """

    id: int
    application_id: int
    notification_id: UUID
    device_ids: list[int]
    attempt: int
    claim: UUID
    replay: int = 0
    slot_at: datetime | None = None
    held_until: datetime | None = None
    trial: tuple[str, ...] = ()
    probe: int | None = None
    content: Content | None = None
    claimed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    since: float = field(default_factory=time.monotonic)  # seconds; claimed_at on a clock that never jumps
    results: list[Result] = field(default_factory=list)
    flushing: list[Result] = field(default_factory=list)
    subscribers: dict[int, int | None] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        return len(self.results) >= len(self.device_ids)

    @property
    def sending(self) -> tuple[UUID, int]:
        """The notification and which sending of it: what content is the same for."""
        return self.notification_id, self.replay

    def add(self, device_id: int, outcome: str, reason: str, seconds: float | None = None) -> None:
        """Enter a decision of our own. seconds: until it is looked at again."""
        self.results.append(Result(device_id, cast(Outcome, outcome), reason, retry_after=seconds))

    def left_over(self) -> list[int]:
        """The devices still open once `flushing` is recorded."""
        if len(self.flushing) >= len(self.device_ids):
            return []
        known = {result.device_id for result in self.flushing}
        return [device for device in self.device_ids if device not in known]


# applications: a loose index scan, one probe per application with something ready in the lane.
# turns: those that may go, trials first, then the least served; some at a time, so that little is locked for looking.
# fitting: in rounds, a batch of each, as far as the room of the lane and of each application goes.
# tried: a trial counts as taken only with its batch.
# The limits are part of the text: of a parameter the planner expects a tenth of the table, and reads all of it.
CLAIM = """
    WITH RECURSIVE applications (id) AS (
        (SELECT application_id FROM notifications_batch
         WHERE lane = %(lane)s AND status = 'ready' ORDER BY application_id LIMIT 1)
        UNION ALL
        SELECT (SELECT b.application_id FROM notifications_batch b
                WHERE b.lane = %(lane)s AND b.status = 'ready' AND b.application_id > a.id
                ORDER BY b.application_id LIMIT 1)
        FROM applications a WHERE a.id IS NOT NULL
    ),
    stops AS (
        SELECT id, application_id, trial_at IS NOT NULL AND trial_at <= now() AS is_due FROM notifications_incident
        WHERE closed_at IS NULL AND stops_lanes AND provider = %(provider)s AND lane_kind IN ('', %(kind)s)
    ),
    due AS (
        SELECT i.id, i.application_id, i.cause FROM notifications_incident i
        JOIN applications a ON a.id = i.application_id
        WHERE i.id IN (SELECT id FROM stops) AND i.closed_at IS NULL AND i.trial_at <= now()
            AND NOT EXISTS (SELECT FROM stops s WHERE s.application_id = i.application_id AND NOT s.is_due)
        FOR UPDATE OF i SKIP LOCKED
    ),
    trials AS (SELECT application_id, array_agg(cause::text) AS causes FROM due GROUP BY 1),
    turns AS (
        SELECT a.id, t.causes, coalesce(k.room, %(each)s) AS room,
            row_number() OVER (ORDER BY t.causes IS NULL, coalesce(k.served, 0), a.id) AS place
        FROM applications a
        LEFT JOIN trials t ON t.application_id = a.id
        LEFT JOIN unnest(%(known)s::bigint[], %(served)s::float[], %(rooms)s::int[]) AS k (id, served, room)
            ON k.id = a.id
        WHERE a.id IS NOT NULL AND coalesce(k.room, 1) > 0
            AND (t.causes IS NOT NULL OR NOT EXISTS (SELECT FROM stops s WHERE s.application_id = a.id))
        ORDER BY place LIMIT {turns}
    ),
    picked AS (
        SELECT t.id AS application_id, t.place, t.room, t.causes, b.id, b.turn_at, b.size
        FROM turns t CROSS JOIN LATERAL (
            SELECT id, turn_at, cardinality(device_ids) AS size FROM notifications_batch
            WHERE lane = %(lane)s AND status = 'ready' AND application_id = t.id
            ORDER BY turn_at, id LIMIT {most} FOR UPDATE SKIP LOCKED
        ) b
    ),
    numbered AS (
        SELECT *, row_number() OVER own AS round, sum(size) OVER own AS own_total FROM picked
        WINDOW own AS (PARTITION BY application_id ORDER BY turn_at, id)
    ),
    fitting AS (
        SELECT id, application_id, causes FROM (
            SELECT id, application_id, causes, size, own_total, room,
                sum(size) OVER (ORDER BY round, place) AS total
            FROM numbered WHERE round = 1 OR causes IS NULL
        ) AS summed
        WHERE total <= %(room)s AND own_total <= room OR total = size AND %(is_idle)s
    ),
    tried AS (
        UPDATE notifications_incident i SET trial_at = now() + make_interval(secs => %(trial_seconds)s)
        FROM due WHERE i.id = due.id AND due.application_id IN (SELECT application_id FROM fitting)
    )
    UPDATE notifications_batch b
    SET status = 'sending', claim = %(claim)s, lease_until = now() + make_interval(secs => %(lease)s)
    WHERE b.id = ANY (ARRAY(SELECT id FROM fitting))
    RETURNING b.id, b.application_id, b.notification_id, b.device_ids, b.attempt, b.replay, b.slot_at,
        (SELECT causes FROM fitting f WHERE f.id = b.id)
"""

PROMOTE = """
    WITH due AS (
        SELECT d.id FROM unnest(%(lanes)s::text[]) AS l (lane) CROSS JOIN LATERAL (
            SELECT id FROM notifications_batch
            WHERE status = 'waiting' AND lane = l.lane AND due_at <= now()
            ORDER BY due_at LIMIT 2000 FOR UPDATE SKIP LOCKED
        ) d
    )
    UPDATE notifications_batch b SET status = 'ready' WHERE b.id = ANY (ARRAY(SELECT id FROM due))
"""

READY = """
    SELECT lane FROM unnest(%(lanes)s::text[]) AS l (lane)
    WHERE EXISTS (SELECT FROM notifications_batch b WHERE b.lane = l.lane AND b.status = 'ready')
"""


class Share(NamedTuple):
    """An application in one lane of one sender. served: recipients lately; room: how many more it may hold."""

    served: float
    room: int


async def batches(
    connection: AsyncConnection,
    lane: str,
    *,
    room: int,
    each: int,
    most: int,
    is_idle: bool,
    lease_seconds: float,
    shares: Mapping[int, Share] | None = None,
) -> list[Batch]:
    """Ready batches of at most `room` recipients together, none to two senders.

    most: how many batches are locked for looking, and passed over by others meanwhile.

    Applications take turns, the least served first; of each its earliest turns, `each` recipients unless its
    share says otherwise.
    is_idle: the first is taken even if it alone is larger than the room.
    """
    shares = shares or {}
    claim = uuid7()
    cursor = await connection.execute(
        _statement(most, len(shares)),
        {
            "lane": lane,
            "provider": lanes.provider_of(lane),
            "kind": lane.partition(".")[2],
            "room": room,
            "each": each,
            "most": most,
            "is_idle": is_idle,
            "claim": claim,
            "lease": lease_seconds,
            "trial_seconds": incidents.TRIAL_SECONDS,
            "known": list(shares),
            "served": [share.served for share in shares.values()],
            "rooms": [share.room for share in shares.values()],
        },
    )
    return [
        Batch(
            id,
            application_id,
            notification_id,
            devices,
            attempt,
            claim,
            replay,
            slot_at,
            trial=tuple(causes or ()),
        )
        for id, application_id, notification_id, devices, attempt, replay, slot_at, causes in await cursor.fetchall()
    ]


def _statement(most: int, applications: int) -> str:
    """As many turns as there may be applications, and of each as many batches as makes `most` together; in powers of
    two, so that there are few statements to plan."""
    turns = min(MOST_TURNS, max(8, 1 << applications.bit_length()))
    each = max(4, most // max(1, applications))
    return CLAIM.format(turns=turns, most=1 << (each - 1).bit_length())


async def ready_lanes(connection: AsyncConnection, lanes: Sequence[str]) -> list[str]:
    """Make what has come due ready, and say which of the lanes have something to claim."""
    await connection.execute(PROMOTE, {"lanes": list(lanes)})
    cursor = await connection.execute(READY, {"lanes": list(lanes)})
    return [lane for (lane,) in await cursor.fetchall()]
