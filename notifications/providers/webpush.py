"""Web Push: RFC 8030 requests, encrypted (`aes128gcm`) and signed (VAPID, RFC 8292)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from . import aes128gcm, transport, verdict, webpush_payload
from .aes128gcm import BadKeys, b64, unb64
from .base import (
    Backoff,
    Check,
    CheckResult,
    Credential,
    Endpoints,
    InvalidCredential,
    Message,
    Outcome,
    Provider,
    Result,
    Session,
    Target,
    TokenStore,
    Verdict,
)
from .push_services import BadEndpoint, PushServices
from .transport import Answer, NoAnswer, NotSent, Origin, Prepared, Transport
from .webpush_payload import Options, Rendered

VAPID_SECONDS = 12 * 3600  # 24 h is the most a service takes, and clocks differ
VAPID_RENEW = 6 * 3600
STREAMS, CONNECTIONS = 100, 8
SOMEWHERE = "https://push.example.com"  # an audience to sign for in a check
SERVICES = 512  # origins kept at a time

UNREGISTERED, REJECTED = Outcome.UNREGISTERED, Outcome.REJECTED
RETRY, BLOCKED = Outcome.RETRY, Outcome.BLOCKED

BAD_ENDPOINT = Verdict(REJECTED, "endpoint_not_allowed")
BAD_KEYS = Verdict(REJECTED, "bad_subscription_keys")


class WebPush(Provider):
    name = "webpush"
    platforms = frozenset({"web"})
    limit = aes128gcm.PLAINTEXT_LIMIT
    Options = Options
    BACKOFF = Backoff(base=30, cap=3600, attempts=8)
    OUTCOMES = {
        (201, ""): Verdict(Outcome.ACCEPTED, ""),
        (200, ""): Verdict(Outcome.ACCEPTED, ""),
        (202, ""): Verdict(Outcome.ACCEPTED, ""),
        (400, "BadWebPushTopic"): Verdict(REJECTED, "bad_web_push_topic"),  # after a second try without it
        (400, "BadTtl"): Verdict(REJECTED, "bad_ttl"),
        (400, "BadUrgency"): Verdict(REJECTED, "bad_urgency"),
        (400, ""): Verdict(REJECTED, "bad_request"),
        (401, ""): Verdict(BLOCKED, "unauthorized"),
        (403, "BadJwtToken"): Verdict(BLOCKED, "bad_jwt_token"),
        (403, "BadVapidPublicKey"): Verdict(BLOCKED, "bad_vapid_public_key"),
        (403, ""): Verdict(BLOCKED, "forbidden"),
        (403, "VapidPkHashMismatch"): Verdict(UNREGISTERED, "vapid_key_mismatch"),
        (403, "MismatchSenderId"): Verdict(UNREGISTERED, "vapid_key_mismatch"),
        (404, ""): Verdict(UNREGISTERED, "not_found"),
        (406, ""): Verdict(RETRY, "throttled", 60.0),
        (410, ""): Verdict(UNREGISTERED, "gone"),
        (413, ""): Verdict(REJECTED, "payload_too_large"),
        (429, ""): Verdict(RETRY, "too_many_requests", 60.0),
        (500, ""): Verdict(RETRY, "internal_server_error", 30.0),
        (502, ""): Verdict(RETRY, "bad_gateway", 30.0),
        (503, ""): Verdict(RETRY, "service_unavailable", 30.0),
        (504, ""): Verdict(RETRY, "gateway_timeout", 30.0),
    }

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.push_services = PushServices(endpoints.webpush_allowed_hosts)

    def check_endpoint(self, url: str) -> None:
        """For registration. Raises ValueError saying what is wrong."""
        self.push_services.split(url)

    def check_keys(self, p256dh: str, auth: str) -> None:
        """For registration. Raises ValueError whose text begins with the key's name."""
        aes128gcm.keys(p256dh, auth)

    def check_credential(self, public: Mapping[str, Any], secret: str) -> tuple[dict[str, Any], str]:
        for name in public:
            if name not in ("subject", "public_key"):
                raise InvalidCredential(name, "unknown setting")
        subject = str(public.get("subject") or "")
        _check_subject(subject)
        key = _private_key(secret) if secret.strip() else ec.generate_private_key(ec.SECP256R1())
        derived = public_key(key)
        if public.get("public_key") not in (None, "", derived):
            raise InvalidCredential("public_key", "does not belong to the private key")
        return {"subject": subject, "public_key": derived}, _pem(key)

    def render(self, message: Message) -> Rendered:
        return webpush_payload.render(message)

    def open(self, credential: Credential, tokens: TokenStore) -> WebPushSession:
        return WebPushSession(self, credential)


