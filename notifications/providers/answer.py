"""What a request is made of and what it comes to: an answer, or one of two failures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple, Protocol

from pyreqwest.http import HeaderMap

from . import hpack_fields

AGENT = "carillon"
BODY_LIMIT = 64 * 1024  # bytes of an answer that are kept
IDLE_SECONDS = 300.0


class NotSent(Exception):
    """Nothing was processed: no route, no connection, no TLS, or the server refused the stream."""


class NoAnswer(Exception):
    """It may have been processed: a timeout, a reset or a lost connection after sending."""


class Prepared(hpack_fields.Prepared):
    """A request's headers, encoded once and sent many times. Raises ValueError for what no header may hold."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__({**values, "user-agent": AGENT})
        self._values = dict(values)

    @cached_property
    def map(self) -> HeaderMap:
        """The same for pyreqwest, which adds the user agent itself."""
        return HeaderMap(self._values)


class Headers(Protocol):
    """Of an answer; names are matched without case."""

    def get(self, name: str, /) -> str | None: ...


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes  # at most BODY_LIMIT
