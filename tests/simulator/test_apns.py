"""APNs refuses what Apple refuses, in Apple's words."""

from __future__ import annotations

import json
import time
import uuid

import pytest
from aioapns.connection import JWTAuthorizationHeaderProvider
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from simulator import devices
from simulator.client import Simulation
from tests.simulator.senders import ApnsSender, http2_client

APNS_ID = "0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"


async def test_a_correct_alert_is_accepted_and_its_id_echoed(apns: ApnsSender) -> None:
    reply = await apns(headers={"apns-id": APNS_ID, "apns-expiration": "0", "apns-collapse-id": "x" * 64})
    assert (reply.status, reply.headers["apns-id"], reply.body) == (200, APNS_ID, b"")


async def test_an_id_is_made_where_none_is_sent(apns: ApnsSender) -> None:
    ids = {(await apns()).headers["apns-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(str(uuid.UUID(each)) == each for each in ids)


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"authorization": None}, 403, "MissingProviderToken"),
        ({"authorization": "basic abc"}, 403, "MissingProviderToken"),
        ({"authorization": "bearer abc"}, 403, "InvalidProviderToken"),
        ({"apns-push-type": None}, 400, "InvalidPushType"),
        ({"apns-push-type": "loud"}, 400, "InvalidPushType"),
        ({"apns-topic": None}, 400, "MissingTopic"),
        ({"apns-topic": "com.example.other"}, 400, "TopicDisallowed"),
        ({"apns-topic": "dev.carillon.demo.voip"}, 400, "BadTopic"),
        ({"apns-push-type": "liveactivity"}, 400, "BadTopic"),
        ({"apns-id": APNS_ID.upper()}, 400, "BadMessageId"),
        ({"apns-id": "1"}, 400, "BadMessageId"),
        ({"apns-expiration": "soon"}, 400, "BadExpirationDate"),
        ({"apns-expiration": "-1"}, 400, "BadExpirationDate"),
        ({"apns-priority": "7"}, 400, "BadPriority"),
        ({"apns-push-type": "background", "apns-priority": "10"}, 400, "BadPriority"),
        ({"apns-push-type": "background", "apns-priority": None}, 400, "BadPriority"),
        ({"apns-collapse-id": "x" * 65}, 400, "BadCollapseId"),
    ],
)
async def test_a_bad_header_is_refused(
    apns: ApnsSender, headers: dict[str, str | None], status: int, reason: str
) -> None:
    reply = await apns(headers=headers)
    assert (reply.status, reply.json) == (status, {"reason": reason})
    assert uuid.UUID(reply.headers["apns-id"])


@pytest.mark.parametrize(
    ("push_type", "suffix", "priority"),
    [
        ("background", "", "5"),
        ("voip", ".voip", "10"),
        ("complication", ".complication", "10"),
        ("fileprovider", ".pushkit.fileprovider", "10"),
        ("location", ".location-query", "1"),
        ("liveactivity", ".push-type.liveactivity", "10"),
        ("pushtotalk", ".voip-ptt", "10"),
    ],
)
async def test_each_push_type_has_its_topic(
    apns: ApnsSender, push_type: str, suffix: str, priority: str
) -> None:
    topic = apns.bundle + suffix
    headers = {"apns-push-type": push_type, "apns-topic": topic, "apns-priority": priority}
    assert (await apns(headers=headers)).status == 200


@pytest.mark.parametrize(
    ("body", "push_type", "reason"),
    [
        (b"", "alert", "PayloadEmpty"),
        (b"{", "alert", "PayloadEmpty"),
        (b"[]", "alert", "PayloadEmpty"),
        (b'{"alert":"no aps"}', "alert", "PayloadEmpty"),
        (b'{"aps":"text"}', "alert", "PayloadEmpty"),
        (b'{"aps":{"alert":"%s"}}' % (b"x" * 4077), "alert", "PayloadTooLarge"),
        (b'{"aps":{"alert":"%s"}}' % (b"x" * 5101), "voip", "PayloadTooLarge"),
    ],
)
async def test_a_bad_payload_is_refused(apns: ApnsSender, body: bytes, push_type: str, reason: str) -> None:
    topic = apns.bundle + (".voip" if push_type == "voip" else "")
    reply = await apns(body=body, headers={"apns-push-type": push_type, "apns-topic": topic})
    assert (reply.json["reason"], reply.status) == (reason, 413 if reason == "PayloadTooLarge" else 400)