class WebPushSession(Session):
    def __init__(self, provider: WebPush, credential: Credential) -> None:
        endpoints = provider.endpoints
        self._push_services = provider.push_services
        self._key, self._subject = _private_key(credential.secret), str(credential.public["subject"])
        self._public_key = public_key(self._key)
        self._subscribed_with = str(credential.public.get("public_key") or self._public_key)
        # Chrome's push service is FCM; it and Apple's are the same servers as for apps.
        chrome = endpoints.fcm_url.rstrip("/")
        self._transport = Transport(
            ca_file=endpoints.ca_file,
            timeout=endpoints.timeout,
            streams=STREAMS,
            connections=CONNECTIONS,
            http2_only=False,
            speaks_http2=lambda url: url == chrome or url.endswith(".push.apple.com"),
            bounded=True,
        )
        self._services: dict[str, _Service] = {}

    async def send(self, rendered: Rendered, target: Target) -> Result:
        try:
            url, path = self._push_services.split(target.token)
            body = aes128gcm.encrypt(rendered.plaintext, target.p256dh, target.auth)
        except BadEndpoint as error:
            return verdict.result(BAD_ENDPOINT, target, detail=str(error))
        except BadKeys as error:
            return verdict.result(BAD_KEYS, target, detail=str(error))
        service = self._service(url)
        result, code = await self._post(service, path, rendered, target, body, rendered.topic)
        if code == "BadWebPushTopic" and rendered.topic:
            result, _ = await self._post(service, path, rendered, target, body, "")
        return result

    async def check(self) -> Check:
        """Here only: a push service answers nobody who has no subscription to send to."""
        try:
            _check_subject(self._subject)
        except InvalidCredential as error:
            return Check(CheckResult.REFUSED, "bad_jwt_token", str(error))
        signed = self.authorization(SOMEWHERE, time.time()).partition("t=")[2].partition(",")[0]
        try:
            point = unb64(self._subscribed_with, "public_key")
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            jwt.decode(signed, key, algorithms=["ES256"], audience=SOMEWHERE)
        except (ValueError, jwt.PyJWTError):
            return Check(CheckResult.REFUSED, "bad_vapid_public_key", "the two halves of the key do not fit")
        return Check(CheckResult.OK)

    async def close(self) -> None:
        await self._transport.close()

    async def _post(
        self, service: _Service, path: str, rendered: Rendered, target: Target, body: bytes, topic: str
    ) -> tuple[Result, str]:
        """The result and the service's own code."""
        now = time.time()
        headers = service.headers(self, rendered.urgency, topic, now)
        ttl = str(webpush_payload.ttl(rendered, now))
        try:
            answer = await service.origin.post(path, headers, body, (("ttl", ttl),))
        except NotSent as error:
            return verdict.result(verdict.NOT_CONNECTED, target, detail=str(error)), ""
        except NoAnswer as error:
            return verdict.result(verdict.NO_ANSWER, target, detail=str(error)), ""
        if answer.status == 201:
            location = answer.headers.get("location") or ""
            return Result(target.device_id, Outcome.ACCEPTED, "", location[:500]), ""
        return _judged(answer, service, target)

    def authorization(self, audience: str, now: float) -> str:
        """RFC 8292, 3: who we are, to this push service, for the next hours."""
        claims = {"aud": audience, "exp": int(now) + VAPID_SECONDS, "sub": self._subject}
        token = jwt.encode(claims, self._key, algorithm="ES256")
        return f"vapid t={token},k={self._public_key}"

    def _service(self, url: str) -> _Service:
        service = self._services.get(url)
        if service is None:
            if len(self._services) >= SERVICES:
                self._services.clear()
            service = self._services[url] = _Service(url, self._transport.origin(url))
        return service


