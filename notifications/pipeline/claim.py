"""Take ready batches of a lane under a lease. From the commit on, their recipients count as perhaps sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID

from psycopg import AsyncConnection

from notifications.ids import uuid7
from notifications.providers.base import Outcome, Result

if TYPE_CHECKING:
    from notifications.pipeline.load import Content

# What a sender decides without asking a provider; recorded like a provider's outcome.
SUPPRESSED, FAILED = "suppressed", "failed"
# Put back untouched, to be looked at again later: not an attempt, and no line in the ledger.
HELD = "held"
# Its notification is gone with its application: nobody is left to account to.
ERASED = "erased"


@dataclass(slots=True, eq=False)
class Batch:
    """A claimed batch in a sender's memory.

    device_ids: those without an outcome on record. results: what has come in since the last flush.
    flushing: what is being recorded now. content: once it is loaded.
    """

    id: int
    application_id: int
    notification_id: UUID
    device_ids: list[int]
    attempt: int
    claim: UUID
    content: Content | None = None
    claimed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    results: list[Result] = field(default_factory=list)
    flushing: list[Result] = field(default_factory=list)
    subscribers: dict[int, int | None] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        return len(self.results) >= len(self.device_ids)

    def add(self, device_id: int, outcome: str, reason: str) -> None:
        """Enter a decision of our own."""
        self.results.append(Result(device_id, cast(Outcome, outcome), reason))

    def left_over(self) -> list[int]:
        """The devices still open once `flushing` is recorded."""
        if len(self.flushing) >= len(self.device_ids):
            return []
        known = {result.device_id for result in self.flushing}
        return [device for device in self.device_ids if device not in known]


CLAIM = """
    WITH picked AS (
        SELECT id, turn_at, cardinality(device_ids) AS size FROM notifications_batch
        WHERE lane = %(lane)s AND status = 'ready'
        ORDER BY turn_at, id LIMIT %(most)s FOR UPDATE SKIP LOCKED
    ),
    fitting AS (
        SELECT id FROM (SELECT id, size, sum(size) OVER (ORDER BY turn_at, id) AS total FROM picked) AS summed
        WHERE total <= %(room)s OR (total = size AND %(is_idle)s)
    )
    UPDATE notifications_batch b
    SET status = 'sending', claim = %(claim)s, lease_until = now() + make_interval(secs => %(lease)s)
    FROM fitting WHERE b.id = fitting.id
    RETURNING b.id, b.application_id, b.notification_id, b.device_ids, b.attempt
"""

PROMOTE = """
    WITH due AS (
        SELECT id FROM notifications_batch
        WHERE status = 'waiting' AND lane = ANY (%(lanes)s) AND due_at <= now()
        ORDER BY due_at LIMIT 2000 FOR UPDATE SKIP LOCKED
    )
    UPDATE notifications_batch b SET status = 'ready' FROM due WHERE b.id = due.id
"""

READY = """
    SELECT lane FROM unnest(%(lanes)s::text[]) AS l (lane)
    WHERE EXISTS (SELECT FROM notifications_batch b WHERE b.lane = l.lane AND b.status = 'ready')
"""


async def batches(
    connection: AsyncConnection, lane: str, *, room: int, most: int, is_idle: bool, lease_seconds: float
) -> list[Batch]:
    """At most `most` batches of at most `room` recipients together, the earliest turns first; none to two senders.

    is_idle: the first is taken even if it alone is larger than the room.

    `most` keeps small what is locked for looking and passed over by others meanwhile.
    """
    claim = uuid7()
    cursor = await connection.execute(
        CLAIM,
        {
            "lane": lane,
            "room": room,
            "most": most,
            "is_idle": is_idle,
            "claim": claim,
            "lease": lease_seconds,
        },
    )
    return [
        Batch(id, application_id, notification_id, device_ids, attempt, claim)
        for id, application_id, notification_id, device_ids, attempt in await cursor.fetchall()
    ]


async def ready_lanes(connection: AsyncConnection, lanes: Sequence[str]) -> list[str]:
    """Make what has come due ready, and say which of the lanes have something to claim."""
    await connection.execute(PROMOTE, {"lanes": list(lanes)})
    cursor = await connection.execute(READY, {"lanes": list(lanes)})
    return [lane for (lane,) in await cursor.fetchall()]
