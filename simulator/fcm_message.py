"""The FCM v1 message as a strict schema (REST reference, projects.messages), snake_case as protobuf names it.

protobuf's JSON takes lowerCamelCase names as well; `fcm.py` translates those before they come here.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Base(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Notification(Base):
    title: str = ""
    body: str = ""
    image: str = ""


class Options(Base):
    analytics_label: str = ""


class Color(Base):
    red: float = 0
    green: float = 0
    blue: float = 0
    alpha: float | None = None


class LightSettings(Base):
    color: Color
    light_on_duration: str
    light_off_duration: str


class AndroidNotification(Base):
    title: str = ""
    body: str = ""
    icon: str = ""
    color: str = ""
    sound: str = ""
    tag: str = ""
    click_action: str = ""
    body_loc_key: str = ""
    body_loc_args: list[str] = []
    title_loc_key: str = ""
    title_loc_args: list[str] = []
    channel_id: str = ""
    ticker: str = ""
    sticky: bool = False
    event_time: str = ""
    local_only: bool = False
    notification_priority: Literal[
        "PRIORITY_UNSPECIFIED",
        "PRIORITY_MIN",
        "PRIORITY_LOW",
        "PRIORITY_DEFAULT",
        "PRIORITY_HIGH",
        "PRIORITY_MAX",
    ] = "PRIORITY_UNSPECIFIED"
    default_sound: bool = False
    default_vibrate_timings: bool = False
    default_light_settings: bool = False
    vibrate_timings: list[str] = []
    visibility: Literal["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"] = "VISIBILITY_UNSPECIFIED"
    notification_count: int | None = None
    light_settings: LightSettings | None = None
    image: str = ""
    bypass_proxy_notification: bool = False
    proxy: Literal["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"] = "PROXY_UNSPECIFIED"


class Android(Base):
    collapse_key: str = ""
    priority: Literal["NORMAL", "HIGH", "normal", "high"] = "NORMAL"
    ttl: str = ""
    restricted_package_name: str = ""
    data: dict[str, str] = {}
    notification: AndroidNotification | None = None
    fcm_options: Options | None = None
    direct_boot_ok: bool = False
    bandwidth_constrained_ok: bool = False
    restricted_satellite_ok: bool = False


class WebpushOptions(Base):
    link: str = ""
    analytics_label: str = ""


class Webpush(Base):
    headers: dict[str, str] = {}
    data: dict[str, str] = {}
    notification: dict[str, Any] = {}
    fcm_options: WebpushOptions | None = None


class ApnsOptions(Base):
    analytics_label: str = ""
    image: str = ""


class Apns(Base):
    headers: dict[str, str] = {}
    payload: dict[str, Any] = {}
    fcm_options: ApnsOptions | None = None
    live_activity_token: str = ""


class Message(Base):
    token: str | None = None
    fid: str | None = None
    topic: str | None = None
    condition: str | None = None
    name: str = ""
    data: dict[str, str] = {}
    notification: Notification | None = None
    android: Android | None = None
    webpush: Webpush | None = None
    apns: Apns | None = None
    fcm_options: Options | None = None


class Request(Base):
    message: Message
    validate_only: bool = False
