"""What a producer may ask for, and the draft that acceptance stores."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import orjson

from config.problems import InvalidField
from config.types import END, ExternalId, Platform, Slug, text
from devices import quiet, segments
from notifications import lanes, selectors, template_sends
from notifications.content import Content
from notifications.pipeline import accept, build, timing
from notifications.pipeline.accept import Draft

LONGEST_TTL = 28 * 24 * 3600  # seconds: what the most patient platform (FCM) keeps a message for
FURTHEST = timedelta(days=366)
LISTED_MOST = 1000
SEGMENTS_MOST = 20
COLLAPSE_KEY_BYTES = 64
FASTEST = 1_000_000  # recipients per second: beyond what any installation sends

TimeOfDay = Annotated[str, msgspec.Meta(pattern=rf"^([01][0-9]|2[0-3]):[0-5][0-9]{END}", examples=["09:00"])]


class Attribute(msgspec.Struct, forbid_unknown_fields=True):
    """Subscribers whose attribute has this value."""

    name: Annotated[str, text(128, shortest=1)]
    value: Annotated[str, msgspec.Meta(max_length=1000)] | bool | int


Slugs = Annotated[list[Slug], msgspec.Meta(min_length=1, max_length=SEGMENTS_MOST)]


class To(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one of `subscribers`, `devices`, `segment`, `all`. The others narrow `all` down, and but for `attribute`
    a segment: `segments` to who is in any of these, `not_segments` to who is in none of them."""

    subscribers: (
        Annotated[list[ExternalId], msgspec.Meta(min_length=1, max_length=LISTED_MOST)] | msgspec.UnsetType
    ) = msgspec.UNSET
    devices: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=LISTED_MOST)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    segment: Slug | msgspec.UnsetType = msgspec.UNSET
    all: Literal[True] | msgspec.UnsetType = msgspec.UNSET
    platforms: Annotated[list[Platform], msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    attribute: Attribute | msgspec.UnsetType = msgspec.UNSET
    segments: Slugs | msgspec.UnsetType = msgspec.UNSET
    not_segments: Slugs | msgspec.UnsetType = msgspec.UNSET


def _overrides() -> type[msgspec.Struct]:
    """One field per provider of a platform, each of the provider's own `Options`."""
    providers = build.providers()
    fields = [
        (name, providers[name].Options | msgspec.UnsetType, msgspec.UNSET)
        for name in dict.fromkeys(lanes.PROVIDER_OF_PLATFORM.values())
    ]
    return msgspec.defstruct("Overrides", fields, forbid_unknown_fields=True, omit_defaults=True)


Overrides: Any = _overrides()


class SendWindow(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """On the recipient's clock; outside it is held. One that does not end after its start ends on the next day."""

    start: TimeOfDay
    end: TimeOfDay
    days: Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=7)]], msgspec.Meta(min_length=1)] = (
        msgspec.field(default_factory=lambda: list(quiet.EVERY_DAY))
    )


