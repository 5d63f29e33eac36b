"""What the API answers with, as the OpenAPI document describes it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T]):
    results: list[T]
    next: str | None  # the `cursor` of the next page


class AcceptedRow(msgspec.Struct):
    id: UUID
    status: str
    created_at: datetime


class DryRun(msgspec.Struct):
    """Who would get it, by every rule as it stands now; nothing was stored. recipients = reachable + Σ suppressed."""

    dry_run: bool
    recipients: int
    reachable: int
    held: int  # of the reachable: until quiet hours end, their local time or the send window comes
    suppressed: dict[
        str, int
    ]  # by reason, as in the ledger: no consent, quiet hours, caps, too late, no device
    providers: dict[str, int]


class ItemResult(msgspec.Struct):
    index: int
    status: Literal["accepted", "replayed", "error"]
    id: UUID | msgspec.UnsetType = msgspec.UNSET
    problem: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class BatchResult(msgspec.Struct):
    results: list[ItemResult]


class ProviderCounts(msgspec.Struct):
    accepted: int
    failed: dict[str, int]  # by reason
    uncertain: int


class Counts(msgspec.Struct):
    """recipients = pending + accepted + suppressed + failed + uncertain + cancelled. The others are what was told at
    /v1/events: received, opened and clicked once for a device, converted once for a person and goal. providers: whose
    accepted, failed and uncertain these are, under "apns", "fcm", "webpush"; messages counted before this was told
    apart are under none of them."""

    recipients: int
    pending: int
    accepted: int
    suppressed: dict[str, int]
    failed: dict[str, int]
    uncertain: int
    cancelled: int
    received: int
    opened: int
    clicked: int
    converted: int
    providers: dict[str, ProviderCounts]


class NotificationRow(msgspec.Struct):
    id: UUID
    status: str
    category: str
    to: dict[str, Any]
    content: dict[str, Any]
    priority: str
    collapse_key: str | None
    ttl_seconds: int | None
    send_at: datetime | None
    throttle_per_second: int | None
    local_time: str | None
    send_window: dict[str, Any] | None
    deadline: datetime | None
    template: str | None
    variables: dict[str, Any] | None
    overrides: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None
    counts: Counts


class DeliveryRow(msgspec.Struct):
    at: datetime
    device: UUID | None
    subscriber: str | None
    lane: str
    outcome: str
    reason: str
    attempt: int
    provider_id: str
    detail: str


class PendingRow(msgspec.Struct):
    device: UUID
    lane: str
    status: str
    attempt: int
    due_at: datetime


class RuleRow(msgspec.Struct):
    """How a rule stands now; reason as in the ledger. until: what it holds is sent then, if nothing else holds it."""

    rule: str
    sees: str
    decides: Literal["passes", "holds", "stops"]
    reason: str
    until: datetime | None


class Explanation(msgspec.Struct):
    notification: UUID
    subscriber: str
    deliveries: list[DeliveryRow]
    pending: list[PendingRow]
    rules: list[RuleRow]
