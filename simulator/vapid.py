"""VAPID (RFC 8292): who signs the requests to a push service. Verified headers are remembered."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Set

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.types import Options

from simulator import devices
from simulator.answers import Refusal

MAX_LIFETIME = 24 * 3600
KEPT = 10_000
_HEADER = re.compile(r"vapid\s+(.*)", re.IGNORECASE)
_PARAMETER = re.compile(r'\s*([a-z]+)\s*=\s*"?([A-Za-z0-9_.=-]+)"?\s*(?:,|$)', re.IGNORECASE)
_SUBJECT = re.compile(r"mailto:[^@\s]+@[^@\s]+|https://[^/\s]+.*")
_OPTIONS: Options = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}


class Identity(msgspec.Struct):
    key: str  # base64url public key as sent
    digest: str  # as endpoints name it
    subject: str
    expires_at: float


class Verifier:
    def __init__(self) -> None:
        self.audiences: Set[str] = frozenset()  # origins of this push service
        self._verified: dict[str, Identity] = {}

    def verify(self, authorization: str | None) -> Identity:
        """The application server behind an authorization header; raises Refusal (401 or 403)."""
        if not authorization:
            raise Refusal(401, "MissingAuthorization", "Request did not include a VAPID authorization")
        identity = self._verified.get(authorization)
        if identity is None:
            identity = self._examine(authorization)
            if len(self._verified) >= KEPT:
                self._verified.clear()
            self._verified[authorization] = identity
        if identity.expires_at <= time.time():
            raise bad_token("The token has expired")
        return identity

    def _examine(self, authorization: str) -> Identity:
        match = _HEADER.fullmatch(authorization)
        fields = dict(_PARAMETER.findall(match[1])) if match else {}
        if set(fields) != {"t", "k"}:
            raise Refusal(401, "MissingAuthorization", "Expected: vapid t=<token>, k=<public key>")
        raw, public = _public_key(fields["k"])
        try:
            claims = jwt.decode(fields["t"], public, algorithms=["ES256"], options=_OPTIONS)
        except jwt.PyJWTError as error:
            raise bad_token(str(error)) from None
        self._check_claims(claims)
        return Identity(fields["k"], devices.key_digest(raw), claims["sub"], float(claims["exp"]))

    def _check_claims(self, claims: dict[str, object]) -> None:
        audience, expires_at, subject = claims.get("aud"), claims.get("exp"), claims.get("sub")
        if audience not in self.audiences:
            raise bad_token(f"aud must be the origin of the endpoint, not {audience!r}")
        if not isinstance(expires_at, int | float) or isinstance(expires_at, bool):
            raise bad_token("exp must be a number")
        if expires_at > time.time() + MAX_LIFETIME:
            raise bad_token("exp is more than 24 hours ahead")
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise bad_token("sub must be a mailto: or https: URI")


def bad_token(message: str) -> Refusal:
    return Refusal(403, "BadJwtToken", message)


def _public_key(text: str) -> tuple[bytes, ec.EllipticCurvePublicKey]:
    try:
        raw = base64.b64decode(
            text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True
        )
        return raw, ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except (binascii.Error, ValueError):
        raise Refusal(403, "BadVapidPublicKey", "k is not an uncompressed P-256 point") from None
