"""Correct requests to each service, built with the vendors' own libraries; a test spoils one thing at a time."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import google.auth.transport.requests
import jwt
import requests
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.oauth2 import service_account
from py_vapid import Vapid
from pyreqwest.client import Client, ClientBuilder
from pywebpush import WebPusher

from simulator import devices
from simulator.client import Simulation

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def http2_client(simulation: Simulation) -> ClientBuilder:
    authority = Path(simulation.ca_file).read_bytes()
    return ClientBuilder().http2_prior_knowledge().no_proxy().add_root_certificate_pem(authority)


async def post(client: Client, url: str, headers: dict[str, str], body: bytes, method: str = "POST") -> Reply:
    request = client.request(method, url).headers(headers).body_bytes(body).build()
    response = await request.send()
    return Reply(response.status, dict(response.headers), bytes(await response.bytes()))


def without_none(headers: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if value is not None}


class ApnsSender:
    """apns(token, headers…) sends an alert; a header given as None is left out."""

    def __init__(self, simulation: Simulation, client: Client) -> None:
        self.simulation, self.client = simulation, client
        self.credential = simulation.credentials["apns"]
        self.bundle = self.credential["bundle_id"]
        self.authorization = f"bearer {self.sign()}"

    def secret(self) -> str:
        return Path(self.credential["secret_file"]).read_text()

    def sign(self, **changes: Any) -> str:
        claims = {"iss": self.credential["team_id"], "iat": int(time.time())}
        headers = {"kid": changes.pop("kid", self.credential["key_id"])}
        key = changes.pop("key", None) or self.secret()
        return jwt.encode({**claims, **changes}, key, algorithm="ES256", headers=headers)

    async def __call__(
        self,
        token: str | None = None,
        headers: dict[str, str | None] | None = None,
        *,
        body: bytes = b'{"aps":{"alert":"hello"},"carillon":{"id":"n1"}}',
        sandbox: bool = False,
        path: str | None = None,
        method: str = "POST",
    ) -> Reply:
        usual = {
            "authorization": self.authorization,
            "apns-topic": self.bundle,
            "apns-push-type": "alert",
            "apns-priority": "10",
        }
        host = self.simulation.apns_sandbox if sandbox else self.simulation.apns
        path = path if path is not None else f"/3/device/{token or devices.apns_token(1)}"
        return await post(self.client, host + path, without_none({**usual, **(headers or {})}), body, method)


def access_token(simulation: Simulation) -> str:
    """As firebase-admin gets one."""
    credentials = service_account.Credentials.from_service_account_file(
        simulation.credentials["fcm"]["secret_file"], scopes=[SCOPE]
    )
    with requests.Session() as session:
        session.verify, session.trust_env = simulation.ca_file, False
        credentials.refresh(google.auth.transport.requests.Request(session))
    return credentials.token


class FcmSender:
    """fcm(message) sends it; fcm.message(…) is a correct one."""

    def __init__(self, simulation: Simulation, client: Client, token: str) -> None:
        self.simulation, self.client, self.token = simulation, client, token
        self.project = simulation.credentials["fcm"]["project_id"]

    def message(self, index: int = 1, **fields: Any) -> dict[str, Any]:
        return {"token": devices.fcm_token(index), "data": {"carillon": "n1"}, **fields}

    async def __call__(
        self,
        message: dict[str, Any] | None = None,
        *,
        body: bytes | None = None,
        project: str | None = None,
        authorization: str | None = None,
    ) -> Reply:
        url = f"{self.simulation.fcm}/v1/projects/{project or self.project}/messages:send"
        headers = {
            "authorization": authorization or f"Bearer {self.token}",
            "content-type": "application/json",
        }
        text = body if body is not None else json.dumps({"message": message or self.message()}).encode()
        return await post(self.client, url, headers, text)


class WebSender:
    """web(subscription, headers…) encrypts with pywebpush and signs with py-vapid."""

    def __init__(self, simulation: Simulation, client: Client) -> None:
        self.simulation, self.client = simulation, client
        self.vapid = Vapid()
        self.vapid.generate_keys()

    @property
    def public_key(self) -> str:
        raw = self.vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def subscription(
        self, index: int = 1, flavour: str = devices.STANDARD, key: str = ""
    ) -> devices.WebSubscription:
        return devices.web_subscription(index, self.simulation.webpush, flavour, key)

    def sign(self, **changes: Any) -> str:
        claims = {
            "aud": self.simulation.webpush,
            "exp": int(time.time()) + 3600,
            "sub": "mailto:push@example.com",
            **changes,
        }
        present = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode(present, self.vapid.private_pem(), algorithm="ES256")
        return f"vapid t={token},k={self.public_key}"

    def encrypt(self, subscription: devices.WebSubscription, text: bytes) -> bytes:
        keys = {"p256dh": subscription.p256dh, "auth": subscription.auth}
        return WebPusher({"endpoint": subscription.endpoint, "keys": keys}).encode(text, "aes128gcm")["body"]

    async def __call__(
        self,
        subscription: devices.WebSubscription | None = None,
        headers: dict[str, str | None] | None = None,
        *,
        text: bytes = b'{"title":"hello","carillon":"n1"}',
        body: bytes | None = None,
        method: str = "POST",
    ) -> Reply:
        subscription = subscription or self.subscription()
        usual = {"authorization": self.sign(), "ttl": "60", "content-encoding": "aes128gcm"}
        body = self.encrypt(subscription, text) if body is None else body
        return await post(
            self.client, subscription.endpoint, without_none({**usual, **(headers or {})}), body, method
        )
