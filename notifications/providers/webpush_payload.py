"""What a browser is told: the options a developer may set, the JSON in the message, the request's headers.

The JSON is a declarative push message (W3C Push API; Safari shows it by itself); the service worker reads
the same `notification`, whose members are those of `showNotification()`. Pure.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import orjson

from . import overrides
from .aes128gcm import PLAINTEXT_LIMIT, b64
from .base import Message, PayloadTooLarge

LONGEST_TTL = 28 * 24 * 3600  # seconds; Google's limit, Apple's is 30 days
DECLARATIVE = 8030

Text = Annotated[str, msgspec.Meta(max_length=1024)]


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`overrides.webpush`."""

    title: str | None = None
    body: str | None = None
    urgency: Literal["very-low", "low", "normal", "high"] | None = None
    topic: Annotated[str, msgspec.Meta(max_length=256)] | None = None  # default: from the collapse key
    declarative: bool = True  # False: only the service worker shows it
    navigate: overrides.Page | None = None  # default: the message's url, else the site's root
    icon: Text | None = None
    image: Text | None = None
    badge: Text | None = None
    tag: Text | None = None  # default: the collapse key
    renotify: bool | None = None
    silent: bool | None = None
    require_interaction: bool | None = None
    vibrate: list[int] | None = None
    lang: Text | None = None
    dir: Literal["auto", "ltr", "rtl"] | None = None
    timestamp: int | None = None  # milliseconds
    app_badge: Annotated[int, msgspec.Meta(ge=0)] | None = None
    data: dict[str, Any] = {}  # added to notification.data

    def __post_init__(self) -> None:
        if self.silent and self.vibrate:
            raise ValueError("vibrate: a silent notification does not")
        if "carillon" in self.data:
            raise ValueError("data.carillon: this key is set by Carillon")


@dataclass(frozen=True, slots=True)
class Rendered:
    plaintext: bytes
    size: int
    urgency: str
    topic: str
    expires_at: int | None


def render(message: Message) -> Rendered:
    options = overrides.read(message.overrides, Options)
    plaintext = orjson.dumps(_payload(message, options))
    if len(plaintext) > PLAINTEXT_LIMIT:
        raise PayloadTooLarge("webpush", len(plaintext), PLAINTEXT_LIMIT)
    return Rendered(
        plaintext=plaintext,
        size=len(plaintext),
        urgency=options.urgency or ("high" if message.priority == "high" else "normal"),
        topic=topic(options.topic or message.collapse_key),
        expires_at=message.expires_at,
    )


def topic(key: str) -> str:
    """The key itself where it is a valid topic, else its hash.

    32 characters of base64url (RFC 8030, 5.4), and for Apple decodable: no length of 4n + 1.
    """
    if re.fullmatch(r"[A-Za-z0-9_-]{0,32}", key) and len(key) % 4 != 1:
        return key
    return b64(hashlib.sha256(key.encode()).digest())[:32]


def ttl(rendered: Rendered, now: float) -> int:
    if rendered.expires_at is None:
        return LONGEST_TTL
    return min(max(int(rendered.expires_at - now), 0), LONGEST_TTL)


def _payload(message: Message, options: Options) -> dict[str, Any]:
    notification = _notification(message, options)
    payload: dict[str, Any] = {"web_push": DECLARATIVE} if options.declarative else {}
    payload["notification"] = notification
    if options.app_badge is not None:
        # The Push API reads it beside the notification, Safari 18.4 inside it, as text.
        payload["app_badge"] = options.app_badge
        notification["app_badge"] = str(options.app_badge)
    return payload


def _notification(message: Message, options: Options) -> dict[str, Any]:
    if "carillon" in message.data:
        raise ValueError("data.carillon: this key is set by Carillon")
    tag = options.tag or message.collapse_key or None
    if options.renotify and not tag:
        raise ValueError("renotify: needs a tag or a collapse key")
    values = {
        "title": message.title if options.title is None else options.title,
        "body": (message.body if options.body is None else options.body) or None,
        "navigate": options.navigate or message.url or "/",
        "lang": options.lang,
        "dir": options.dir,
        "icon": options.icon,
        "image": options.image or message.image or None,
        "badge": options.badge,
        "tag": tag,
        "renotify": options.renotify,
        "silent": options.silent,
        "requireInteraction": options.require_interaction,
        "vibrate": options.vibrate,
        "timestamp": options.timestamp,
        "actions": [_action(action) for action in message.actions] or None,
        "data": {**message.data, **options.data, **_own(message, options)},
    }
    return {name: value for name, value in values.items() if value is not None}


def _own(message: Message, options: Options) -> dict[str, str]:
    url = options.navigate or message.url
    return {"carillon": message.notification_id, **({"url": url} if url else {})}


def _action(action: Any) -> dict[str, str]:
    shown = {"action": action["id"], "title": action["title"]}
    return {**shown, "navigate": action["url"]} if action.get("url") else shown
