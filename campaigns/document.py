"""What a campaign plans, as one document: texts, audience, schedule, experiment, safety.

Its shape is loose where a draft may be unfinished; `checking` says what keeps it from being sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import orjson

from config.json import converted
from config.problems import Problem
from config.types import END, Locale, Platform, Slug, text
from notifications.content import LONGEST_LINK, MOST_LOCALES, Words
from notifications.requests import FASTEST, Attribute
from notifications.template_versions import LARGEST_DEFAULT, LiquidData, LiquidTexts

MOST_VARIANTS = 5
KEYS = "ABCDE"
LONGEST_LIFETIME = 28 * 24  # hours
LARGEST = 1024 * 1024  # bytes of JSON

Clock = Annotated[str, msgspec.Meta(pattern=rf"^([01][0-9]|2[0-3]):[0-5][0-9]{END}", examples=["09:00"])]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Draft = Annotated[str, msgspec.Meta(max_length=LONGEST_LINK)]


class Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class Action(Struct, omit_defaults=True):
    id: Annotated[str, text(64)] = ""
    title: Annotated[str, msgspec.Meta(max_length=500)] = ""
    url: Draft = ""


class Content(Struct, omit_defaults=True):
    """As in the send API, with Liquid in its texts. locales: locale → the texts that differ."""

    title: Words = ""
    body: Words = ""
    image: Draft = ""
    url: Draft = ""
    data: LiquidData = {}
    actions: Annotated[list[Action], msgspec.Meta(max_length=5)] = []
    locales: Annotated[dict[Locale, LiquidTexts], msgspec.Meta(max_length=MOST_LOCALES)] = {}


class Variant(Struct):
    """share: its weight among the others. overrides: as in the send API, by provider."""

    key: Literal["A", "B", "C", "D", "E"] = "A"
    share: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    content: Content = msgspec.field(default_factory=Content)
    overrides: dict[str, dict[str, Any]] = {}


class Audience(Struct):
    """Everyone who is in any of `segments` (none named: everyone), in none of `not_segments`, on these platforms."""

    segments: Annotated[list[Slug], msgspec.Meta(max_length=20)] = []
    not_segments: Annotated[list[Slug], msgspec.Meta(max_length=20)] = []
    platforms: list[Platform] = []
    attribute: Attribute | None = None


class Window(Struct):
    start: Clock
    end: Clock


class Schedule(Struct):
    """starts: a wall-clock time, 2026-11-25T09:00, of `time_zone` ("": the app's) or of each recipient.

    undo: whether a launch now begins only after a minute in which it can be taken back.
    """

    kind: Literal["now", "at", "local", "recurring"] = "now"
    starts: Annotated[str, text(16)] = ""
    time_zone: Annotated[str, text(64)] = ""
    rule: Annotated[str, text(500)] = ""  # RFC 5545
    is_local: bool = False  # of a recurring one
    window: Window | None = None
    lifetime_hours: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_LIFETIME)] | None = None
    per_second: Annotated[int, msgspec.Meta(ge=1, le=FASTEST)] | None = None
    undo: bool = True


class Experiment(Struct):
    """holdout: per cent who get nothing. test: per cent of the others among whom the variants are compared;
    what is left waits for the winner. goal: the custom event that counts as converted."""

    holdout: Annotated[int, msgspec.Meta(ge=0, le=50)] = 0
    test: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100
    metric: Literal["opened", "clicked", "converted"] = "opened"
    goal: Annotated[str, text(64)] = ""
    hours: Annotated[int, msgspec.Meta(ge=1, le=14 * 24)] = 24
    decide: Literal["hand", "rule"] = "hand"
    # Where no variant is clearly better when the time is over; by rule only.
    fallback: Literal["best", "nothing"] = "best"


class Safety(Struct):
    """canary: so many devices first, the others when these went well. stop_percent: of those tried that may fail."""

    canary: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    stop_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = 10


class Plan(Struct):
    """missing: what becomes of somebody for whom a variable has neither value nor default."""

    variants: Annotated[list[Variant], msgspec.Meta(min_length=1, max_length=MOST_VARIANTS)] = msgspec.field(
        default_factory=lambda: [Variant()]
    )
    defaults: dict[
        Annotated[str, text(200, shortest=1)],
        Annotated[str, msgspec.Meta(max_length=LARGEST_DEFAULT)] | bool | int | float,
    ] = {}
    missing: Literal["default", "skip"] = "default"
    audience: Audience = msgspec.field(default_factory=Audience)
    schedule: Schedule = msgspec.field(default_factory=Schedule)
    experiment: Experiment = msgspec.field(default_factory=Experiment)
    safety: Safety = msgspec.field(default_factory=Safety)

    @property
    def is_recurring(self) -> bool:
        return self.schedule.kind == "recurring"

    @property
    def is_local(self) -> bool:
        """Whether each recipient's own clock decides."""
        return self.schedule.is_local if self.is_recurring else self.schedule.kind == "local"

    @property
    def is_experiment(self) -> bool:
        return len(self.variants) > 1

    def variant(self, key: str) -> Variant:
        return next(variant for variant in self.variants if variant.key == key)


SECTIONS = tuple(field.name for field in msgspec.structs.fields(Plan))


def read(plan: Mapping[str, Any]) -> Plan:
    """Raises config.problems.Problem naming the field."""
    return converted(plan, Plan)


def stored(plan: Plan) -> dict[str, Any]:
    """Raises config.problems.Problem for what is too large to be kept in every version, or cannot be read back."""
    found: dict[str, Any] = msgspec.to_builtins(plan)
    try:
        size = len(orjson.dumps(found))
    except TypeError as error:  # too deep, or a number that no provider reads either
        raise Problem.of_field("/", f"cannot be stored: {error}") from error
    if size > LARGEST:
        raise Problem.of_field(
            "/", f"has {size:,} bytes; {LARGEST:,} at most: use fewer languages or shorter texts"
        )
    return found


def blank() -> dict[str, Any]:
    return stored(Plan())
