"""Google's OAuth 2.0 token endpoint for service accounts: `POST /token` (RFC 7523 JWT bearer).

Registered service accounts trade a signed assertion for an access token of one project.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Set
from urllib.parse import parse_qs

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.types import Options

from simulator.answers import Answer, Headers, Refusal, json_answer
from simulator.faults import Faults

PATH = "/token"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = frozenset(
    ("https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform")
)
# What Google's own libraries put into `aud`, whatever the token_uri.
GOOGLE = "https://oauth2.googleapis.com/token"
ASSERTION_LIFETIME = 3600
CLOCK_SKEW = 300


class ServiceAccount(msgspec.Struct, forbid_unknown_fields=True):
    project_id: str
    client_email: str
    public_key: str  # PEM
    private_key_id: str = ""


class AccessToken(msgspec.Struct):
    account: ServiceAccount
    expires_at: float


class Accounts:
    """Service accounts and the access tokens issued to them."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.expires_in = 3599  # seconds an access token lives
        self.audiences: Set[str] = frozenset()  # the URLs this endpoint goes by
        self.issued = 0
        self._accounts: dict[str, tuple[ServiceAccount, rsa.RSAPublicKey]] = {}
        self._tokens: dict[str, AccessToken] = {}

    def register(self, account: ServiceAccount) -> None:
        public = load_pem_public_key(account.public_key.encode())
        if not isinstance(public, rsa.RSAPublicKey):
            raise ValueError("public_key: not an RSA public key")
        self._accounts[account.client_email] = account, public

    def forget_tokens(self) -> None:
        self._tokens.clear()

    def of(self, authorization: str | None) -> ServiceAccount | None:
        """The account behind an `Authorization: Bearer …` header; None if unknown or expired."""
        token = self._tokens.get(authorization) if authorization else None
        return token.account if token is not None and token.expires_at > time.time() else None

    def projects(self) -> set[str]:
        return {account.project_id for account, _ in self._accounts.values()}

    def answer(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        try:
            account = self._examine(method, headers, body)
            if self.faults.is_revoked(account.client_email):
                raise Refusal(400, "invalid_grant", "Invalid grant: account not found")
        except Refusal as refusal:
            return json_answer(refusal.status, {"error": refusal.code, "error_description": refusal.message})
        return json_answer(200, self._issue(account), {"cache-control": "no-store"})

    def _issue(self, account: ServiceAccount) -> dict[str, object]:
        token = f"ya29.{secrets.token_urlsafe(96)}"
        self._tokens[f"Bearer {token}"] = AccessToken(account, time.time() + self.expires_in)
        self.issued += 1
        return {"access_token": token, "expires_in": self.expires_in, "token_type": "Bearer"}

    def _examine(self, method: str, headers: Headers, body: bytes) -> ServiceAccount:
        if method != "POST":
            raise Refusal(405, "invalid_request", "Method not allowed")
        kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Refusal(400, "invalid_request", "Content-Type must be application/x-www-form-urlencoded")
        form = parse_qs(body.decode("ascii", "replace"))
        if form.get("grant_type") != [GRANT]:
            raise Refusal(
                400, "unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', [''])[0]}"
            )
        assertion = form.get("assertion", [])
        if len(assertion) != 1:
            raise Refusal(400, "invalid_request", "Missing required parameter: assertion")
        return self._verify(assertion[0])

    def _verify(self, assertion: str) -> ServiceAccount:
        try:
            header = jwt.get_unverified_header(assertion)
            issuer = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
        except jwt.PyJWTError:
            raise invalid_grant("Invalid JWT: Failed to decode") from None
        if issuer not in self._accounts:
            raise invalid_grant("Invalid grant: account not found")
        account, public = self._accounts[issuer]
        if account.private_key_id and header.get("kid") not in (None, account.private_key_id):
            raise invalid_grant("Invalid JWT Signature.")
        try:
            claims = jwt.decode(assertion, public, algorithms=["RS256"], options=_CHECK_SIGNATURE_ONLY)
        except jwt.PyJWTError:
            raise invalid_grant("Invalid JWT Signature.") from None
        _check_claims(claims, self.audiences)
        return account


_CHECK_SIGNATURE_ONLY: Options = {
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


def invalid_grant(message: str) -> Refusal:
    return Refusal(400, "invalid_grant", message)


def _check_claims(claims: dict[str, object], audiences: Set[str]) -> None:
    if claims.get("aud") not in (GOOGLE, *audiences):
        raise invalid_grant("Invalid JWT: Failed audience check.")
    issued_at, expires_at, now = claims.get("iat"), claims.get("exp"), time.time()
    if not isinstance(issued_at, int | float) or not isinstance(expires_at, int | float):
        raise invalid_grant("Invalid JWT: iat and exp must be present.")
    is_sane = 0 < expires_at - issued_at <= ASSERTION_LIFETIME and issued_at <= now + CLOCK_SKEW
    if not is_sane or expires_at < now - CLOCK_SKEW:
        raise invalid_grant(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
            "Check your iat and exp values in the JWT claim."
        )
    if not SCOPES.intersection(str(claims.get("scope", "")).split()):
        raise Refusal(400, "invalid_scope", "Empty or missing scope not allowed.")
