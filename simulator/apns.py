"""APNs: `POST /3/device/<token>`, one service per environment over the same keys.

Rules from Apple's "Sending notification requests to APNs" and "Establishing a token-based connection".
"""

from __future__ import annotations

import itertools
import os
import re
import time
from typing import Any

import jwt
import msgspec
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from simulator import devices
from simulator.answers import CONNECTION, Answer, Headers, Refusal
from simulator.faults import Injection
from simulator.hpack_codec import DUPLICATE
from simulator.receipts import KEY, notification_id
from simulator.service import Arrival, Service

PATH = "/3/device/"
LIMIT, VOIP_LIMIT = 4096, 5120
COLLAPSE_ID_LIMIT = 64
TOKEN_LIFETIME = 3600  # seconds
CONNECTIONS_KEPT = 10_000
SUFFIXES = {
    "alert": "",
    "background": "",
    "location": ".location-query",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "mdm": "",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "controls": ".push-type.controls",
}
STATUSES = {
    "BadCollapseId": 400, "BadDeviceToken": 400, "BadExpirationDate": 400, "BadMessageId": 400,
    "BadPriority": 400, "BadTopic": 400, "DeviceTokenNotForTopic": 400, "DuplicateHeaders": 400,
    "IdleTimeout": 400, "InvalidPushType": 400, "MissingDeviceToken": 400, "MissingTopic": 400,
    "PayloadEmpty": 400, "TopicDisallowed": 400,
    "BadCertificate": 403, "BadCertificateEnvironment": 403, "BadEnvironmentKeyIdInToken": 403,
    "ExpiredProviderToken": 403, "Forbidden": 403, "InvalidProviderToken": 403,
    "MissingProviderToken": 403, "UnrelatedKeyIdInToken": 403,
    "BadPath": 404, "MethodNotAllowed": 405, "ExpiredToken": 410, "Unregistered": 410,
    "PayloadTooLarge": 413, "TooManyProviderTokenUpdates": 429, "TooManyRequests": 429,
    "InternalServerError": 500, "ServiceUnavailable": 503, "Shutdown": 503,
}  # fmt: skip
USUAL = {
    400: "BadDeviceToken", 403: "Forbidden", 404: "BadPath", 405: "MethodNotAllowed", 410: "Unregistered",
    413: "PayloadTooLarge", 429: "TooManyRequests", 500: "InternalServerError", 503: "ServiceUnavailable",
}  # fmt: skip

_APNS_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_TOKEN = re.compile(r"(?:[0-9a-fA-F]{2}){1,256}", re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,15}", re.ASCII)
_PRIORITIES = {"10": True, "5": False, "1": False, None: True}  # header -> high


class Key(msgspec.Struct, forbid_unknown_fields=True):
    """A registered provider authentication key."""

    team_id: str
    key_id: str
    public_key: str  # PEM
    bundle_ids: list[str]
    environments: tuple[str, ...] = (devices.PRODUCTION, devices.SANDBOX)


class VerifiedToken(msgspec.Struct):
    key: Key
    expires_at: float
    topics: dict[str | None, frozenset[str]]  # by push type


