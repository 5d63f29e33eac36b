"""A Web Push service: `POST /wp/<subscription>` (RFC 8030), Apple's manners on request.

A real service cannot read the body; this one holds the subscriptions' keys and refuses what a browser
would have dropped in silence.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from typing import Any

import msgspec
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from simulator import decrypt, devices
from simulator.answers import Answer, Headers, Refusal, json_answer
from simulator.faults import Injection
from simulator.receipts import KEY, notification_id
from simulator.service import Arrival, Service
from simulator.vapid import Identity, Verifier

PATH = "/wp/"
LIMIT = 4096
TTL_CAP = {devices.STANDARD: 2_419_200, devices.APPLE: 2_592_000}  # 28 and 30 days
URGENCIES = {None: False, "very-low": False, "low": False, "normal": False, "high": True}  # -> high
USUAL = {
    400: "BadRequest", 401: "MissingAuthorization", 403: "VapidPkHashMismatch", 404: "NotFound",
    406: "Throttled", 410: "Unregistered", 413: "PayloadTooLarge", 429: "TooManyRequests",
    500: "InternalServerError", 503: "ServiceUnavailable",
}  # fmt: skip
ERRNO = {
    "MissingAuthorization": 109, "BadJwtToken": 109, "BadVapidPublicKey": 109, "VapidPkHashMismatch": 109,
    "NotFound": 102, "Unregistered": 106, "PayloadTooLarge": 104, "BadTtl": 111, "BadWebPushTopic": 113,
    "BadUrgency": 114, "BadEncryption": 110, "TooManyRequests": 201,
}  # fmt: skip

_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
_TTL = re.compile(r"[0-9]{1,12}", re.ASCII)
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


class Subscription(msgspec.Struct, forbid_unknown_fields=True):
    """One registered by hand: a browser of the tester's own."""

    private_key: str  # PEM, or base64url of the 32-byte scalar
    auth: str  # base64url, 16 bytes
    flavour: str = devices.STANDARD
    application_server_key: str = ""


class Receiver(msgspec.Struct):
    """What a subscription is to the checks."""

    flavour: str
    index: int | None
    digest: str  # of the application server key, "" for any
    pair: devices.KeyPair | None
    auth: bytes


