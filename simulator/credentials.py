"""Ready-made credentials for a demo: an APNs key and a service account, written once, registered at start."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from simulator.apns import Key
from simulator.app import Simulator
from simulator.oauth import ServiceAccount

TEAM_ID, KEY_ID, BUNDLE_ID = "SIMTEAM001", "SIMKEY0001", "dev.carillon.demo"
PROJECT_ID = "carillon-demo"


def ensure(folder: Path, simulator: Simulator, token_uri: str) -> dict[str, dict[str, str]]:
    """Write the secrets into folder where absent, register them, and say what goes with them.

    The service account's `token_uri` follows the simulator's port.
    """
    return {
        "apns": _apns(folder / f"AuthKey_{KEY_ID}.p8", simulator),
        "fcm": _fcm(folder, simulator, token_uri),
    }


def _apns(path: Path, simulator: Simulator) -> dict[str, str]:
    if not path.exists():
        _write(path, _pem(ec.generate_private_key(ec.SECP256R1())))
    key = Key(team_id=TEAM_ID, key_id=KEY_ID, public_key=_public(path.read_bytes()), bundle_ids=[BUNDLE_ID])
    simulator.keys.register(key)
    return {"secret_file": str(path), "team_id": TEAM_ID, "key_id": KEY_ID, "bundle_id": BUNDLE_ID}


def _fcm(folder: Path, simulator: Simulator, token_uri: str) -> dict[str, str]:
    path = folder / "service-account.json"
    known = json.loads(path.read_text()) if path.exists() else _service_account()
    known["token_uri"] = token_uri
    _write(path, json.dumps(known, indent=2))
    simulator.accounts.register(
        ServiceAccount(
            project_id=known["project_id"],
            client_email=known["client_email"],
            public_key=_public(known["private_key"].encode()),
            private_key_id=known["private_key_id"],
        )
    )
    return {
        "secret_file": str(path),
        "project_id": known["project_id"],
        "client_email": known["client_email"],
    }


def _service_account() -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": PROJECT_ID,
        "private_key_id": "51a1a7ed51a1a7ed51a1a7ed51a1a7ed51a1a7ed",
        "private_key": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "client_email": f"push@{PROJECT_ID}.iam.gserviceaccount.com",
        "client_id": "100000000000000000001",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
    }


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public(private: bytes) -> str:
    public = load_pem_private_key(private, None).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