class Keys:
    """Registered keys and the provider tokens they signed; shared by both environments."""

    def __init__(self) -> None:
        self.update_seconds, self.updates_allowed = 1200.0, 1
        self._keys: dict[str, tuple[Key, ec.EllipticCurvePublicKey]] = {}
        self._verified: dict[str, VerifiedToken] = {}
        self._updates: dict[str, list[float]] = {}  # when new tokens of a key were first seen
        self._connections: dict[str, str] = {}  # by name: key of the first token
        self._throttled: dict[str, float] = {}  # by name: until when it refuses every token

    def register(self, key: Key) -> None:
        public = load_pem_public_key(key.public_key.encode())
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise ValueError("public_key: not a P-256 public key")
        if unknown := set(key.environments) - {devices.PRODUCTION, devices.SANDBOX}:
            raise ValueError(f"environments: unknown {sorted(unknown)}")
        self._keys[key.key_id] = key, public
        self.forget_tokens()

    def forget_tokens(self) -> None:
        for kept in (self._verified, self._updates, self._connections, self._throttled):
            kept.clear()

    def verify(self, authorization: str | None, connection: str = "") -> VerifiedToken:
        """The token behind an authorization header; raises Refusal.

        A connection belongs to the key of its first token, and one that showed too many tokens refuses all
        (Apple's developer forum, thread 675879).
        """
        if authorization is None:
            raise refused("MissingProviderToken")
        if self._throttled and self._throttled.get(connection, 0.0) > time.time():
            raise refused("TooManyProviderTokenUpdates")
        token = self._verified.get(authorization) or self._admit(authorization, connection)
        if token.expires_at < time.time():
            raise refused("ExpiredProviderToken")
        if connection and self._connections.setdefault(connection, token.key.key_id) != token.key.key_id:
            raise refused("UnrelatedKeyIdInToken")
        return token

    def forget_connections(self) -> None:
        """Connections come and go; called now and then."""
        if len(self._connections) > CONNECTIONS_KEPT:
            self._connections.clear()

    def _admit(self, authorization: str, connection: str) -> VerifiedToken:
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise refused("MissingProviderToken")
        key, issued_at = self._decode(text)
        now = time.time()
        if issued_at < now - TOKEN_LIFETIME:
            raise refused("ExpiredProviderToken")
        self._note_update(key.key_id, connection, now)
        topics: dict[str | None, frozenset[str]] = {
            kind: frozenset(bundle + suffix for bundle in key.bundle_ids) for kind, suffix in SUFFIXES.items()
        }
        token = self._verified[authorization] = VerifiedToken(key, issued_at + TOKEN_LIFETIME, topics)
        return token

    def _decode(self, text: str) -> tuple[Key, float]:
        try:
            key, public = self._keys[jwt.get_unverified_header(text).get("kid", "")]
            claims = jwt.decode(text, public, algorithms=["ES256"], options={"verify_iat": False})
            issued_at = claims["iat"]
        except (jwt.PyJWTError, KeyError, TypeError):
            raise refused("InvalidProviderToken") from None
        is_number = isinstance(issued_at, int) and not isinstance(issued_at, bool)
        if claims.get("iss") != key.team_id or not is_number or issued_at > time.time() + TOKEN_LIFETIME:
            raise refused("InvalidProviderToken")
        return key, float(issued_at)

    def _note_update(self, key_id: str, connection: str, now: float) -> None:
        recent = [at for at in self._updates.get(key_id, ()) if at > now - self.update_seconds]
        if len(recent) >= self.updates_allowed:
            if connection:
                self._throttled[connection] = now + self.update_seconds
            raise refused("TooManyProviderTokenUpdates")
        self._updates[key_id] = [*recent, now]


