"""What is secret goes in, is shown once where it is made, and appears nowhere else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.admin.models import LogEntry
from django.test import Client

from tenants import keys
from tenants.models import ApiKey, Application, Credential
from tests.conftest import Tenant


@pytest.fixture(scope="module")
def p8() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        .decode()
    )


def apns(shop: Tenant, secret: str, **fields: str) -> dict[str, Any]:
    said = {
        "team_id": "A1B2C3D4E5",
        "key_id": "F6G7H8I9J0",
        "bundle_id": "com.example.shop",
        "environment": "both",
    }
    return {"application": shop.id, "name": "Shop", "is_active": "on", "secret": secret, **said, **fields}


ADD = "/admin/tenants/credential/add/?provider="


def test_a_credential_may_have_a_rate_and_loses_it_again(admin: Client, shop: Tenant, p8: str) -> None:
    assert admin.post(ADD + "apns", apns(shop, p8, messages_per_second="0")).status_code == 200
    assert admin.post(ADD + "apns", apns(shop, p8, messages_per_second="500")).status_code == 302
    credential = Credential.objects.get()
    assert credential.messages_per_second == 500
    page = f"/admin/tenants/credential/{credential.pk}/change/"
    assert admin.post(page, apns(shop, "", messages_per_second="")).status_code == 302
    credential.refresh_from_db()
    assert credential.messages_per_second is None


def test_a_credential_is_checked_stored_and_never_shown(admin: Client, shop: Tenant, p8: str) -> None:
    assert admin.post(ADD + "apns", apns(shop, p8)).status_code == 302
    credential = Credential.objects.get()
    assert credential.secret.strip() == p8.strip()
    assert credential.public["key_id"] == "F6G7H8I9J0"
    line = p8.splitlines()[1]
    page = f"/admin/tenants/credential/{credential.pk}/"
    for url in ("/admin/tenants/credential/", f"{page}change/", f"{page}history/", "/admin/"):
        said = admin.get(url).content.decode()
        assert line not in said
        assert "PRIVATE KEY" not in said
    assert not any(line in str(entry.change_message) for entry in LogEntry.objects.all())


def test_a_secret_left_empty_is_kept(admin: Client, shop: Tenant, p8: str) -> None:
    admin.post(ADD + "apns", apns(shop, p8))
    credential = Credential.objects.get()
    changed = apns(shop, "", bundle_id="com.example.other")
    assert admin.post(f"/admin/tenants/credential/{credential.pk}/change/", changed).status_code == 302
    credential.refresh_from_db()
    assert credential.secret.strip() == p8.strip()
    assert credential.public["bundle_id"] == "com.example.other"


@pytest.mark.parametrize(
    ("provider", "change", "field"),
    [
        ("apns", {"team_id": "short"}, "team_id"),
        ("apns", {"bundle_id": "no spaces allowed"}, "bundle_id"),
        ("apns", {"secret": "my-secret-but-no-key"}, "secret"),
        ("apns", {"secret": ""}, "secret"),
        ("fcm", {"secret": "{}"}, "secret"),
        ("fcm", {"secret": json.dumps({"type": "service_account", "project_id": "p"})}, "secret"),
        ("webpush", {"subject": "me"}, "subject"),
    ],
)
def test_a_credential_that_cannot_work_is_refused_beside_its_field(
    admin: Client, shop: Tenant, p8: str, provider: str, change: dict[str, str], field: str
) -> None:
    answer = admin.post(ADD + provider, {**apns(shop, p8), **change})
    assert field in answer.context["adminform"].form.errors
    assert not Credential.objects.exists()
    said = answer.content.decode()
    assert p8.splitlines()[1] not in said
    assert "my-secret-but-no-key" not in said


def test_a_web_push_key_is_made_and_its_public_half_shown(admin: Client, shop: Tenant) -> None:
    said = {"application": shop.id, "subject": "mailto:push@example.com", "secret": "", "is_active": "on"}
    assert admin.post(ADD + "webpush", said).status_code == 302
    credential = Credential.objects.get()
    page = admin.get(f"/admin/tenants/credential/{credential.pk}/change/").content.decode()
    assert credential.public["public_key"] in page
    assert credential.secret.splitlines()[1] not in page
    admin.post(
        f"/admin/tenants/credential/{credential.pk}/change/", {**said, "subject": "mailto:b@example.com"}
    )
    before = credential.public["public_key"]
    credential.refresh_from_db()
    assert credential.public == {"subject": "mailto:b@example.com", "public_key": before}


def test_a_new_application_shows_its_keys_once(admin: Client, db: None) -> None:
    said = {"name": "Bakery", "slug": "bakery", "default_locale": "en", "default_time_zone": "UTC"}
    answer = admin.post("/admin/tenants/application/add/", said)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    shown = re.findall(r"ck_(?:server|client)_[\w-]{32}", answer.content.decode())
    assert [ApiKey.objects.get(secret_hash=keys.hashed(secret)).kind for secret in shown] == [
        "server",
        "client",
    ]
    application = Application.objects.get()
    assert application.categories.count() == 3
    for page in (
        "",
        f"tenants/application/{application.pk}/change/",
        f"tenants/application/{application.pk}/history/",
        "tenants/apikey/",
        f"tenants/apikey/{application.api_keys.first().pk}/change/",
    ):
        said_now = admin.get(f"/admin/{page}").content.decode()
        assert not any(secret in said_now for secret in shown)
        assert application.identity_secret not in said_now


def test_a_new_key_is_shown_once_and_holds_what_was_ticked(admin: Client, shop: Tenant) -> None:
    said = {"application": shop.id, "kind": "server", "name": "Billing", "scopes": ["notifications:write"]}
    answer = admin.post("/admin/tenants/apikey/add/", said)
    (secret,) = set(re.findall(r"ck_server_[\w-]{32}", answer.content.decode()))
    key = ApiKey.objects.get(secret_hash=keys.hashed(secret))
    assert (key.name, key.scopes, key.application) == ("Billing", ["notifications:write"], shop.application)
    changed = {"name": "Billing 2", "scopes": ["notifications:write", "notifications:read"]}
    assert admin.post(f"/admin/tenants/apikey/{key.pk}/change/", changed).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.scopes) == ("Billing 2", ["notifications:write", "notifications:read"])
    assert bytes(key.secret_hash) == keys.hashed(secret)


def test_a_client_key_takes_no_server_scope(admin: Client, shop: Tenant) -> None:
    said = {"application": shop.id, "kind": "client", "scopes": ["notifications:write"]}
    answer = admin.post("/admin/tenants/apikey/add/", said)
    assert "scopes" in answer.context["adminform"].form.errors


def test_the_identity_secret_is_shown_on_demand_only(admin: Client, shop: Tenant) -> None:
    answer = admin.post(f"/admin/tenants/application/{shop.id}/identity-secret/")
    assert shop.application.identity_secret in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]


def test_of_a_token_only_its_end_is_shown(admin: Client, shop: Tenant, make_device: Any) -> None:
    device = make_device(shop, "ada")
    for page in (
        "devices/device/",
        f"devices/device/{device.pk}/change/",
        f"devices/subscriber/{device.subscriber_id}/change/",
    ):
        said = admin.get(f"/admin/{page}").content.decode()
        assert device.token[-6:] in said
        assert device.token[-12:] not in said
