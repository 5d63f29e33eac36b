"""OpenAPI from the same structures that check the requests: msgspec's JSON Schema, handed to drf-spectacular."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema


class Schema(AutoSchema):
    """Tags by the first path segment after /v1."""

    def get_operation_id(self) -> str:
        return f"{self.method.lower()}_{type(self.view).__name__.lower()}"

    def get_tags(self) -> list[str]:
        return [self.path.strip("/").split("/")[1]]


class BearerKeyScheme(OpenApiAuthenticationExtension):
    target_class = "tenants.authentication.BearerKey"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "A server or client API key."}


PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def schema_of(shape: Any) -> dict[str, Any]:
    """JSON Schema of a msgspec type, self-contained; of a tuple: any of them.

    Types of our own describe themselves in `SCHEMA`.
    """
    if isinstance(shape, tuple):
        return {"anyOf": [schema_of(each) for each in shape]}
    schema = msgspec.json.schema(shape, schema_hook=_own_schema)
    definitions = schema.pop("$defs", {})
    return _inlined(schema, definitions)


def _own_schema(shape: Any) -> dict[str, Any]:
    return dict(shape.SCHEMA)


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _inlined(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
        return {key: _inlined(value, definitions) for key, value in node.items()}
    return [_inlined(item, definitions) for item in node] if isinstance(node, list) else node


QUERY = {
    "cursor": OpenApiParameter("cursor", str, description="`next` of the page before."),
    "limit": OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
    "subscriber": OpenApiParameter("subscriber", str, description="Of this subscriber only."),
    "outcome": OpenApiParameter("outcome", str, description="With this outcome only."),
}
PROBLEMS = {
    400: "The request cannot be read",
    401: "No valid key",
    403: "The key lacks the scope",
    404: "Nothing there for this key's application",
    413: "Larger than is read",
    415: "A media type this address does not take",
    422: "Names the field",
}


def documented(
    summary: str,
    *,
    description: str | None = None,
    request: Any = None,
    responses: Mapping[int, Any] | None = None,
    query: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    statuses: Mapping[int, str] | None = None,
) -> Any:
    """Decorate a view's method: what it takes and gives, as msgspec types; every call may give a problem.

    request: a type, or a mapping of media types to types and JSON schemas. query: names in QUERY.
    headers: name → description. statuses: problems of this call's own.
    """
    answers: dict[Any, Any] = {
        (status, "application/json"): OpenApiResponse(response=schema_of(shape))
        for status, shape in (responses or {}).items()
        if shape
    }
    answers |= {status: None for status, shape in (responses or {}).items() if not shape}
    problems = {
        (status, "application/problem+json"): OpenApiResponse(response=PROBLEM, description=words)
        for status, words in {**PROBLEMS, **(statuses or {})}.items()
    }
    named = [
        OpenApiParameter(name, str, OpenApiParameter.HEADER, description=words)
        for name, words in (headers or {}).items()
    ]
    return extend_schema(
        summary=summary,
        description=description,
        request=_bodies(request),
        responses={**answers, **problems},
        parameters=[*(QUERY[name] for name in query), *named],
    )


def _bodies(request: Any) -> dict[str, Any] | None:
    if request is None:
        return None
    by_type = request if isinstance(request, dict) else {"application/json": request}
    return {kind: shape if isinstance(shape, dict) else schema_of(shape) for kind, shape in by_type.items()}
