"""Stop a notification: what waits is recorded as cancelled, what is being sent ends by itself.

Stopping is a matter of tenths of a second whatever its size; recording millions takes a minute, and is not waited for.
"""

from __future__ import annotations

from django.db import connection

from notifications import lanes
from notifications.models import Batch, Notification
from notifications.pipeline import caps, pause, resolve

# So many batches are settled at once, tens of thousands of recipients in tenths of a second; more by the next sweep.
AT_ONCE = 240

# What somebody else settles just now is skipped.
CANCEL = """
    WITH open AS (
        SELECT id FROM notifications_batch
        WHERE notification_id = %(id)s AND status <> 'sending' FOR UPDATE SKIP LOCKED
    ),
    taken AS (
        DELETE FROM notifications_batch b USING open WHERE b.id = open.id
        RETURNING b.application_id, b.lane, b.device_ids, b.attempt
    ),
    logged AS (
        INSERT INTO notifications_delivery
            (at, application_id, notification_id, device_id, subscriber_id, lane, outcome, reason, attempt,
             provider_id, detail)
        SELECT now(), t.application_id, %(id)s, r.device_id, d.subscriber_id, t.lane, 'cancelled', 'cancelled',
            t.attempt - 1, '', ''
        FROM taken t CROSS JOIN LATERAL unnest(t.device_ids) AS r (device_id)
        LEFT JOIN devices_device d ON d.id = r.device_id
    ),
    tallied AS (
        INSERT INTO notifications_tally AS t (notification_id, slot, outcome, reason, provider, count)
        SELECT %(id)s, 0, 'cancelled', 'cancelled', {provider} AS provider, sum(cardinality(device_ids))
        FROM taken GROUP BY provider ORDER BY provider
        ON CONFLICT (notification_id, slot, outcome, reason, provider) DO UPDATE SET count = t.count + excluded.count
    ) {given_back}
    SELECT coalesce(sum(cardinality(device_ids)), 0)::bigint FROM taken
"""


def stop(notification: Notification) -> None:
    """In the transaction that has cancelled it: no sender takes any more of it, and of a small one all is settled."""
    pause.hold(notification.id)
    if Batch.objects.filter(notification_id=notification.id)[: AT_ONCE + 1].count() <= AT_ONCE:
        open_batches(notification)


def open_batches(notification: Notification) -> int:
    """Settle what is not being sent just now; recipients cancelled. Call again for what comes back as a retry."""
    given_back = caps.GIVE_BACK if resolve.is_capped(notification.category_id) else ""
    with connection.cursor() as cursor:
        statement = CANCEL.format(given_back=given_back, provider=lanes.PROVIDER)
        cursor.execute(statement, {"id": notification.id})
        return cursor.fetchone()[0]
