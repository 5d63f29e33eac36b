"""Virtual devices: an address is computed from an index, so millions of them cost no memory.

Every address can also be computed in SQL (`*_SQL`, formatted with the name of an integer column), which is
how a million devices are seeded in seconds. Addresses outside this scheme work too; they are only counted
less compactly.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PRODUCTION, SANDBOX = "production", "sandbox"
STANDARD, APPLE = "standard", "apple"  # whose manners a Web Push subscription has
POOL_SIZE = 512  # Web Push key pairs; device i uses pair i % POOL_SIZE
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256

_APNS_PREFIX = {
    environment: hashlib.sha256(f"simulated {environment} device".encode()).hexdigest()[:48]
    for environment in (PRODUCTION, SANDBOX)
}
_APNS_ENVIRONMENT = {prefix: environment for environment, prefix in _APNS_PREFIX.items()}
_FCM_TAIL = ":APA91b" + (hashlib.sha512(b"simulated registration").hexdigest() * 2)[:134]
_FLAVOURS = {"s": STANDARD, "a": APPLE}
_LETTERS = {flavour: letter for letter, flavour in _FLAVOURS.items()}

APNS_TOKEN_SQL = {
    environment: f"('{prefix}' || lpad(to_hex(({{0}})::bigint), 16, '0'))"
    for environment, prefix in _APNS_PREFIX.items()
}
FCM_FID_SQL = "('c' || lpad(to_hex(({0})::bigint), 21, '0'))"
FCM_TOKEN_SQL = f"('c' || lpad(to_hex(({{0}})::bigint), 21, '0') || '{_FCM_TAIL}')"
WEB_AUTH_SQL = (
    "translate(rtrim(encode(decode(md5('web auth ' || ({0})::bigint), 'hex'), 'base64'), '='), '+/', '-_')"
)


class WebSubscription(NamedTuple):
    endpoint: str
    p256dh: str  # base64url
    auth: str  # base64url


class KeyPair(NamedTuple):
    private: ec.EllipticCurvePrivateKey
    public: bytes  # 65 bytes, uncompressed


def apns_token(index: int, environment: str = PRODUCTION) -> str:
    """A device token of 64 hex digits; BadDeviceToken at the other environment's host."""
    return f"{_APNS_PREFIX[environment]}{index:016x}"


def apns_tokens(start: int, stop: int, environment: str = PRODUCTION) -> Iterator[str]:
    prefix = _APNS_PREFIX[environment]
    return (f"{prefix}{index:016x}" for index in range(start, stop))


def fcm_token(index: int) -> str:
    """A registration token of 163 characters, as long as real ones."""
    return f"c{index:021x}{_FCM_TAIL}"


def fcm_tokens(start: int, stop: int) -> Iterator[str]:
    return (f"c{index:021x}{_FCM_TAIL}" for index in range(start, stop))


def fcm_fid(index: int) -> str:
    """The Firebase installation id of the same device as `fcm_token(index)`."""
    return f"c{index:021x}"


def web_subscription(
    index: int, origin: str, flavour: str = STANDARD, application_server_key: str = ""
) -> WebSubscription:
    """What a browser's PushManager would give.

    origin: `webpush` of simulator.json. application_server_key: base64url VAPID public key; a subscription
    made with one refuses every other key, one made without takes any.
    """
    identifier = web_identifier(index, flavour, application_server_key)
    return WebSubscription(f"{origin}/wp/{identifier}", web_p256dh(index), _b64(web_auth(index)))


def web_identifier(index: int, flavour: str = STANDARD, application_server_key: str = "") -> str:
    bound = f"-{key_digest(_unb64(application_server_key))}" if application_server_key else ""
    return f"{_LETTERS[flavour]}{index:012x}{bound}"


def web_p256dh(index: int) -> str:
    return _web_p256dh(index % POOL_SIZE)


def web_auth(index: int) -> bytes:
    """16 bytes. MD5 because PostgreSQL has it too; there is nothing to protect."""
    return hashlib.md5(f"web auth {index}".encode(), usedforsecurity=False).digest()


@functools.cache
def web_key(slot: int) -> KeyPair:
    """The key pair of the devices with index % POOL_SIZE == slot."""
    seed = hashlib.sha512(f"simulated web key {slot}".encode()).digest()
    private = ec.derive_private_key(int.from_bytes(seed, "big") % (_ORDER - 1) + 1, ec.SECP256R1())
    return KeyPair(private, private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def key_digest(public: bytes) -> str:
    """How an endpoint names the application server key it was made with."""
    return hashlib.sha256(public).hexdigest()[:16]


def apns_index(token: str) -> tuple[str, int] | None:
    """(environment, index) of a token made here, None for any other."""
    environment = _APNS_ENVIRONMENT.get(token[:48])
    index = _hex(token[48:]) if environment and len(token) == 64 else None
    return None if environment is None or index is None else (environment, index)


def fcm_index(address: str) -> int | None:
    """The index behind a token or fid made here, None for any other."""
    if len(address) == 22 or address[22:] == _FCM_TAIL:
        index = _hex(address[1:22])
        return index if index is not None and address[:22] == fcm_fid(index) else None
    return None


def web_index(identifier: str) -> tuple[str, int, str] | None:
    """(flavour, index, key digest or "") of an identifier made here, None for any other."""
    flavour = _FLAVOURS.get(identifier[:1])
    index = _hex(identifier[1:13]) if len(identifier) in (13, 30) else None
    if flavour is None or index is None or identifier[1:13] != f"{index:012x}":
        return None
    return flavour, index, identifier[14:]


def _hex(digits: str) -> int | None:
    try:
        return int(digits, 16)
    except ValueError:
        return None


@functools.cache
def _web_p256dh(slot: int) -> str:
    return _b64(web_key(slot).public)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
