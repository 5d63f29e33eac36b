"""Firebase Cloud Messaging, HTTP v1. What is sent is made in `fcm_payload`."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from . import checking, fcm_payload, transport, verdict
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
    Token,
    TokenStore,
    Verdict,
)
from .bearer import Bearer, Refused
from .fcm_payload import LIMIT, Options, Rendered
from .transport import Answer, NoAnswer, NotSent, Prepared, Transport

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE = "oauth2.googleapis.com"
SPARE = 300  # seconds an access token is good for after we call it expired
STREAMS, CONNECTIONS = 100, 8  # Google's front ends take 100 streams on a connection
PROVEN = 64  # payloads remembered as accepted

UNREGISTERED, REJECTED = Outcome.UNREGISTERED, Outcome.REJECTED
RETRY, BLOCKED = Outcome.RETRY, Outcome.BLOCKED

# Codes that FCM tells apart by words or details rather than by a code of their own.
UNKNOWN_ADDRESS = "INVALID_ARGUMENT:registration_token"
FIELDS = "INVALID_ARGUMENT:field_violations"
DEVICE_QUOTA = "QUOTA_EXCEEDED:device"

# "validate_only": everything is looked at, and nothing sent.
CHECKED = Rendered(rest=b'"priority":"normal"}},"validate_only":true}', size=0, expires_at=None)

UNPROVEN = Verdict(REJECTED, "invalid_registration_token")  # perhaps the payload's fault: the device stays


class Fcm(Provider):
    name = "fcm"
    platforms = frozenset({"android"})
    limit = LIMIT
    Options = Options
    BACKOFF = Backoff(base=10, cap=1800, attempts=8)  # Google: 10 s at least, about an hour in all
    QUOTA = frozenset({"quota_exceeded"})  # the project's, not a device's
    OUTCOMES = {
        (200, ""): Verdict(Outcome.ACCEPTED, ""),
        (400, UNKNOWN_ADDRESS): Verdict(
            UNREGISTERED, "invalid_registration_token"
        ),  # once the payload is proven
        (400, FIELDS): Verdict(REJECTED, "invalid_argument"),
        (400, "INVALID_ARGUMENT"): Verdict(REJECTED, "invalid_argument"),
        (401, ""): Verdict(RETRY, "access_token_refused", 0.0),
        (401, "THIRD_PARTY_AUTH_ERROR"): Verdict(BLOCKED, "third_party_auth_error"),
        (401, "APNS_AUTH_ERROR"): Verdict(BLOCKED, "third_party_auth_error"),
        (403, "SENDER_ID_MISMATCH"): Verdict(UNREGISTERED, "sender_id_mismatch"),
        (403, "PERMISSION_DENIED"): Verdict(BLOCKED, "project_permission_denied"),
        (403, "SERVICE_DISABLED"): Verdict(BLOCKED, "service_disabled"),
        (404, "UNREGISTERED"): Verdict(UNREGISTERED, "unregistered"),
        (404, ""): Verdict(BLOCKED, "project_not_found"),
        (429, "QUOTA_EXCEEDED"): Verdict(RETRY, "quota_exceeded", 60.0),
        (429, DEVICE_QUOTA): Verdict(RETRY, "device_quota_exceeded", 60.0),
        (429, ""): Verdict(RETRY, "quota_exceeded", 60.0),
        (500, "INTERNAL"): Verdict(RETRY, "internal", 10.0),
        (500, ""): Verdict(RETRY, "internal", 10.0),
        (503, "UNAVAILABLE"): Verdict(RETRY, "unavailable", 10.0),
        (503, ""): Verdict(RETRY, "unavailable", 10.0),
    }
    UNSPECIFIED = Verdict(RETRY, "unspecified_error", 10.0, attempts=2)  # under whatever status it comes

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints

    def check_credential(self, public: Mapping[str, Any], secret: str) -> tuple[dict[str, Any], str]:
        account = _account(secret)
        for name in public:
            if name not in ("project_id", "client_email"):
                raise InvalidCredential(name, "unknown setting")
            if public[name] != account[name]:
                raise InvalidCredential(name, "differs from the service account's")
        _check_token_uri(account["token_uri"], self.endpoints)
        return {"project_id": account["project_id"], "client_email": account["client_email"]}, secret.strip()

    def render(self, message: Message) -> Rendered:
        return fcm_payload.render(message)

    def open(self, credential: Credential, tokens: TokenStore) -> FcmSession:
        return FcmSession(self.endpoints, credential, tokens)


class FcmSession(Session):
    def __init__(self, endpoints: Endpoints, credential: Credential, tokens: TokenStore) -> None:
        self._account = _account(credential.secret)
        _check_token_uri(self._account["token_uri"], endpoints)
        self._key = _private_key(self._account["private_key"])
        self._transport = Transport(
            ca_file=endpoints.ca_file, timeout=endpoints.timeout, streams=STREAMS, connections=CONNECTIONS
        )
        # Tokens come from another server, which may be an HTTP/1.1 one where the account names its own.
        self._accounts = Transport(ca_file=endpoints.ca_file, timeout=endpoints.timeout, http2_only=False)
        self._url = endpoints.fcm_url
        self._origin = self._transport.origin(self._url)
        self._path = f"/v1/projects/{self._account['project_id']}/messages:send"
        fingerprint = hashlib.sha256(credential.secret.strip().encode()).hexdigest()[:16]
        self._bearer = Bearer(tokens, f"fcm:{self._account['client_email']}:{fingerprint}", self._mint)
        self._headers: tuple[Token, Prepared] | None = None
        self._proven: OrderedDict[bytes, None] = OrderedDict()  # payloads some device has accepted

    async def warm_up(self) -> None:
        with suppress(Refused):  # the first message says so
            await self._bearer.get()

    async def send(self, rendered: Rendered, target: Target) -> Result:
        address = _address(target)
        if not address:
            return verdict.result(verdict.MALFORMED, target)
        try:
            token = self._bearer.current() or await self._bearer.get()
            body = fcm_payload.body(rendered, address, time.time())
            answer = await self._origin.post(self._path, self._prepared(token), body)
        except Refused as refused:
            return verdict.result(refused.verdict, target, detail=refused.detail)
        except NotSent as error:
            return verdict.result(verdict.NOT_CONNECTED, target, detail=str(error))
        except NoAnswer as error:
            return verdict.result(verdict.NO_ANSWER, target, detail=str(error))
        if answer.status == 200:
            if rendered.rest not in self._proven:
                self._prove(rendered)
            return Result(target.device_id, Outcome.ACCEPTED, "", _message_name(answer.body))
        return await self._refusal(answer, rendered, target, token)

    async def check(self) -> Check:
        """A sign-in of its own (an old access token outlives its key), then a message to nobody, not to be sent."""
        nobody, accounts = checking.NOBODY, self._account["token_uri"]
        try:
            token = await self._mint()
        except Refused as refused:
            return checking.of(verdict.result(refused.verdict, nobody, detail=refused.detail), accounts)
        except (NotSent, NoAnswer) as error:
            return checking.away(accounts, str(error))
        try:
            body = fcm_payload.body(CHECKED, _address(nobody), time.time())
            answer = await self._origin.post(self._path, _headers(token), body)
        except (NotSent, NoAnswer) as error:
            return checking.away(self._url, str(error))
        if answer.status == 200:
            return Check(CheckResult.OK)
        return checking.of(await self._refusal(answer, CHECKED, nobody, token), self._url)

    async def close(self) -> None:
        await self._bearer.close()
        await self._transport.close()
        await self._accounts.close()

    async def _refusal(self, answer: Answer, rendered: Rendered, target: Target, token: Token) -> Result:
        error = verdict.json_object(answer.body).get("error")
        error = error if isinstance(error, dict) else {}
        code, words = error_code(answer.status, error), str(error.get("message") or "")
        judged = (
            Fcm.UNSPECIFIED if code == "UNSPECIFIED_ERROR" else verdict.of(Fcm.OUTCOMES, answer.status, code)
        )
        if code == UNKNOWN_ADDRESS and rendered.rest not in self._proven:
            judged = UNPROVEN
        elif answer.status == 401 and judged.outcome is RETRY and not await self._bearer.refused(token):
            judged = Verdict(BLOCKED, judged.reason)
        wait = verdict.retry_after(answer.headers.get("retry-after"))
        # The fault is the APNs or VAPID key stored in Firebase: Android goes on.
        scope = "third_party" if judged.reason == "third_party_auth_error" else ""
        return verdict.result(judged, target, wait=wait, detail=words)._replace(scope=scope)

    def _prove(self, rendered: Rendered) -> None:
        self._proven[rendered.rest] = None
        if len(self._proven) > PROVEN:
            self._proven.popitem(last=False)

    def _prepared(self, token: Token) -> Prepared:
        if self._headers is None or self._headers[0] is not token:
            self._headers = (token, _headers(token))
        return self._headers[1]

    async def _mint(self) -> Token:
        """RFC 7523 assertion against an access token. Raises Refused, NotSent or NoAnswer."""
        now = int(time.time())
        url = urlsplit(self._account["token_uri"])
        body = urlencode(
            {"grant_type": GRANT, "assertion": assertion(self._account, self._key, now)}
        ).encode()
        answer = await self._accounts.origin(f"{url.scheme}://{url.netloc}").post(
            url.path or "/", transport.headers({"content-type": "application/x-www-form-urlencoded"}), body
        )
        said = verdict.json_object(answer.body)
        value, lasts = said.get("access_token"), said.get("expires_in", 3600)
        if answer.status == 200 and isinstance(value, str) and value and isinstance(lasts, int | float):
            return Token(value, now, now + max(lasts - SPARE, lasts / 2))
        raise Refused(
            _mint_verdict(answer.status, said), str(said.get("error_description") or said.get("error") or "")
        )


def _headers(token: Token) -> Prepared:
    return transport.headers({"authorization": f"Bearer {token.value}", "content-type": "application/json"})


def assertion(account: Mapping[str, str], key: rsa.RSAPrivateKey, now: int) -> str:
    claims = {
        "iss": account["client_email"],
        "scope": SCOPE,
        "aud": account["token_uri"],
        "iat": now,
        "exp": now + 3600,
    }
    headers = {"kid": account["private_key_id"]} if account.get("private_key_id") else {}
    return jwt.encode(claims, key, algorithm="RS256", headers=headers)


def error_code(status: int, error: Mapping[str, Any]) -> str:
    """FCM's own code from `details`, refined where one code has two meanings; "" when FCM said nothing.

    `error.status` is Google's general code: a 404 NOT_FOUND may be a device or a project.
    """
    details = error.get("details")
    details = [part for part in details if isinstance(part, dict)] if isinstance(details, list) else []
    code = next((str(part["errorCode"]) for part in details if part.get("errorCode")), "")
    words = str(error.get("message") or "")
    if any(part.get("fieldViolations") for part in details) and code in ("", "INVALID_ARGUMENT"):
        return FIELDS
    if code == "INVALID_ARGUMENT" and "not a valid FCM registration token" in words:
        return UNKNOWN_ADDRESS
    if code == "QUOTA_EXCEEDED" and re.search(r"\b(device|topic)\b", words, re.IGNORECASE):
        return DEVICE_QUOTA
    if not code and status in (400, 403):
        reason = next((str(part["reason"]) for part in details if part.get("reason")), "")
        return reason if (status, reason) in Fcm.OUTCOMES else str(error.get("status") or reason)
    return code


def _mint_verdict(status: int, said: Mapping[str, Any]) -> Verdict:
    """Google's answer to the assertion: a 4xx is our key, our clock or our account; the rest passes."""
    if status >= 500 or status in verdict.AGAIN or status == 200:
        return Verdict(RETRY, "token_unavailable", 10.0)
    return Verdict(BLOCKED, verdict.snake(str(said.get("error") or "")) or f"token_http_{status}")


