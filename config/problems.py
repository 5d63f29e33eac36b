"""Errors as `application/problem+json` (RFC 9457): what is wrong, in which field, and nothing half-done."""

from __future__ import annotations

from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
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

    def plain_response(self) -> HttpResponse:
        """For what answers without DRF."""
        return HttpResponse(
            orjson.dumps(self.body()), status=self.status, headers=self.headers, content_type=CONTENT_TYPE
        )

    def response(self) -> Response:
        return Response(self.body(), status=self.status, headers=self.headers, content_type=CONTENT_TYPE)


class InvalidField(ValueError):
    """A value that is well-formed and still cannot be taken; services raise it, whoever called them."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}")
        self.pointer, self.detail = pointer, detail


def handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER."""
    problem = of(error)
    return problem.response() if problem else None


def of(error: Exception) -> Problem | None:
    """The error as the caller may see it; None for one that is our own fault."""
    match error:
        case Problem():
            return error
        case InvalidField():
            return Problem.of_field(error.pointer, error.detail)
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Problem(
                401,
                "Not authenticated",
                str(error.detail),
                headers={"WWW-Authenticate": 'Bearer realm="carillon"'},
            )
        case exceptions.PermissionDenied() | PermissionDenied():
            return Problem(403, "Forbidden", str(getattr(error, "detail", "")) or "Not allowed.")
        case Http404() | exceptions.NotFound():
            return Problem(404, "Not found", str(error) or "There is nothing here.")
        case exceptions.APIException():
            return Problem(error.status_code, str(error.default_detail), str(error.detail))
        case RequestDataTooBig():
            return Problem(
                413, "Too large", f"The body may have {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes."
            )
        case SuspiciousOperation() | UnreadablePostError() | MultiPartParserError():
            return Problem(400, "Bad request", "The request cannot be read.")
        case OperationalError() | InterfaceError():
            # Nothing was stored, so nothing was accepted: the caller keeps the work and comes again.
            return Problem(503, "Temporarily unavailable", "Try again shortly.", headers={"Retry-After": "5"})
    return None
