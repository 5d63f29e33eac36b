"""Wake-ups: a Celery message that says "look", and nothing else (law 1).

At most one unread message waits per lane: a flag in Redis is set with it and taken down by the sender
before it looks, so whatever committed before the flag fell is seen, and whatever commits after raises
it again. A lost message costs at most the flag's life, or one idle look of a sender.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache

import redis
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)

FLAG_SECONDS = 1
_away_until = 0.0  # while Redis does not answer, acceptance must not wait for it call by call


@lru_cache(maxsize=1)
def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


def flag(lane: str) -> str:
    return f"carillon:awake:{lane}"


def lanes(names: Iterable[str]) -> None:
    """Nudge the senders of these lanes. Call after commit; never raises: senders look by themselves too."""
    from notifications import tasks

    global _away_until
    for lane in names:
        if time.monotonic() < _away_until:
            return
        try:
            if _redis().set(flag(lane), b"", nx=True, px=FLAG_SECONDS * 1000):
                tasks.send.apply_async((lane,), queue=lane)
        except Exception as error:  # Redis or the broker is away: the work is safe in PostgreSQL
            log.warning("wake_failed", action="wake.failed", lane=lane, error=type(error).__name__)
            _away_until = time.monotonic() + FLAG_SECONDS


def checks() -> None:
    """Ask the background workers to check the credentials that are due. Call after commit; never raises."""
    from notifications import tasks

    try:
        tasks.check_credentials.apply_async(queue="periodic")
    except Exception as error:
        log.warning("wake_failed", action="wake.failed", error=type(error).__name__)  # the tick asks again


def lower(lane: str) -> None:
    """Take the lane's flag down: the message was read. Before looking, never after."""
    try:
        _redis().delete(flag(lane))
    except redis.RedisError as error:  # it falls by itself
        log.warning("wake_failed", action="wake.failed", lane=lane, error=type(error).__name__)


def fan_out(shard_ids: Iterable[int]) -> None:
    """Ask the background workers to resolve these shards. Call after commit; never raises."""
    from notifications import tasks

    for shard_id in shard_ids:
        try:
            tasks.fan_out.apply_async((shard_id,), queue="fan_out")
        except Exception as error:
            log.warning("wake_failed", action="wake.failed", shard=shard_id, error=type(error).__name__)
            return  # the sweep asks again