async def test_payloads_of_the_limit_fit(apns: ApnsSender) -> None:
    assert (await apns(body=b'{"aps":{"alert":"%s"}}' % (b"x" * 4076))).status == 200
    voip = {"apns-push-type": "voip", "apns-topic": apns.bundle + ".voip"}
    assert (await apns(body=b'{"aps":{"alert":"%s"}}' % (b"x" * 5100), headers=voip)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/3/device/" + "ab" * 32, 405, "MethodNotAllowed"),
        ("POST", "/3/devices/" + "ab" * 32, 404, "BadPath"),
        ("POST", "/3/device", 400, "MissingDeviceToken"),
        ("POST", "/3/device/", 400, "MissingDeviceToken"),
        ("POST", "/3/device/nothex", 400, "BadDeviceToken"),
        ("POST", "/3/device/abc", 400, "BadDeviceToken"),
    ],
)
async def test_a_bad_path_is_refused(
    apns: ApnsSender, method: str, path: str, status: int, reason: str
) -> None:
    reply = await apns(path=path, method=method)
    assert (reply.status, reply.json["reason"]) == (status, reason)


@pytest.mark.parametrize("environment", [devices.PRODUCTION, devices.SANDBOX])
async def test_a_token_of_the_other_environment_is_bad(apns: ApnsSender, environment: str) -> None:
    token = devices.apns_token(3, environment)
    home = environment == devices.SANDBOX
    assert (await apns(token, sandbox=home)).status == 200
    assert (await apns(token, sandbox=not home)).json == {"reason": "BadDeviceToken"}


async def test_any_hex_token_is_alive(apns: ApnsSender) -> None:
    assert (await apns("ab12" * 20)).status == 200
    assert (await apns("ab12" * 20, sandbox=True)).status == 200


def spoiled(apns: ApnsSender, how: str) -> str:
    stranger = ec.generate_private_key(ec.SECP256R1())
    pem = stranger.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    changes: dict[str, dict[str, object]] = {
        "stale": {"iat": int(time.time()) - 3700},
        "future": {"iat": int(time.time()) + 7200},
        "text iat": {"iat": "now"},
        "team": {"iss": "OTHERTEAM1"},
        "kid": {"kid": "UNKNOWN001"},
        "signature": {"key": pem},
    }
    return f"bearer {apns.sign(**changes[how])}"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("stale", "ExpiredProviderToken"),
        ("future", "InvalidProviderToken"),
        ("text iat", "InvalidProviderToken"),
        ("team", "InvalidProviderToken"),
        ("kid", "InvalidProviderToken"),
        ("signature", "InvalidProviderToken"),
    ],
)
async def test_a_bad_provider_token_is_refused(apns: ApnsSender, how: str, reason: str) -> None:
    reply = await apns(headers={"authorization": spoiled(apns, how)})
    assert (reply.status, reply.json["reason"]) == (403, reason)


async def test_a_provider_token_made_by_aioapns_is_accepted(apns: ApnsSender) -> None:
    credential = apns.credential
    provider = JWTAuthorizationHeaderProvider(apns.secret(), credential["key_id"], credential["team_id"])
    assert (await apns(headers={"authorization": provider.get_header()})).status == 200


async def test_a_second_provider_token_within_20_minutes_is_too_many(
    simulation: Simulation, apns: ApnsSender
) -> None:
    simulation.set(apns_token_updates=1)
    assert (await apns()).status == 200
    reply = await apns(headers={"authorization": f"bearer {apns.sign(iat=int(time.time()) - 5)}"})
    assert (reply.status, reply.json["reason"]) == (429, "TooManyProviderTokenUpdates")
    assert (await apns()).status == 429  # Apple has done with this connection
    async with http2_client(simulation).build() as another:
        apns.client = another
        assert (await apns()).status == 200  # the first token still serves


async def test_a_key_may_be_bound_to_one_environment(simulation: Simulation, apns: ApnsSender) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    simulation.add_apns_key(
        team_id="OTHERTEAM1",
        key_id="SANDBOX001",
        public_key=public.decode(),
        bundle_ids=["com.example.app"],
        environments=["sandbox"],
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    token = apns.sign(iss="OTHERTEAM1", kid="SANDBOX001", key=pem)
    headers: dict[str, str | None] = {"authorization": f"bearer {token}", "apns-topic": "com.example.app"}
    assert (await apns("ab" * 32, headers, sandbox=True)).status == 200
    assert (await apns("ab" * 32, headers)).json == {"reason": "BadEnvironmentKeyIdInToken"}
    # The connection to the other host is that key's now.
    assert (await apns("ab" * 32, sandbox=True)).json == {"reason": "UnrelatedKeyIdInToken"}


async def test_the_payload_may_be_any_json_with_aps(apns: ApnsSender, simulation: Simulation) -> None:
    body = json.dumps({"aps": {}, "carillon": "plain-id", "extra": [1, None]}).encode()
    assert (await apns(body=body)).status == 200
    assert [receipt["notification"] for receipt in simulation.receipts("plain-id")] == ["plain-id"]
