"""Dead letters sent again: recipients that were given up or refused, of the same notification, opened anew.

Nobody is sent to twice by it: a failure that stands is the recipient's one final outcome (law 3), it is taken
back in the transaction that opens them again, and whoever was accepted, is uncertain, was held back or
cancelled is never looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet

from notifications import lanes
from notifications.models import Notification
from notifications.pipeline import wake
from notifications.pipeline.resolve import TURN
from tenants import selectors as tenants

# One statement takes as many notifications as fit: single sends by the thousand, a large one alone.
MOST_NOTIFICATIONS, MOST_RECIPIENTS = 1_000, 20_000

FILTERS = {
    "notification_id": "notification_id = %(notification_id)s",
    "provider": "lane IN (%(provider)s::text || '.transactional', %(provider)s::text || '.campaign')",
    "reason": "reason = %(reason)s",
    "since": "at >= %(since)s",
    "until": "at < %(until)s",
    "device_ids": "device_id = ANY (%(device_ids)s)",
}


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which dead letters of an application. until: exclusive. What is empty does not narrow."""

    application_id: int
    notification_id: UUID | None = None
    provider: str = ""
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None
    device_ids: tuple[int, ...] = ()

    @property
    def given(self) -> dict[str, Any]:
        return {name: value for name in FILTERS if (value := getattr(self, name))}

    @property
    def where(self) -> str:
        """SQL over ledger lines, with its AND. A device that was gone and is back is looked for in one notification
        only: across them there is no index for it, and it is no trouble of a provider's."""
        outcomes = "'failed', 'rejected'" + (", 'unregistered'" if self.notification_id else "")
        return f" AND outcome IN ({outcomes})" + "".join(f" AND {FILTERS[name]}" for name in self.given)

    @property
    def parameters(self) -> dict[str, Any]:
        return {**self.given, "application": self.application_id, "device_ids": list(self.device_ids)}


class Found(NamedTuple):
    """recipients: to be sent again, or just sent again. gone: dead letters without a device to send to; they stay."""

    notification_id: UUID
    recipients: int
    gone: int = 0


# The failures that stand: of each there is one line more than replays have taken back. Counted, not compared
# by time: the clocks of senders differ. {of}: which notifications.
STANDING = """
    SELECT notification_id, device_id, reason,
        CASE outcome WHEN 'replayed' THEN detail ELSE outcome END AS outcome,
        max(at) FILTER (WHERE outcome <> 'replayed') AS at,
        (array_agg(id ORDER BY at DESC) FILTER (WHERE outcome <> 'replayed'))[1] AS id,
        (array_agg(lane ORDER BY at DESC) FILTER (WHERE outcome <> 'replayed'))[1] AS lane
    FROM notifications_delivery
    WHERE application_id = %(application)s AND notification_id {of} AND device_id IS NOT NULL
        AND outcome IN ('failed', 'rejected', 'unregistered', 'replayed')
    GROUP BY 1, 2, 3, 4
    HAVING count(*) FILTER (WHERE outcome <> 'replayed') > count(*) FILTER (WHERE outcome = 'replayed')
"""

# lane: where its dead letter lies. next_lane: the application may send through another provider by now; NULL:
# there is no device to send to. Nobody twice, nor beside a batch that holds them, whatever the ledger says.
JUDGED = f"""
    SELECT d.*, v.subscriber_id, p.provider || '.' || split_part(d.lane, '.', 2) AS next_lane
    FROM (
        SELECT DISTINCT ON (notification_id, device_id) *
        FROM ({STANDING.format(of="= ANY (%(ids)s)")}) AS standing WHERE true {{where}}
    ) d
    LEFT JOIN devices_device v
        ON v.id = d.device_id AND v.application_id = %(application)s AND v.retired_at IS NULL
    LEFT JOIN unnest(%(platforms)s::text[], %(providers)s::text[]) AS p (platform, provider) USING (platform)
    WHERE NOT EXISTS (
        SELECT FROM (
            SELECT notification_id, unnest(device_ids) AS device_id FROM notifications_batch
            WHERE notification_id = ANY (%(ids)s)
        ) AS o WHERE o.notification_id = d.notification_id AND o.device_id = d.device_id)
"""

FIND = f"""
    SELECT notification_id, count(next_lane),
        count(*) FILTER (WHERE next_lane IS NULL AND outcome <> 'unregistered')
    FROM ({JUDGED}) AS judged GROUP BY 1 ORDER BY 1
"""

