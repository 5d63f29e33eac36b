"""Batches whose sender died. What was claimed may have been sent: that is recorded, and then the category's
crash rule decides whether to send again (same collapse id) or to leave it (law 3).
"""

from __future__ import annotations

from django.db import connection

from notifications import lanes

# As often as any provider's table allows; a batch that kills its senders must not go round for ever.
MOST_ATTEMPTS = 5

REAP = f"""
    WITH dead AS (
        SELECT b.id FROM notifications_batch b
        WHERE b.status = 'sending' AND b.lease_until < now()
            -- Senders whose database was away get time to record what they know.
            AND pg_postmaster_start_time() < now() - make_interval(secs => %(recovery)s)
        ORDER BY b.lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
    ),
    taken AS (
        DELETE FROM notifications_batch b USING dead WHERE b.id = dead.id
        RETURNING b.application_id, b.notification_id, b.lane, b.device_ids, b.attempt, b.replay
    ),
    judged AS (
        SELECT t.*, c.crash_rule = 'resend' AND t.attempt < %(most)s AS again
        FROM taken t
        JOIN notifications_notification n ON n.id = t.notification_id
        JOIN devices_category c ON c.id = n.category_id
    ),
    again AS (
        INSERT INTO notifications_batch
            (application_id, notification_id, lane, status, device_ids, attempt, replay, due_at, turn_at)
        SELECT application_id, notification_id, lane, 'ready', device_ids, attempt + 1, replay, now(), now()
        FROM judged WHERE again
    ),
    logged AS (
        INSERT INTO notifications_delivery
            (at, application_id, notification_id, device_id, subscriber_id, lane, outcome, reason, attempt,
             provider_id, detail)
        SELECT now(), j.application_id, j.notification_id, r.device_id, d.subscriber_id, j.lane,
            CASE WHEN j.again THEN 'resent' ELSE 'uncertain' END, 'sender_died', j.attempt, '', ''
        FROM judged j CROSS JOIN LATERAL unnest(j.device_ids) AS r (device_id)
        LEFT JOIN devices_device d ON d.id = r.device_id
    ),
    tallied AS (
        INSERT INTO notifications_tally AS t (notification_id, slot, outcome, reason, provider, count)
        SELECT notification_id, 0, 'uncertain', 'sender_died', {lanes.PROVIDER} AS provider,
            sum(cardinality(device_ids))
        FROM judged WHERE NOT again GROUP BY notification_id, provider ORDER BY notification_id, provider
        ON CONFLICT (notification_id, slot, outcome, reason, provider) DO UPDATE SET count = t.count + excluded.count
    )
    SELECT lane, again, sum(cardinality(device_ids)) FROM judged GROUP BY lane, again
"""


def expired_leases(*, recovery_seconds: float = 30) -> list[tuple[str, bool, int]]:
    """Settle up to 500 batches whose lease ran out: (lane, is sent again, recipients). Two at once are safe.

    recovery_seconds: how long after a start of the database its senders are left alone.
    """
    with connection.cursor() as cursor:
        cursor.execute(REAP, {"most": MOST_ATTEMPTS, "recovery": recovery_seconds})
        return cursor.fetchall()
