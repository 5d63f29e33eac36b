"""FCM: every row of the table at the wire, the access token, the splice of address and ttl."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import parse_qs

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from notifications.providers import fcm
from notifications.providers.base import Credential, InvalidCredential, Outcome, Target
from notifications.providers.fcm import DEVICE_QUOTA, FIELDS, UNKNOWN_ADDRESS, Fcm

from . import wire
from .conftest import message
from .wire import Reply

HERE = Target(7, "token:APA91b-7")
OTHER = Target(8, "token:APA91b-8")
SENT = Reply(200, b'{\n  "name": "projects/example-project/messages/0:1500415314455276%31bd1c96"\n}\n')
ACCESS = orjson.dumps({"access_token": "ya29.first", "expires_in": 3599, "token_type": "Bearer"})
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


@pytest.fixture
def provider(endpoints):
    return Fcm(endpoints)


@pytest.fixture
def google(service):
    """Answers the token endpoint and, by `google.answer`, the messages."""

    class Google:
        token = Reply(200, ACCESS)
        answer = staticmethod(lambda request: SENT)

        @property
        def sent(self):
            return [request for request in service.requests if request.path.startswith("/v1/")]

        @property
        def mints(self):
            return [request for request in service.requests if request.path == "/token"]

    google = Google()
    service.answer = lambda request: google.token if request.path == "/token" else google.answer(request)
    return google


@pytest.fixture
async def session(provider, fcm_credential, tokens, google):
    session = provider.open(fcm_credential, tokens)
    yield session
    await session.close()


def refusal(status, code="", words="No.", general="", details=()):
    """As the FCM v1 API words it."""
    parts = [{"@type": FCM_ERROR, "errorCode": code}] if code else []
    return Reply(
        status,
        orjson.dumps(
            {"error": {"code": status, "message": words, "status": general, "details": [*parts, *details]}}
        ),
    )


VIOLATION = {
    "@type": "type.googleapis.com/google.rpc.BadRequest",
    "fieldViolations": [{"field": "message.android.ttl", "description": "Illegal format"}],
}
DISABLED = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}

# How each of the table's keys looks at the wire, where it is not just an FcmError of that code.
LOOKS = {
    (200, ""): SENT,
    (400, UNKNOWN_ADDRESS): refusal(
        400,
        "INVALID_ARGUMENT",
        "The registration token is not a valid FCM registration token",
        "INVALID_ARGUMENT",
    ),
    (400, FIELDS): refusal(400, "INVALID_ARGUMENT", "Invalid value", "INVALID_ARGUMENT", [VIOLATION]),
    (403, "PERMISSION_DENIED"): refusal(403, "", "Permission denied", "PERMISSION_DENIED"),
    (403, "SERVICE_DISABLED"): refusal(403, "", "API has not been used", "PERMISSION_DENIED", [DISABLED]),
    (404, ""): refusal(404, "", "Requested entity was not found.", "NOT_FOUND"),
    (429, DEVICE_QUOTA): refusal(429, "QUOTA_EXCEEDED", "Device message rate exceeded", "RESOURCE_EXHAUSTED"),
}


@pytest.mark.parametrize(("row", "verdict"), Fcm.OUTCOMES.items(), ids=lambda value: str(value)[:40])
async def test_each_row_of_the_table(provider, session, google, tokens, row, verdict):
    rendered = provider.render(message())
    await session.send(rendered, OTHER)  # proves the payload
    tokens.age(600)
    session._bearer._token = next(iter(tokens.kept.values()))
    google.answer = lambda request: LOOKS.get(row) or refusal(*row)
    result = await session.send(rendered, HERE)
    assert (result.device_id, result.outcome, result.reason) == (7, verdict.outcome, verdict.reason)
    assert result.retry_after == verdict.retry_after
    assert len(google.sent) == 2


@pytest.mark.parametrize(
    ("status", "code", "outcome", "reason"),
    [
        (400, "BRAND_NEW", Outcome.REJECTED, "brand_new"),
        (403, "BRAND_NEW", Outcome.BLOCKED, "brand_new"),
        (403, "", Outcome.BLOCKED, "http_403"),
        (408, "", Outcome.RETRY, "http_408"),
        (409, "", Outcome.REJECTED, "http_409"),
        (429, "BRAND_NEW", Outcome.RETRY, "quota_exceeded"),
        (502, "", Outcome.RETRY, "http_502"),
        (504, "", Outcome.RETRY, "http_504"),
    ],
)
async def test_a_code_nobody_foresaw(provider, session, google, status, code, outcome, reason):
    google.answer = lambda request: refusal(status, code)
    result = await session.send(provider.render(message()), HERE)
    assert (result.outcome, result.reason) == (outcome, reason)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>no</html>",
        b"[]",
        b"{",
        b"\xff",
        b'{"error": 7}',
        b'{"error": {"details": 7}}',
        b'{"error": {"details": [7, {"errorCode": null}]}}',
    ],
)
async def test_a_body_nobody_can_read(provider, session, google, body):
    google.answer = lambda request: Reply(400, body)
    result = await session.send(provider.render(message()), HERE)
    assert (result.outcome, result.reason) == (Outcome.REJECTED, "http_400")


async def test_an_acceptance_nobody_can_read_is_an_acceptance(provider, session, google):
    google.answer = lambda request: Reply(200, b"<html>")
    result = await session.send(provider.render(message()), HERE)
    assert (result.outcome, result.provider_id) == (Outcome.ACCEPTED, "")


@pytest.mark.parametrize("how", [wire.RESET, wire.HANG, wire.DROP, wire.CUT])
async def test_no_answer_is_uncertain(provider, session, google, how):
    await session.send(provider.render(message()), OTHER)
    google.answer = lambda request: how
    result = await session.send(provider.render(message()), HERE)
    assert (result.outcome, result.reason) == (Outcome.UNCERTAIN, "no_answer")
    assert len(google.sent) == 2


async def test_an_acceptance_names_the_message(session, provider):
    result = await session.send(provider.render(message()), HERE)
    assert result.provider_id == "projects/example-project/messages/0:1500415314455276%31bd1c96"


async def test_an_invalid_token_costs_the_device_only_once_the_payload_is_proven(provider, session, google):
    rendered = provider.render(message())
    google.answer = lambda request: LOOKS[400, UNKNOWN_ADDRESS] if b"b-7" in request.body else SENT
    before = await session.send(rendered, HERE)
    await session.send(rendered, OTHER)
    after = await session.send(rendered, HERE)
    assert (before.outcome, after.outcome) == (Outcome.REJECTED, Outcome.UNREGISTERED)


async def test_an_unspecified_error_is_tried_once_more(provider, session, google):
    google.answer = lambda request: refusal(500, "UNSPECIFIED_ERROR")
    rendered = provider.render(message())
    first = await session.send(rendered, HERE)
    second = await session.send(rendered, Target(7, "token:APA91b-7", attempt=2))
    assert (first.outcome, second.outcome) == (Outcome.RETRY, Outcome.REJECTED)


async def test_retry_after_is_obeyed(provider, session, google):
    google.answer = lambda request: Reply(503, b"", (("retry-after", "77"),))
    assert (await session.send(provider.render(message()), HERE)).retry_after == 77


async def test_the_detail_never_quotes(provider, session, google):
    words = f'Invalid value at message.token {HERE.token}, "Hello World" https://example.com/x'
    google.answer = lambda request: refusal(400, "INVALID_ARGUMENT", words)
    detail = (await session.send(provider.render(message()), HERE)).detail
    assert detail == "Invalid value at message.token …, … …"


class TestBody:
    async def test_two_devices_differ_in_the_address_alone(self, provider, session, google):
        rendered = provider.render(message(data={"order": "12"}))
        await asyncio.gather(
            session.send(rendered, HERE),
            session.send(rendered, OTHER),
            session.send(rendered, Target(9, "ignored", fid="fid-9")),
        )
        bodies = [orjson.loads(request.body)["message"] for request in google.sent]
        assert {(one.pop("token", None), one.pop("fid", None)) for one in bodies} == {
            (HERE.token, None),
            (OTHER.token, None),
            (None, "fid-9"),
        }
        assert bodies[0] == bodies[1] == bodies[2]

    async def test_the_ttl_is_what_is_left(self, provider, session, google):
        rendered = provider.render(message(expires_at=int(time.time()) + 3600))
        await session.send(rendered, HERE)
        ttl = orjson.loads(google.sent[0].body)["message"]["android"]["ttl"]
        assert 3590 <= int(ttl.removesuffix("s")) <= 3600

    @pytest.mark.parametrize(("ahead", "ttl"), [(-5, "0s"), (10**9, "2419200s")])
    def test_the_ttl_stays_within_what_fcm_takes(self, provider, ahead, ttl):
        rendered = provider.render(message(expires_at=1000 + ahead))
        body = orjson.loads(fcm.fcm_payload.body(rendered, b'"token":"x"', 1000))
        assert body["message"]["android"]["ttl"] == ttl

    def test_a_token_is_escaped(self, provider):
        rendered = provider.render(message())
        body = fcm.fcm_payload.body(rendered, fcm._address(Target(1, 'a","topic":"all')), 0)
        assert orjson.loads(body)["message"]["token"] == 'a","topic":"all'


class TestAccessToken:
    async def test_the_assertion_is_signed_for_messaging(self, session, google, service_account):
        await session.warm_up()
        (request,) = google.mints
        form = parse_qs(request.body.decode())
        assert form["grant_type"] == [fcm.GRANT]
        key = load_pem_private_key(service_account["private_key"].encode(), None).public_key()
        claims = jwt.decode(
            form["assertion"][0], key, algorithms=["RS256"], audience=service_account["token_uri"]
        )
        assert (claims["iss"], claims["scope"]) == (service_account["client_email"], fcm.SCOPE)

    async def test_one_is_asked_for_and_sent_with_every_message(self, provider, session, google):
        rendered = provider.render(message())
        await asyncio.gather(*[session.send(rendered, HERE) for _ in range(20)])
        assert len(google.mints) == 1
        assert {request.headers["authorization"] for request in google.sent} == {"Bearer ya29.first"}

    async def test_an_old_one_refused_is_replaced(self, provider, session, google, tokens):
        rendered = provider.render(message())
        await session.send(rendered, HERE)
        tokens.age(1000)
        session._bearer._token = next(iter(tokens.kept.values()))
        google.answer = lambda request: refusal(401, "", general="UNAUTHENTICATED")
        refused = await session.send(rendered, HERE)
        google.answer = lambda request: SENT
        google.token = Reply(200, ACCESS.replace(b"first", b"second"))
        accepted = await session.send(rendered, HERE)
        assert (refused.outcome, refused.retry_after) == (Outcome.RETRY, 0.0)
        assert accepted.outcome is Outcome.ACCEPTED
        assert google.sent[-1].headers["authorization"] == "Bearer ya29.second"

    async def test_a_fresh_one_refused_blocks(self, provider, session, google, tokens):
        google.answer = lambda request: refusal(401, "", general="UNAUTHENTICATED")
        result = await session.send(provider.render(message()), HERE)
        assert (result.outcome, result.reason) == (Outcome.BLOCKED, "access_token_refused")
        assert tokens.dropped == []

    @pytest.mark.parametrize(
        ("reply", "outcome", "reason"),
        [
            (
                Reply(400, b'{"error":"invalid_grant","error_description":"x"}'),
                Outcome.BLOCKED,
                "invalid_grant",
            ),
            (Reply(401, b'{"error":"invalid_client"}'), Outcome.BLOCKED, "invalid_client"),
            (Reply(404, b""), Outcome.BLOCKED, "token_http_404"),
            (Reply(429, b""), Outcome.RETRY, "token_unavailable"),
            (Reply(500, b""), Outcome.RETRY, "token_unavailable"),
            (Reply(200, b"<html>"), Outcome.RETRY, "token_unavailable"),
            (Reply(200, b'{"access_token": 7}'), Outcome.RETRY, "token_unavailable"),
            (wire.HANG, Outcome.RETRY, "token_unavailable"),
            (wire.DROP, Outcome.RETRY, "token_unavailable"),
        ],
        ids=str,
    )
    async def test_without_one_nothing_is_sent(self, provider, session, google, reply, outcome, reason):
        google.token = reply
        rendered = provider.render(message())
        results = await asyncio.gather(*[session.send(rendered, HERE) for _ in range(10)])
        results.append(await session.send(rendered, HERE))
        assert {(result.outcome, result.reason) for result in results} == {(outcome, reason)}
        assert google.sent == []
        assert len(google.mints) == 1, "eleven messages, one question"

    async def test_a_store_in_trouble_delays(self, provider, fcm_credential, google):
        class Broken:
            async def get(self, key, mint):
                raise ConnectionError("redis://:secret@host")

            async def drop(self, key, value):
                raise ConnectionError

        session = provider.open(fcm_credential, Broken())
        result = await session.send(provider.render(message()), HERE)
        assert (result.outcome, result.reason, result.detail) == (Outcome.RETRY, "token_unavailable", "")
        await session.close()


class TestCredential:
    def test_a_good_one_shows_project_and_account(self, provider, service_account):
        public, _ = provider.check_credential({}, orjson.dumps(service_account).decode())
        assert public == {
            "project_id": "example-project",
            "client_email": "push@example-project.iam.gserviceaccount.com",
        }

    def test_googles_own_token_endpoint_is_taken(self, provider, service_account):
        account = {**service_account, "token_uri": "https://oauth2.googleapis.com/token"}
        provider.check_credential({}, orjson.dumps(account).decode())

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"type": "authorized_user"}, "secret"),
            ({"project_id": ""}, "secret.project_id"),
            ({"project_id": "../other"}, "secret.project_id"),
            ({"client_email": None}, "secret.client_email"),
            ({"private_key": "nonsense"}, "secret.private_key"),
            ({"token_uri": "https://evil.example/token"}, "secret.token_uri"),
            ({"token_uri": "http://oauth2.googleapis.com/token"}, "secret.token_uri"),
            ({"token_uri": "https://oauth2.googleapis.com@evil.example/token"}, "secret.token_uri"),
            ({"token_uri": "https://["}, "secret.token_uri"),
        ],
    )
    def test_a_bad_one_is_named(self, provider, service_account, changes, field):
        with pytest.raises(InvalidCredential) as error:
            provider.check_credential({}, orjson.dumps({**service_account, **changes}).decode())
        assert error.value.field == field

    def test_an_elliptic_key_is_refused(self, provider, service_account, apns_key):
        with pytest.raises(InvalidCredential):
            provider.check_credential({}, orjson.dumps({**service_account, "private_key": apns_key}).decode())

    @pytest.mark.parametrize("secret", ["", "[]", "nonsense", "null"])
    def test_what_is_no_json_object_is_refused(self, provider, secret):
        with pytest.raises(InvalidCredential):
            provider.check_credential({}, secret)

    def test_a_setting_that_contradicts_the_file_is_refused(self, provider, service_account):
        with pytest.raises(InvalidCredential) as error:
            provider.check_credential({"project_id": "other"}, orjson.dumps(service_account).decode())
        assert error.value.field == "project_id"


def test_a_credential_never_shows_its_secret():
    assert "hidden" not in repr(Credential(1, "fcm", {}, "hidden"))
