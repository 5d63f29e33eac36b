"""`manage.py add_credential`."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.management import CommandError, call_command

from tenants.models import Credential
from tests.conftest import Tenant

APNS = ["--set", "team_id=ABCDEFGHIJ", "key_id=KLMNOPQRST", "bundle_id=com.example.shop"]


@pytest.fixture
def p8(tmp_path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "key.p8"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def add(*arguments: str) -> str:
    out = StringIO()
    call_command("add_credential", *arguments, stdout=out)
    return out.getvalue()


def test_the_public_parts_are_shown_and_the_secret_never(shop: Tenant, p8: Path) -> None:
    shown = add(shop.application.slug, "apns", "--secret-file", str(p8), *APNS)
    credential = Credential.objects.get()
    assert credential.secret.strip() == p8.read_text().strip()
    assert credential.public["bundle_id"] == "com.example.shop"
    assert "com.example.shop" in shown
    assert "PRIVATE" not in shown
    assert p8.read_text().splitlines()[1] not in shown


def test_web_push_makes_its_own_key(shop: Tenant) -> None:
    shown = add(shop.application.slug, "webpush", "--set", "subject=mailto:a@b.example")
    assert Credential.objects.get().public["public_key"] in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody", "apns"], "no application"),
        (["shop", "apns", *APNS[:1], "team_id=x"], "team_id"),
        (["shop", "apns", *APNS, "shoe=1"], "shoe"),
        (["shop", "apns", *APNS], "secret"),
        (["shop", "apns", *APNS, "--secret-file", "/nowhere"], "/nowhere"),
        (["shop", "apns", "--set", "nonsense"], "nonsense"),
        (["shop", "fcm"], "secret"),
        (["shop", "webpush", "--set", "subject=me"], "subject"),
        (["shop", "pigeon"], "pigeon"),
    ],
)
def test_what_is_wrong_is_named(shop: Tenant, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        add(*arguments)
    assert not Credential.objects.exists()
