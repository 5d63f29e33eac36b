"""Acceptance: one transaction writes the notifications and, where the audience is listed, their batches.

All or nothing per call, exactly once per idempotency key, whoever calls how often at once.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from devices.models import Category
from notifications import lanes
from notifications.ids import uuid7
from notifications.models import Notification, Shard
from notifications.pipeline import fan_out, terms, wake
from notifications.pipeline import resolve as resolve_step
from notifications.pipeline.resolve import Resolved
from notifications.pipeline.timing import Timing

Status = Notification.Status


class IdempotencyConflict(Exception):
    """The key was used before for another body."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked wish, not yet stored. audience: subscribers or devices, or as audience.in_shard has it."""

    category: Category
    content: dict[str, Any]
    audience: dict[str, Any]
    overrides: dict[str, Any] = field(default_factory=dict)
    priority: str = "normal"
    collapse_key: str = ""
    ttl_seconds: int | None = None
    send_at: datetime | None = None
    throttle_per_second: int | None = None
    local_time: str = ""
    send_window: dict[str, Any] | None = None
    deadline: datetime | None = None
    template_version_id: int | None = None
    variables: dict[str, Any] | None = None
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    id: UUID = field(default_factory=uuid7)

    @property
    def lifetime(self) -> int | None:
        """Seconds; None: the usual."""
        return self.category.ttl_seconds if self.ttl_seconds is None else self.ttl_seconds

    def timing(self, now: datetime) -> Timing:
        return terms.of(self.category.id).timing(
            meant_for=self.send_at or now,
            ttl_seconds=self.lifetime,
            local_time=self.local_time,
            send_window=self.send_window,
            deadline=self.deadline,
        )

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
    # Inside a caller's transaction the first try must not take that down with it.
    try:
        with transaction.atomic() if connection.in_atomic_block else contextlib.nullcontext():
            return _accept(drafts, application_id=application_id, requested_by=requested_by)
    except IntegrityError:
        # Another call with the same key committed between our look and our insert: now it is there.
        return _accept(drafts, application_id=application_id, requested_by=requested_by)


def _accept(drafts: Sequence[Draft], *, application_id: int, requested_by: str) -> list[Accepted]:
    known = _known(drafts, application_id)
    fresh = [draft for draft in drafts if draft.idempotency_key not in known]
    now = timezone.now()
    if fresh:
        _store(fresh, now, application_id, requested_by)
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


def _store(drafts: Sequence[Draft], now: datetime, application_id: int, requested_by: str) -> None:
    """One statement per kind of audience and category. One kind, the usual case, needs no transaction around it."""
    groups: dict[tuple[Any, ...], list[Draft]] = defaultdict(list)
    rounds: defaultdict[tuple[int, str], int] = defaultdict(int)
    for draft in drafts:
        groups[_alike(draft, now, rounds)].append(draft)
    is_one_statement = len(groups) == 1 and all(kind for kind, *_ in groups)
    with contextlib.nullcontext() if is_one_statement else transaction.atomic():
        for (kind, *_), members in groups.items():
            given = _given(members, now, application_id, requested_by)
            if kind:
                _store_listed(kind, members, given, now, application_id)
            else:
                _store_unresolved(members, given, now)


def _alike(draft: Draft, now: datetime, rounds: defaultdict[tuple[int, str], int]) -> tuple[Any, ...]:
    """What drafts must have in common to be resolved by one statement: the kind of list first, None for no list."""
    category_id = draft.category.id
    kind = draft.listed if draft.status(now) == Status.SENDING else None
    if kind is None:
        return None, category_id
    said = terms.of(category_id)
    is_timed = said.has_quiet_hours or draft.local_time or draft.send_window
    timed = (draft.local_time, str(draft.send_window), draft.deadline, draft.lifetime) if is_timed else None
    if not said.limits:
        return kind, category_id, timed
    # Nobody may take two places in one statement. Devices may be of the same person: each draft by itself.
    if kind != "subscribers":
        return kind, category_id, timed, draft.id
    places = [(category_id, address) for address in draft.audience[kind]]
    turn = 1 + max(rounds[place] for place in places)
    rounds.update(dict.fromkeys(places, turn))
    return kind, category_id, timed, turn