class Send(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/notifications`."""

    to: To
    # Exactly one of the two.
    content: Content | msgspec.UnsetType = msgspec.UNSET
    template: Slug | msgspec.UnsetType = msgspec.UNSET
    variables: (
        Annotated[
            dict[Annotated[str, text(128, shortest=1)], Any],
            msgspec.Meta(description="For the template.", examples=[{"order": "7"}]),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    category: Slug = "transactional"
    channels: Annotated[list[Literal["push"]], msgspec.Meta(min_length=1, max_length=1)] = msgspec.field(
        default_factory=lambda: ["push"]
    )
    priority: Literal["high", "normal"] = "normal"
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_TTL)] | None = None
    collapse_key: Annotated[str, text(COLLAPSE_KEY_BYTES)] = ""
    send_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    local_time: (
        Annotated[
            str,
            msgspec.Meta(
                pattern=rf"^\d{{4}}-\d\d-\d\dT\d\d:\d\d{END}",
                description="Instead of `send_at`: when clocks at the recipient's show this.",
                examples=["2026-11-25T09:00"],
            ),
        ]
        | None
    ) = None
    send_window: SendWindow | None = None
    deadline: (
        Annotated[datetime, msgspec.Meta(tz=True, description="Nothing is sent from then on.")] | None
    ) = None
    throttle_per_second: (
        Annotated[int, msgspec.Meta(ge=1, le=FASTEST, description="Recipients per second, at most.")] | None
    ) = None
    overrides: Overrides | msgspec.UnsetType = msgspec.UNSET
    dry_run: bool = False


class SendMany(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /v1/notifications/batch`. Each one is decoded by itself: one that is wrong costs no other."""

    notifications: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=1000)]


class SendManyDocumented(msgspec.Struct, forbid_unknown_fields=True):
    notifications: Annotated[list[Send], msgspec.Meta(min_length=1, max_length=1000)]


def draft(send: Send, *, application_id: int, now: datetime, idempotency_key: str | None = None) -> Draft:
    """Raises InvalidField. The payload's size is checked by `services.check_draft`."""
    category = selectors.category(application_id, send.category)
    if category is None:
        raise InvalidField("/category", "there is no such category")
    if len(send.collapse_key.encode()) > COLLAPSE_KEY_BYTES:
        raise InvalidField("/collapse_key", f"longer than {COLLAPSE_KEY_BYTES} bytes")
    overrides = _given_overrides(send.overrides)
    wanted = Draft(
        category=category,
        content=_content(send, overrides),
        audience=audience(send.to, application_id),
        overrides=overrides,
        priority=send.priority,
        collapse_key=send.collapse_key,
        ttl_seconds=send.ttl_seconds,
        send_at=_send_at(send, now),
        local_time=send.local_time or "",
        send_window=_send_window(send.send_window),
        deadline=_deadline(send, now),
        throttle_per_second=send.throttle_per_second,
        variables=_variables(send),
        idempotency_key=idempotency_key,
        fingerprint=accept.fingerprint(msgspec.to_builtins(send)) if idempotency_key else None,
    )
    if send.template is not msgspec.UNSET:
        return template_sends.drafted(wanted, send.template, application_id=application_id)
    if "locales" in wanted.content:
        template_sends.check_locales(wanted)
    return wanted


def _content(send: Send, overrides: dict[str, Any]) -> dict[str, Any]:
    """What the call says itself; nothing, if a template says it."""
    content = send.content
    if (content is msgspec.UNSET) == (send.template is msgspec.UNSET):
        field = "/content" if content is msgspec.UNSET else "/template"
        raise InvalidField(field, "expected exactly one of content, template")
    if content is msgspec.UNSET:
        return {}
    if not (content.title or content.body or content.data or overrides):
        raise InvalidField("/content", "there is nothing in it: no title, no body, no data")
    said: dict[str, Any] = msgspec.to_builtins(content)
    return said


def _variables(send: Send) -> dict[str, Any] | None:
    if send.variables is msgspec.UNSET:
        return None
    if send.template is msgspec.UNSET:
        raise InvalidField("/variables", "only go with a template")
    template_sends.check_variables(send.variables)
    return send.variables


KINDS = ("subscribers", "devices", "segment", "all")
NARROWINGS = ("platforms", "segments", "not_segments", "attribute")
NARROWINGS_OF = {"all": NARROWINGS, "segment": NARROWINGS[:-1]}


def audience(to: To, application_id: int) -> dict[str, Any]:
    """As it is stored, without duplicates. Raises InvalidField."""
    named = [kind for kind in KINDS if getattr(to, kind) is not msgspec.UNSET]
    if len(named) != 1:
        raise InvalidField("/to", f"expected exactly one of {', '.join(KINDS)}")
    (kind,) = named
    given = {name: value for name in NARROWINGS if (value := getattr(to, name)) is not msgspec.UNSET}
    for narrowing in given:
        if narrowing not in NARROWINGS_OF.get(kind, ()):
            usable = [name for name in KINDS if narrowing in NARROWINGS_OF.get(name, ())]
            raise InvalidField(f"/to/{narrowing}", f"only goes with {' or '.join(reversed(usable))}")
    if kind in ("subscribers", "devices"):
        return {kind: list(dict.fromkeys(map(str, getattr(to, kind))))}
    if to.segment is not msgspec.UNSET:
        _check_segment(to.segment, "/to/segment", application_id)
    return {kind: getattr(to, kind), **_narrowed(given, application_id)}


def _narrowed(given: Mapping[str, Any], application_id: int) -> dict[str, Any]:
    narrowed: dict[str, Any] = {}
    for name, value in given.items():
        if name == "attribute":
            narrowed[name] = {"name": value.name, "value": _as_text(value.value)}
            continue
        if name != "platforms":
            for number, slug in enumerate(value):
                _check_segment(slug, f"/to/{name}/{number}", application_id)
        narrowed[name] = sorted(set(value))
    return narrowed


def _check_segment(slug: str, at: str, application_id: int) -> None:
    try:
        segments.compiled({"segment": slug}, application_id)
    except InvalidField as error:
        raise InvalidField(at, "there is no such segment, or its rules name what is gone") from error


def _as_text(value: str | bool | int) -> str:
    """As PostgreSQL's ->> shows a JSON value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _send_at(send: Send, now: datetime) -> datetime | None:
    """When there is something to do: for a local time, when the first place on earth has it."""
    field, at = "/send_at", send.send_at
    if send.local_time:
        if send.send_at:
            raise InvalidField("/local_time", "only without send_at")
        try:
            field, at = "/local_time", timing.earliest(datetime.fromisoformat(send.local_time))
        except ValueError as error:
            raise InvalidField("/local_time", "there is no such date or time") from error
        if timing.latest(datetime.fromisoformat(send.local_time)) <= now:
            raise InvalidField("/local_time", "is over everywhere")
    if at is None or at <= now:
        return None
    if at - now > FURTHEST:
        raise InvalidField(field, "more than a year ahead")
    return at.astimezone(UTC)


def _send_window(window: SendWindow | None) -> dict[str, Any] | None:
    if window is None:
        return None
    return {"days": sorted(set(window.days)), "start": window.start, "end": window.end}


def _deadline(send: Send, now: datetime) -> datetime | None:
    if send.deadline is None:
        return None
    if send.deadline <= max(now, send.send_at or now):
        raise InvalidField("/deadline", "is over before anything is sent")
    return send.deadline.astimezone(UTC)


def _given_overrides(overrides: Any) -> dict[str, Any]:
    if overrides is msgspec.UNSET:
        return {}
    names = overrides.__struct_fields__
    given = {
        name: getattr(overrides, name) for name in names if getattr(overrides, name) is not msgspec.UNSET
    }
    for name, options in given.items():
        try:
            orjson.dumps(msgspec.to_builtins(options))
        except (TypeError, RecursionError) as error:
            raise InvalidField(
                f"/overrides/{name}", "numbers have to fit into 64 bits, nesting into 250 levels"
            ) from error
    return {name: _set_options(options) for name, options in given.items()}


def _set_options(options: msgspec.Struct) -> dict[str, Any]:
    """The options that differ from their defaults."""
    defaults: Mapping[str, Any] = _defaults(type(options))
    return {
        name: value
        for name, value in msgspec.to_builtins(options).items()
        if value != defaults.get(name, msgspec.NODEFAULT)
    }


@lru_cache(maxsize=16)
def _defaults(options: type[msgspec.Struct]) -> Mapping[str, Any]:
    fields = msgspec.structs.fields(options)
    return {
        field.name: field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        for field in fields
        if field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
    }
