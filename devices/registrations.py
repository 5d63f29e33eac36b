"""What a device says about itself, and which addresses each platform takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from config.problems import InvalidField
from config.types import END, ExternalId, Locale, Platform, TimeZone, text

# What the app above does to check a web subscription (it knows the push services): given the endpoint,
# p256dh and auth it raises ValueError("<field>: …"), the field being one of token, keys/p256dh, keys/auth.
CHECK_WEB_SUBSCRIPTION: list[Callable[[str, str, str], None]] = []

HEXADECIMAL = re.compile(r"(?:[0-9a-f]{2}){8,256}")  # Apple: of variable length
FCM_TOKEN = re.compile(r"[A-Za-z0-9_:.\-]{8,4096}")
FCM_FID = re.compile(r"[A-Za-z0-9_\-]{8,64}")

Word = Annotated[str, text(40)]
Permission = Literal["granted", "provisional", "denied"]
Environment = Literal["production", "sandbox"]


class Keys(msgspec.Struct, forbid_unknown_fields=True):
    """`PushSubscription.getKey()`, base64url."""

    p256dh: Annotated[str, text(90, shortest=1)]
    auth: Annotated[str, text(30, shortest=1)]


class Details(msgspec.Struct, forbid_unknown_fields=True):
    """What may change while the address stays. Absent: as it was; null: cleared."""

    subscriber: ExternalId | msgspec.UnsetType | None = msgspec.UNSET
    environment: Environment | msgspec.UnsetType | None = msgspec.UNSET
    locale: Locale | msgspec.UnsetType | None = msgspec.UNSET
    time_zone: TimeZone | msgspec.UnsetType | None = msgspec.UNSET
    app_version: Word | msgspec.UnsetType | None = msgspec.UNSET
    os_version: Word | msgspec.UnsetType | None = msgspec.UNSET
    model: Annotated[str, text(80)] | msgspec.UnsetType | None = msgspec.UNSET
    permission: Permission | msgspec.UnsetType | None = msgspec.UNSET

    def given(self) -> dict[str, str]:
        """Column → new value, of what was given; the subscriber is not a column of the device's own."""
        values = {name: getattr(self, name) for name in DETAILS}
        return {name: value or "" for name, value in values.items() if value is not msgspec.UNSET}


DETAILS = tuple(name for name in Details.__struct_fields__ if name != "subscriber")


class Registration(Details, forbid_unknown_fields=True, kw_only=True):
    """`PUT /v1/devices`. An installation id has to be random: who knows it can register in its name."""

    platform: Platform
    token: Annotated[str, text(4096, shortest=1)] | None = None
    keys: Keys | None = None
    installation_id: Annotated[str, text(128, shortest=1)] | None = None
    fid: Annotated[str, text(64, shortest=1)] | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A checked address in the form in which it is stored."""

    token: str
    fid: str = ""
    p256dh: str = ""
    auth: str = ""


def address(registration: Registration) -> Address:
    """Raises InvalidField."""
    _refuse_foreign_fields(registration)
    match registration.platform:
        case "web":
            return _web(registration)
        case "android":
            return _android(registration)
        case _:
            return _apple(registration)


def _refuse_foreign_fields(registration: Registration) -> None:
    is_apple = registration.platform in ("ios", "macos")
    if registration.keys and registration.platform != "web":
        raise InvalidField("/keys", "only a web subscription has keys")
    if registration.fid and registration.platform != "android":
        raise InvalidField("/fid", "only an Android device has a Firebase installation id")
    if registration.environment and not is_apple:
        raise InvalidField("/environment", "only Apple's platforms have environments")


def _apple(registration: Registration) -> Address:
    token = (registration.token or "").lower()
    if not HEXADECIMAL.fullmatch(token):
        raise InvalidField(
            "/token", "expected an APNs device token: 16 to 512 hexadecimal digits, an even number"
        )
    return Address(token)


def _android(registration: Registration) -> Address:
    token, fid = registration.token or "", registration.fid or ""
    if fid and not FCM_FID.fullmatch(fid):
        raise InvalidField("/fid", "expected a Firebase installation id")
    if token and not FCM_TOKEN.fullmatch(token):
        raise InvalidField("/token", "expected an FCM registration token")
    if not (token or fid):
        raise InvalidField("/token", "an Android device needs a token or a fid")
    # The id stands in for an absent token, so that "one active device per token" holds for it as well.
    return Address(token or fid, fid=fid)


def _web(registration: Registration) -> Address:
    if not registration.token:
        raise InvalidField("/token", "a web subscription needs its endpoint as token")
    if registration.keys is None:
        raise InvalidField("/keys", "a web subscription needs its keys")
    keys = registration.keys
    if not registration.token.startswith("https://") or len(registration.token) > 2000:
        raise InvalidField("/token", "expected the endpoint of a push subscription, an https URL")
    for check in CHECK_WEB_SUBSCRIPTION:
        try:
            check(registration.token, keys.p256dh, keys.auth)
        except ValueError as error:
            field, _, detail = str(error).partition(": ")
            raise InvalidField(f"/{field}", detail) from error
    return Address(registration.token, p256dh=keys.p256dh, auth=keys.auth)


def pattern_of(expression: re.Pattern[str]) -> str:
    return f"^{expression.pattern}{END}"