def _address(target: Target) -> bytes:
    """`"token":"…"` or `"fid":"…"`, as JSON; nothing if there is neither."""
    try:
        if target.fid:
            return b'"fid":' + orjson.dumps(target.fid)
        return b'"token":' + orjson.dumps(target.token) if target.token else b""
    except orjson.JSONEncodeError:  # not text
        return b""


def _message_name(body: bytes) -> str:
    """`projects/…/messages/0:…`, cut out of the one-member object without parsing it as JSON."""
    parts = body.split(b'"', 4)
    return parts[3].decode("ascii", "replace")[:200] if len(parts) == 5 and parts[1] == b"name" else ""


def _account(secret: str) -> dict[str, str]:
    account = verdict.json_object(secret.encode())
    if account.get("type") != "service_account":
        raise InvalidCredential("secret", "not a service account's JSON key file")
    for name in ("project_id", "client_email", "private_key", "token_uri"):
        if not isinstance(account.get(name), str) or not account[name]:
            raise InvalidCredential(f"secret.{name}", "missing from the service account")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.:\-]{2,80}", account["project_id"]):
        raise InvalidCredential("secret.project_id", "not a project id")
    _private_key(account["private_key"])
    return account


def _check_token_uri(uri: str, endpoints: Endpoints) -> None:
    """The assertion is worth a token: it goes to Google, or to where FCM itself has been pointed."""
    try:
        asked, own = urlsplit(uri), urlsplit(endpoints.fcm_url)
        google = asked.scheme == "https" and asked.netloc == GOOGLE
        ours = asked.scheme == own.scheme and asked.hostname == own.hostname and "@" not in asked.netloc
    except ValueError:
        google = ours = False
    if not google and not ours:
        raise InvalidCredential("secret.token_uri", f"must be on https://{GOOGLE}")


def _private_key(pem: str) -> rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnicodeEncodeError):
        raise InvalidCredential("secret.private_key", "not a PEM private key") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise InvalidCredential("secret.private_key", "not an RSA key")
    return key
