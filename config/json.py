"""JSON in and out of the API by orjson and msgspec: 5–10 times the standard library's speed on both sides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import IO, Any, TypeVar

import msgspec
import orjson
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

from config.problems import Problem

T = TypeVar("T")

_WHERE = re.compile(r"^(?P<detail>.*?)(?: - at `(?:key` in `)?\$(?P<path>.*)`)?$", re.DOTALL)
_NAMED = re.compile(r"(?:unknown|missing required) field `(.*)`$", re.DOTALL)


class Renderer(BaseRenderer):
    """Errors leave as `application/problem+json` (RFC 9457); the exception handler says so on the response."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=str)


class Parser(BaseParser):
    """Leaves the body undecoded: each view decodes it into its own typed structure with `decoded`."""

    media_type = "application/json"

    def parse(  # type: ignore[override]
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return stream.read()


def decoded(body: bytes | msgspec.Raw, shape: type[T], *, at: str = "") -> T:
    """The body as `shape`. Raises Problem (400: not JSON; 422: JSON, but not this shape), naming the field.

    at: the pointer to `body`, where it is a part of a larger one. A type that msgspec does not know is made
    by its own `checked`, which may raise ValueError.
    """
    try:
        value: T = decoder(shape).decode(body)  # type: ignore[arg-type]
    except msgspec.ValidationError as error:
        raise invalid(error, at=at) from error
    except RecursionError as error:
        raise Problem.of_field(at or "/", "nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "Not JSON", f"The body cannot be read as JSON: {error}.") from error
    # PostgreSQL takes every character but this one. In JSON it can only be written as an escape.
    if b"\\u0000" in bytes(body):
        _refuse_null_characters(orjson.loads(body), at)
    return value


@lru_cache(maxsize=256)
def decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape, dec_hook=made)


def made(shape: Any, value: Any) -> Any:
    """msgspec's hook for types of our own."""
    return shape.checked(value)


def converted(value: Any, shape: type[T], *, at: str = "", strict: bool = True) -> T:
    """Like `decoded`, for what was read already. Not strict: numbers may come as text."""
    try:
        return msgspec.convert(value, type=shape, dec_hook=made, strict=strict)
    except msgspec.ValidationError as error:
        raise invalid(error, at=at) from error


def invalid(error: msgspec.ValidationError, *, at: str = "") -> Problem:
    """msgspec says "Expected `str`, got `int` - at `$.content.title`"; RFC 9457 wants a JSON pointer."""
    found = _WHERE.match(str(error))
    detail, path = (found["detail"], found["path"] or "") if found else (str(error), "")
    path = path.partition("[...]")[0]  # some member of an object whose keys are free: the object is named
    pointer = at + path.replace("[", ".").replace("]", "").replace(".", "/")
    if named := _NAMED.search(detail):
        pointer += "/" + named[1].replace("~", "~0").replace("/", "~1")
    return Problem.of_field(pointer or "/", detail)


def _refuse_null_characters(value: Any, pointer: str) -> None:
    if isinstance(value, str) and "\x00" in value:
        raise Problem.of_field(pointer or "/", "holds the character U+0000, which cannot be stored")
    if isinstance(value, dict):
        for key, member in value.items():
            _refuse_null_characters(key, pointer)
            _refuse_null_characters(member, f"{pointer}/{key}")
    elif isinstance(value, list):
        for number, member in enumerate(value):
            _refuse_null_characters(member, f"{pointer}/{number}")