class Apns(Service):
    platform = "ios"

    def __init__(self, environment: str, keys: Keys, *rest: Any) -> None:
        super().__init__(*rest)
        self.environment, self.keys = environment, keys
        self._ids = map("{:012x}".format, itertools.count(1))
        self._id_prefix = f"{os.urandom(4).hex()}-{os.urandom(2).hex()}-4000-8000-"

    def examine(self, method: str, path: str, headers: Headers, body: bytes) -> Arrival:
        if method != "POST":
            raise refused("MethodNotAllowed")
        if not path.startswith(PATH):
            raise refused("MissingDeviceToken" if path == PATH[:-1] else "BadPath")
        high = self._examine_headers(headers)
        token = path[10:]
        index = self._examine_token(token)
        push_type = headers.get("apns-push-type")
        payload = _examine_payload(body, VOIP_LIMIT if push_type == "voip" else LIMIT, push_type)
        notification = payload.get(KEY)
        if notification.__class__ is not str:
            notification = notification_id(notification)
        return Arrival(token, index, notification, high, payload)

    def _examine_headers(self, headers: Headers) -> bool:
        """Whether the priority is immediate."""
        get = headers.get
        if DUPLICATE in headers:
            raise refused("DuplicateHeaders")
        token = self.keys.verify(get("authorization"), get(CONNECTION, ""))
        if self.environment not in token.key.environments:
            raise refused("BadEnvironmentKeyIdInToken")
        if self.faults.active and self.faults.is_revoked(token.key.key_id):
            raise refused("InvalidProviderToken")
        push_type, topic = get("apns-push-type"), get("apns-topic")
        topics = token.topics.get(push_type)
        if topics is None:
            raise refused("InvalidPushType")
        if topic not in topics:
            raise refused(_topic_problem(topic, token.key))
        apns_id = get("apns-id")
        if apns_id is not None and not _APNS_ID.fullmatch(apns_id):
            raise refused("BadMessageId")
        expiration = get("apns-expiration")
        if expiration is not None and not _INTEGER.fullmatch(expiration):
            raise refused("BadExpirationDate")
        priority = get("apns-priority")
        high = _PRIORITIES.get(priority)
        if high is None or (push_type == "background" and priority != "5"):
            raise refused("BadPriority")
        collapse_id = get("apns-collapse-id")
        if collapse_id is not None and not 0 < len(collapse_id.encode()) <= COLLAPSE_ID_LIMIT:
            raise refused("BadCollapseId")
        return high

    def _examine_token(self, token: str) -> int | None:
        if not token:
            raise refused("MissingDeviceToken")
        if not _TOKEN.fullmatch(token):
            raise refused("BadDeviceToken")
        known = devices.apns_index(token)
        if known is None:
            return None  # not of our making: alive in both environments
        if known[0] != self.environment:
            raise refused("BadDeviceToken")
        return known[1]

    def acceptance(self, arrival: Arrival, headers: Headers) -> Answer:
        return Answer(200, [("apns-id", headers.get("apns-id") or self._new_id())])

    def refusal(self, refusal: Refusal, headers: Headers) -> Answer:
        body: dict[str, Any] = {"reason": refusal.code}
        if refusal.status == 410:
            body["timestamp"] = int((self.faults.plan.dead_since or time.time()) * 1000)
        apns_id = headers.get("apns-id")
        if apns_id is None or not _APNS_ID.fullmatch(apns_id):
            apns_id = self._new_id()
        return Answer(refusal.status, [("apns-id", apns_id)], orjson.dumps(body))

    def dead(self) -> Injection:
        return _DEAD

    def usual_code(self, status: int) -> str:
        return USUAL.get(status, "InternalServerError")

    def shown(self, payload: Any) -> dict[str, Any]:
        alert = payload["aps"].get("alert") or {}
        if isinstance(alert, str):
            alert = {"body": alert}
        own = payload.get(KEY)
        image = own.get("image", "") if isinstance(own, dict) else payload.get("image", "")
        return {"title": alert.get("title", ""), "body": alert.get("body", ""), "image": image}

    def _new_id(self) -> str:
        return self._id_prefix + next(self._ids)


_DEAD = Injection(status=410, code="Unregistered")


def refused(reason: str) -> Refusal:
    return Refusal(STATUSES[reason], reason)


def _topic_problem(topic: str | None, key: Key) -> str:
    """MissingTopic, BadTopic (ours, but not for this push type) or TopicDisallowed (not the key's)."""
    if not topic:
        return "MissingTopic"
    ours = any(topic.startswith(bundle) and topic[len(bundle) :] in _SUFFIX_SET for bundle in key.bundle_ids)
    return "BadTopic" if ours else "TopicDisallowed"


def _examine_payload(body: bytes, limit: int, push_type: str | None) -> dict[str, Any]:
    if len(body) > limit:
        raise refused("PayloadTooLarge")
    try:
        payload = orjson.loads(body)
        if push_type == "mdm":
            payload.setdefault("aps", {})
        if payload["aps"].__class__ is dict:
            return payload
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        pass
    # Apple has no word for a payload that is not JSON or lacks `aps`; this is what it says.
    raise refused("PayloadEmpty")


_SUFFIX_SET = frozenset(SUFFIXES.values())
