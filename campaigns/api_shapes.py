"""What the API of campaigns takes and answers with, as the OpenAPI document describes it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from campaigns import document
from campaigns.preflight import LONGEST_REASON
from config.types import Slug, text

T = TypeVar("T")


class Sections(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is given replaces the section as a whole; docs/campaigns-api.md has one of each."""

    name: Annotated[str, text(120)] | UnsetType = UNSET
    category: Slug | UnsetType = UNSET
    variants: (
        Annotated[list[document.Variant], msgspec.Meta(min_length=1, max_length=document.MOST_VARIANTS)]
        | UnsetType
    ) = UNSET
    defaults: dict[str, str | bool | int | float] | UnsetType = UNSET
    missing: Literal["default", "skip"] | UnsetType = UNSET
    audience: document.Audience | UnsetType = UNSET
    schedule: document.Schedule | UnsetType = UNSET
    experiment: document.Experiment | UnsetType = UNSET
    safety: document.Safety | UnsetType = UNSET


class Change(Sections, forbid_unknown_fields=True, kw_only=True):
    """version: the one that was read."""

    version: int


class Launch(msgspec.Struct, forbid_unknown_fields=True):
    """version: what was looked at. expected_devices: `reachable` as …/reach said it; where it has changed by more
    than a tenth since, nothing is sent. reason: why it is launched over the warnings of …/preflight."""

    version: int
    expected_devices: Annotated[int, msgspec.Meta(ge=0)]
    reason: Annotated[str, text(LONGEST_REASON)] = ""


class Decision(msgspec.Struct, forbid_unknown_fields=True):
    """Which variant the remainder of the experiment gets; "": none."""

    variant: Literal["A", "B", "C", "D", "E", ""]


# --- answers ----------------------------------------------------------------------------------


class Page(msgspec.Struct, Generic[T]):
    results: list[T]
    next: str | None  # the `cursor` of the next page


class FaultRow(msgspec.Struct):
    pointer: str
    detail: str


class CampaignRow(msgspec.Struct):
    """deeds: what may be asked for in its state. faults: what keeps it from being launched."""

    id: int
    version: int
    status: str
    name: str
    category: str
    deeds: list[str]
    latest_run: int | None
    next_run_at: datetime | None
    created_at: datetime
    updated_at: datetime
    launched_at: datetime | None


class CampaignWithPlan(CampaignRow, kw_only=True):
    variants: list[document.Variant]
    defaults: dict[str, Any]
    missing: str
    audience: document.Audience
    schedule: document.Schedule
    experiment: document.Experiment
    safety: document.Safety
    faults: list[FaultRow]


class ReachRow(msgspec.Struct):
    """devices = reachable + Σ held_back (by reason). later: of the reachable, held by quiet hours or local times."""

    devices: int
    reachable: int
    held_back: dict[str, int]
    platforms: dict[str, int]
    waiting: dict[str, int]
    later: int
    is_estimate: bool
    needs_approval: bool


class CheckRow(msgspec.Struct):
    key: str
    level: Literal["block", "warn", "note", "ok"]
    words: str
    todo: str


class PreflightRow(msgspec.Struct):
    """is_clear: nothing blocks. needs_reason: a launch has to say why it goes over the warnings."""

    is_clear: bool
    needs_reason: bool
    checks: list[CheckRow]


class StageRow(msgspec.Struct):
    """share: of the audience, from 0 to 1. notification: null until it is made."""

    position: int
    kind: str
    variant: str
    share: float
    is_held: bool
    notification: UUID | None
    counts: dict[str, Any] | None


class VariantRow(msgspec.Struct):
    key: str
    devices: int
    received: int
    opened: int
    clicked: int
    converted: int


class RunRow(msgspec.Struct):
    """devices: reached at launch. paused_for: "person", or what the guard saw. overridden: warnings → the reason."""

    number: int
    due_at: datetime
    created_at: datetime
    devices: int
    overridden: dict[str, str]
    paused_for: str
    paused_detail: str
    winner: str
    decided_by: str
    decided_at: datetime | None
    counts: dict[str, Any]


class RunWithStages(RunRow, kw_only=True):
    stages: list[StageRow]
    variants: list[VariantRow]
    verdict: str


class VersionRow(msgspec.Struct):
    """kept_for: "approval", "launch", "test"; "" for the others. by: a user name, "" for a key."""

    number: int
    name: str
    category: str
    by: str
    created_at: datetime
    updated_at: datetime
    kept_for: str


class VersionWithPlan(VersionRow, kw_only=True):
    plan: document.Plan
