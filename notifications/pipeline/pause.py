"""Hold a notification in flight and let it go on. What a sender has claimed goes out, which takes it seconds;
everything else waits, untouched, until somebody resumes or cancels it.
"""

from __future__ import annotations

from uuid import UUID

from django.db import connection

HOLD = """
    UPDATE notifications_batch SET status = 'paused'
    WHERE notification_id = %(id)s AND status IN ('ready', 'waiting')
"""

# `due_at` was kept: a look makes ready what is due.
LET_GO = """
    UPDATE notifications_batch SET status = 'waiting' WHERE notification_id = %(id)s AND status = 'paused'
    RETURNING lane
"""

# What came back from a sender or a shard after the pause.
HOLD_LATE = """
    UPDATE notifications_batch b SET status = 'paused' FROM notifications_notification n
    WHERE n.paused_at IS NOT NULL AND n.status IN ('fanning_out', 'sending')
        AND b.notification_id = n.id AND b.status IN ('ready', 'waiting')
"""

# What that held although somebody resumed it meanwhile.
LET_GO_LATE = """
    UPDATE notifications_batch b SET status = 'waiting'
    WHERE b.status = 'paused' AND NOT EXISTS (
        SELECT FROM notifications_notification n
        WHERE n.id = b.notification_id AND (n.paused_at IS NOT NULL OR n.status = 'cancelled')
    )
"""


def hold(notification_id: UUID) -> None:
    """In the transaction that has set `paused_at`."""
    with connection.cursor() as cursor:
        cursor.execute(HOLD, {"id": notification_id})


def let_go(notification_id: UUID) -> set[str]:
    """In the transaction that has cleared `paused_at`; the lanes with something to do."""
    with connection.cursor() as cursor:
        cursor.execute(LET_GO, {"id": notification_id})
        return {lane for (lane,) in cursor.fetchall()}


def keep() -> None:
    """Bring all batches in line with whether their notification is paused."""
    with connection.cursor() as cursor:
        cursor.execute(HOLD_LATE)
        cursor.execute(LET_GO_LATE)
