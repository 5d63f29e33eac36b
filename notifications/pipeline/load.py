"""What a claimed batch needs to be sent: its notification, its devices' addresses, and whether they still want it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from notifications.pipeline import accept, policy
from notifications.pipeline.claim import Batch
from notifications.providers.base import Target


@dataclass(frozen=True, slots=True)
class Content:
    """A stored notification as the sender needs it; the same for all its batches."""

    id: UUID
    application_id: int
    category_id: int
    category: str  # slug
    content: dict[str, Any]
    overrides: dict[str, Any]
    priority: str
    collapse_key: str
    meant_for: datetime
    expires_at: datetime
    resend_after_crash: bool
    is_rehearsal: bool
    throttle: int | None  # recipients per second, at most


@dataclass(frozen=True, slots=True)
class Recipient:
    """One device of a batch. suppressed: the reason it must not be sent to after all, or None."""

    target: Target
    subscriber_id: int | None
    suppressed: str | None
    credential_key: str  # Web Push: the public key it subscribed with


CONTENTS = """
    SELECT n.id, n.application_id, n.category_id, c.slug, n.content, n.overrides, n.priority, n.collapse_key,
        coalesce(CASE WHEN g.replay > 0 THEN n.replayed_at END, n.send_at, n.created_at), n.ttl_seconds,
        c.crash_rule = 'resend', a.is_sandbox, n.throttle_per_second, g.replay
    FROM unnest(%(ids)s::uuid[], %(replays)s::int[]) AS g (id, replay)
    JOIN notifications_notification n ON n.id = g.id
    JOIN devices_category c ON c.id = n.category_id
    JOIN tenants_application a ON a.id = n.application_id
"""

RECIPIENTS = f"""
    SELECT d.id, d.token, d.environment, d.fid, d.p256dh, d.auth, d.subscriber_id,
        {policy.SUPPRESSED_BECAUSE}, d.vapid_key
    FROM devices_device d {policy.JOIN_CONSENT}
    WHERE d.id = ANY (%(devices)s) AND d.application_id = %(application)s
"""


async def contents(
    connection: AsyncConnection, sent: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], Content]:
    """By notification and which sending of it: a replay's lifetime counts from the replay."""
    ids, replays = [id for id, _ in sent], [replay for _, replay in sent]
    cursor = await connection.execute(CONTENTS, {"ids": ids, "replays": replays})
    return {(row[0], row[-1]): _content(*row[:-1]) for row in await cursor.fetchall()}


def _content(
    id: UUID,
    application_id: int,
    category_id: int,
    category: str,
    content: dict[str, Any],
    overrides: dict[str, Any],
    priority: str,
    collapse_key: str,
    meant_for: datetime,
    ttl_seconds: int | None,
    resend_after_crash: bool,
    is_rehearsal: bool,
    throttle: int | None,
) -> Content:
    ttl = accept.DEFAULT_TTL if ttl_seconds is None else timedelta(seconds=ttl_seconds)
    return Content(
        id,
        application_id,
        category_id,
        category,
        content,
        overrides,
        priority,
        collapse_key,
        meant_for,
        meant_for + ttl,
        resend_after_crash,
        is_rehearsal,
        throttle,
    )


async def recipients(
    connection: AsyncConnection, batches: Sequence[Batch], contents: dict[tuple[UUID, int], Content]
) -> dict[int, list[Recipient]]:
    """Batch id → its recipients. One query per application and category among the batches, usually one."""
    groups: dict[tuple[int, int], list[Batch]] = {}
    for batch in batches:
        key = batch.application_id, contents[batch.sending].category_id
        groups.setdefault(key, []).append(batch)
    loaded: dict[int, list[Recipient]] = {}
    for (application_id, category_id), members in groups.items():
        devices = [device for batch in members for device in batch.device_ids]
        cursor = await connection.execute(
            RECIPIENTS, {"devices": devices, "application": application_id, "category": category_id}
        )
        found = {row[0]: row for row in await cursor.fetchall()}
        for batch in members:
            loaded[batch.id] = [
                _recipient(batch.attempt, *found[device]) if device in found else _erased(device)
                for device in batch.device_ids
            ]
    return loaded


def _recipient(
    attempt: int,
    id: int,
    token: str,
    environment: str,
    fid: str,
    p256dh: str,
    auth: str,
    subscriber_id: int | None,
    suppressed: str | None,
    vapid_key: str,
) -> Recipient:
    target = Target(id, token, environment, fid, p256dh, auth, attempt)
    return Recipient(target, subscriber_id, suppressed, vapid_key)


def _erased(device_id: int) -> Recipient:
    return Recipient(Target(device_id, ""), None, "device_erased", "")
