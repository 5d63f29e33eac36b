"""The vendors' own libraries as judges: what they would have sent for the same message is what we send."""

from __future__ import annotations

import asyncio
import json
import os
import time
import warnings
from types import SimpleNamespace

import http_ece
import jwt
import orjson
import py_vapid
import pytest
from aioapns.common import NotificationRequest, PushType
from aioapns.connection import APNsBaseClientProtocol, JWTAuthorizationHeaderProvider
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from firebase_admin import messaging
from firebase_admin._messaging_encoder import MessageEncoder
from google.oauth2 import service_account as google_service_account
from pywebpush import WebPusher

from notifications.providers import aes128gcm, apns, apns_payload, fcm, fcm_payload, webpush
from notifications.providers.apns import Apns
from notifications.providers.base import Credential, Endpoints
from notifications.providers.webpush import WebPush

from .conftest import APNS_TOKEN, NOTIFICATION, message

CARILLON = {"carillon": {"id": NOTIFICATION}}


class AioApns:
    """aioapns' protocol over a connection that writes down what it is given."""

    async def send(
        self, request: NotificationRequest, topic: str, authorization
    ) -> tuple[dict[str, str], dict]:
        seen: dict = {}
        protocol = APNsBaseClientProtocol(topic)
        protocol.transport = SimpleNamespace(write=lambda data: None)
        protocol.auth_provider = authorization
        protocol.conn = SimpleNamespace(
            send_headers=lambda stream_id, headers: seen.update(headers=dict(headers)),
            send_data=lambda stream_id, data, end_stream: seen.update(body=data),
            data_to_send=lambda: b"",
        )
        sending = asyncio.create_task(protocol.send_notification(request))
        await asyncio.sleep(0)
        sending.cancel()
        return {str(name): str(value) for name, value in seen["headers"].items()}, json.loads(seen["body"])


@pytest.mark.parametrize(
    ("changes", "aps", "theirs"),
    [
        (
            {"overrides": {"badge": 3, "thread_id": "t", "category": "c", "subtitle": "s"}, "priority": "high"},
            {
                "alert": {"title": "Hello", "subtitle": "s", "body": "World"},
                "badge": 3,
                "sound": "default",
                "category": "c",
                "thread-id": "t",
            },
            {"push_type": PushType.ALERT, "priority": 10},
        ),
        (
            {"overrides": {"push_type": "background"}, "collapse_key": "news", "data": {"order": "12"}},
            {"content-available": 1},
            {"push_type": PushType.BACKGROUND, "priority": 5, "collapse_key": "news"},
        ),
        ({"overrides": {"push_type": "voip"}}, {}, {"push_type": PushType.VOIP, "priority": 10}),
        ({"overrides": {"push_type": "complication"}}, {}, {"push_type": PushType.COMPLICATION, "priority": 10}),
        ({"overrides": {"push_type": "fileprovider"}}, {}, {"push_type": PushType.FILEPROVIDER, "priority": 5}),
        (
            {"title": "", "body": "",
             "overrides": {"push_type": "liveactivity", "event": "end", "timestamp": 7, "dismissal_date": 9}},
            {"timestamp": 7, "event": "end", "dismissal-date": 9},
            {"push_type": PushType.LIVEACTIVITY, "priority": 5},
        ),
    ],
)  # fmt: skip
async def test_aioapns_sends_the_same_headers_and_payload(apns_key, changes, aps, theirs):
    rendered = apns_payload.render(message(expires_at=int(time.time()) + 600, **changes))
    bearer = jwt.encode(
        {"iss": "TEAM123456", "iat": int(time.time())}, apns_key, "ES256", headers={"kid": "K" * 10}
    )
    ours = apns.request_headers(rendered, "com.example.app", bearer)
    request = NotificationRequest(
        APNS_TOKEN,
        {"aps": aps, **changes.get("data", {}), **CARILLON},
        notification_id=NOTIFICATION,
        time_to_live=600,
        apns_topic=ours["apns-topic"],
        **theirs,
    )
    headers, payload = await AioApns().send(
        request, "com.example.app", SimpleNamespace(get_header=lambda: f"bearer {bearer}")
    )
    assert payload == orjson.loads(rendered.body)
    assert headers.pop(":path") == "/3/device/" + APNS_TOKEN
    assert headers.pop("apns-id") == NOTIFICATION, "ours is added to each request"
    assert abs(int(headers.pop("apns-expiration")) - int(ours.pop("apns-expiration"))) <= 1
    assert {name: value for name, value in headers.items() if name[0] != ":" and name != "host"} == ours


async def test_aioapns_signs_the_same_provider_token(apns_key, apns_credential, tokens):
    session = Apns(Endpoints()).open(apns_credential, tokens)
    ours = (await session._bearer.get()).value
    theirs = (
        JWTAuthorizationHeaderProvider(apns_key, "KEY1234567", "TEAM123456")
        .get_header()
        .removeprefix("bearer ")
    )
    public = load_pem_private_key(apns_key.encode(), None).public_key()
    claims = [jwt.decode(token, public, algorithms=["ES256"]) for token in (ours, theirs)]
    assert claims[0]["iss"] == claims[1]["iss"]
    assert abs(claims[0]["iat"] - claims[1]["iat"]) <= 1
    assert claims[0].keys() == claims[1].keys()
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(theirs)
    await session.close()


