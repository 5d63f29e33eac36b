"""The Web Push service refuses what push services refuse, and reads what browsers would read."""

from __future__ import annotations

import base64
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from simulator import devices
from simulator.client import Simulation
from tests.simulator.senders import WebSender


async def test_a_correct_message_is_accepted_and_read(simulation: Simulation, web: WebSender) -> None:
    reply = await web()
    assert (reply.status, reply.headers["ttl"]) == (201, "60")
    assert reply.headers["location"].startswith(f"{simulation.webpush}/m/")
    assert simulation.arrivals("webpush")["by_notification"] == {"n1": 1}


async def test_a_push_without_a_body_needs_no_encryption(web: WebSender) -> None:
    assert (await web(body=b"", headers={"content-encoding": None})).status == 201


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({"ttl": None}, 400, "BadTtl"),
        ({"ttl": "soon"}, 400, "BadTtl"),
        ({"ttl": "-1"}, 400, "BadTtl"),
        ({"urgency": "urgent"}, 400, "BadUrgency"),
        ({"topic": "x" * 33}, 400, "BadWebPushTopic"),
        ({"topic": "a b"}, 400, "BadWebPushTopic"),
        ({"content-encoding": None}, 400, "BadEncryption"),
        ({"content-encoding": "aesgcm"}, 400, "BadEncryption"),
        ({"authorization": None}, 401, "MissingAuthorization"),
        ({"authorization": "Bearer x"}, 401, "MissingAuthorization"),
        ({"authorization": "vapid t=x"}, 401, "MissingAuthorization"),
        ({"authorization": "vapid t=x, k=AAAA"}, 403, "BadVapidPublicKey"),
    ],
)
async def test_a_bad_header_is_refused(
    web: WebSender, headers: dict[str, str | None], status: int, error: str
) -> None:
    reply = await web(headers=headers)
    assert (reply.status, reply.json["error"]) == (status, error)


@pytest.mark.parametrize("urgency", ["very-low", "low", "normal", "high"])
async def test_each_urgency_is_accepted(web: WebSender, urgency: str) -> None:
    assert (await web(headers={"urgency": urgency, "topic": "x" * 32, "ttl": "0"})).status == 201


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://push.example.com"},
        {"aud": None},
        {"exp": int(time.time()) - 1},
        {"exp": int(time.time()) + 25 * 3600},
        {"exp": None},
        {"sub": None},
        {"sub": "me"},
        {"sub": "http://example.com"},
    ],
)
async def test_bad_claims_are_refused(web: WebSender, claims: dict[str, object]) -> None:
    reply = await web(headers={"authorization": web.sign(**claims)})
    assert (reply.status, reply.json["reason"]) == (403, "BadJwtToken")


async def test_a_signature_by_another_key_is_refused(simulation: Simulation, web: WebSender) -> None:
    other = WebSender(simulation, web.client)
    forged = f"{other.sign().partition(',')[0]},k={web.public_key}"
    assert (await web(headers={"authorization": forged})).json["reason"] == "BadJwtToken"


async def test_a_subscription_takes_only_the_key_it_was_made_with(
    simulation: Simulation, web: WebSender
) -> None:
    bound = web.subscription(key=web.public_key)
    assert (await web(bound)).status == 201
    reply = await WebSender(simulation, web.client)(bound)
    assert (reply.status, reply.json["reason"]) == (403, "VapidPkHashMismatch")


async def test_apple_wants_topics_that_decode_and_a_real_subject(web: WebSender) -> None:
    apple = web.subscription(flavour=devices.APPLE)
    assert (await web(apple, {"topic": "abcd"})).status == 201
    assert (await web(apple, {"topic": "abcde"})).json["reason"] == "BadWebPushTopic"
    assert (await web(headers={"topic": "abcde"})).status == 201  # others do not mind
    local = {"authorization": web.sign(sub="mailto:me@localhost")}
    assert (await web(apple, local)).json["reason"] == "BadJwtToken"


async def test_the_answer_caps_the_ttl(web: WebSender) -> None:
    assert (await web(headers={"ttl": "99999999"})).headers["ttl"] == "2419200"


async def test_a_body_for_another_subscription_is_refused(web: WebSender) -> None:
    body = web.encrypt(web.subscription(2), b"{}")
    assert (await web(web.subscription(3), body=body)).json["error"] == "BadEncryption"


async def test_a_body_is_refused_when_changed_short_or_long(web: WebSender) -> None:
    body = bytearray(web.encrypt(web.subscription(), b"{}"))
    body[-1] ^= 1
    assert (await web(body=bytes(body))).json["error"] == "BadEncryption"
    assert (await web(body=b"short")).json["error"] == "BadEncryption"
    assert (await web(body=bytes(4097))).status == 413


async def test_devices_with_the_same_key_pair_differ_in_auth(web: WebSender) -> None:
    twin = web.subscription(1 + devices.POOL_SIZE)
    assert twin.p256dh == web.subscription(1).p256dh
    assert (await web(twin)).status == 201
    body = web.encrypt(web.subscription(1), b"{}")
    assert (await web(twin, body=body)).status == 400


async def test_a_share_of_the_bodies_may_be_taken_as_they_are(simulation: Simulation, web: WebSender) -> None:
    simulation.set(decrypt_share=0.0)
    body = web.encrypt(web.subscription(2), b"{}")
    assert (await web(web.subscription(3), body=body)).status == 201


async def test_a_testers_own_subscription_is_decrypted(simulation: Simulation, web: WebSender) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    auth = base64.urlsafe_b64encode(bytes(16)).rstrip(b"=").decode()
    endpoint = simulation.add_subscription("my-browser", private_key=pem, auth=auth)
    key = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    mine = devices.WebSubscription(endpoint, key, auth)
    assert (await web(mine, text=b'{"carillon":"mine"}')).status == 201
    assert simulation.arrivals("webpush", notification="mine") == {"accepted": 1}
    assert (await web(mine, body=web.encrypt(web.subscription(1), b"{}"))).status == 400


async def test_an_unknown_subscription_is_alive_but_not_read(simulation: Simulation, web: WebSender) -> None:
    stranger = web.subscription(1)._replace(endpoint=f"{simulation.webpush}/wp/anything")
    assert (await web(stranger)).status == 201


async def test_other_methods_and_paths_are_refused(simulation: Simulation, web: WebSender) -> None:
    assert (await web(method="PUT")).status == 405
    nowhere = web.subscription()._replace(endpoint=f"{simulation.webpush}/wp/a/b")
    assert (await web(nowhere)).status == 404
