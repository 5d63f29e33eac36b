"""The API needs no session, no messages, no CSRF token and no static files: `/v1/` goes from here to its view."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import resolve


def api(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware; those above it (security headers, CORS) serve the API too, those below do not."""

    def answered(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith("/v1/"):
            return get_response(request)
        match = request.resolver_match = resolve(request.path_info)
        response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        if hasattr(response, "render") and not response.is_rendered:  # type: ignore[attr-defined]
            response.render()
        return response

    return answered
