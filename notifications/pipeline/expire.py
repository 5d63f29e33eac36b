"""What outlives its time behind an open incident: no sender claims it, so it is given up here, with a line for each."""

from __future__ import annotations

from django.db import connection

from notifications import lanes
from notifications.pipeline import timing

EXPIRE = """
    WITH late AS (
        SELECT b.id FROM notifications_incident i
        JOIN notifications_batch b ON b.application_id = i.application_id AND b.status = '{status}'
            AND b.lane IN (i.provider || '.transactional', i.provider || '.campaign')
        JOIN notifications_notification n ON n.id = b.notification_id
        WHERE i.closed_at IS NULL AND i.stops_lanes
            AND least(n.deadline, {begins} + make_interval(secs => coalesce(n.ttl_seconds, %(ttl)s))) < now()
        LIMIT 1000 FOR UPDATE OF b SKIP LOCKED
    ),
    taken AS (
        DELETE FROM notifications_batch b USING late WHERE b.id = late.id
        RETURNING b.application_id, b.notification_id, b.lane, b.device_ids, b.attempt
    ),
    logged AS (
        INSERT INTO notifications_delivery
            (at, application_id, notification_id, device_id, subscriber_id, lane, outcome, reason, attempt,
             provider_id, detail)
        SELECT now(), t.application_id, t.notification_id, r.device_id, d.subscriber_id, t.lane, 'failed', 'expired',
            t.attempt - 1, '', ''
        FROM taken t CROSS JOIN LATERAL unnest(t.device_ids) AS r (device_id)
        LEFT JOIN devices_device d ON d.id = r.device_id
    ),
    tallied AS (
        INSERT INTO notifications_tally AS t (notification_id, slot, outcome, reason, provider, count)
        SELECT notification_id, 0, 'failed', 'expired', {provider} AS provider, sum(cardinality(device_ids))
        FROM taken GROUP BY notification_id, provider ORDER BY notification_id, provider
        ON CONFLICT (notification_id, slot, outcome, reason, provider) DO UPDATE SET count = t.count + excluded.count
    )
    SELECT coalesce(sum(cardinality(device_ids)), 0)::bigint FROM taken
"""


def stopped() -> int:
    """Give up what has expired behind open incidents, two thousand batches at most; recipients."""
    given_up = 0
    with connection.cursor() as cursor:
        for status in ("ready", "waiting"):  # each has an index of its own
            cursor.execute(
                EXPIRE.format(status=status, begins=timing.BEGINS, provider=lanes.PROVIDER),
                {"ttl": timing.LIFETIME.total_seconds()},
            )
            given_up += cursor.fetchone()[0]
    return given_up
