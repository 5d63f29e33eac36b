"""Errors as `application/problem+json` (RFC 9457): what is wrong, in which field, and nothing half-done."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

CONTENT_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that is an error. `errors`: [{"pointer": "/content/title", "detail": "…"}]."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.status, self.title, self.detail = status, title, detail
        self.errors, self.headers = errors or [], headers or {}

    @classmethod
    def of_field(cls, pointer: str, detail: str) -> Problem:
        """A body that is understood and cannot be accepted; `pointer` is a JSON pointer (RFC 6901)."""
        return cls(
            422, "Invalid request", f"{pointer}: {detail}", errors=[{"pointer": pointer, "detail": detail}]
        )

    def body(self) -> dict[str, Any]:
        members = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        return {key: value for key, value in {**members, "errors": self.errors}.items() if value}

    def response(self) -> Response:
        return Response(self.body(), status=self.status, headers=self.headers, content_type=CONTENT_TYPE)


def handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER."""
    problem = _problem(error)
    return problem.response() if problem else None


def _problem(error: Exception) -> Problem | None:
    match error:
        case Problem():
            return error
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Problem(
                401, "Not authenticated", str(error.detail), headers={"WWW-Authenticate": 'Bearer realm="carillon"'}
            )
        case exceptions.PermissionDenied() | PermissionDenied():
            return Problem(403, "Forbidden", str(getattr(error, "detail", "")) or "Not allowed.")
        case Http404() | exceptions.NotFound():
            return Problem(404, "Not found", str(error) or "There is nothing here.")
        case exceptions.APIException():
            return Problem(error.status_code, str(error.default_detail), str(error.detail))
        case OperationalError() | InterfaceError():
            # Nothing was stored, so nothing was accepted: the caller keeps the work and comes again.
            return Problem(503, "Temporarily unavailable", "Try again shortly.", headers={"Retry-After": "5"})
    return None
