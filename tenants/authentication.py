"""`Authorization: Bearer <api key>` (RFC 6750 §2.1)."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tenants import selectors
from tenants.models import ApiKey


class BearerKey(BaseAuthentication):
    """Sets `request.auth` to the ApiKey. Its application is the only one the request can see."""

    def authenticate(self, request: Request) -> tuple[None, ApiKey] | None:
        scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer" or not secret.strip():
            raise AuthenticationFailed("Send the API key as: Authorization: Bearer <key>")
        key = selectors.key(secret.strip())
        if key is None:
            raise AuthenticationFailed("This API key is unknown, expired or revoked.")
        return None, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="carillon"'
