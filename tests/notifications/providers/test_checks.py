"""A live check says whether the provider lets a credential in, reaches nobody, and tells trouble from refusal."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from notifications.providers import registry, webpush
from notifications.providers.base import Check, CheckResult, Credential

from .conftest import pem
from .wire import DROP, HANG, Reply

OK, REFUSED, UNABLE = CheckResult


def place(service):
    return service.url.removeprefix("https://")


async def check(endpoints, credential, tokens) -> Check:
    session = registry.load(endpoints)[credential.provider].open(credential, tokens)
    try:
        return await session.check()
    finally:
        await session.close()


def says(status: int, reason: str) -> Reply:
    return Reply(status, orjson.dumps({"reason": reason}))


async def test_apple_is_asked_with_an_address_no_device_has(
    endpoints, service, sandbox, apns_credential, tokens
):
    for host in (service, sandbox):
        host.answer = lambda request: says(400, "BadDeviceToken")
    assert await check(endpoints, apns_credential, tokens) == Check(OK)
    (asked,) = service.requests
    assert asked.path == "/3/device/" + "0" * 63
    assert asked.headers["apns-topic"] == "com.example.app"
    assert asked.headers["apns-push-type"] == "background"
    assert orjson.loads(asked.body)["aps"] == {"content-available": 1}
    assert len(sandbox.requests) == 1
    assert tokens.minted == 1


@pytest.mark.parametrize(
    ("answers", "result", "reason"),
    [
        (((403, "InvalidProviderToken"), (403, "InvalidProviderToken")), REFUSED, "invalid_provider_token"),
        (((400, "TopicDisallowed"), (400, "TopicDisallowed")), REFUSED, "topic_disallowed"),
        (((400, "BadDeviceToken"), (403, "BadEnvironmentKeyInToken")), OK, ""),
        (((503, "ServiceUnavailable"), (400, "BadDeviceToken")), UNABLE, "service_unavailable"),
        (((503, "Shutdown"), (403, "InvalidProviderToken")), REFUSED, "invalid_provider_token"),
        (
            ((429, "TooManyProviderTokenUpdates"), (400, "BadDeviceToken")),
            UNABLE,
            "too_many_provider_token_updates",
        ),
        # Minted a moment ago: it is the clock, and not the key.
        (((403, "ExpiredProviderToken"), (400, "BadDeviceToken")), UNABLE, "provider_token_refused_fresh"),
    ],
)
async def test_apples_answers(endpoints, service, sandbox, apns_credential, tokens, answers, result, reason):
    service.answer, sandbox.answer = (lambda request, one=one: says(*one) for one in answers)
    found = await check(endpoints, apns_credential, tokens)
    assert (found.result, found.reason) == (result, reason)
    if result is UNABLE:
        assert found.detail.startswith(place(service) + ": ")
    if result is OK:
        assert found.detail == "sandbox: bad_environment_key_in_token"


async def test_a_signature_that_has_expired_is_renewed_first(
    endpoints, service, sandbox, apns_credential, tokens
):
    sandbox.answer = lambda request: says(400, "BadDeviceToken")
    answers = iter([says(403, "ExpiredProviderToken"), says(400, "BadDeviceToken")])
    service.answer = lambda request: next(answers)
    session = registry.load(endpoints)["apns"].open(apns_credential, tokens)
    await session.warm_up()
    session._bearer._token = session._bearer._token._replace(
        minted_at=session._bearer._token.minted_at - 2000
    )
    assert (await session.check()).result is OK
    await session.close()
    assert tokens.minted == 2


@pytest.mark.parametrize("name", ["apns", "fcm"])
async def test_whom_it_could_not_reach_is_named(
    endpoints, service, sandbox, apns_credential, fcm_credential, tokens, name
):
    credential = {"apns": apns_credential, "fcm": fcm_credential}[name]
    for how in (HANG, DROP):
        service.answer = sandbox.answer = lambda request, how=how: how
        found = await check(replace(endpoints, timeout=0.2), credential, tokens)
        assert found.result is UNABLE and found.detail.startswith(place(service) + ": "), how
    await service.stop()
    await sandbox.stop()
    found = await check(endpoints, credential, tokens)
    assert (found.result, found.reason) == (UNABLE, "not_connected")
    assert found.detail.startswith(place(service) + ": ")
    assert len(found.detail) > len(place(service)) + 4


def google(refused: Reply):
    return lambda request: (
        Reply(200, b'{"access_token":"ya29.secret","expires_in":3599}')
        if request.path == "/token"
        else refused
    )


def fcm_error(status: int, code: str, message: str, rpc: str = "") -> Reply:
    details = (
        [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}] if code else []
    )
    error = {"code": status, "message": message, "status": rpc or code, "details": details}
    return Reply(status, orjson.dumps({"error": error}))


async def test_google_signs_us_in_anew_and_only_validates(endpoints, service, fcm_credential, tokens):
    service.answer = google(
        fcm_error(400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token")
    )
    assert await check(endpoints, fcm_credential, tokens) == Check(OK)
    signed_in, asked = service.requests
    assert signed_in.path == "/token"
    assert asked.path == "/v1/projects/example-project/messages:send"
    assert asked.headers["authorization"] == "Bearer ya29.secret"
    body = orjson.loads(asked.body)
    assert body["validate_only"] is True and body["message"]["token"] == "0" * 63
    assert tokens.minted == 0  # the fleet's token is not touched


@pytest.mark.parametrize(
    ("answer", "result", "reason"),
    [
        (Reply(200, b'{"name":"projects/example-project/messages/fake_message_id"}'), OK, ""),
        (fcm_error(404, "UNREGISTERED", "Requested entity was not found."), OK, ""),
        (fcm_error(403, "", "Permission denied", "PERMISSION_DENIED"), REFUSED, "project_permission_denied"),
        (fcm_error(404, "", "Project not found", "NOT_FOUND"), REFUSED, "project_not_found"),
        (fcm_error(401, "", "Unauthenticated", "UNAUTHENTICATED"), REFUSED, "access_token_refused"),
        (fcm_error(429, "QUOTA_EXCEEDED", "Quota exceeded"), UNABLE, "quota_exceeded"),
        (Reply(503, b"<html>"), UNABLE, "unavailable"),
    ],
)
async def test_googles_answers(endpoints, service, fcm_credential, tokens, answer, result, reason):
    service.answer = google(answer)
    found = await check(endpoints, fcm_credential, tokens)
    assert (found.result, found.reason) == (result, reason)
    assert "ya29" not in found.detail


@pytest.mark.parametrize(
    ("words", "result", "reason"),
    [
        ("Invalid grant: account not found", REFUSED, "invalid_grant"),
        (
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your "
            "iat and exp values in the JWT claim.",
            UNABLE,
            "provider_token_refused_fresh",
        ),
    ],
)
async def test_googles_sign_in_tells_a_key_from_a_clock(
    endpoints, service, fcm_credential, tokens, words, result, reason
):
    body = orjson.dumps({"error": "invalid_grant", "error_description": words})
    service.answer = lambda request: Reply(400, body)
    found = await check(endpoints, fcm_credential, tokens)
    assert (found.result, found.reason) == (result, reason)
    assert (result is UNABLE) == found.detail.startswith(place(service))


async def test_web_push_is_signed_and_verified_here(endpoints, service, tokens):
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    public = {"subject": "mailto:push@example.com", "public_key": webpush.public_key(key)}
    good = Credential(3, "webpush", public, pem(key))
    assert await check(endpoints, good, tokens) == Check(OK)
    assert not service.requests
    for changed, reason in (
        ({"public_key": webpush.public_key(other)}, "bad_vapid_public_key"),
        ({"public_key": "AAAA"}, "bad_vapid_public_key"),
        ({"subject": "mailto:root@localhost"}, "bad_jwt_token"),
    ):
        found = await check(endpoints, replace(good, public={**public, **changed}), tokens)
        assert (found.result, found.reason) == (REFUSED, reason)


async def test_stand_ins_have_nobody_to_ask(endpoints, tokens):
    for name in ("console", "memory"):
        assert await check(endpoints, Credential(4, name, {}, ""), tokens) == Check(OK)