@pytest.mark.parametrize(
    ("changes", "theirs"),
    [
        (
            {},
            {
                "notification": messaging.Notification(title="Hello", body="World"),
                "data": {"carillon": NOTIFICATION},
                "android": messaging.AndroidConfig(priority="normal"),
            },
        ),
        (
            {
                "image": "https://example.com/i.png",
                "data": {"order": "12"},
                "collapse_key": "orders",
                "priority": "high",
                "overrides": {
                    "channel_id": "orders", "sound": "bell", "color": "#112233", "icon": "bell", "ticker": "t",
                    "click_action": "OPEN", "notification_priority": "max", "visibility": "public", "sticky": True,
                    "notification_count": 4, "vibrate_timings_millis": [100, 2500], "local_only": False,
                    "analytics_label": "spring", "direct_boot_ok": True, "restricted_package_name": "com.example",
                    "title_loc_key": "k", "title_loc_args": ["a"], "default_sound": True,
                },
            },
            {
                "notification": messaging.Notification("Hello", "World", "https://example.com/i.png"),
                "data": {"order": "12", "carillon": NOTIFICATION},
                "fcm_options": messaging.FCMOptions(analytics_label="spring"),
                "android": messaging.AndroidConfig(
                    collapse_key="orders", priority="high", direct_boot_ok=True, restricted_package_name="com.example",
                    notification=messaging.AndroidNotification(
                        channel_id="orders", sound="bell", color="#112233", icon="bell", ticker="t", tag="orders",
                        click_action="OPEN", priority="max", visibility="public", sticky=True, notification_count=4,
                        vibrate_timings_millis=[100, 2500], local_only=False, title_loc_key="k",
                        title_loc_args=["a"], default_sound=True,
                    ),
                ),
            },
        ),
        (
            {"overrides": {"data_only": True, "data": {"x": "y"}}, "url": "https://example.com"},
            {
                "data": {"title": "Hello", "body": "World", "x": "y", "carillon": NOTIFICATION,
                         "carillon_url": "https://example.com"},
                "android": messaging.AndroidConfig(priority="normal"),
            },
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("address", [{"token": "APA91b"}, {"fid": "fid-1"}])
@pytest.mark.parametrize("ttl", [None, 3600])
def test_firebase_admin_encodes_the_same_message(changes, theirs, address, ttl):
    rendered = fcm_payload.render(message(expires_at=ttl and 1000 + ttl, **changes))
    ((name, value),) = address.items()
    ours = fcm_payload.body(rendered, f'"{name}":"{value}"'.encode(), 1000)
    android = theirs["android"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        android.ttl = ttl
        admins = messaging.Message(**theirs, **address)
    assert orjson.loads(ours) == {"message": MessageEncoder().default(admins)}


def test_google_auth_asserts_the_same_claims(service_account):
    account = {**service_account, "token_uri": "https://oauth2.googleapis.com/token"}
    credentials = google_service_account.Credentials.from_service_account_info(account, scopes=[fcm.SCOPE])
    theirs = credentials._make_authorization_grant_assertion().decode()
    key = load_pem_private_key(account["private_key"].encode(), None)
    ours = fcm.assertion(account, key, int(time.time()))
    claims = [jwt.decode(token, options={"verify_signature": False}) for token in (ours, theirs)]
    for moment in ("iat", "exp"):
        assert abs(claims[0].pop(moment) - claims[1].pop(moment)) <= 30
    assert claims[0] == claims[1]
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(theirs)


def test_pywebpush_encrypts_what_we_decrypt_alike():
    """http_ece reads both: the coding, the key derivation and the padding agree."""
    key, auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
    keys = {
        "p256dh": aes128gcm.b64(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)),
        "auth": aes128gcm.b64(auth),
    }
    theirs = WebPusher({"endpoint": "https://example.com", "keys": keys}).encode(b"text", "aes128gcm")["body"]
    ours = aes128gcm.encrypt(b"text", **keys)
    assert [http_ece.decrypt(body, private_key=key, auth_secret=auth) for body in (ours, theirs)] == [
        b"text"
    ] * 2
    assert len(ours) == len(theirs)
    assert ours[20:21] == theirs[20:21] == b"\x41"


async def test_py_vapid_verifies_our_signature(tokens):
    provider = WebPush(Endpoints())
    public, secret = provider.check_credential({"subject": "mailto:push@example.com"}, "")
    session = provider.open(Credential(1, "webpush", public, secret), tokens)
    header = session.authorization("https://fcm.googleapis.com", time.time())
    assert py_vapid.Vapid02.verify(header)
    vapid = py_vapid.Vapid02(private_key=webpush._private_key(secret))
    theirs = vapid.sign({"aud": "https://fcm.googleapis.com", "sub": "mailto:push@example.com"})[
        "Authorization"
    ]
    fields = [
        dict(part.split("=", 1) for part in value.removeprefix("vapid ").split(","))
        for value in (header, theirs)
    ]
    assert fields[0]["k"] == fields[1]["k"] == public["public_key"]
    claims = [jwt.decode(one["t"], options={"verify_signature": False}) for one in fields]
    assert claims[0].keys() == claims[1].keys()
    assert claims[0]["aud"] == claims[1]["aud"]
    await session.close()
