"""What APNs is told: push types, the options a developer may set, and the JSON body.

Apple: "Generating a remote notification", "Sending notification requests to APNs". Pure.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import orjson

from . import overrides
from .base import Message, PayloadTooLarge

COLLAPSE_LIMIT = 64  # bytes
RESERVED = frozenset({"aps", "carillon"})


class PushType(NamedTuple):
    suffix: str  # added to the bundle id, makes the topic
    limit: int = 4096  # payload bytes
    priorities: tuple[int, ...] = (10, 5, 1)  # those Apple takes; the first that suits is the default


PUSH_TYPES = {
    "alert": PushType(""),
    "background": PushType("", priorities=(5,)),
    "voip": PushType(".voip", limit=5120, priorities=(10, 5)),
    "complication": PushType(".complication"),
    "fileprovider": PushType(".pushkit.fileprovider"),
    "location": PushType(".location-query", priorities=(10, 5)),
    "liveactivity": PushType(".push-type.liveactivity", priorities=(10, 5)),
    "pushtotalk": PushType(".voip-ptt", priorities=(10,)),
    "mdm": PushType(""),  # the topic is the push certificate's UID: option `topic`
    "widgets": PushType(".push-type.widgets"),
    "controls": PushType(".push-type.controls"),
}
URGENT = frozenset(
    {"voip", "complication", "pushtotalk", "location"}
)  # immediate whatever the message's priority

Text = Annotated[str, msgspec.Meta(max_length=256)]


class Sound(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """A critical alert's sound (needs Apple's entitlement)."""

    name: Text
    critical: Literal[0, 1] = 0
    volume: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`overrides.apns`."""

    push_type: Literal[
        "alert", "background", "voip", "complication", "fileprovider", "location",
        "liveactivity", "pushtotalk", "mdm", "widgets", "controls",
    ] = "alert"  # fmt: skip
    priority: Literal[1, 5, 10] | None = None
    topic: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,200}$(?!\n)")] | None = (
        None  # not bundle id + suffix
    )
    title: str | None = None
    body: str | None = None
    subtitle: str | None = None
    url: overrides.Link | None = None  # default: the message's
    sound: Text | Sound | None = "default"  # "" or null: silent
    badge: Annotated[int, msgspec.Meta(ge=0)] | None = None
    thread_id: Text | None = None
    category: Text | None = None
    target_content_id: Text | None = None
    interruption_level: Literal["passive", "active", "time-sensitive", "critical"] | None = None
    relevance_score: float | None = None
    filter_criteria: str | None = None
    mutable_content: bool | None = None  # default: true with an image, which a service extension fetches
    content_available: bool = False
    title_loc_key: Text | None = None
    title_loc_args: list[str] | None = None
    loc_key: Text | None = None
    loc_args: list[str] | None = None
    launch_image: Text | None = None
    event: Literal["start", "update", "end"] | None = None  # live activities
    timestamp: int | None = None
    content_state: dict[str, Any] | None = None
    stale_date: int | None = None
    dismissal_date: int | None = None
    attributes_type: Text | None = None
    attributes: dict[str, Any] | None = None
    input_push_token: Literal[1] | None = None
    input_push_channel: Text | None = None
    payload: dict[str, Any] = {}  # extra top-level keys

    def __post_init__(self) -> None:
        allowed = PUSH_TYPES[self.push_type].priorities
        if self.priority is not None and self.priority not in allowed:
            raise ValueError(f"priority: {self.push_type} takes {', '.join(map(str, allowed))}")
        taken = RESERVED.intersection(self.payload)
        if taken:
            raise ValueError(f"payload.{min(taken)}: this key is set by Carillon")
        if self.push_type == "liveactivity":
            _check_live_activity(self)


@dataclass(frozen=True, slots=True)
class Rendered:
    body: bytes
    size: int
    push_type: str
    topic: str  # "" : bundle id + suffix
    priority: str
    expiration: str  # unix seconds, "" for Apple's default
    collapse_id: str


def render(message: Message) -> Rendered:
    options = overrides.read(message.overrides, Options)
    push_type = PUSH_TYPES[options.push_type]
    body = orjson.dumps(_payload(message, options))
    if len(body) > push_type.limit:
        raise PayloadTooLarge("apns", len(body), push_type.limit)
    return Rendered(
        body=body,
        size=len(body),
        push_type=options.push_type,
        topic=options.topic or "",
        priority=str(options.priority or _priority(message, options.push_type)),
        expiration="" if message.expires_at is None else str(max(0, message.expires_at)),
        collapse_id=_collapse_id(message.collapse_key),
    )


