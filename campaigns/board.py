"""What the dashboard shows. Everything that could be slow on a large installation is a fragment of its own."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.core.cache import cache
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest
from django.urls import reverse

from campaigns import selectors
from campaigns.models import Campaign
from campaigns.words import PLATFORMS
from devices.models import Device
from notifications import selectors as notifications
from notifications.models import Delivery
from tenants import access
from tenants.models import Application, Credential

REMEMBERED = 60  # seconds


class Step(NamedTuple):
    what: str
    how: str
    deed: str
    url: str
    is_done: bool
    is_next: bool


def board(request: HttpRequest) -> dict[str, Any]:
    """The dashboard's first paint: a handful of cheap queries."""
    may_see = request.user.has_perm("campaigns.view_campaign")
    ids = access.ids(request.user, "campaigns.view_campaign")
    recent = selectors.with_progress(list(selectors.recent(ids)[:6])) if may_see else []
    going = sending(ids) if may_see else []
    return {
        "steps": _steps(request),
        "sending": going,
        "is_sending": bool(going),
        "recent": [
            (campaign, progress, progress.state if progress else selectors.state(campaign))
            for campaign, progress in recent
        ],
        "may_compose": request.user.has_perm("campaigns.add_campaign"),
    }


def _steps(request: HttpRequest) -> list[Step]:
    """The way to a first notification, for who can walk it; nothing once it has been walked."""
    if not request.user.has_perm("tenants.add_credential"):
        return []
    if Campaign.objects.filter(launched_at__isnull=False).exists():
        return []
    has_credential = Credential.objects.filter(is_active=True).exists()
    has_device = Device.objects.filter(retired_at__isnull=True).exists()
    walk = (
        (*_first_step(), has_credential),
        (
            "Register a device",
            "Your app does it with the client key. The API's pages show how.",
            "See the API",
            "/v1/docs",
            has_device,
        ),
        (
            "Send the first campaign",
            "Write it, look at it on a phone, launch it.",
            "New campaign",
            reverse("admin:campaigns_campaign_add"),
            False,
        ),
    )
    following = next(index for index, step in enumerate(walk) if not step[-1])
    return [Step(*step, is_next=index == following) for index, step in enumerate(walk)]


def _first_step() -> tuple[str, str, str, str]:
    if Application.objects.exists():
        how = "Apple, Google or the web: whoever brings the message to the device."
        return "Connect a provider", how, "Connect it", reverse("admin:tenants_credential_add")
    how = "It stands for your app on all its platforms. You get its keys, then connect Apple, Google or the web."
    return "Create an application", how, "Create it", reverse("admin:tenants_application_add")


def sending(ids: list[int] | None = None) -> list[tuple[Campaign, selectors.Progress]]:
    """Campaigns of these applications (None: of all) under way, the newest five."""
    open_ones = selectors.recent(ids).filter(status__in=Campaign.LIVE, latest_run__isnull=False)[:5]
    found = [(campaign, selectors.progress(campaign)) for campaign in open_ones]
    return [(campaign, progress) for campaign, progress in found if progress.is_open]


# --- fragments ---------------------------------------------------------------------------------


def audience(ids: list[int] | None = None) -> dict[str, Any]:
    """Active devices by platform."""
    return cache.get_or_set(_key("audience", ids), lambda: _audience(ids), timeout=REMEMBERED) or {}


def _key(part: str, ids: list[int] | None) -> str:
    whose = "" if ids is None else ":" + hashlib.sha256(repr(ids).encode()).hexdigest()[:32]
    return f"carillon:board:{part}{whose}"


_DEVICES = """
    SELECT platform, count(*) FROM devices_device {sample}
    WHERE retired_at IS NULL AND permission <> 'denied' {whose} GROUP BY platform
"""


def _audience(ids: list[int] | None) -> dict[str, Any]:
    whose = "" if ids is None else "AND application_id = ANY(%(ids)s)"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '3s'")
            cursor.execute(_DEVICES.format(sample="", whose=whose), {"ids": ids or []})
            counts, factor = Counter(dict(cursor.fetchall())), 1
            cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    except OperationalError:  # very many devices: a sample will do for a tile
        with connection.cursor() as cursor:
            cursor.execute(_DEVICES.format(sample="TABLESAMPLE SYSTEM (1)", whose=whose), {"ids": ids or []})
            counts, factor = Counter(dict(cursor.fetchall())), 100
    platforms = [(PLATFORMS.get(name, name), count * factor) for name, count in counts.most_common()]
    return {"platforms": platforms, "total": counts.total() * factor, "is_estimate": factor != 1}


class Day(NamedTuple):
    date: date
    accepted: int
    failed: int
    accepted_height: str
    failed_height: str


def week(ids: list[int] | None = None) -> dict[str, Any]:
    """What the last seven days' notifications came to, by the day they were made."""
    return cache.get_or_set(_key("week", ids), lambda: _week(ids), timeout=REMEMBERED) or {}


# Ids are UUIDv7: a span of time is a range of the primary key, and each id knows its day.
_WEEK = """
    SELECT (uuid_extract_timestamp(notification_id) AT TIME ZONE 'UTC')::date, outcome, sum(count)::bigint
    FROM notifications_tally WHERE notification_id >= %(since)s {whose} GROUP BY 1, 2
"""
_OF = """AND notification_id IN (
    SELECT id FROM notifications_notification WHERE id >= %(since)s AND application_id = ANY(%(ids)s)
)"""


def _week(ids: list[int] | None) -> dict[str, Any]:
    today = datetime.now(UTC).date()
    first = today - timedelta(days=6)
    since = datetime.combine(first, datetime.min.time(), UTC)
    sums: defaultdict[date, Counter[str]] = defaultdict(Counter)
    with connection.cursor() as cursor:
        asked: dict[str, Any] = {"since": UUID(int=int(since.timestamp() * 1000) << 80), "ids": ids or []}
        cursor.execute(_WEEK.format(whose="" if ids is None else _OF), asked)
        for day, outcome, count in cursor.fetchall():
            kind = "failed" if outcome in notifications.FAILURES else outcome
            sums[day][kind] += count
    dates = [first + timedelta(days=offset) for offset in range(7)]
    most = max(1, *(sums[day]["accepted"] + sums[day]["failed"] for day in dates))
    return {
        "accepted": sum(sums[day][Delivery.Outcome.ACCEPTED] for day in dates),
        "failed": sum(sums[day]["failed"] for day in dates),
        "days": [_day(day, sums[day], most) for day in dates],
    }


def _day(day: date, sums: Counter[str], most: int) -> Day:
    accepted, failed = sums["accepted"], sums["failed"]
    # 82: the rest of the height is the weekday's.
    return Day(day, accepted, failed, f"{accepted * 82 / most:.1f}", f"{failed * 82 / most:.1f}")
