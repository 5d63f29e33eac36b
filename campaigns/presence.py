"""Who has a draft open in the composer: told by its pages every few seconds, kept in Redis until that ends.

User names and times, nothing else; of one application's campaign each. Nothing depends on it: where Redis does not
answer, nobody else is there.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from campaigns.models import Campaign
from tenants.console import ConsoleAdmin, staff

BEAT = 15  # seconds between two calls of a page
GONE = 40  # seconds without one, after which somebody has left: one call may get lost


class Other(NamedTuple):
    """since: the first call of those without a gap between them."""

    name: str
    since: datetime


def told(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: I have it open. Who else has; is_draft: whether it may still be written at all."""
    is_draft = campaign.status in Campaign.EDITABLE
    others = others_of(campaign, staff(request).get_username()) if is_draft else []
    return JsonResponse({"is_draft": is_draft, "others": [one._asdict() for one in others]})


def others_of(campaign: Campaign, name: str, now: float | None = None) -> list[Other]:
    """Notes that `name` has it open; the others, who came first first. now: Unix seconds."""
    try:
        return _others(campaign, name, time.time() if now is None else now)
    except redis.RedisError:
        return []


def _others(campaign: Campaign, name: str, now: float) -> list[Other]:
    key = f"carillon:open:{campaign.application_id}:{campaign.pk}"
    kept = {str(who): _read(str(said)) for who, said in _redis().hgetall(key).items()}
    there = {who: since for who, (since, seen) in kept.items() if now - seen < GONE}
    with _redis().pipeline() as pipe:
        if left := kept.keys() - there.keys():
            pipe.hdel(key, *left)
        pipe.hset(key, name, f"{there.get(name, now):.3f} {now:.3f}")
        pipe.expire(key, GONE)
        pipe.execute()
    others = [Other(who, datetime.fromtimestamp(since, UTC)) for who, since in there.items() if who != name]
    return sorted(others, key=lambda one: (one.since, one.name))


def _read(said: str) -> tuple[float, float]:
    """Since when, and when last."""
    since, _, seen = said.partition(" ")
    return float(since), float(seen)


@lru_cache(maxsize=1)
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1, decode_responses=True
    )
