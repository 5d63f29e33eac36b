"""OpenAPI from the same structures that check the requests: `schema()` hands msgspec's JSON Schema to drf-spectacular."""

from __future__ import annotations

from typing import Any

import msgspec
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse, extend_schema


class Schema(AutoSchema):
    """Tags by the first path segment after /v1."""

    def get_tags(self) -> list[str]:
        return [self.path.strip("/").split("/")[1]]


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
    """JSON Schema of a msgspec type, self-contained."""
    schema = msgspec.json.schema(shape)
    definitions = schema.pop("$defs", {})
    return _inlined(schema, definitions)


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _inlined(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
        return {key: _inlined(value, definitions) for key, value in node.items()}
    return [_inlined(item, definitions) for item in node] if isinstance(node, list) else node


def documented(
    summary: str,
    *,
    request: Any = None,
    responses: dict[int, Any] | None = None,
    media_type: str = "application/json",
    parameters: list[Any] | None = None,
) -> Any:
    """Decorate a view's method: what it takes and gives, as msgspec types; every call may give a problem."""
    answers = {
        (status, "application/json"): OpenApiResponse(response=schema_of(shape), description="")
        if shape
        else OpenApiResponse(description="")
        for status, shape in (responses or {}).items()
    }
    problems = {
        (status, "application/problem+json"): OpenApiResponse(response=PROBLEM, description=words)
        for status, words in ((401, "No valid key"), (403, "The key lacks the scope"), (422, "Names the field"))
    }
    return extend_schema(
        summary=summary,
        request={media_type: schema_of(request)} if request is not None else None,
        responses={**answers, **problems},
        parameters=parameters,
    )
