"""Browsers on any site may call the API: who calls is told by a header, never by a cookie."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

ALLOWED = {
    "Access-Control-Allow-Methods": "GET, PUT, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, X-Subscriber-Signature",
    "Access-Control-Max-Age": "7200",
}


def cors(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: the CORS headers under /v1/, and the answer to preflights."""

    def answered(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith("/v1/"):
            return get_response(request)
        is_preflight = request.method == "OPTIONS"
        response = HttpResponse(status=204, headers=ALLOWED) if is_preflight else get_response(request)
        response["Access-Control-Allow-Origin"] = "*"
        response["Access-Control-Expose-Headers"] = "Idempotent-Replay, Retry-After"
        return response

    return answered
