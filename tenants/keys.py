"""API keys: how they look, and the only form in which they are kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from tenants.models import ApiKey

# "ck_server_Qm3…": the kind can be told from a leaked key, and secret scanners can match it.
PREFIX_LENGTH = 16
SCOPES = {
    ApiKey.Kind.SERVER: [
        "devices:read",
        "devices:write",
        "subscribers:read",
        "subscribers:write",
        "notifications:read",
        "notifications:write",
        "campaigns:read",
        "campaigns:write",
        "campaigns:launch",
    ],
    ApiKey.Kind.CLIENT: ["devices:register"],
}


def new(kind: str) -> str:
    """A fresh key with 192 random bits; shown once, never stored."""
    return f"ck_{kind}_{secrets.token_urlsafe(24)}"


def hashed(key: str) -> bytes:
    """What is stored. A plain SHA-256 is enough: the key is random, there is nothing to guess."""
    return hashlib.sha256(key.encode()).digest()


def signature(identity_secret: str, external_id: str) -> str:
    """`X-Subscriber-Signature`: with it an application's backend vouches that this client is that person (R72)."""
    return hmac.new(identity_secret.encode(), external_id.encode(), hashlib.sha256).hexdigest()


def is_signed(identity_secret: str, external_id: str, given: str) -> bool:
    return hmac.compare_digest(signature(identity_secret, external_id).encode(), given.lower().encode())
