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


class SubscriberRow(msgspec.Struct):
    external_id: str
    attributes: dict[str, Any]
    locale: str | None
    time_zone: str | None
    country: str | None
    email: str | None
    phone: str | None
    created_at: datetime
    updated_at: datetime


class CategoryRow(msgspec.Struct):
    slug: str
    name: str
    kind: str
    default: str


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