class WebPush(Service):
    platform = "web"

    def __init__(self, verifier: Verifier, *rest: Any) -> None:
        super().__init__(*rest)
        self.verifier = verifier
        self.decrypt_share = 1.0
        self.origin = ""
        self._registered: dict[str, Receiver] = {}
        self._messages = itertools.count(1)

    def register(self, identifier: str, subscription: Subscription) -> None:
        bound = subscription.application_server_key
        digest = devices.key_digest(_unb64(bound)) if bound else ""
        if subscription.flavour not in TTL_CAP:
            raise ValueError(f"flavour: must be one of {sorted(TTL_CAP)}")
        auth = _unb64(subscription.auth)
        if len(auth) != 16:
            raise ValueError("auth: must be 16 bytes")
        pair = _key_pair(subscription.private_key)
        self._registered[identifier] = Receiver(subscription.flavour, None, digest, pair, auth)

    def examine(self, method: str, path: str, headers: Headers, body: bytes) -> Arrival:
        identifier = path[len(PATH) :]
        if not path.startswith(PATH) or not _IDENTIFIER.fullmatch(identifier):
            raise Refusal(404, "NotFound")
        if method != "POST":
            raise Refusal(405, "MethodNotAllowed")
        receiver = self._receiver(identifier)
        self._examine_identity(receiver, self.verifier.verify(headers.get("authorization")))
        ttl, high = _examine_headers(headers, receiver.flavour)
        payload = self._examine_body(headers, body, receiver) if body else None
        notification = ""
        if isinstance(payload, dict):
            found = payload.get(KEY) or _within(payload)
            notification = found if isinstance(found, str) else notification_id(found)
        return Arrival(identifier, receiver.index, notification, high, payload, (receiver.flavour, ttl))

    def _receiver(self, identifier: str) -> Receiver:
        known = devices.web_index(identifier)
        if known is not None:
            flavour, index, digest = known
            pair = devices.web_key(index % devices.POOL_SIZE)
            return Receiver(flavour, index, digest, pair, devices.web_auth(index))
        return self._registered.get(identifier) or _STRANGER

    def _examine_identity(self, receiver: Receiver, identity: Identity) -> None:
        if receiver.digest and identity.digest != receiver.digest:
            raise Refusal(403, "VapidPkHashMismatch", "The key is not the one the subscription was made with")
        if receiver.flavour == devices.APPLE and identity.subject.endswith("@localhost"):
            raise Refusal(403, "BadJwtToken")
        if self.faults.active and self.faults.is_revoked(identity.key):
            raise Refusal(403, "BadJwtToken")

    def _examine_body(self, headers: Headers, body: bytes, receiver: Receiver) -> Any:
        if headers.get("content-encoding") != "aes128gcm":
            raise Refusal(400, "BadEncryption", "Content-Encoding must be aes128gcm")
        if len(body) > LIMIT:
            raise Refusal(413, "PayloadTooLarge")
        decrypt.check_form(body)
        if receiver.pair is None or not self._is_chosen(body):
            return None
        text = decrypt.plaintext(body, receiver.pair, receiver.auth)
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text  # any bytes may be pushed

    def _is_chosen(self, body: bytes) -> bool:
        """A share of the bodies is decrypted, chosen by the first byte of their random salt."""
        return self.decrypt_share >= 1.0 or body[0] < self.decrypt_share * 256

    def acceptance(self, arrival: Arrival, headers: Headers) -> Answer:
        flavour, ttl = arrival.detail
        location = f"{self.origin}/m/{next(self._messages):016x}"
        return Answer(201, [("location", location), ("ttl", str(min(ttl, TTL_CAP[flavour])))])

    def refusal(self, refusal: Refusal, headers: Headers) -> Answer:
        # Autopush's words and Apple's `reason` in one object: a client may read either.
        return json_answer(
            refusal.status,
            {
                "code": refusal.status,
                "errno": ERRNO.get(refusal.code, 999),
                "error": refusal.code,
                "reason": refusal.code,
                "message": refusal.message,
            },
        )

    def dead(self) -> Injection:
        return Injection(status=410, code="Unregistered")

    def usual_code(self, status: int) -> str:
        return USUAL.get(status, "InternalServerError")

    def shown(self, payload: Any) -> dict[str, Any]:
        if not isinstance(payload, dict):
            return {"title": "", "body": "" if payload is None else str(payload)[:200], "image": ""}
        part = payload.get("notification")
        part = part if isinstance(part, dict) else payload
        return {"title": part.get("title", ""), "body": part.get("body", ""), "image": part.get("image", "")}


_STRANGER = Receiver(devices.STANDARD, None, "", None, b"")


def _examine_headers(headers: Headers, flavour: str) -> tuple[int, bool]:
    """(TTL in seconds, whether the urgency is high)."""
    ttl = headers.get("ttl")
    if ttl is None or not _TTL.fullmatch(ttl):
        raise Refusal(400, "BadTtl", "TTL must be a whole number of seconds")
    high = URGENCIES.get(headers.get("urgency"))
    if high is None:
        raise Refusal(400, "BadUrgency", "Urgency must be very-low, low, normal or high")
    topic = headers.get("topic")
    if topic is not None and (
        not _TOPIC.fullmatch(topic) or (flavour == devices.APPLE and len(topic) % 4 == 1)
    ):
        raise Refusal(400, "BadWebPushTopic", "Topic must be at most 32 base64url characters")
    return int(ttl), high


def _within(payload: dict[str, Any]) -> Any:
    """`carillon` inside `data` or `notification.data`, where service workers and declarative push look."""
    notification = payload.get("notification")
    inner = notification.get("data") if isinstance(notification, dict) else None
    for part in (payload.get("data"), inner):
        if isinstance(part, dict) and KEY in part:
            return part[KEY]
    return ""


def _key_pair(text: str) -> devices.KeyPair:
    if text.startswith("-----"):
        private = load_pem_private_key(text.encode(), None)
    else:
        private = ec.derive_private_key(int.from_bytes(_unb64(text), "big"), ec.SECP256R1())
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("private_key: not a P-256 key")
    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return devices.KeyPair(private, public)


def _unb64(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(f"not base64url: {error}") from None