def _payload(message: Message, options: Options) -> dict[str, Any]:
    taken = RESERVED.intersection(message.data)
    if taken:
        raise ValueError(f"data.{min(taken)}: this key is set by Carillon")
    payload: dict[str, Any] = {}
    if options.push_type != "mdm":
        payload["aps"] = _APS.get(options.push_type, _aps_bare)(message, options)
    payload.update(message.data)
    payload.update(options.payload)
    if options.push_type != "mdm":
        payload["carillon"] = _own(message, options)
    return payload


def _own(message: Message, options: Options) -> dict[str, Any]:
    own: dict[str, Any] = {"id": message.notification_id}
    if url := options.url or message.url:
        own["url"] = url
    if message.image:
        own["image"] = message.image
    if message.actions:
        own["actions"] = [dict(action) for action in message.actions]
    return own


def _aps_alert(message: Message, options: Options) -> dict[str, Any]:
    mutable = bool(message.image) if options.mutable_content is None else options.mutable_content
    return _present(
        {
            "alert": _alert(message, options),
            "badge": options.badge,
            "sound": msgspec.to_builtins(options.sound) or None,
            "category": options.category,
            "thread-id": options.thread_id,
            "target-content-id": options.target_content_id,
            "interruption-level": options.interruption_level,
            "relevance-score": options.relevance_score,
            "filter-criteria": options.filter_criteria,
            "mutable-content": 1 if mutable else None,
            "content-available": 1 if options.content_available else None,
        }
    )


def _aps_background(message: Message, options: Options) -> dict[str, Any]:
    return {"content-available": 1}


def _aps_content_changed(message: Message, options: Options) -> dict[str, Any]:
    return {"content-changed": True}


def _aps_bare(message: Message, options: Options) -> dict[str, Any]:
    return {}


def _aps_live_activity(message: Message, options: Options) -> dict[str, Any]:
    sound = msgspec.to_builtins(options.sound) or None
    alert = _alert(message, options)
    return _present(
        {
            "timestamp": options.timestamp or _created_at(message.notification_id),
            "event": options.event or "update",
            "content-state": options.content_state,
            "stale-date": options.stale_date,
            "dismissal-date": options.dismissal_date,
            "attributes-type": options.attributes_type,
            "attributes": options.attributes,
            "input-push-token": options.input_push_token,
            "input-push-channel": options.input_push_channel,
            "relevance-score": options.relevance_score,
            "alert": alert,
            "sound": sound if alert else None,
        }
    )


_APS = {
    "alert": _aps_alert,
    "background": _aps_background,
    "liveactivity": _aps_live_activity,
    "widgets": _aps_content_changed,
    "controls": _aps_content_changed,
}


def _alert(message: Message, options: Options) -> dict[str, Any] | None:
    alert = _present(
        {
            "title": message.title if options.title is None else options.title,
            "subtitle": options.subtitle,
            "body": message.body if options.body is None else options.body,
            "title-loc-key": options.title_loc_key,
            "title-loc-args": options.title_loc_args,
            "loc-key": options.loc_key,
            "loc-args": options.loc_args,
            "launch-image": options.launch_image,
        }
    )
    return {key: value for key, value in alert.items() if value != ""} or None


def _priority(message: Message, push_type: str) -> int:
    wanted = 10 if message.priority == "high" or push_type in URGENT else 5
    allowed = PUSH_TYPES[push_type].priorities
    return wanted if wanted in allowed else allowed[0]


def _collapse_id(key: str) -> str:
    """The key itself where a header can carry it, else its hash: equal keys still replace each other."""
    if len(key) <= COLLAPSE_LIMIT and key.isascii() and key.isprintable() and key == key.strip():
        return key
    return hashlib.sha256(key.encode()).hexdigest()


def _created_at(notification_id: str) -> int:
    """Unix seconds inside a UUIDv7: later notifications of one activity carry later timestamps."""
    created = uuid.UUID(notification_id)
    if created.version != 7:
        raise ValueError("timestamp: a live activity needs one")
    return (created.int >> 80) // 1000


def _check_live_activity(options: Options) -> None:
    if options.event == "start" and not (options.attributes_type and options.attributes is not None):
        raise ValueError("attributes_type: starting a live activity needs attributes_type and attributes")
    if options.event != "end" and options.content_state is None:
        raise ValueError("content_state: a live activity needs it")


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
