"""What a service answers, and what may befall the answer on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import orjson

if TYPE_CHECKING:
    from simulator.faults import Faults

JSON = ("content-type", "application/json; charset=utf-8")

# Fates: what happens instead of a normal answer.
STALL = "stall"  # never answered; ends when the client gives up
RESET = "reset"  # the connection is cut (TCP reset)
RESET_STREAM = "reset_stream"  # HTTP/2: RST_STREAM with INTERNAL_ERROR; HTTP/1.1: as RESET
REFUSE = "refuse"  # HTTP/2: RST_STREAM with REFUSED_STREAM, nothing was processed; HTTP/1.1: as RESET


Headers = Mapping[str, str]  # of a request; names are lower case
CONNECTION = ":connection"  # among them: names the HTTP/2 connection it came on


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    delay: float = 0.0  # seconds before it is sent
    fate: str = ""


class Answering(Protocol):
    """Whatever answers the requests to a path."""

    faults: Faults

    def answer(self, method: str, path: str, headers: Headers, body: bytes, /) -> Answer: ...


Router = Callable[[str], Answering]  # by path


class Refusal(Exception):
    """A check failed. `code` is the provider's own word for it."""

    def __init__(self, status: int, code: str, message: str = "", field: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.field = status, code, message or code, field


def ill_fated(fate: str) -> Answer:
    return Answer(0, [], fate=fate)


def json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, [JSON, *(headers or {}).items()], orjson.dumps(value))
