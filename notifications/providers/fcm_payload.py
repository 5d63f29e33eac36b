"""What FCM is told: the options a developer may set, and the JSON body with a gap for the address.

Firebase: "REST Resource: projects.messages". Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import orjson

from . import overrides
from .base import Message, PayloadTooLarge

LIMIT = 4096
LONGEST_TTL = 28 * 24 * 3600  # seconds
RESERVED = ("from", "carillon", "carillon_url", "carillon_actions")
RESERVED_PREFIXES = ("gcm.", "google.")

Text = Annotated[str, msgspec.Meta(max_length=256)]
Label = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9\-_.~%]{1,50}$(?!\n)")]


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`overrides.fcm`."""

    title: str | None = None
    body: str | None = None
    url: overrides.Link | None = None  # default: the message's
    data_only: bool = False  # no notification block: the app itself decides what to show
    priority: Literal["high", "normal"] | None = None
    collapse_key: Text | None = None
    restricted_package_name: Text | None = None
    direct_boot_ok: bool | None = None
    bandwidth_constrained_ok: bool | None = None
    restricted_satellite_ok: bool | None = None
    analytics_label: Label | None = None
    channel_id: Text | None = None  # from here: android.notification
    icon: Text | None = None
    color: Annotated[str, msgspec.Meta(pattern=r"^#[0-9a-fA-F]{6}$(?!\n)")] | None = None
    sound: Text | None = None
    tag: Text | None = None
    click_action: Text | None = None
    title_loc_key: Text | None = None
    title_loc_args: list[str] | None = None
    body_loc_key: Text | None = None
    body_loc_args: list[str] | None = None
    ticker: str | None = None
    sticky: bool | None = None
    local_only: bool | None = None
    notification_priority: Literal["min", "low", "default", "high", "max"] | None = None
    visibility: Literal["private", "public", "secret"] | None = None
    notification_count: Annotated[int, msgspec.Meta(ge=0)] | None = None
    default_sound: bool | None = None
    default_vibrate_timings: bool | None = None
    default_light_settings: bool | None = None
    vibrate_timings_millis: list[Annotated[int, msgspec.Meta(ge=0)]] | None = None
    data: dict[str, str] = {}  # added to the message's data
    apns: dict[str, Any] | None = None  # FCM's own blocks, passed on as they are
    webpush: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """JSON in pieces: `{"message":{` address `,` [ttl] rest. Only address and ttl differ between sends."""

    rest: bytes  # `"android":{…},"data":{…}…}}`, or without its opening when a ttl goes first
    size: int
    expires_at: int | None


def render(message: Message) -> Rendered:
    options = overrides.read(message.overrides, Options)
    body = _message(message, options)
    size = len(orjson.dumps(body))
    if size > LIMIT:
        raise PayloadTooLarge("fcm", size, LIMIT)
    # android comes first and is never empty (its priority), so a ttl can be spliced in as its first member.
    rest = orjson.dumps({"message": body})[len(b'{"message":{"android":{') :]
    return Rendered(rest=rest, size=size, expires_at=message.expires_at)


def body(rendered: Rendered, address: bytes, now: float) -> bytes:
    """The request for one device. `address`: `"token":"…"` or `"fid":"…"`, as JSON."""
    if rendered.expires_at is None:
        return b'{"message":{%b,"android":{%b' % (address, rendered.rest)
    ttl = min(max(int(rendered.expires_at - now), 0), LONGEST_TTL)
    return b'{"message":{%b,"android":{"ttl":"%ds",%b' % (address, ttl, rendered.rest)


def _message(message: Message, options: Options) -> dict[str, Any]:
    title = message.title if options.title is None else options.title
    text = message.body if options.body is None else options.body
    shown = _present({"title": title or None, "body": text or None, "image": message.image or None})
    data = _data(message, options)
    if options.data_only:
        data = {**shown, **data}
    return _present(
        {
            "android": _android(message, options),
            "data": data,
            "notification": None if options.data_only else shown or None,
            "apns": options.apns,
            "webpush": options.webpush,
            "fcm_options": {"analytics_label": options.analytics_label} if options.analytics_label else None,
        }
    )


def _android(message: Message, options: Options) -> dict[str, Any]:
    return _present(
        {
            "priority": options.priority or ("high" if message.priority == "high" else "normal"),
            "collapse_key": options.collapse_key or message.collapse_key or None,
            "restricted_package_name": options.restricted_package_name,
            "direct_boot_ok": options.direct_boot_ok,
            "bandwidth_constrained_ok": options.bandwidth_constrained_ok,
            "restricted_satellite_ok": options.restricted_satellite_ok,
            "notification": None if options.data_only else _android_notification(message, options) or None,
        }
    )


def _android_notification(message: Message, options: Options) -> dict[str, Any]:
    priority, visibility = options.notification_priority, options.visibility
    timings = options.vibrate_timings_millis
    return _present(
        {
            "channel_id": options.channel_id,
            "icon": options.icon,
            "color": options.color,
            "sound": options.sound,
            # The tag replaces what is already shown, the collapse key what waits: one word for both.
            "tag": options.tag or message.collapse_key or None,
            "click_action": options.click_action,
            "title_loc_key": options.title_loc_key,
            "title_loc_args": options.title_loc_args,
            "body_loc_key": options.body_loc_key,
            "body_loc_args": options.body_loc_args,
            "ticker": options.ticker,
            "sticky": options.sticky,
            "local_only": options.local_only,
            "notification_priority": f"PRIORITY_{priority.upper()}" if priority else None,
            "visibility": visibility.upper() if visibility else None,
            "notification_count": options.notification_count,
            "default_sound": options.default_sound,
            "default_vibrate_timings": options.default_vibrate_timings,
            "default_light_settings": options.default_light_settings,
            "vibrate_timings": [_duration(millis) for millis in timings] if timings else None,
        }
    )


def _data(message: Message, options: Options) -> dict[str, str]:
    data = {**message.data, **options.data}
    for key, value in data.items():
        if key in RESERVED or key.startswith(RESERVED_PREFIXES):
            raise ValueError(f"data.{key}: this key is reserved")
        if not isinstance(value, str):
            raise ValueError(f"data.{key}: FCM takes strings only")
    data["carillon"] = message.notification_id
    if url := options.url or message.url:
        data["carillon_url"] = url
    if message.actions:
        data["carillon_actions"] = orjson.dumps([dict(action) for action in message.actions]).decode()
    return data


def _duration(millis: int) -> str:
    seconds, rest = divmod(millis, 1000)
    return f"{seconds}.{rest:03d}000000s" if rest else f"{seconds}s"


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
