"""The base of every API view, and pages of results.

Views are DRF's for its routing and schema; the call itself takes a shorter way than APIView.dispatch:
one authentication, one permission, one representation. Measured for an empty view: 34 µs instead of 115.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import orjson
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.views import APIView

from config import problems
from config.json import decoded
from config.problems import Problem
from tenants.authentication import BearerKey
from tenants.models import ApiKey
from tenants.permissions import HasScope

T = TypeVar("T")
M = TypeVar("M", bound=Model)

_bearer, _has_scope = BearerKey(), HasScope()


class Endpoint(APIView):
    """`scopes`: the scopes of which a key needs one, by method. A handler returns `answer(…)` or raises."""

    scopes: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            handler = self._handler(request)
            _, request.auth = _bearer.authenticate(request) or (None, None)  # type: ignore[attr-defined, arg-type]
            if not _has_scope.has_permission(request, self):  # type: ignore[arg-type]
                raise Problem(403, "Forbidden", _has_scope.message)
            return handler(request, *args, **kwargs)
        except Exception as error:
            problem = problems.of(error)
            if problem is None:
                raise
            return problem.plain_response()

    def _handler(self, request: HttpRequest) -> Callable[..., HttpResponseBase]:
        allowed = [
            name.upper() for name in self.http_method_names if name != "options" and hasattr(self, name)
        ]
        if request.method not in allowed:
            raise Problem(
                405,
                "Method not allowed",
                f"This address takes {', '.join(allowed)}.",
                headers={"Allow": ", ".join(allowed)},
            )
        return getattr(self, request.method.lower())


def key(request: HttpRequest) -> ApiKey:
    """The key the call is made with. Its application is the only one the call can see."""
    return request.auth  # type: ignore[attr-defined]


def body(request: HttpRequest, shape: type[T]) -> T:
    """The JSON body as `shape`."""
    if request.content_type not in ("application/json", ""):
        raise Problem(415, "Unsupported media type", "Send the body as application/json.")
    return decoded(request.body, shape)


def answer(data: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    if data is None:
        return HttpResponse(status=204, headers=headers)
    return HttpResponse(
        orjson.dumps(data, default=str), status=status, headers=headers, content_type="application/json"
    )


# --- Query parameters and pages ---------------------------------------------------------------

PAGE_SIZE, LARGEST_PAGE = 50, 500


def query(request: HttpRequest, *allowed: str) -> dict[str, str]:
    """The query parameters. An unknown one is an error, like an unknown field."""
    for name, value in request.GET.items():
        if name not in allowed:
            raise invalid_parameter(name, "unknown query parameter")
        if "\x00" in value:
            raise invalid_parameter(name, "holds the character U+0000")
    return request.GET.dict()


def page(
    request: HttpRequest,
    rows: QuerySet[M],
    *filters: str,
    by: str = "id",
    represented: Callable[[list[M]], list[Any]],
) -> HttpResponse:
    """One page, newest first: `{"results": […], "next": cursor or null}`.

    by: the unique column of the order. filters: query parameters the view has dealt with itself.
    represented: rows → what is shown of them, all at once, so that lookups are made per page.
    """
    parameters = query(request, "cursor", "limit", *filters)
    limit = _limit(parameters.get("limit"))
    if "cursor" in parameters:
        rows = rows.filter(**{f"{by}__lt": _position(parameters["cursor"])})
    found = list(rows.order_by(f"-{by}")[: limit + 1])
    shown, has_more = found[:limit], len(found) > limit
    following = _cursor(getattr(shown[-1], by)) if has_more else None
    return answer({"results": represented(shown), "next": following})


def invalid_parameter(name: str, detail: str) -> Problem:
    return Problem(
        422, "Invalid request", f"{name}: {detail}", errors=[{"parameter": name, "detail": detail}]
    )


def _limit(value: str | None) -> int:
    if value is None:
        return PAGE_SIZE
    if not (value.isascii() and value.isdigit() and len(value) < 5 and 1 <= int(value) <= LARGEST_PAGE):
        raise invalid_parameter("limit", f"expected a number from 1 to {LARGEST_PAGE}")
    return int(value)


def _cursor(position: int | uuid.UUID) -> str:
    raw = position.bytes if isinstance(position, uuid.UUID) else position.to_bytes(8, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _position(cursor: str) -> int | uuid.UUID:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    if len(raw) == 16:
        return uuid.UUID(bytes=raw)
    if len(raw) == 8 and raw[0] < 0x80:
        return int.from_bytes(raw, "big")
    raise invalid_parameter("cursor", "this is no cursor of ours")
