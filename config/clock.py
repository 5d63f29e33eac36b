"""The clock: celery beat with fixed UTC ticks, of which only one runs at a time, however many are started."""

from __future__ import annotations

from typing import Any

import psycopg
import structlog
from django.conf import settings
from django_celery_beat.schedulers import DatabaseScheduler

log = structlog.get_logger(__name__)

LEADER_LOCK = 0x0CA7_1110  # any constant of ours: PostgreSQL advisory lock
FOLLOWER_SECONDS = 2.0
# A database host that is gone without a word is noticed within ten seconds (libpq docs, "keepalives").
ALIVE: dict[str, Any] = {
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class LeaderScheduler(DatabaseScheduler):
    """Ticks only while it holds the leader lock.

    The lock lives with a connection of its own: whatever ends the process or cuts it off from the database
    frees the lock for another clock.
    """

    _connection: psycopg.Connection[Any] | None = None

    def tick(self, *args: Any, **kwargs: Any) -> float:
        if not self._leads():
            return FOLLOWER_SECONDS
        return super().tick(*args, **kwargs)

    def _leads(self) -> bool:
        try:
            if self._connection is None:
                self._connection = self._elected()
            else:
                self._connection.execute("SELECT 1")
        except psycopg.Error as error:
            log.warning("clock_lost_database", action="clock.database_away", error=type(error).__name__)
            self._connection = None
        return self._connection is not None

    def _elected(self) -> psycopg.Connection[Any] | None:
        connection = psycopg.connect(settings.DATABASE_URL, autocommit=True, connect_timeout=3, **ALIVE)
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [LEADER_LOCK]).fetchone()
        if row and row[0]:
            log.info("clock_leads", action="clock.leads")
            return connection
        connection.close()
        return None

    def close(self) -> None:
        super().close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