def _store_listed(
    kind: str, drafts: Sequence[Draft], given: dict[str, Any], now: datetime, application_id: int
) -> None:
    resolved = resolve_step.listed(
        kind,
        [(draft.id, address) for draft in drafts for address in draft.audience[kind]],
        application_id=application_id,
        category_id=drafts[0].category.id,
        lane_kind=lanes.kind_of(category_kind=drafts[0].category.kind, is_mass=False),
        timed=drafts[0].timing(now),
        throttle=min(
            (draft.throttle_per_second for draft in drafts if draft.throttle_per_second), default=None
        ),
        also=f", stored AS ({_INSERT.format(counts=_COUNTED)})",
        parameters=given,
    )
    transaction.on_commit(lambda: wake.lanes(resolved.lanes))


def _store_unresolved(drafts: Sequence[Draft], given: dict[str, Any], now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_INSERT.format(counts=_NOT_COUNTED), given)
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


def resolve(notification: Notification) -> Resolved:
    """Resolve a stored notification's listed audience, in the caller's transaction (its send_at has come)."""
    kind = "subscribers" if "subscribers" in notification.audience else "devices"
    return resolve_step.listed(
        kind,
        [(notification.id, address) for address in notification.audience[kind]],
        application_id=notification.application_id,
        category_id=notification.category_id,
        lane_kind=lanes.kind_of(category_kind=notification.category.kind, is_mass=False),
        timed=terms.timing_of(notification),
        throttle=notification.throttle_per_second,
    )


_INSERT = """
    INSERT INTO notifications_notification (id, application_id, category_id, status, content, audience, overrides,
        priority, collapse_key, ttl_seconds, send_at, throttle_per_second, local_time, send_window, deadline,
        template_version_id, variables, recipient_count, idempotency_key, fingerprint, requested_by, created_at)
    SELECT g.id, %(application)s, g.category_id, g.status, g.content, g.audience, g.overrides, g.priority,
        g.collapse_key, g.ttl_seconds, g.send_at, g.throttle_per_second, g.local_time, g.send_window, g.deadline,
        g.template_version_id, g.variables, coalesce(c.recipients, 0), g.idempotency_key,
        decode(g.fingerprint, 'hex'), %(requested_by)s, %(now)s
    FROM jsonb_to_recordset(%(given)s::jsonb) AS g (
        id uuid, category_id bigint, status text, content jsonb, audience jsonb, overrides jsonb, priority text,
        collapse_key text, ttl_seconds int, send_at timestamptz, throttle_per_second int, local_time text,
        send_window jsonb, deadline timestamptz, template_version_id bigint, variables jsonb,
        idempotency_key text, fingerprint text
    ) LEFT JOIN {counts} AS c (notification_id, recipients) ON c.notification_id = g.id
"""
_COUNTED = "(SELECT notification_id, count(*) FROM judged GROUP BY 1)"
_NOT_COUNTED = "(VALUES (NULL::uuid, 0))"


def _given(drafts: Sequence[Draft], now: datetime, application_id: int, requested_by: str) -> dict[str, Any]:
    """The parameters of _INSERT: one JSON value for any number of notifications."""
    rows = [
        {
            "id": draft.id,
            "category_id": draft.category.id,
            "status": draft.status(now),
            "content": draft.content,
            "audience": draft.audience,
            "overrides": draft.overrides,
            "priority": draft.priority,
            "collapse_key": draft.collapse_key,
            "ttl_seconds": draft.lifetime,
            "send_at": draft.send_at,
            "throttle_per_second": draft.throttle_per_second,
            "local_time": draft.local_time,
            "send_window": draft.send_window,
            "deadline": draft.deadline,
            "template_version_id": draft.template_version_id,
            "variables": draft.variables,
            "idempotency_key": draft.idempotency_key,
            "fingerprint": draft.fingerprint.hex() if draft.fingerprint else None,
        }
        for draft in drafts
    ]
    return {
        "given": orjson.dumps(rows).decode(),
        "application": application_id,
        "requested_by": requested_by,
        "now": now,
    }