class _Service:
    """One push service: its connections and the headers it was last sent."""

    __slots__ = ("_headers", "_signed_at", "host", "origin", "url")

    def __init__(self, url: str, origin: Origin) -> None:
        self.url, self.origin, self.host = url, origin, url.removeprefix("https://")
        self._headers: dict[tuple[str, str], Prepared] = {}
        self._signed_at = 0.0

    def headers(self, session: WebPushSession, urgency: str, topic: str, now: float) -> Prepared:
        if abs(now - self._signed_at) > VAPID_RENEW or len(self._headers) > 256:
            self._headers, self._signed_at = {}, now
        kept = self._headers.get((urgency, topic))
        if kept is None:
            kept = self._headers[urgency, topic] = transport.headers(
                request_headers(session.authorization(self.url, self._signed_at), urgency, topic)
            )
        return kept


def request_headers(authorization: str, urgency: str, topic: str) -> dict[str, str]:
    """Everything but TTL, which is what is left at the moment of sending."""
    headers = {
        "authorization": authorization,
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
        "urgency": urgency,
    }
    return {**headers, "topic": topic} if topic else headers


def error_code(body: bytes) -> str:
    """Apple and others say `{"reason": …}`; Google and Mozilla use words, of which these matter."""
    reason = verdict.json_object(body).get("reason")
    if isinstance(reason, str):
        return reason
    text = body[:2000].decode("utf-8", "replace")
    return next((code for code, words in _WORDS if words.search(text)), "")


_WORDS = (
    ("MismatchSenderId", re.compile(r"MismatchSenderId|not correspond to the sender ID", re.IGNORECASE)),
    ("VapidPkHashMismatch", re.compile(r"VapidPkHashMismatch|VAPID (public )?key mismatch", re.IGNORECASE)),
    ("BadVapidPublicKey", re.compile(r"BadVapidPublicKey", re.IGNORECASE)),
    ("BadJwtToken", re.compile(r"BadJwtToken|invalid JWT", re.IGNORECASE)),
    ("BadWebPushTopic", re.compile(r"BadWebPushTopic", re.IGNORECASE)),
)


def public_key(key: ec.EllipticCurvePrivateKey) -> str:
    """The applicationServerKey a browser subscribes with."""
    return b64(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _judged(answer: Answer, service: _Service, target: Target) -> tuple[Result, str]:
    code = error_code(answer.body)
    judged = verdict.of(WebPush.OUTCOMES, answer.status, code)
    said = verdict.json_object(answer.body)
    words = code or str(said.get("message") or said.get("error") or "")
    wait = verdict.retry_after(answer.headers.get("retry-after"))
    # Trouble with one push service is not trouble with the others.
    scope = service.host if judged.outcome is BLOCKED or answer.status in (406, 429) else ""
    return verdict.result(judged, target, wait=wait, detail=words)._replace(scope=scope), code


def _check_subject(subject: str) -> None:
    """A real contact: Apple refuses made-up ones with 403 BadJwtToken."""
    found = re.fullmatch(r"mailto:[^@\s<>]+@([A-Za-z0-9.-]+)|https://([A-Za-z0-9.-]+)(?:[:/]\S*)?", subject)
    if found is None:
        raise InvalidCredential("subject", "mailto:someone@example.com or https://example.com")
    host = (found[1] or found[2]).lower()
    if "." not in host or host.endswith((".localhost", ".local", ".invalid")) or host.startswith("127."):
        raise InvalidCredential("subject", "must be a public address; push services refuse localhost")


def _private_key(secret: str) -> ec.EllipticCurvePrivateKey:
    """PEM, or the 32 bytes in base64url that key generators for Web Push print."""
    secret = secret.strip()
    try:
        if not secret.startswith("-----"):
            raw = unb64(secret, "secret")
            if len(raw) != 32:
                raise ValueError
            return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())
        key = load_pem_private_key(secret.encode(), password=None)
    except (ValueError, TypeError, UnicodeEncodeError):
        raise InvalidCredential("secret", "not a PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidCredential("secret", "not an elliptic-curve P-256 key")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