REPLAY = f"""
    WITH picked AS MATERIALIZED (SELECT * FROM ({JUDGED}) AS judged WHERE next_lane IS NOT NULL),
    logged AS (
        INSERT INTO notifications_delivery
            (at, application_id, notification_id, device_id, subscriber_id, lane, outcome, reason, attempt,
             provider_id, detail)
        SELECT statement_timestamp(), %(application)s, notification_id, device_id, subscriber_id, lane, 'replayed',
            reason, 0, '', outcome
        FROM picked
    ),
    tallied AS (
        INSERT INTO notifications_tally AS t (notification_id, slot, outcome, reason, provider, count)
        SELECT notification_id, 0, outcome, reason, {lanes.PROVIDER} AS provider, -count(*)
        FROM picked GROUP BY notification_id, outcome, reason, provider
        ORDER BY notification_id, outcome, reason, provider
        ON CONFLICT (notification_id, slot, outcome, reason, provider) DO UPDATE SET count = t.count + excluded.count
    ),
    counted AS (SELECT notification_id, count(*) AS recipients FROM picked GROUP BY 1),
    reopened AS (
        UPDATE notifications_notification n
        SET status = CASE status WHEN 'done' THEN 'sending' ELSE status END, finished_at = NULL,
            replay_count = replay_count + 1, replayed_at = statement_timestamp(), verified_at = NULL, violations = '[]'
        FROM counted c WHERE n.id = c.notification_id
        RETURNING n.id, n.replay_count AS number, c.recipients,
            least(%(batch_size)s::int, n.throttle_per_second) AS batch_size
    ),
    noted AS (
        INSERT INTO notifications_replay
            (application_id, notification_id, number, requested_by, criteria, recipient_count, created_at)
        SELECT %(application)s, id, number, %(requested_by)s, %(asked)s::jsonb, recipients,
            statement_timestamp()
        FROM reopened
    ),
    numbered AS (
        SELECT r.id, r.number, next_lane, device_id,
            (row_number() OVER (PARTITION BY r.id, next_lane ORDER BY device_id) - 1) / r.batch_size AS part
        FROM picked JOIN reopened r ON r.id = notification_id
    ),
    batches AS (
        INSERT INTO notifications_batch
            (application_id, notification_id, lane, status, device_ids, attempt, replay, due_at, turn_at)
        SELECT %(application)s, id, next_lane, 'ready', array_agg(device_id), 1, number, now(), now() + part * {TURN}
        FROM numbered GROUP BY id, number, next_lane, part
    )
    SELECT notification_id, next_lane, count(*) FROM picked GROUP BY 1, 2 ORDER BY 1
"""

# Where everything was replayed, there is nothing to look for.
CANDIDATES = """
    SELECT notification_id, letters FROM (
        SELECT notification_id, count(*) AS letters FROM notifications_delivery
        WHERE application_id = %(application)s AND device_id IS NOT NULL {where}
        GROUP BY 1
    ) AS d WHERE 0 < (
        SELECT sum(count) FROM notifications_tally t
        WHERE t.notification_id = d.notification_id AND outcome IN ('failed', 'rejected')
    ) ORDER BY 1
"""


def chunks(criteria: Criteria) -> Iterator[list[UUID]]:
    """The notifications that may have such dead letters, as many at a time as one statement should take."""
    if criteria.notification_id:
        yield [criteria.notification_id]
        return
    ids: list[UUID] = []
    total = 0
    with connection.chunked_cursor() as cursor:
        cursor.execute(CANDIDATES.format(where=criteria.where), criteria.parameters)
        for id, letters in cursor:
            if ids and (total + letters > MOST_RECIPIENTS or len(ids) == MOST_NOTIFICATIONS):
                yield ids
                ids, total = [], 0
            ids.append(id)
            total += letters
    if ids:
        yield ids


def find(ids: Sequence[UUID], criteria: Criteria) -> list[Found]:
    """What a replay would do; writes nothing. Those whose every recipient stays are among them."""
    with transaction.atomic(), connection.cursor() as cursor:
        _run(cursor, FIND, list(_replayable(ids, criteria)), criteria)
        return [Found(*row) for row in cursor.fetchall()]


def dead_letters(ids: Sequence[UUID], criteria: Criteria, *, requested_by: str) -> list[Found]:
    """Open them again, in one transaction. A second call finds what is left, which is
    nothing; two at once wait for each other. Cancelled notifications stay cancelled."""
    with transaction.atomic(), connection.cursor() as cursor:
        locked = list(_replayable(ids, criteria).select_for_update(no_key=True))
        # Its own statement: it must see what whoever held the locks has committed.
        asked = orjson.dumps(criteria.given).decode()
        _run(cursor, REPLAY, locked, criteria, requested_by=requested_by[:150], asked=asked)
        replayed: Counter[UUID] = Counter()
        woken = set()
        for id, lane, recipients in cursor.fetchall():
            replayed[id] += recipients
            woken.add(lane)
        transaction.on_commit(lambda: wake.lanes(woken))
    return [Found(*row) for row in replayed.items()]


def _replayable(ids: Sequence[UUID], criteria: Criteria) -> QuerySet[Notification, UUID]:
    wanted = Notification.objects.filter(application_id=criteria.application_id, id__in=ids)
    return wanted.exclude(status=Notification.Status.CANCELLED).order_by("id").values_list("id", flat=True)


def _run(cursor: CursorWrapper, query: str, ids: list[UUID], criteria: Criteria, **parameters: Any) -> None:
    lane_of = lanes.lanes_of("", tenants.configured_providers(criteria.application_id))
    # Right after a campaign the planner's statistics would have it read the whole ledger for one letter.
    cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL work_mem = '32MB'")
    cursor.execute(
        query.format(where=criteria.where),
        {
            **criteria.parameters,
            **parameters,
            "ids": ids,
            "platforms": list(lane_of),
            "providers": [lanes.provider_of(lane) for lane in lane_of.values()],
            "batch_size": settings.BATCH_SIZE,
        },
    )
