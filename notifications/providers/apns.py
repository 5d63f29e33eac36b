"""Apple Push Notification service, token authentication. What is sent is made in `apns_payload`."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from . import apns_payload, checking, transport, verdict
from .apns_payload import PUSH_TYPES, Options, Rendered
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
from .transport import Answer, NoAnswer, NotSent, Prepared, Transport

TOKEN_AGE = 50 * 60  # Apple: not younger than 20, not older than 60 minutes; stores renew it 5 minutes ahead
SECOND_5XX_WAIT = 900.0  # Apple: after the first retry, 5xx may be tried again after 15 minutes
TOKEN_UPDATES_WAIT = 1200.0
STREAMS, CONNECTIONS = 500, 4

UNREGISTERED, REJECTED = Outcome.UNREGISTERED, Outcome.REJECTED
RETRY, BLOCKED = Outcome.RETRY, Outcome.BLOCKED

CLOCK = Verdict(BLOCKED, "provider_token_refused_fresh")  # minted minutes ago, called expired: see the clock
ELSEWHERE = Verdict(REJECTED, "environment_not_covered")  # the credential serves the other environment only
BAD_TOKEN = Verdict(UNREGISTERED, "bad_device_token")


class Apns(Provider):
    name = "apns"
    platforms = frozenset({"ios", "macos"})
    limit = 4096
    Options = Options
    BACKOFF = Backoff(base=5, cap=900, attempts=8)
    QUOTA = frozenset({"too_many_provider_token_updates"})
    OUTCOMES = {
        (200, ""): Verdict(Outcome.ACCEPTED, ""),
        (400, "BadDeviceToken"): BAD_TOKEN,
        (400, "DeviceTokenNotForTopic"): Verdict(UNREGISTERED, "device_token_not_for_topic"),
        (400, "BadTopic"): Verdict(BLOCKED, "bad_topic"),
        (400, "MissingTopic"): Verdict(BLOCKED, "missing_topic"),
        (400, "TopicDisallowed"): Verdict(BLOCKED, "topic_disallowed"),
        (400, "BadCollapseId"): Verdict(REJECTED, "bad_collapse_id"),
        (400, "BadExpirationDate"): Verdict(REJECTED, "bad_expiration_date"),
        (400, "BadMessageId"): Verdict(REJECTED, "bad_message_id"),
        (400, "BadPriority"): Verdict(REJECTED, "bad_priority"),
        (400, "DuplicateHeaders"): Verdict(REJECTED, "duplicate_headers"),
        (400, "InvalidPushType"): Verdict(REJECTED, "invalid_push_type"),
        (400, "MissingDeviceToken"): Verdict(REJECTED, "missing_device_token"),
        (400, "PayloadEmpty"): Verdict(REJECTED, "payload_empty"),
        (400, "IdleTimeout"): Verdict(RETRY, "idle_timeout", 0.0),
        (403, "ExpiredProviderToken"): Verdict(RETRY, "expired_provider_token", 0.0),
        (403, "InvalidProviderToken"): Verdict(BLOCKED, "invalid_provider_token"),
        (403, "MissingProviderToken"): Verdict(BLOCKED, "missing_provider_token"),
        (403, "BadCertificate"): Verdict(BLOCKED, "bad_certificate"),
        (403, "BadCertificateEnvironment"): Verdict(BLOCKED, "bad_certificate_environment"),
        (403, "UnrelatedKeyIdInToken"): Verdict(BLOCKED, "unrelated_key_id_in_token"),
        (403, "BadEnvironmentKeyIdInToken"): Verdict(BLOCKED, "bad_environment_key_in_token"),
        (403, "BadEnvironmentKeyInToken"): Verdict(BLOCKED, "bad_environment_key_in_token"),
        (403, "Forbidden"): Verdict(BLOCKED, "forbidden"),
        (404, "BadPath"): Verdict(REJECTED, "bad_path"),
        (405, "MethodNotAllowed"): Verdict(REJECTED, "method_not_allowed"),
        (410, "Unregistered"): Verdict(UNREGISTERED, "unregistered"),
        (410, "ExpiredToken"): Verdict(UNREGISTERED, "expired_token"),
        (413, "PayloadTooLarge"): Verdict(REJECTED, "payload_too_large"),
        (429, "TooManyRequests"): Verdict(RETRY, "too_many_requests", 60.0, attempts=4),
        (429, "TooManyProviderTokenUpdates"): Verdict(RETRY, "too_many_provider_token_updates", 60.0),
        (500, "InternalServerError"): Verdict(RETRY, "internal_server_error", 5.0),
        (503, "ServiceUnavailable"): Verdict(RETRY, "service_unavailable", 5.0),
        (503, "Shutdown"): Verdict(RETRY, "shutdown", 5.0),
    }

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints

    def check_credential(self, public: Mapping[str, Any], secret: str) -> tuple[dict[str, Any], str]:
        known = {"team_id", "key_id", "bundle_id", "environment"}
        for name in public:
            if name not in known:
                raise InvalidCredential(name, "unknown setting")
        for name in ("team_id", "key_id"):
            if not re.fullmatch(r"[A-Z0-9]{10}", str(public.get(name, ""))):
                raise InvalidCredential(name, "ten capital letters and digits")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,154}", str(public.get("bundle_id", ""))):
            raise InvalidCredential("bundle_id", "the app's bundle id, such as com.example.app")
        environment = str(public.get("environment") or "both")
        if environment not in ("production", "sandbox", "both"):
            raise InvalidCredential("environment", "production, sandbox or both")
        _private_key(secret)
        return {**public, "environment": environment}, secret.strip() + "\n"

    def render(self, message: Message) -> Rendered:
        return apns_payload.render(message)

    def open(self, credential: Credential, tokens: TokenStore) -> ApnsSession:
        return ApnsSession(self.endpoints, credential, tokens)


class ApnsSession(Session):
    def __init__(self, endpoints: Endpoints, credential: Credential, tokens: TokenStore) -> None:
        public = credential.public
        self._team, self._key_id = str(public["team_id"]), str(public["key_id"])
        self._bundle_id, self._key = str(public["bundle_id"]), _private_key(credential.secret)
        self._transport = Transport(
            ca_file=endpoints.ca_file, timeout=endpoints.timeout, streams=STREAMS, connections=CONNECTIONS
        )
        urls = {"production": endpoints.apns_url, "sandbox": endpoints.apns_sandbox_url}
        served = str(public.get("environment", "both"))
        self._urls = {name: url for name, url in urls.items() if served in (name, "both")}
        self._hosts = {name: self._transport.origin(url) for name, url in self._urls.items()}
        self._ids = _apns_ids()
        # The key's own fingerprint is in the name: who only claims another's team and key id shares nothing.
        # Browsers send pasted lines with CRLF; it is the same key.
        secret = credential.secret.strip().replace("\r\n", "\n")
        fingerprint = hashlib.sha256(secret.encode()).hexdigest()[:16]
        self._bearer = Bearer(tokens, f"apns:{self._team}:{self._key_id}:{fingerprint}", self._mint)
        self._headers: dict[int, tuple[Rendered, Token, Prepared]] = {}
        self._updates_refused_at = 0.0

    async def warm_up(self) -> None:
        with suppress(Refused):  # the first message says so
            await self._bearer.get()

    async def send(self, rendered: Rendered, target: Target) -> Result:
        environment = target.environment or next(iter(self._hosts))
        if environment not in self._hosts:
            return verdict.result(ELSEWHERE, target)
        if not _is_token(target.token):
            return verdict.result(verdict.MALFORMED, target, detail="not hexadecimal")
        result = await self._post(environment, rendered, target)
        if target.environment:
            return result
        if result.reason == BAD_TOKEN.reason and len(self._hosts) == 2:
            return await self._probe(environment, rendered, target)
        return result._replace(environment=environment) if result.outcome is Outcome.ACCEPTED else result

    async def check(self) -> Check:
        """A silent message to no address, for the app's own topic: where only the address is bad, the key is good."""
        rendered = apns_payload.render(
            Message(checking.NOTIFICATION, "", "", overrides={"push_type": "background"})
        )
        found = {
            name: checking.of(await self._asked(name, rendered), url) for name, url in self._urls.items()
        }
        refused = {name: check for name, check in found.items() if check.result is CheckResult.REFUSED}
        if unable := [check for check in found.values() if check.result is CheckResult.UNABLE]:
            return next(iter(refused.values()), unable[0])
        if len(refused) == len(found):
            return next(iter(refused.values()))
        parts = ", ".join(f"{name}: {check.reason}" for name, check in refused.items())
        return Check(CheckResult.OK, detail=parts)

    async def close(self) -> None:
        await self._bearer.close()
        await self._transport.close()

    async def _asked(self, environment: str, rendered: Rendered) -> Result:
        result = await self._post(environment, rendered, checking.NOBODY)
        if result.reason == "expired_provider_token":  # it is renewed now
            result = await self._post(environment, rendered, checking.NOBODY)
        return result

    async def _probe(self, refused_by: str, rendered: Rendered, target: Target) -> Result:
        """The token's environment is not known and one host refused it: ask the other, once."""
        (other,) = self._hosts.keys() - {refused_by}
        result = await self._post(other, rendered, target)
        if result.outcome is Outcome.ACCEPTED:
            return result._replace(environment=other)
        if result.outcome is Outcome.BLOCKED:
            # A key may be limited to one environment: one stray device stops no lane and is not retired.
            return verdict.result(ELSEWHERE, target, detail=result.reason)
        return result

    async def _post(self, environment: str, rendered: Rendered, target: Target) -> Result:
        apns_id = next(self._ids)
        try:
            token = self._bearer.current() or await self._bearer.get()
            answer = await self._hosts[environment].post(
                "/3/device/" + target.token,
                self._prepared(rendered, token),
                rendered.body,
                (("apns-id", apns_id),),
            )
        except Refused as refused:
            return verdict.result(refused.verdict, target, detail=refused.detail)
        except NotSent as error:
            return verdict.result(verdict.NOT_CONNECTED, target, detail=str(error))
        except NoAnswer as error:
            return verdict.result(verdict.NO_ANSWER, target, provider_id=apns_id, detail=str(error))
        if answer.status == 200:
            return Result(target.device_id, Outcome.ACCEPTED, "", apns_id)
        return await self._refusal(answer, target, token, apns_id)

    async def _refusal(self, answer: Answer, target: Target, token: Token, apns_id: str) -> Result:
        said = verdict.json_object(answer.body)
        code = said["reason"] if isinstance(said.get("reason"), str) else ""
        judged = verdict.of(Apns.OUTCOMES, answer.status, code)
        wait = verdict.retry_after(answer.headers.get("retry-after"))
        if code == "ExpiredProviderToken" and not await self._bearer.refused(token):
            judged = CLOCK
        elif code == "TooManyProviderTokenUpdates":
            judged = self._too_many_updates(judged)
        elif answer.status >= 500 and target.attempt > 1:
            judged = judged._replace(retry_after=SECOND_5XX_WAIT)
        if answer.status >= 500 or code == "IdleTimeout":
            self._transport.renew()
        return verdict.result(
            judged,
            target,
            wait=wait,
            provider_id=apns_id,
            retired_since=_milliseconds(said.get("timestamp"), answer),
        )

    def _too_many_updates(self, judged: Verdict) -> Verdict:
        """Apple shuns the connection, not the token: a new one, and a long pause if that was no cure."""
        now, before = time.monotonic(), self._updates_refused_at
        self._updates_refused_at = now
        self._transport.renew()
        repeated = before and transport.RENEW_SECONDS < now - before < TOKEN_UPDATES_WAIT
        return judged._replace(retry_after=TOKEN_UPDATES_WAIT) if repeated else judged

    def _prepared(self, rendered: Rendered, token: Token) -> Prepared:
        kept = self._headers.get(id(rendered))
        if kept is not None and kept[0] is rendered and kept[1] is token:
            return kept[2]
        if len(self._headers) > 256:
            self._headers.clear()
        prepared = transport.headers(request_headers(rendered, self._bundle_id, token.value))
        self._headers[id(rendered)] = (rendered, token, prepared)
        return prepared

    async def _mint(self) -> Token:
        now = int(time.time())
        value = jwt.encode(
            {"iss": self._team, "iat": now}, self._key, algorithm="ES256", headers={"kid": self._key_id}
        )
        return Token(value, now, now + TOKEN_AGE)


