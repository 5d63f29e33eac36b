"""Web Push: every row of the table at the wire, the endpoints that may be posted to, encryption, VAPID."""

from __future__ import annotations

import asyncio
import base64
import os
import time

import http_ece
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifications.providers import aes128gcm, webpush, webpush_payload
from notifications.providers.base import Credential, Endpoints, InvalidCredential, Outcome, Target
from notifications.providers.webpush import WebPush

from . import wire
from .conftest import message, pem
from .wire import Reply


class Browser:
    """A subscription, and the key to read what is sent to it."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = os.urandom(16)

    def target(self, device_id: int, endpoint: str, **more) -> Target:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": aes128gcm.b64(point), "auth": aes128gcm.b64(self.auth)}
        return Target(device_id, endpoint, **{**keys, **more})

    def read(self, body: bytes) -> dict:
        plain = http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm")
        return orjson.loads(plain)


@pytest.fixture
def browser():
    return Browser()


@pytest.fixture
def provider(endpoints):
    return WebPush(endpoints)


@pytest.fixture
def credential(provider):
    public, secret = provider.check_credential({"subject": "mailto:push@example.com"}, "")
    return Credential(3, "webpush", public, secret)


@pytest.fixture
async def session(provider, credential, tokens, service):
    service.says(201)
    session = provider.open(credential, tokens)
    yield session
    await session.close()


@pytest.fixture
def here(browser, service):
    return browser.target(7, service.url + "/wp/abc?x=1")


# How a code looks at the wire: Apple's JSON, Google's words.
WORDS = {
    "MismatchSenderId": b"the key in the authorization header does not correspond to the sender ID used to subscribe",
}


@pytest.mark.parametrize(("row", "verdict"), WebPush.OUTCOMES.items(), ids=lambda value: str(value)[:40])
async def test_each_row_of_the_table(provider, session, service, here, row, verdict):
    status, code = row
    service.says(status, WORDS.get(code) or (orjson.dumps({"reason": code}) if code else b""))
    result = await session.send(provider.render(message()), here)
    assert (result.device_id, result.outcome, result.reason) == (7, verdict.outcome, verdict.reason)
    assert result.retry_after == verdict.retry_after
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "outcome", "reason"),
    [
        (400, "BrandNew", Outcome.REJECTED, "bad_request"),
        (401, "BrandNew", Outcome.BLOCKED, "unauthorized"),
        (403, "BrandNew", Outcome.BLOCKED, "forbidden"),
        (408, "", Outcome.RETRY, "http_408"),
        (409, "", Outcome.REJECTED, "http_409"),
        (421, "", Outcome.RETRY, "http_421"),
        (301, "", Outcome.RETRY, "http_301"),
        (507, "", Outcome.RETRY, "http_507"),
        (204, "", Outcome.ACCEPTED, ""),
    ],
)
async def test_a_code_nobody_foresaw(provider, session, service, here, status, code, outcome, reason):
    service.says(status, orjson.dumps({"reason": code}) if code else b"")
    result = await session.send(provider.render(message()), here)
    assert (result.outcome, result.reason) == (outcome, reason)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[7]", b"{", b"\xff\xfe", b'{"reason": 7}', b"x" * 200_000]
)
async def test_a_body_nobody_can_read(provider, session, service, here, body):
    service.says(403, body)
    result = await session.send(provider.render(message()), here)
    assert (result.outcome, result.reason) == (Outcome.BLOCKED, "forbidden")


@pytest.mark.parametrize("how", [wire.RESET, wire.HANG, wire.DROP])
async def test_no_answer_is_uncertain(provider, session, service, here, how):
    service.answer = lambda request: how
    result = await session.send(provider.render(message()), here)
    assert (result.outcome, result.reason) == (Outcome.UNCERTAIN, "no_answer")
    assert len(service.requests) == 1


async def test_an_acceptance_keeps_the_location(provider, session, service, here):
    service.says(201, location="https://push.example/m/1")
    assert (await session.send(provider.render(message()), here)).provider_id == "https://push.example/m/1"


async def test_a_topic_apple_dislikes_is_left_out_once(provider, session, service, here):
    service.answer = lambda request: (
        Reply(400, b'{"reason":"BadWebPushTopic"}') if "topic" in request.headers else Reply(201)
    )
    result = await session.send(provider.render(message(collapse_key="scores")), here)
    assert result.outcome is Outcome.ACCEPTED
    assert ["topic" in request.headers for request in service.requests] == [True, False]


@pytest.mark.parametrize(
    ("status", "scoped"), [(401, True), (403, True), (406, True), (429, True), (503, False)]
)
async def test_trouble_with_one_push_service_names_it(provider, session, service, here, status, scoped):
    service.says(status)
    result = await session.send(provider.render(message()), here)
    assert result.scope == (service.url.removeprefix("https://") if scoped else "")


async def test_retry_after_may_be_a_date(provider, session, service, here):
    service.says(429, retry_after=time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 90)))
    result = await session.send(provider.render(message()), here)
    assert 80 < result.retry_after <= 90


async def test_two_browsers_read_the_same_message(provider, session, service):
    rendered = provider.render(
        message(data={"order": "12"}, url="https://example.com/o/12", collapse_key="orders")
    )
    first, second = Browser(), Browser()
    results = await asyncio.gather(
        session.send(rendered, first.target(1, service.url + "/wp/1")),
        session.send(rendered, second.target(2, service.url + "/wp/2")),
    )
    assert {result.device_id for result in results} == {1, 2}
    bodies = {request.path: request.body for request in service.requests}
    assert first.read(bodies["/wp/1"]) == second.read(bodies["/wp/2"]) == orjson.loads(rendered.plaintext)
    keys_and_salts = {body[:86] for body in bodies.values()}
    assert len(keys_and_salts) == 2, "a new key pair and salt for each"


async def test_the_request_says_what_rfc_8030_asks(provider, session, service, here, credential):
    rendered = provider.render(
        message(priority="high", collapse_key="orders", expires_at=int(time.time()) + 60)
    )
    await session.send(rendered, here)
    (request,) = service.requests
    assert request.path == "/wp/abc?x=1"
    assert 55 <= int(request.headers["ttl"]) <= 60
    assert request.headers["urgency"] == "high"
    assert request.headers["topic"] == webpush_payload.topic("orders")
    assert request.headers["content-encoding"] == "aes128gcm"
    token, _, key = request.headers["authorization"].removeprefix("vapid t=").partition(",k=")
    assert key == credential.public["public_key"]
    public = webpush._private_key(credential.secret).public_key()
    claims = jwt.decode(token, public, algorithms=["ES256"], audience=service.url)
    assert claims["sub"] == "mailto:push@example.com"
    assert 11 * 3600 < claims["exp"] - time.time() <= 12 * 3600


async def test_one_signature_serves_a_push_service_for_hours(provider, session, service, here):
    rendered = provider.render(message())
    for _ in range(3):
        await session.send(rendered, here)
    assert len({request.headers["authorization"] for request in service.requests}) == 1


async def test_another_origin_gets_another_audience(provider, session):
    one, other = (
        session.authorization(origin, time.time()) for origin in ("https://a.example", "https://b.example")
    )
    audiences = [
        jwt.decode(value[8:].partition(",")[0], options={"verify_signature": False})["aud"]
        for value in (one, other)
    ]
    assert audiences == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    "changes", [{"p256dh": ""}, {"auth": ""}, {"p256dh": "AAAA"}, {"auth": "*"}, {"p256dh": "BA" + "A" * 85}]
)
async def test_keys_of_no_browser_cost_the_message_not_the_device(
    provider, session, service, browser, changes
):
    result = await session.send(
        provider.render(message()), browser.target(7, service.url + "/wp/1", **changes)
    )
    assert (result.outcome, result.reason) == (Outcome.REJECTED, "bad_subscription_keys")
    assert service.requests == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/abc:def-_",
        "https://fcm.googleapis.com:443/wp/abc",
        "https://updates.push.services.mozilla.com/wpush/v2/gAAAA==",
        "https://eu.push.services.mozilla.com/x",
        "https://db5p.notify.windows.com/w/?token=BQYAAA%2b",
        "https://web.push.apple.com/QabcDEF",
        "https://push.example.org/x",
        "https://push.example.org:8443/x",
        "https://127.0.0.1:9/x",
    ],
)
def test_a_push_service_is_taken(endpoint):
    provider = WebPush(Endpoints(webpush_allowed_hosts=("push.example.org", "127.0.0.1:9")))
    provider.check_endpoint(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "abc",
        "http://fcm.googleapis.com/x",
        "https://fcm.googleapis.com",
        "https://fcm.googleapis.com:8443/x",
        "https://user@fcm.googleapis.com/x",
        "https://fcm.googleapis.com@evil.example/x",
        "https://fcm.googleapis.com\\@evil.example/x",
        "https://evil.example\\.push.apple.com/x",
        "https://evil.example/?.push.apple.com/x",
        "https://fcm.googleapis.com.evil.example/x",
        "https://evilfcm.googleapis.com/x",
        "https://push.apple.com/x",
        "https://.push.apple.com/x",
        "https://a..push.apple.com/x",
        "https://notify.windows.com.evil.example/x",
        "https://fcm.googleapis.com./x",
        "https://localhost/x",
        "https://127.0.0.1/x",
        "https://127.0.0.1:10/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/x",
        "https://0x7f000001/x",
        "https://2130706433/x",
        "https://fcm.googleapis.com/x y",
        "https://fcm.googleapis.com/x\r\nhost: evil",
        "https://fcm.googleapis.com/x#y",
        "https://fcm.googleapis.com/é",
        "https://fcm.googleapis。com/x",
        "https://fcm.googleapis.com/" + "x" * 2048,
    ],
)
async def test_anything_else_is_refused(browser, endpoint, tokens, credential):
    provider = WebPush(Endpoints(webpush_allowed_hosts=("push.example.org", "127.0.0.1:9")))
    with pytest.raises(ValueError, match=r"must be|not a known"):
        provider.check_endpoint(endpoint)
    session = provider.open(credential, tokens)
    result = await session.send(provider.render(message()), browser.target(7, endpoint))
    assert (result.outcome, result.reason) == (Outcome.REJECTED, "endpoint_not_allowed")
    await session.close()


def test_keys_are_checked_on_registration(provider, browser):
    good = browser.target(1, "")
    provider.check_keys(good.p256dh, good.auth)
    provider.check_keys(good.p256dh + "=", good.auth + "==")
    off_curve = aes128gcm.b64(b"\x04" + b"\x01" * 64)
    compressed = aes128gcm.b64(
        browser.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    )
    for p256dh in ("", "é", "a+b/", good.auth, off_curve, compressed):
        with pytest.raises(ValueError, match=r"^p256dh: "):
            provider.check_keys(p256dh, good.auth)
    for auth in ("", "é", good.p256dh, "AAAA"):
        with pytest.raises(ValueError, match=r"^auth: "):
            provider.check_keys(good.p256dh, auth)


class TestEncryption:
    def test_the_example_of_rfc_8291_appendix_a(self):
        def number(text: str) -> int:
            return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")

        sender = ec.derive_private_key(number("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), ec.SECP256R1())
        keys = aes128gcm.keys(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "BTBZMqHH6r4Tts7J_aSIgg",
        )
        salt = aes128gcm.unb64("DGv6ra1nlYgDCS1FRnbzlw", "salt")
        body = aes128gcm.seal(b"When I grow up, I want to be a watermelon", *keys, sender, salt)
        assert aes128gcm.b64(body) == (
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz"
            "AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        )

    @pytest.mark.parametrize("size", [0, 1, 100, aes128gcm.PLAINTEXT_LIMIT])
    def test_the_browser_reads_it(self, browser, size):
        target = browser.target(1, "")
        body = aes128gcm.encrypt(b"x" * size, target.p256dh, target.auth)
        assert len(body) == size + aes128gcm.OVERHEAD <= 4096
        plain = http_ece.decrypt(body, private_key=browser.key, auth_secret=browser.auth, version="aes128gcm")
        assert plain == b"x" * size


@pytest.mark.parametrize("key", ["", "ab", "a" * 31, "a" * 32, "A-_9"])
def test_a_collapse_key_that_is_a_topic_is_sent_as_it_is(key):
    assert webpush_payload.topic(key) == key


@pytest.mark.parametrize(
    "key", ["a", "abcde", "a" * 29, "a" * 33, "with space", "ü", "a.b", "a/b=", "x" * 64]
)
def test_any_other_collapse_key_becomes_one(key):
    topic = webpush_payload.topic(key)
    assert topic == webpush_payload.topic(key) != webpush_payload.topic(key + "!")
    assert len(topic) == 32
    base64.urlsafe_b64decode(topic)


class TestCredential:
    SUBJECT = {"subject": "mailto:push@example.com"}

    def test_a_key_is_made_if_absent(self, provider):
        one, other = provider.check_credential(self.SUBJECT, ""), provider.check_credential(self.SUBJECT, "")
        assert one[0]["public_key"] != other[0]["public_key"]
        assert len(base64.urlsafe_b64decode(one[0]["public_key"] + "=")) == 65

    def test_a_stored_one_passes_again_unchanged(self, provider):
        stored = provider.check_credential(self.SUBJECT, "")
        assert provider.check_credential(*stored) == stored

    def test_the_short_form_other_tools_print_is_taken(self, provider):
        key = ec.generate_private_key(ec.SECP256R1())
        short = aes128gcm.b64(key.private_numbers().private_value.to_bytes(32, "big"))
        public, secret = provider.check_credential(self.SUBJECT, short)
        assert public["public_key"] == webpush.public_key(key)
        assert secret == pem(key)

    @pytest.mark.parametrize(
        "subject",
        ["", "push@example.com", "mailto:push@localhost", "https://localhost/x", "http://example.com",
         "mailto:", "https://127.0.0.1", "mailto:a@b.localhost", "mailto:a b@example.com", "https://example.com\r\nx"],
    )  # fmt: skip
    def test_a_made_up_subject_is_refused(self, provider, subject):
        with pytest.raises(InvalidCredential) as error:
            provider.check_credential({"subject": subject}, "")
        assert error.value.field == "subject"

    @pytest.mark.parametrize(
        "subject", ["mailto:push@example.com", "https://example.com", "https://example.com/push"]
    )
    def test_a_real_one_is_taken(self, provider, subject):
        provider.check_credential({"subject": subject}, "")

    def test_keys_that_do_not_belong_together_are_refused(self, provider):
        one, other = provider.check_credential(self.SUBJECT, ""), provider.check_credential(self.SUBJECT, "")
        with pytest.raises(InvalidCredential) as error:
            provider.check_credential(one[0], other[1])
        assert error.value.field == "public_key"

    def test_a_key_of_another_kind_is_refused(self, provider, rsa_key):
        for secret in (rsa_key, "nonsense", "AAAA", pem(ec.generate_private_key(ec.SECP384R1()))):
            with pytest.raises(InvalidCredential) as error:
                provider.check_credential(self.SUBJECT, secret)
            assert error.value.field == "secret"
