"""What the API answers with, as the OpenAPI document describes it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T]):
    results: list[T]
    next: str | None  # the `cursor` of the next page


class DeviceRow(msgspec.Struct):
    id: UUID
    platform: str
    installation_id: str | None
    environment: str | None
    locale: str | None
    time_zone: str | None
    app_version: str | None
    os_version: str | None
    model: str | None
    permission: str | None
    is_active: bool
    registered_at: datetime
    last_seen_at: datetime | None
    retired_at: datetime | None
    retired_reason: str | None
    subscriber: str | msgspec.UnsetType | None = msgspec.UNSET  # with a server key


class WindowRow(msgspec.Struct):
    days: list[int]  # Monday is 1
    start: str
    end: str


class SubscriberRow(msgspec.Struct):
    external_id: str
    attributes: dict[str, Any]
    locale: str | None
    time_zone: str | None
    country: str | None
    email: str | None
    phone: str | None
    quiet_hours: list[WindowRow] | None  # null: the application's
    unsubscribed_at: datetime | None  # from all marketing
    created_at: datetime
    updated_at: datetime


class ConsentRow(msgspec.Struct):
    at: datetime
    category: str | None  # null: all marketing
    channel: str | None
    allowed: bool | None  # null: the word was taken back
    source: str
    actor: str
    address: str | None


class LinkRow(msgspec.Struct):
    url: str
    unsubscribe_url: str  # for `List-Unsubscribe`, with RFC 8058's one click


class CapRow(msgspec.Struct):
    most: int
    period: str
    channel: str | None


class OwnCapRow(CapRow):
    kind: str | None


class CategoryRow(msgspec.Struct):
    slug: str
    name: str
    kind: str
    default: str
    crash_rule: str
    quiet_rule: str
    channels: list[str]
    ttl_seconds: int | None
    caps: list[CapRow]


class LineError(msgspec.Struct):
    line: int
    field: str
    reason: str


class Counts(msgspec.Struct):
    created: int
    updated: int


class ImportResult(msgspec.Struct):
    lines: int
    subscribers: Counts
    devices: Counts
    error_count: int
    errors: list[LineError]  # the first hundred
