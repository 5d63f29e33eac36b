"""An HTTP/1.1 server connection: for clients that do not speak HTTP/2, one request at a time."""

from __future__ import annotations

import asyncio
import sys
import traceback
from http import HTTPStatus

from simulator.answers import STALL, Answer, Router
from simulator.hpack_codec import DUPLICATE
from simulator.http2 import BODY_LIMIT, cut

_HEAD_LIMIT = 65_536
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BadRequest(Exception):
    pass


class Http1:
    """Fed by `server.Connection`."""

    def __init__(self, transport: asyncio.Transport, router: Router) -> None:
        self._transport, self._route = transport, router
        self._data = b""
        self._is_busy = False  # an answer is to come; what follows waits
        self._is_invited = False  # 100 Continue was sent

    def received(self, data: bytes) -> None:
        self._data += data
        self._advance()

    def lost(self) -> None:
        self._is_busy = True

    def shut(self) -> None:
        self._transport.close()

    def _advance(self) -> None:
        while not self._is_busy and not self._transport.is_closing():
            try:
                request = self._next()
            except (BadRequest, ValueError, UnicodeDecodeError):
                self._send(Answer(400, []), keep=False)
                return
            if request is None:
                return
            self._serve(*request)

    def _next(self) -> tuple[str, str, dict[str, str], bytes] | None:
        """The next whole request, or None while some of it is missing."""
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            if len(head) > _HEAD_LIMIT:
                raise BadRequest
            return None
        method, path, headers = _parse_head(head)
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body, rest_or_none = _dechunk(rest)
        else:
            length = int(headers.get("content-length", "0"))
            if not 0 <= length <= BODY_LIMIT:
                raise BadRequest
            body, rest_or_none = rest[:length], (rest[length:] if len(rest) >= length else None)
        if rest_or_none is None:
            if headers.get("expect", "").lower() == "100-continue" and not self._is_invited:
                self._is_invited = True
                self._transport.write(_CONTINUE)
            return None
        self._data, self._is_invited = rest_or_none, False
        return method, path, headers, body

    def _serve(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        keep = headers.get("connection", "").lower() != "close"
        try:
            answer = self._route(path).answer(method, path, headers, body)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            answer = Answer(500, [])
        self._is_busy = True
        if answer.delay:
            asyncio.get_running_loop().call_later(answer.delay, self._finish, answer, keep)
        else:
            self._finish(answer, keep)

    def _finish(self, answer: Answer, keep: bool) -> None:
        if answer.fate == STALL or self._transport.is_closing():
            return
        if answer.fate:
            cut(self._transport)
            return
        self._send(answer, keep)
        self._is_busy = False
        self._advance()

    def _send(self, answer: Answer, keep: bool) -> None:
        headers = [*answer.headers, ("content-length", str(len(answer.body)))]
        if not keep:
            headers.append(("connection", "close"))
        lines = [
            f"HTTP/1.1 {answer.status} {_phrase(answer.status)}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body)
        if not keep:
            self._transport.close()


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1.") or not target.startswith("/"):
        raise BadRequest
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest
        name = name.lower()
        if name in headers:
            headers[DUPLICATE] = name
        headers[name] = value.strip()
    return method, target.partition("?")[0], headers


def _dechunk(data: bytes) -> tuple[bytes, bytes | None]:
    """(body, what follows it); what follows is None while the last chunk has not come."""
    body = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return b"", None
        size = int(line.partition(b";")[0], 16)
        if size + len(body) > BODY_LIMIT:
            raise BadRequest
        if len(data) < size + 2:
            return b"", None
        if not size:
            return body, data[2:]  # trailers are not supported
        body, data = body + data[:size], data[size + 2 :]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
