"""A cast of tenants: Shop owns what a test is about; Rival must see and change nothing of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from devices.models import Device, Subscriber
from tenants import selectors as tenants
from tenants import services
from tenants.models import Application


def pytest_configure() -> None:
    """Give each of pytest-xdist's processes its own Redis database, as pytest-django does for PostgreSQL."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    for name in ("REDIS_URL", "CELERY_BROKER_URL"):
        setattr(settings, name, re.sub(r"(db|virtual_host)=0$", rf"\1={worker}", getattr(settings, name)))
    settings.CACHES["default"]["LOCATION"] = settings.REDIS_URL
    # A password is hashed for every test that logs in; nobody breaks into these.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@dataclass(frozen=True, slots=True)
class Api:
    """The API as one key sees it."""

    key: str
    client: Client

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return self.raw(method, path, headers=headers, **sent)

    def raw(self, method: str, path: str, *, headers: dict[str, str] | None = None, **sent: Any) -> Any:
        all_headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        all_headers |= {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        return self.client.generic(
            method,
            f"/v1/{path}",
            data=sent.get("data", b""),
            content_type=sent.get("content_type", ""),
            headers=all_headers,
        )

    def get(self, path: str, **headers: str) -> Any:
        return self.call("GET", path, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Any:
        return self.call("PUT", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self.call("PATCH", path, body, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.call("POST", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self.call("DELETE", path, **headers)


@dataclass(frozen=True, slots=True)
class Tenant:
    """An application with its two keys' view of the API."""

    application: Application
    server: Api
    client: Api

    @property
    def id(self) -> int:
        return self.application.pk  # type: ignore[no-any-return]


@pytest.fixture(scope="session", autouse=True)
def static_root() -> None:
    """WhiteNoise warns where there is none."""
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)


@pytest.fixture
def transactional_db(transactional_db: None) -> Iterator[None]:
    """Django empties the tables it manages; those in partitions are not among them."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE notifications_delivery, notifications_engagement, devices_event")


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """What one test's process remembers of keys and categories must not reach the next test's database."""
    forget()
    yield
    forget()


def forget() -> None:
    from notifications import incidents
    from notifications import selectors as notifications
    from notifications.pipeline import terms

    kept = (tenants.key, tenants.configured_providers, tenants.public_vapid_key)
    for read in (*kept, notifications.category, incidents._waiting, terms.of):
        read.forget()  # type: ignore[attr-defined]


@pytest.fixture
def make_tenant(db: None) -> Callable[[str], Tenant]:
    def make(name: str) -> Tenant:
        application, server_key, client_key = services.create_application(name)
        browser = Client(raise_request_exception=False)
        return Tenant(application, Api(server_key, browser), Api(client_key, browser))

    return make


@pytest.fixture
def shop(make_tenant: Callable[[str], Tenant]) -> Tenant:
    return make_tenant("Shop")


@pytest.fixture
def rival(make_tenant: Callable[[str], Tenant]) -> Tenant:
    return make_tenant("Rival")


@pytest.fixture
def stranger() -> Api:
    """No key at all."""
    return Api("", Client(raise_request_exception=False))


_numbers = itertools.count(1)


def apns_token(number: int | None = None) -> str:
    return hashlib.sha256(str(next(_numbers) if number is None else number).encode()).hexdigest()


@pytest.fixture
def make_device(db: None) -> Callable[..., Device]:
    """A device of a tenant, of a subscriber by external id if one is named."""

    def make(tenant: Tenant, external_id: str | None = None, **fields: Any) -> Device:
        from django.utils import timezone

        subscriber = None
        if external_id is not None:
            subscriber, _ = Subscriber.objects.get_or_create(
                application=tenant.application, external_id=external_id
            )
        now = timezone.now()
        values = {
            "platform": "ios",
            "token": apns_token(),
            "registered_at": now,
            "last_seen_at": now,
            **fields,
        }
        return Device.objects.create(application=tenant.application, subscriber=subscriber, **values)

    return make
