"""Acceptance: one transaction writes the notifications and, where the audience is listed, their batches.

All or nothing per call, exactly once per idempotency key, whoever calls how often at once.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from devices.models import Category
from notifications import lanes
from notifications.ids import uuid7
from notifications.models import Notification, Shard
from notifications.pipeline import fan_out, wake

Status = Notification.Status


class IdempotencyConflict(Exception):
    """The key was used before for another body."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked wish, not yet stored. audience: one of subscribers, devices, all (+ platforms, attribute)."""

    category: Category
    content: dict[str, Any]
    audience: dict[str, Any]
    overrides: dict[str, Any] = field(default_factory=dict)
    priority: str = "normal"
    collapse_key: str = ""
    ttl_seconds: int | None = None
    send_at: datetime | None = None
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    id: UUID = field(default_factory=uuid7)

    @property
    def listed(self) -> str | None:
        """ "subscribers" or "devices", or None for a mass audience."""
        return next((kind for kind in ("subscribers", "devices") if kind in self.audience), None)

    def status(self, now: datetime) -> Status:
        if self.send_at and self.send_at > now:
            return Status.SCHEDULED
        return Status.SENDING if self.listed else Status.FANNING_OUT


@dataclass(frozen=True, slots=True)
class Accepted:
    """is_replay: the call had been made before; id and status are those of the first."""

    id: UUID
    status: str
    created_at: datetime
    is_replay: bool


def fingerprint(body: Any) -> bytes:
    """16 bytes that are equal for equal JSON bodies, whatever the order of their keys."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()[:16]


def notifications(drafts: Sequence[Draft], *, application_id: int, requested_by: str) -> list[Accepted]:
    """Store the drafts and answer in their order. Raises IdempotencyConflict; then nothing is stored."""
    try:
        return _accept(drafts, application_id=application_id, requested_by=requested_by)
    except IntegrityError:
        # Another call with the same key committed between our look and our insert: now it is there.
        return _accept(drafts, application_id=application_id, requested_by=requested_by)


def _accept(drafts: Sequence[Draft], *, application_id: int, requested_by: str) -> list[Accepted]:
    with transaction.atomic():
        known = _known(drafts, application_id)
        fresh = [draft for draft in drafts if draft.idempotency_key not in known]
        if fresh:
            _store(fresh, application_id, requested_by)
    now = timezone.now()
    return [
        known.get(draft.idempotency_key) or Accepted(draft.id, draft.status(now), now, is_replay=False)
        for draft in drafts
    ]


def _known(drafts: Sequence[Draft], application_id: int) -> dict[str | None, Accepted]:
    keys = [draft.idempotency_key for draft in drafts if draft.idempotency_key]
    if not keys:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT idempotency_key, fingerprint, id, status, created_at FROM notifications_notification"
            " WHERE application_id = %s AND idempotency_key = ANY (%s)",
            [application_id, keys],
        )
        rows = {key: rest for key, *rest in cursor.fetchall()}
    for draft in drafts:
        found = rows.get(draft.idempotency_key)
        if found and bytes(found[0]) != draft.fingerprint:
            raise IdempotencyConflict(draft.idempotency_key)
    return {
        key: Accepted(id, status, created_at, is_replay=True)
        for key, (_, id, status, created_at) in rows.items()
    }


def _store(drafts: Sequence[Draft], application_id: int, requested_by: str) -> None:
    now = timezone.now()
    resolved = _resolve_listed(
        [draft for draft in drafts if draft.status(now) == Status.SENDING], application_id
    )
    _insert(drafts, resolved.recipients, now, application_id, requested_by)
    if resolved.lanes:
        transaction.on_commit(lambda: wake.lanes(resolved.lanes))
    for draft in drafts:
        if draft.status(now) == Status.FANNING_OUT:
            start(Notification.objects.get(id=draft.id))


def start(notification: Notification) -> None:
    """Begin the fan-out of a mass audience, in the caller's transaction."""
    shards = Shard.objects.bulk_create(fan_out.shards(notification))
    if not shards:
        Notification.objects.filter(id=notification.id).update(status=Status.SENDING)
    ids = [shard.id for shard in shards]
    transaction.on_commit(lambda: wake.fan_out(ids))


def resolve(notification: Notification) -> fan_out.Resolved:
    """Resolve a stored notification's listed audience, in the caller's transaction (its send_at has come)."""
    kind = "subscribers" if "subscribers" in notification.audience else "devices"
    return fan_out.listed(
        kind,
        [(notification.id, address) for address in notification.audience[kind]],
        application_id=notification.application_id,
        category_id=notification.category_id,
        lane_kind=lanes.kind_of(category_kind=notification.category.kind, is_mass=False),
    )


def _resolve_listed(drafts: Sequence[Draft], application_id: int) -> fan_out.Resolved:
    groups: dict[tuple[str, int], list[Draft]] = defaultdict(list)
    for draft in drafts:
        assert draft.listed
        groups[draft.listed, draft.category.id].append(draft)
    recipients: dict[UUID, int] = {}
    woken: set[str] = set()
    for (kind, category_id), members in groups.items():
        resolved = fan_out.listed(
            kind,
            [(draft.id, address) for draft in members for address in draft.audience[kind]],
            application_id=application_id,
            category_id=category_id,
            lane_kind=lanes.kind_of(category_kind=members[0].category.kind, is_mass=False),
        )
        recipients |= resolved.recipients
        woken |= resolved.lanes
    return fan_out.Resolved(recipients, woken)


_COLUMNS = """id uuid, category_id bigint, status text, content jsonb, audience jsonb, overrides jsonb,
    priority text, collapse_key text, ttl_seconds int, send_at timestamptz, recipient_count bigint,
    idempotency_key text, fingerprint bytea"""
_NAMES = ", ".join(column.split()[0] for column in _COLUMNS.split(","))
_TYPES = ", ".join(f"%s::{column.split()[1]}[]" for column in _COLUMNS.split(","))
_INSERT = f"""
    INSERT INTO notifications_notification (application_id, requested_by, created_at, {_NAMES})
    SELECT %s, %s, %s, {_NAMES} FROM unnest({_TYPES}) AS given ({_NAMES})
"""


def _insert(
    drafts: Sequence[Draft],
    recipients: dict[UUID, int],
    now: datetime,
    application_id: int,
    requested_by: str,
) -> None:
    """One statement for any number of notifications: 1 row costs one plan, 1 000 rows no more."""
    rows = [
        (
            draft.id,
            draft.category.id,
            draft.status(now),
            orjson.dumps(draft.content).decode(),
            orjson.dumps(draft.audience).decode(),
            orjson.dumps(draft.overrides).decode(),
            draft.priority,
            draft.collapse_key,
            draft.ttl_seconds,
            draft.send_at,
            recipients.get(draft.id, 0),
            draft.idempotency_key,
            draft.fingerprint,
        )
        for draft in drafts
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [application_id, requested_by, now, *map(list, zip(*rows, strict=True))])


DEFAULT_TTL = timedelta(days=3)
