"""An HTTP/2 server connection (RFC 9113), written for many small requests and for misbehaving on purpose.

Requests of one read are answered in one write. Only what a server of short bodies needs: no push, no
priorities, answers never compressed with the dynamic table. Faults a library would not offer: GOAWAY after
N streams, streams reset or left open, connections cut.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import struct
import sys
import traceback

from simulator.answers import CONNECTION, REFUSE, RESET, RESET_STREAM, STALL, Answer, Router
from simulator.hpack_codec import Decoder, HpackError, encode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAMS = 1_000  # SETTINGS_MAX_CONCURRENT_STREAMS, as APNs commonly sends
BODY_LIMIT = 1 << 20
WINDOW = 1 << 30  # ours, for the whole connection
FAREWELL = 2.0  # seconds between our GOAWAY and the end; closing at once would race with the client
WINDOW_STEP = 1 << 24  # given back when so much was read

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR = 0, 1, 2, 3, 6
REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 9, 11
MAX_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
MAX_FRAME = 16_384

_names = itertools.count(1)
_HEAD = struct.Struct(">HBBBL")  # length (24 bits in two parts), type, flags, stream
_SETTING = struct.Struct(">HL")


class ConnectionFault(Exception):
    """The peer broke the protocol; the connection ends with GOAWAY."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Http2:
    """Fed by `server.Connection`."""

    def __init__(self, transport: asyncio.Transport, router: Router) -> None:
        self._transport, self._route = transport, router
        self._rest = b""
        self._out: list[bytes] = []
        self._decoder = Decoder()
        self._requests: dict[int, tuple[dict[str, str], bytes]] = {}  # not complete yet
        self._open: set[int] = set()  # streams whose answer is to come
        self._block: tuple[int, int, bytes] | None = None  # HEADERS waiting for CONTINUATION
        self._last_stream = 0
        self._read = 0
        self._window, self._stream_window = 65_535, 65_535  # what the peer lets us send
        self._extra: dict[int, int] = {}  # WINDOW_UPDATEs of single streams
        self._waiting: list[tuple[int, bytes]] = []  # bodies the windows do not let out
        self._served = 0
        self._name = str(next(_names))
        # APNs lets a new connection have a single stream until its first request succeeds.
        self._streams = 1 if router("/3/").faults.plan.single_stream_first else STREAMS
        self._is_leaving = False
        self._on_frame = {
            DATA: self._data, HEADERS: self._headers, RST_STREAM: self._reset, SETTINGS: self._settings,
            PING: self._ping, WINDOW_UPDATE: self._window_update, CONTINUATION: self._continuation,
        }  # fmt: skip
        settings = _SETTING.pack(MAX_STREAMS, self._streams) + _SETTING.pack(INITIAL_WINDOW_SIZE, BODY_LIMIT)
        self._frame(SETTINGS, 0, 0, settings)
        self._frame(WINDOW_UPDATE, 0, 0, (WINDOW - 65_535).to_bytes(4, "big"))

    def received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        position, end = 0, len(data)
        try:
            while end - position >= 9:
                high, low, kind, flags, stream = _HEAD.unpack_from(data, position)
                stop = position + 9 + (high << 8 | low)
                if stop - position - 9 > MAX_FRAME:
                    raise ConnectionFault(FRAME_SIZE_ERROR, "frame too long")
                if stop > end:
                    break
                payload = data[position + 9 : stop]
                position = stop
                self._take(kind, flags, stream & 0x7FFFFFFF, payload)
        except ConnectionFault as fault:
            self.leave(fault.code, str(fault))
            self._flush()
            self._transport.close()
            return
        self._rest = data[position:]
        if self._read > WINDOW_STEP:
            self._frame(WINDOW_UPDATE, 0, 0, self._read.to_bytes(4, "big"))
            self._read = 0
        self._flush()

    def leave(self, code: int = NO_ERROR, debug: str = "") -> None:
        """GOAWAY: answer the streams that came, process no later one.

        The client closes when it has its answers; one that does not is closed upon.
        """
        self._frame(GOAWAY, 0, 0, struct.pack(">LL", self._last_stream, code) + debug.encode())
        self._is_leaving = True
        asyncio.get_running_loop().call_later(FAREWELL, self._transport.close)

    def lost(self) -> None:
        self._open.clear()

    def shut(self) -> None:
        self.leave()
        self._flush()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise ConnectionFault(PROTOCOL_ERROR, "CONTINUATION expected")
        if kind == PUSH_PROMISE:
            raise ConnectionFault(PROTOCOL_ERROR, "clients do not push")
        on_frame = self._on_frame.get(kind)
        if on_frame is not None:
            on_frame(flags, stream, payload)

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & (PADDED | HAS_PRIORITY):
            start = 1 if flags & PADDED else 0
            padding = payload[0] if flags & PADDED else 0
            payload = payload[start + (5 if flags & HAS_PRIORITY else 0) : len(payload) - padding]
        if not stream & 1:
            raise ConnectionFault(PROTOCOL_ERROR, "clients use odd streams")
        if flags & END_HEADERS:
            self._begin(stream, flags & END_STREAM, payload)
        else:
            self._block = stream, flags, payload

    def _continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ConnectionFault(PROTOCOL_ERROR, "unexpected CONTINUATION")
        block = self._block[2] + payload
        if len(block) > 65_536:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "header block too long")
        if flags & END_HEADERS:
            first_flags, self._block = self._block[1], None
            self._begin(stream, first_flags & END_STREAM, block)
        else:
            self._block = stream, self._block[1], block

    def _begin(self, stream: int, is_whole: int, block: bytes) -> None:
        try:
            headers = self._decoder.decode(block)
        except HpackError as error:
            raise ConnectionFault(COMPRESSION_ERROR, str(error)) from None
        if stream in self._requests:  # trailers
            if is_whole:
                self._serve(stream, *self._requests.pop(stream))
            return
        if stream <= self._last_stream:
            raise ConnectionFault(PROTOCOL_ERROR, "stream used twice")
        if self._is_leaving:
            return  # above the GOAWAY's last stream: not processed, the client knows
        self._last_stream = stream
        if len(self._open) + len(self._requests) >= self._streams:
            self._frame(RST_STREAM, 0, stream, REFUSED_STREAM.to_bytes(4, "big"))
        elif is_whole:
            self._serve(stream, headers, b"")
        else:
            self._requests[stream] = headers, b""

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._read += len(payload)
        request = self._requests.get(stream)
        if request is None:
            return  # reset, refused or above the GOAWAY
        if flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        body = request[1] + payload if request[1] else payload
        if flags & END_STREAM:
            del self._requests[stream]
            self._serve(stream, request[0], body)
        elif len(body) > BODY_LIMIT:
            del self._requests[stream]
            self._frame(RST_STREAM, 0, stream, FLOW_CONTROL_ERROR.to_bytes(4, "big"))
        else:
            self._requests[stream] = request[0], body

    def _serve(self, stream: int, headers: dict[str, str], body: bytes) -> None:
        self._open.add(stream)
        try:
            path = headers[":path"].partition("?")[0]
            service = self._route(path)
            headers[CONNECTION] = self._name
            answer = service.answer(headers[":method"], path, headers, body)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self._end(stream, INTERNAL_ERROR)
            return
        self._served += 1
        if answer.delay:
            asyncio.get_running_loop().call_later(answer.delay, self._respond_late, stream, answer)
        elif answer.fate:
            self._misbehave(stream, answer.fate)
        else:
            self._respond(stream, answer)
        limit = service.faults.plan.goaway_every
        if limit and self._served >= limit and not self._is_leaving:
            self.leave(debug='{"reason":"Shutdown"}')

    def _misbehave(self, stream: int, fate: str) -> None:
        if fate == RESET:
            cut(self._transport)
        elif fate == RESET_STREAM:
            self._end(stream, INTERNAL_ERROR)
        elif fate == REFUSE:
            self._end(stream, REFUSED_STREAM)
        else:
            assert fate == STALL

    def _respond(self, stream: int, answer: Answer) -> None:
        if self._streams != STREAMS and answer.status < 300:
            self._streams = STREAMS
            self._frame(SETTINGS, 0, 0, _SETTING.pack(MAX_STREAMS, STREAMS))
        block = encode(answer.status, answer.headers)
        self._open.discard(stream)
        size, body = len(block), answer.body
        if not body:
            self._extra.pop(stream, None)
            self._out.append(
                _HEAD.pack(size >> 8, size & 0xFF, HEADERS, END_HEADERS | END_STREAM, stream) + block
            )
            return
        self._out.append(_HEAD.pack(size >> 8, size & 0xFF, HEADERS, END_HEADERS, stream) + block)
        self._send_body(stream, body)

    def _send_body(self, stream: int, body: bytes) -> None:
        size = len(body)
        if (
            size <= self._window
            and size <= self._stream_window + self._extra.get(stream, 0)
            and size <= MAX_FRAME
        ):
            self._window -= size
            self._extra.pop(stream, None)
            self._out.append(_HEAD.pack(size >> 8, size & 0xFF, DATA, END_STREAM, stream) + body)
        else:
            self._waiting.append((stream, body))

    def _respond_late(self, stream: int, answer: Answer) -> None:
        if stream not in self._open:
            return  # the client gave up
        if answer.fate:
            self._misbehave(stream, answer.fate)
        else:
            self._respond(stream, answer)
        self._flush()

    def _end(self, stream: int, code: int) -> None:
        self._open.discard(stream)
        self._frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))

    def _reset(self, flags: int, stream: int, payload: bytes) -> None:
        self._open.discard(stream)
        self._requests.pop(stream, None)
        self._waiting = [waiting for waiting in self._waiting if waiting[0] != stream]

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & ACK:
            return
        if len(payload) % 6:
            raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS cut short")
        for name, value in _SETTING.iter_unpack(payload):
            if name == INITIAL_WINDOW_SIZE:
                self._stream_window = value
        self._frame(SETTINGS, ACK, 0, b"")
        self._send_waiting()

    def _ping(self, flags: int, stream: int, payload: bytes) -> None:
        if not flags & ACK:
            self._frame(PING, ACK, 0, payload)

    def _window_update(self, flags: int, stream: int, payload: bytes) -> None:
        more = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not stream:
            self._window += more
        elif stream in self._open or any(stream == waiting for waiting, _ in self._waiting):
            self._extra[stream] = self._extra.get(stream, 0) + more
        self._send_waiting()

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for stream, body in waiting:
            self._send_body(stream, body)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._out.append(_HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload)

    def _flush(self) -> None:
        if self._out and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()


def cut(transport: asyncio.Transport) -> None:
    """End the connection with a TCP reset: the peer sees ECONNRESET, whatever it was waiting for."""
    # The loop's own object passes no options on; a duplicate of its descriptor does.
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
