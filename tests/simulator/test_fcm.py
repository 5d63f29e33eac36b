"""FCM and the token endpoint refuse what Google refuses, in Google's JSON."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from firebase_admin import messaging
from pyreqwest.client import Client

from simulator import devices
from simulator.client import Simulation
from tests.simulator.senders import SCOPE, FcmSender, Reply, post

TOKEN = devices.fcm_token(1)


async def test_a_correct_message_is_accepted_and_named(fcm: FcmSender) -> None:
    reply = await fcm()
    assert reply.status == 200
    assert reply.json["name"].startswith(f"projects/{fcm.project}/messages/0:")


async def test_everything_the_admin_sdk_can_say_is_understood(fcm: FcmSender) -> None:
    message = messaging.Message(
        fid=devices.fcm_fid(1),
        data={"carillon": "n1"},
        notification=messaging.Notification("title", "body", "https://example.com/i.png"),
        android=messaging.AndroidConfig(
            collapse_key="k",
            priority="high",
            ttl=3600.5,
            restricted_package_name="com.example",
            data={"a": "b"},
            direct_boot_ok=True,
            notification=messaging.AndroidNotification(
                title="t",
                color="#ff0000",
                tag="tag",
                channel_id="c",
                visibility="private",
                priority="max",
                vibrate_timings_millis=[100, 200],
                light_settings=messaging.LightSettings("#ff000080", 100, 200),
                notification_count=2,
                event_timestamp=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
                proxy="allow",
            ),
            fcm_options=messaging.AndroidFCMOptions("label"),
        ),
        webpush=messaging.WebpushConfig(
            headers={"TTL": "60"},
            notification=messaging.WebpushNotification(
                "t", "b", actions=[messaging.WebpushNotificationAction("a", "b")]
            ),
            fcm_options=messaging.WebpushFCMOptions("https://example.com"),
        ),
        apns=messaging.APNSConfig(
            headers={"apns-priority": "5"},
            payload=messaging.APNSPayload(messaging.Aps(alert="x", badge=1)),
            fcm_options=messaging.APNSFCMOptions("label", "https://example.com/i.png"),
        ),
        fcm_options=messaging.FCMOptions("label"),
    )
    reply = await fcm(json.loads(str(message)))
    assert reply.status == 200, reply.body


async def test_lower_camel_case_names_are_understood(fcm: FcmSender) -> None:
    message = fcm.message(android={"collapseKey": "k", "directBootOk": True, "data": {"camelKey": "kept"}})
    assert (await fcm(message)).status == 200


def violation(reply: Reply) -> str:
    error = reply.json["error"]
    assert (reply.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    detail = error["details"][0]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    return detail["fieldViolations"][0]["field"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"token": TOKEN, "colour": "red"}, "message"),
        ({"token": TOKEN, "android": {"shiny": True}}, "message.android"),
        ({"token": TOKEN, "android": {"notification": {"titel": "x"}}}, "message.android.notification"),
        ({"token": TOKEN, "data": {"n": 1}}, "message.data[...]"),
        ({"token": TOKEN, "data": {"from": "x"}}, "message.data[from]"),
        ({"token": TOKEN, "data": {"google.x": "x"}}, "message.data[google.x]"),
        ({"token": TOKEN, "data": {"gcm.x": "x"}}, "message.data[gcm.x]"),
        ({"token": TOKEN, "android": {"priority": "URGENT"}}, "message.android.priority"),
        ({"token": TOKEN, "android": {"ttl": "3600"}}, "message.android.ttl"),
        ({"token": TOKEN, "android": {"ttl": 3600}}, "message.android.ttl"),
        ({"token": TOKEN, "android": {"ttl": "2419201s"}}, "message.android.ttl"),
        ({"token": TOKEN, "android": {"ttl": "-1s"}}, "message.android.ttl"),
        ({"data": {"a": "b"}}, "message"),
        ({"token": TOKEN, "topic": "news"}, "message"),
        ({"token": TOKEN, "fid": devices.fcm_fid(1)}, "message"),
        ({"topic": "no spaces"}, "message.topic"),
        ({"token": TOKEN, "data": {"a": "x" * 4096}}, "message"),
        ({"topic": "news", "data": {"a": "x" * 2048}}, "message"),
    ],
)
async def test_a_bad_message_is_refused(fcm: FcmSender, message: dict[str, Any], field: str) -> None:
    assert violation(await fcm(message)) == field


async def test_messages_of_the_limit_fit(fcm: FcmSender) -> None:
    assert (await fcm({"token": TOKEN, "data": {"a": "x" * 4095}})).status == 200
    assert (await fcm({"topic": "news", "data": {"a": "x" * 2047}})).status == 200
    assert (await fcm({"token": TOKEN, "android": {"ttl": "2419200s"}})).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"message":1}', b'{"msg":{}}'])
async def test_garbage_is_refused(fcm: FcmSender, body: bytes) -> None:
    violation(await fcm(body=body))


async def test_a_request_without_a_valid_access_token_is_unauthenticated(fcm: FcmSender) -> None:
    reply = await fcm(authorization="Bearer ya29.unknown")
    assert (reply.status, reply.json["error"]["status"]) == (401, "UNAUTHENTICATED")


async def test_another_project_is_forbidden(simulation: Simulation, fcm: FcmSender) -> None:
    reply = await fcm(project="unheard-of")
    assert (reply.status, reply.json["error"]["status"]) == (404, "NOT_FOUND")
    _, public = rsa_pair()
    simulation.add_service_account(project_id="other", client_email="a@other", public_key=public)
    reply = await fcm(project="other")
    assert (reply.status, reply.json["error"]["status"]) == (403, "PERMISSION_DENIED")


async def test_an_access_token_expires(simulation: Simulation, client: Client, fcm: FcmSender) -> None:
    simulation.set(oauth_expires_in=0)
    try:
        token = (await trade(client, simulation, assertion(simulation))).json["access_token"]
    finally:
        simulation.set(oauth_expires_in=3599)
    assert (await fcm(authorization=f"Bearer {token}")).status == 401


def rsa_pair() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def assertion(simulation: Simulation, key: str = "", **changes: Any) -> str:
    account = json.loads(Path(simulation.credentials["fcm"]["secret_file"]).read_text())
    now = int(time.time())
    claims = {
        "iss": account["client_email"],
        "aud": simulation.token_uri,
        "scope": SCOPE,
        "iat": now,
        "exp": now + 3600,
        **changes,
    }
    return jwt.encode(claims, key or account["private_key"], algorithm="RS256")


async def trade(client: Client, simulation: Simulation, text: str, grant: str = "") -> Reply:
    grant = grant or "urn:ietf:params:oauth:grant-type:jwt-bearer"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = urlencode({"grant_type": grant, "assertion": text}).encode()
    return await post(client, simulation.token_uri, headers, body)


async def test_an_assertion_buys_an_access_token(
    simulation: Simulation, client: Client, fcm: FcmSender
) -> None:
    reply = await trade(client, simulation, assertion(simulation))
    assert (reply.status, reply.json["token_type"], reply.json["expires_in"]) == (200, "Bearer", 3599)
    assert (await fcm(authorization=f"Bearer {reply.json['access_token']}")).status == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"iss": "stranger@example.com"}, "invalid_grant"),
        ({"aud": "https://example.com/token"}, "invalid_grant"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_scope"),
        ({"iat": 1, "exp": 3601}, "invalid_grant"),
        ({"exp": int(time.time()) + 7200}, "invalid_grant"),
        ({"iat": None}, "invalid_grant"),
        ({"key": rsa_pair()[0]}, "invalid_grant"),
    ],
)
async def test_a_bad_assertion_buys_nothing(
    simulation: Simulation, client: Client, changes: dict[str, Any], error: str
) -> None:
    reply = await trade(client, simulation, assertion(simulation, **changes))
    assert (reply.status, reply.json["error"]) == (400, error)


async def test_another_grant_is_unsupported(simulation: Simulation, client: Client) -> None:
    reply = await trade(client, simulation, assertion(simulation), grant="password")
    assert (reply.status, reply.json["error"]) == (400, "unsupported_grant_type")
    reply = await post(client, simulation.token_uri, {"content-type": "application/json"}, b"{}")
    assert (reply.status, reply.json["error"]) == (400, "invalid_request")