def request_headers(rendered: Rendered, bundle_id: str, bearer: str) -> dict[str, str]:
    """Everything but apns-id, which is each request's own."""
    headers = {
        "authorization": f"bearer {bearer}",
        "apns-push-type": rendered.push_type,
        "apns-topic": rendered.topic or bundle_id + PUSH_TYPES[rendered.push_type].suffix,
        "apns-priority": rendered.priority,
    }
    if rendered.expiration:
        headers["apns-expiration"] = rendered.expiration
    if rendered.collapse_id:
        headers["apns-collapse-id"] = rendered.collapse_id
    return headers


def _apns_ids() -> Iterator[str]:
    """UUIDs, lower case. They only have to be told apart, so the random part is drawn once and then counted on."""
    digits, first = f"{random.getrandbits(80):020x}", random.getrandbits(47)
    start = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-"
    for number in itertools.count(first):
        yield f"{start}{number:012x}"


# Apple sets no length. It becomes part of the path, so nothing else may pass.
_is_token = re.compile("[0-9a-fA-F]{1,400}").fullmatch


def _milliseconds(value: Any, answer: Answer) -> float | None:
    return value / 1000 if answer.status == 410 and isinstance(value, int | float) else None


def _private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem.strip().encode(), password=None)
    except (ValueError, TypeError, UnicodeEncodeError):
        raise InvalidCredential("secret", "not a PEM private key; use the .p8 file as downloaded") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidCredential("secret", "not an elliptic-curve P-256 key; use the .p8 file as downloaded")
    return key
