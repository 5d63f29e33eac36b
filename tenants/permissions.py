"""What a key may do: each view names the scope each method needs."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tenants.models import ApiKey

# The scopes of what every key may read.
ANY_KEY = ("*",)


class HasScope(BasePermission):
    """A view says `scopes = {"GET": ("devices:read",), …}`: any one of them will do. No entry: refused."""

    message = "This API key lacks the scope for this call."

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, ApiKey):
            raise NotAuthenticated("Send the API key as: Authorization: Bearer <key>")
        method = "GET" if request.method == "HEAD" else request.method
        wanted = view.scopes.get(method, ())
        return wanted == ANY_KEY or not set(wanted).isdisjoint(request.auth.scopes)
