"""Keys: who may call, and until when."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tenants import keys, services
from tenants.models import ApiKey
from tests.conftest import Api, Tenant, forget


def status(secret: str) -> int:
    code: int = Api(secret, Client()).get("categories").status_code
    return code


def test_only_the_hash_of_a_key_is_kept(shop: Tenant) -> None:
    row = ApiKey.objects.get(application=shop.application, kind="server")
    assert bytes(row.secret_hash) == keys.hashed(shop.server.key)
    assert shop.server.key.startswith(row.prefix)


def test_a_key_that_is_revoked_or_expired_is_refused(shop: Tenant) -> None:
    assert status(shop.server.key) == 200
    services.revoke_key(ApiKey.objects.get(application=shop.application, kind="server"))
    forget()
    assert status(shop.server.key) == 401
    _, expired = services.create_key(
        shop.application, kind="server", expires_at=timezone.now() - timedelta(seconds=1)
    )
    assert status(expired) == 401


def test_a_key_can_do_what_its_scopes_say(shop: Tenant) -> None:
    _, reader = services.create_key(shop.application, kind="server", scopes=["notifications:read"])
    api = Api(reader, Client())
    assert api.get("notifications").status_code == 200
    assert api.post("notifications", {}).status_code == 403
    assert api.get("subscribers").status_code == 403


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer x", "Bearer é", "Bearer \x00", "bearer a b"]
)
def test_what_is_no_key(db: None, header: str) -> None:
    response = Client().get("/v1/devices", headers={"Authorization": header} if header else {})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_signature_is_of_one_subscriber() -> None:
    signature = keys.signature("secret", "ada")
    assert signature == "3c30486140e27f6f8b09ea69da2a6ca718bcf875c8249a1e23d7e401c1cfb3ab"
    assert keys.is_signed("secret", "ada", signature.upper())
    assert not keys.is_signed("secret", "bob", signature)
    assert not keys.is_signed("other", "ada", signature)
