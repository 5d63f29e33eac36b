"""APNs: every row of the table at the wire, the environment probe, the provider token."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import orjson
import pytest

from notifications.providers.apns import Apns
from notifications.providers.base import Credential, InvalidCredential, Outcome, Target

from . import wire
from .conftest import APNS_TOKEN, message
from .wire import Reply

HERE = Target(7, APNS_TOKEN, environment="production")
UNKNOWN = Target(8, APNS_TOKEN)


@pytest.fixture
def provider(endpoints):
    return Apns(endpoints)


@pytest.fixture
async def session(provider, apns_credential, tokens):
    session = provider.open(apns_credential, tokens)
    yield session
    await session.close()


def refusal(status, reason, **more):
    return Reply(status, orjson.dumps({"reason": reason, **more}) if reason else b"")


@pytest.mark.parametrize(("row", "verdict"), Apns.OUTCOMES.items(), ids=lambda value: str(value)[:40])
async def test_each_row_of_the_table(provider, session, service, tokens, row, verdict):
    status, code = row
    rendered = provider.render(message())
    await session._bearer.get()
    tokens.age(600)
    session._bearer._token = None
    service.answer = lambda request: refusal(status, code)
    result = await session.send(rendered, HERE)
    assert (result.device_id, result.outcome, result.reason) == (7, verdict.outcome, verdict.reason)
    assert result.retry_after == verdict.retry_after
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "outcome", "reason"),
    [
        (400, "BrandNew", Outcome.REJECTED, "brand_new"),
        (401, "", Outcome.BLOCKED, "http_401"),
        (403, "BrandNew", Outcome.BLOCKED, "brand_new"),
        (404, "", Outcome.REJECTED, "http_404"),
        (408, "", Outcome.RETRY, "http_408"),
        (410, "", Outcome.REJECTED, "http_410"),
        (418, "", Outcome.REJECTED, "http_418"),
        (421, "", Outcome.RETRY, "http_421"),
        (429, "", Outcome.RETRY, "http_429"),
        (429, "BrandNew", Outcome.RETRY, "brand_new"),
        (500, "", Outcome.RETRY, "http_500"),
        (502, "", Outcome.RETRY, "http_502"),
        (503, "BrandNew", Outcome.RETRY, "brand_new"),
        (302, "", Outcome.RETRY, "http_302"),
    ],
)
async def test_a_code_nobody_foresaw(provider, session, service, status, code, outcome, reason):
    service.answer = lambda request: refusal(status, code)
    result = await session.send(provider.render(message()), HERE)
    assert (result.outcome, result.reason) == (outcome, reason)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>no</html>",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b'{"reason": 7}',
        b'{"reason": null}',
        b"x" * 70_000,
    ],
)
async def test_a_body_nobody_can_read(provider, session, service, body):
    service.says(400, body)
    result = await session.send(provider.render(message()), HERE)
    assert (result.outcome, result.reason) == (Outcome.REJECTED, "http_400")


@pytest.mark.parametrize("how", [wire.RESET, wire.HANG, wire.DROP, wire.CUT])
async def test_no_answer_is_uncertain_and_names_the_apns_id(provider, session, service, how):
    service.answer = lambda request: how
    result = await session.send(provider.render(message()), HERE)
    assert (result.outcome, result.reason) == (Outcome.UNCERTAIN, "no_answer")
    assert result.provider_id == service.requests[0].headers["apns-id"]
    assert len(service.requests) == 1


@pytest.mark.parametrize("how", [wire.REFUSE, wire.GOAWAY])
async def test_a_refused_stream_is_retried_later(provider, session, service, how):
    service.answer = lambda request: how
    result = await session.send(provider.render(message()), HERE)
    assert (result.outcome, result.reason) == (Outcome.RETRY, "not_connected")


async def test_two_devices_get_the_same_message(provider, session, service):
    rendered = provider.render(message(data={"order": "12"}, overrides={"badge": 3}))
    results = await asyncio.gather(
        session.send(rendered, HERE), session.send(rendered, Target(9, "b2" * 40, environment="production"))
    )
    first, second = sorted(service.requests, key=lambda request: request.path)
    assert {result.device_id for result in results} == {7, 9}
    assert [first.path, second.path] == ["/3/device/" + APNS_TOKEN, "/3/device/" + "b2" * 40]
    assert first.body == second.body
    ids = {first.headers.pop("apns-id"), second.headers.pop("apns-id")}
    assert len(ids) == 2
    assert all(str(uuid.UUID(one)) == one for one in ids)
    assert ids == {result.provider_id for result in results}
    del first.headers[":path"], second.headers[":path"]
    assert first.headers == second.headers


class TestEnvironment:
    async def test_an_unknown_one_is_looked_for_at_the_other_host(self, provider, session, service, sandbox):
        service.answer = lambda request: refusal(400, "BadDeviceToken")
        result = await session.send(provider.render(message()), UNKNOWN)
        assert (result.outcome, result.environment) == (Outcome.ACCEPTED, "sandbox")
        assert (len(service.requests), len(sandbox.requests)) == (1, 1)

    async def test_an_unknown_one_that_works_at_once_is_told(self, provider, session, sandbox):
        result = await session.send(provider.render(message()), UNKNOWN)
        assert (result.outcome, result.environment) == (Outcome.ACCEPTED, "production")
        assert sandbox.requests == []

    async def test_a_token_bad_at_both_hosts_retires_the_device(self, provider, session, service, sandbox):
        service.answer = sandbox.answer = lambda request: refusal(400, "BadDeviceToken")
        result = await session.send(provider.render(message()), UNKNOWN)
        assert (result.outcome, result.reason) == (Outcome.UNREGISTERED, "bad_device_token")

    async def test_a_known_one_is_not_probed(self, provider, session, service, sandbox):
        service.answer = lambda request: refusal(400, "BadDeviceToken")
        result = await session.send(provider.render(message()), HERE)
        assert result.outcome is Outcome.UNREGISTERED
        assert sandbox.requests == []

    async def test_a_key_limited_to_the_other_costs_neither_lane_nor_device(
        self, provider, session, service, sandbox
    ):
        service.answer = lambda request: refusal(400, "BadDeviceToken")
        sandbox.answer = lambda request: refusal(403, "BadEnvironmentKeyInToken")
        result = await session.send(provider.render(message()), UNKNOWN)
        assert (result.outcome, result.reason) == (Outcome.REJECTED, "environment_not_covered")

    async def test_trouble_at_the_other_host_is_no_verdict_on_the_token(
        self, provider, session, service, sandbox
    ):
        service.answer = lambda request: refusal(400, "BadDeviceToken")
        sandbox.says(503)
        assert (await session.send(provider.render(message()), UNKNOWN)).outcome is Outcome.RETRY

    async def test_sandbox_devices_go_to_the_sandbox(self, provider, session, service, sandbox):
        await session.send(provider.render(message()), Target(1, APNS_TOKEN, environment="sandbox"))
        assert (len(service.requests), len(sandbox.requests)) == (0, 1)

    async def test_a_credential_for_one_environment_leaves_the_other_alone(
        self, provider, apns_credential, tokens, sandbox, service
    ):
        only = Credential(
            1, "apns", {**apns_credential.public, "environment": "sandbox"}, apns_credential.secret
        )
        session = provider.open(only, tokens)
        result = await session.send(provider.render(message()), HERE)
        assert (result.outcome, result.reason) == (Outcome.REJECTED, "environment_not_covered")
        assert (await session.send(provider.render(message()), UNKNOWN)).outcome is Outcome.ACCEPTED
        assert (len(service.requests), len(sandbox.requests)) == (0, 1)
        await session.close()


class TestProviderToken:
    async def test_one_is_minted_for_many_messages_and_sessions(
        self, provider, apns_credential, tokens, service
    ):
        sessions = [provider.open(apns_credential, tokens) for _ in range(2)]
        rendered = provider.render(message())
        await asyncio.gather(*[session.send(rendered, HERE) for session in sessions for _ in range(10)])
        assert tokens.minted == 1
        assert len({request.headers["authorization"] for request in service.requests}) == 1
        await asyncio.gather(*[session.close() for session in sessions])

    async def test_a_key_pasted_with_other_line_ends_is_the_same(
        self, provider, apns_credential, tokens, service
    ):
        pasted = replace(apns_credential, secret=apns_credential.secret.replace("\n", "\r\n"))
        sessions = [provider.open(credential, tokens) for credential in (apns_credential, pasted)]
        await asyncio.gather(*[session.send(provider.render(message()), HERE) for session in sessions])
        assert tokens.minted == 1
        await asyncio.gather(*[session.close() for session in sessions])

    async def test_another_key_under_the_same_names_shares_nothing(
        self, provider, apns_credential, tokens, rsa_key
    ):
        from cryptography.hazmat.primitives.asymmetric import ec

        from .conftest import pem

        stranger = Credential(2, "apns", apns_credential.public, pem(ec.generate_private_key(ec.SECP256R1())))
        for credential in (apns_credential, stranger):
            session = provider.open(credential, tokens)
            await session.warm_up()
            await session.close()
        assert len(tokens.kept) == 2

    async def test_an_expired_one_is_dropped_and_the_message_tried_again_at_once(
        self, provider, session, service, tokens
    ):
        rendered = provider.render(message())
        await session.warm_up()
        tokens.age(1800)
        session._bearer._token = None
        service.answer = lambda request: (
            refusal(403, "ExpiredProviderToken") if len(service.requests) == 1 else Reply()
        )
        first, second = await session.send(rendered, HERE), await session.send(rendered, HERE)
        assert (first.outcome, first.retry_after) == (Outcome.RETRY, 0.0)
        assert second.outcome is Outcome.ACCEPTED
        assert tokens.minted == 2

    async def test_a_fresh_one_called_expired_blocks_for_the_clock(self, provider, session, service, tokens):
        service.answer = lambda request: refusal(403, "ExpiredProviderToken")
        result = await session.send(provider.render(message()), HERE)
        assert (result.outcome, result.reason) == (Outcome.BLOCKED, "provider_token_refused_fresh")
        assert tokens.dropped == [], "another one would be refused too, and Apple counts them"

    async def test_it_is_renewed_behind_the_senders(self, provider, session, service, tokens):
        await session.send(provider.render(message()), HERE)
        tokens.age(46 * 60)
        session._bearer._token, session._bearer._ask_at = next(iter(tokens.kept.values())), 0.0
        await session.send(provider.render(message()), HERE)
        await asyncio.sleep(0)
        await session.send(provider.render(message()), HERE)
        assert tokens.minted == 2


async def test_a_410_tells_since_when(provider, session, service):
    service.answer = lambda request: refusal(410, "Unregistered", timestamp=1_700_000_000_123)
    result = await session.send(provider.render(message()), HERE)
    assert result.retired_since == 1_700_000_000.123


@pytest.mark.parametrize("value", ["soon", None, [], True])
async def test_a_410_with_a_timestamp_nobody_can_read(provider, session, service, value):
    service.answer = lambda request: refusal(410, "Unregistered", timestamp=value)
    assert (await session.send(provider.render(message()), HERE)).outcome is Outcome.UNREGISTERED


async def test_retry_after_is_obeyed(provider, session, service):
    service.answer = lambda request: Reply(429, b'{"reason":"TooManyRequests"}', (("retry-after", "120"),))
    assert (await session.send(provider.render(message()), HERE)).retry_after == 120


async def test_too_many_requests_to_a_device_end_as_a_refusal(provider, session, service):
    service.answer = lambda request: refusal(429, "TooManyRequests")
    result = await session.send(provider.render(message()), Target(7, APNS_TOKEN, "production", attempt=4))
    assert (result.outcome, result.retry_after) == (Outcome.REJECTED, None)


async def test_a_5xx_is_tried_soon_on_a_new_connection_then_after_a_quarter_of_an_hour(
    provider, session, service
):
    rendered = provider.render(message())
    service.says(503, b'{"reason":"ServiceUnavailable"}')
    first = await session.send(rendered, HERE)
    second = await session.send(rendered, Target(7, APNS_TOKEN, "production", attempt=2))
    assert (first.retry_after, second.retry_after) == (5.0, 900.0)
    assert [request.connection for request in service.requests] == [1, 2]


@pytest.mark.parametrize("token", ["", "../../x", "zz" * 32, "a b", "é" * 10, "a" * 401, "٣" * 8, "a1?x=1"])
async def test_what_is_no_token_never_becomes_a_path(provider, session, service, token):
    result = await session.send(provider.render(message()), Target(7, token, environment="production"))
    assert (result.outcome, result.reason) == (Outcome.REJECTED, "malformed_token")
    assert service.requests == []


class TestCredential:
    PUBLIC = {"team_id": "TEAM123456", "key_id": "KEY1234567", "bundle_id": "com.example.app"}

    def test_a_good_one_is_completed(self, provider, apns_key):
        public, secret = provider.check_credential(self.PUBLIC, "\n" + apns_key + "\n")
        assert public == {**self.PUBLIC, "environment": "both"}
        assert secret == apns_key

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"team_id": "SHORT"}, "team_id"),
            ({"team_id": None}, "team_id"),
            ({"key_id": "key1234567"}, "key_id"),
            ({"bundle_id": ""}, "bundle_id"),
            ({"bundle_id": "com.example\r\nx"}, "bundle_id"),
            ({"environment": "staging"}, "environment"),
            ({"colour": "red"}, "colour"),
        ],
    )
    def test_a_bad_setting_is_named(self, provider, apns_key, changes, field):
        with pytest.raises(InvalidCredential) as error:
            provider.check_credential({**self.PUBLIC, **changes}, apns_key)
        assert error.value.field == field

    def test_a_key_of_another_kind_is_refused(self, provider, rsa_key):
        for secret in (
            rsa_key,
            "",
            "nonsense",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        ):
            with pytest.raises(InvalidCredential) as error:
                provider.check_credential(self.PUBLIC, secret)
            assert error.value.field == "secret"
