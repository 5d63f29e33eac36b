"""One HTTP/2 connection to a push service (RFC 9113): many small POSTs, each with one answer.

It knows frames, streams and windows. Which connection a request takes, and when one is opened, is
`http2_origin`'s business. Requests of one turn of the event loop leave in one write, so in one TLS
record: that is what makes them cheap here and at the receiving end.

A request that fails did so in one of two ways. `NotSent`: its frames never left, or the server says that
it processed none of it. `NoAnswer`: everything else, and never sent again. What the server says it did not
process is handed back first, for another connection to try (RFC 9113, 8.7).
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import cast

from hpack import Decoder

from . import hpack_fields
from . import http2_frames as frames
from .answer import BODY_LIMIT, IDLE_SECONDS, Answer, NoAnswer, NotSent
from .hpack_fields import CONTENT_LENGTH, LENGTH, OWN, PATH, BadBlock, Headers, Prepared
from .http2_frames import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_LIMIT,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEAD,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LAST_STREAM,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    WINDOW_LIMIT,
    WINDOW_UPDATE,
    ConnectionFault,
    Frames,
)
from .http2_request import Owner, Request

WINDOW = 1 << 24  # ours, for a whole connection; half of it read is given back
UNREAD_LIMIT = 50_000  # frames kept for a server that asks but does not read
PING_AFTER = 60.0  # seconds without a word from the server
PING_WITHIN = 10.0


class Connection(Frames):
    """`len(streams) < limit` says that it takes a request now."""

    def __init__(self, owner: Owner, authority: str, streams: int, timeout: float) -> None:
        super().__init__()
        self._owner, self._most = owner, streams
        self._table = hpack_fields.Table(authority)
        self._timeout, self._tick_seconds = timeout, min(1.0, timeout / 20)
        self.greeted = self._loop.create_future()  # the peer's SETTINGS have come, or never will
        self.streams: dict[int, Request] = {}
        self.limit = 0
        self.is_proven = False  # its first request was answered
        self.is_leaving = False  # takes no more requests, ends with those it has
        self.why = ""  # it takes no more
        self._counted = 1  # streams at the last look
        # What the peer allows.
        self._peer_streams = LAST_STREAM
        self._window = self._stream_window = 65_535
        self._blocked: dict[int, Request] = {}  # bodies the windows hold back
        self._read = 0  # bytes of DATA not yet given back to the connection's window
        # Until our SETTINGS are acknowledged, the peer may use a table.
        self._decoder: Decoder | None = Decoder(hpack_fields.LIST_LIMIT)
        self._used_at = time.monotonic()
        self._pinged_at = 0.0
        self._has_no_table = False
        self._resize = b""  # opens the next header block
        self._ticker: asyncio.TimerHandle | None = None

    # The requests.

    def send(
        self, request: Request, path: str, headers: Prepared, body: bytes, own: tuple[tuple[str, str], ...]
    ) -> None:
        """Give the request a stream. Only where `limit` allows one."""
        route, rest = PATH[len(path)] + path.encode("ascii"), CONTENT_LENGTH[len(body)]
        for name, value in own:
            rest += OWN[name] + LENGTH[len(value)] + value.encode("ascii")
        opening, shared = self._table.encode(headers)
        fields = opening + route + shared + headers.block + rest
        if self._resize:
            fields, self._resize = self._resize + fields, b""
        size, length = len(fields), len(body)
        number = self._next
        self._next = number + 2
        request.connection, request.number, request.status, request.body = self, number, 0, b""
        self.streams[number] = request
        out = self._out
        out += (HEAD.pack(size >> 8, size & 0xFF, HEADERS, END_HEADERS, number), fields)
        if length <= self._window and length <= self._stream_window and length <= FRAME_LIMIT:
            self._window -= length
            out += (HEAD.pack(length >> 8, length & 0xFF, DATA, END_STREAM, number), body)
        else:
            request.unsent, request.window = memoryview(body), self._stream_window
            self._blocked[number] = request
            self._send_blocked()
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)
        if number >= LAST_STREAM - 1:
            self._retire("stream numbers are used up")

    def abandon(self, request: Request) -> None:
        """The caller has given up."""
        if self._drop(request):
            self._frame(RST_STREAM, 0, request.number, CANCEL.to_bytes(4, "big"))
            self._changed()

    def leave(self, why: str) -> None:
        """Take no more requests; end with those in flight."""
        self._retire(why)
        self._changed()

    def close(self, why: str, code: int = NO_ERROR) -> None:
        """GOAWAY and out; what is in flight fails."""
        if self.is_closed:
            return
        is_greeted = self.greeted.done()
        self._shut(why)
        if is_greeted and not self._transport.is_closing():
            self._transport.write(HEAD.pack(0, 8, GOAWAY, 0, 0) + struct.pack(">LL", 0, code))
        self._transport.close()

    def abort(self, why: str) -> None:
        """Out, without waiting for anybody."""
        self._shut(why)
        self._transport.abort()

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._owner.made(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() != "h2":
            self.abort("the server does not speak HTTP/2")
            return
        self._out.append(PREFACE)
        self._frame(SETTINGS, 0, 0, frames.OUR_SETTINGS)
        self._frame(WINDOW_UPDATE, 0, 0, (WINDOW - 65_535).to_bytes(4, "big"))
        self._ticker = self._loop.call_later(self._tick_seconds, self._tick)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_closed:
            return
        if self._read > WINDOW // 2:
            self._frame(WINDOW_UPDATE, 0, 0, self._read.to_bytes(4, "big"))
            self._read = 0
        if self._is_paused and len(self._out) > UNREAD_LIMIT:
            self.abort("the server does not read")
        if self._owner.waiting or self.is_leaving:
            self._changed()

    def connection_lost(self, error: Exception | None) -> None:
        self._shut("connection lost")
        self._owner.gone(self)

    # What comes in.

    def _on_block(self, number: int, is_last: int, block: bytes) -> None:
        """A whole header block: informational, an answer's, or trailers."""
        pairs = None
        try:
            if self._decoder is not None:
                pairs = hpack_fields.decode_next(self._decoder, block)
            request = self.streams.get(number)
            if request is None:
                self._check_was_open(number)
                return
            if not request.status:
                status = hpack_fields.status(block) if pairs is None else hpack_fields.status_of(pairs)
                if status < 200:
                    if not status or is_last:
                        self._break(request, PROTOCOL_ERROR, "malformed answer")
                    return
                request.status, request.fields = status, Headers(block, pairs)
            elif not is_last:
                self._break(request, PROTOCOL_ERROR, "malformed trailers")
                return
        except BadBlock as error:
            raise ConnectionFault(COMPRESSION_ERROR, f"header block: {error}") from None
        if is_last:
            self._finish(request)

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        self._read += len(payload)
        request = self.streams.get(number)
        if request is None:
            self._check_was_open(number)
            return
        if flags & PADDED:
            payload = frames.unpadded(PADDED, payload)
        if not request.status:
            self._break(request, PROTOCOL_ERROR, "DATA before HEADERS")
            return
        request.body = request.body + payload if request.body else payload
        if flags & END_STREAM:
            self._finish(request)
        elif len(request.body) >= BODY_LIMIT:  # an answer as far as anybody reads it
            self._frame(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big"))
            self._finish(request)

    def _on_reset(self, flags: int, number: int, payload: bytes) -> None:
        self._check_was_open(number)
        code = frames.number_in(payload)
        request = self.streams.get(number)
        if request is not None and code == REFUSED_STREAM:
            self._hand_back(request, "stream refused")
        elif request is not None:
            self._fail(request, NoAnswer(f"stream reset ({code})"))

    def _on_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS of a stream")
        if len(payload) % 6 or (flags & ACK and payload):
            raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
        if flags & ACK:
            if not self.greeted.done():
                raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS expected")
            self._decoder = None
            return
        for name, value in SETTING.iter_unpack(payload):
            self._set(name, value)
        self._expected = None
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._frame(SETTINGS, ACK, 0, b"")
        self._adjust()
        self._send_blocked()

    def _set(self, name: int, value: int) -> None:
        if name == MAX_CONCURRENT_STREAMS:
            self._peer_streams = value
        elif name == INITIAL_WINDOW_SIZE:
            if value > WINDOW_LIMIT:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "window too large")
            change, self._stream_window = value - self._stream_window, value
            for request in self._blocked.values():
                request.window += change
                if request.window > WINDOW_LIMIT:
                    raise ConnectionFault(FLOW_CONTROL_ERROR, "window too large")
        elif name == MAX_FRAME_SIZE and not FRAME_LIMIT <= value < 1 << 24:
            raise ConnectionFault(PROTOCOL_ERROR, "frame size out of bounds")
        elif name == ENABLE_PUSH and value:
            raise ConnectionFault(PROTOCOL_ERROR, "servers do not take pushes")
        elif name == HEADER_TABLE_SIZE and value < hpack_fields.TABLE_SIZE and not self._has_no_table:
            self._has_no_table = True
            self._resize = self._table.give_up()

    def _on_push(self, flags: int, number: int, payload: bytes) -> None:
        raise ConnectionFault(PROTOCOL_ERROR, "pushes were refused")

    def _on_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "PING of a wrong length")
        if not flags & ACK:
            self._frame(PING, ACK, 0, payload)

    def _on_goaway(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "GOAWAY cut short")
        last, code = struct.unpack_from(">LL", payload)
        words = "".join(c for c in payload[8:208].decode("utf-8", "replace") if c.isprintable())
        self._retire(f"GOAWAY ({code}) {words}".rstrip())
        for request in reversed([*self.streams.values()]):
            if request.number > last & LAST_STREAM:
                self._hand_back(request, self.why)

    def _on_window_update(self, flags: int, number: int, payload: bytes) -> None:
        more = frames.number_in(payload) & WINDOW_LIMIT
        if not number:
            self._window += more
            if not more:
                raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            if self._window > WINDOW_LIMIT:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "window too large")
        else:
            self._check_was_open(number)
            request = self.streams.get(number)
            if request is not None and not more:
                self._break(request, PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            elif number in self._blocked:
                request = self._blocked[number]
                request.window += more
                if request.window > WINDOW_LIMIT:
                    self._break(request, FLOW_CONTROL_ERROR, "window too large")
        self._send_blocked()

    def _check_was_open(self, number: int) -> None:
        """What still comes for a closed stream is ignored; nothing may come for one never opened."""
        if not number & 1 or number >= self._next:
            raise ConnectionFault(PROTOCOL_ERROR, "no such stream")

    # How requests end.

    def _finish(self, request: Request) -> None:
        number = request.number
        del self.streams[number]
        if self._blocked.pop(number, None) is not None:  # answered before all of it was sent
            self._frame(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big"))
        if not self.is_proven:
            self.is_proven = True
            self._adjust()
        request.set_result(Answer(request.status, request.fields, request.body[:BODY_LIMIT]))

    def _fail(self, request: Request, error: NotSent | NoAnswer) -> None:
        if self._drop(request):
            request.set_exception(error)
            if not self.is_proven:
                self._owner.unproven(str(error))

    def _hand_back(self, request: Request, why: str) -> None:
        """The server processed none of it."""
        if not self.is_proven:
            self._fail(request, NotSent(why))
        elif self._drop(request):
            self._owner.again(request, why)

    def _break(self, request: Request, code: int, words: str) -> None:
        self._frame(RST_STREAM, 0, request.number, code.to_bytes(4, "big"))
        self._fail(request, NoAnswer(words))

    def _drop(self, request: Request) -> bool:
        self._blocked.pop(request.number, None)
        return self.streams.pop(request.number, None) is not None

    # How the connection ends.

    def _retire(self, why: str) -> None:
        self.is_leaving, self.limit, self.why = True, 0, self.why or why

    def _shut(self, why: str) -> None:
        if self.is_closed:
            return
        self._retire(why)
        self.is_closed = True
        if self._ticker is not None:
            self._ticker.cancel()
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._out.clear()
        self._blocked.clear()
        streams, self.streams = self.streams, {}
        for request in streams.values():
            request.set_exception((NotSent if request.number > self._written else NoAnswer)(self.why))
        self._owner.lost(self)

    def _adjust(self) -> None:
        if self.greeted.done() and not self.is_leaving:
            self.limit = min(self._most if self.is_proven else 1, self._peer_streams)

    def _changed(self) -> None:
        if self.is_leaving and not self.streams:
            self.close(self.why)
        if self._owner.waiting:
            self._owner.pump()

    def _tick(self) -> None:
        """Time-outs, keep-alive, idleness: a look now and then costs less than a timer for each request."""
        self._ticker = self._loop.call_later(self._tick_seconds, self._tick)
        now = time.monotonic()
        self._expire(now)
        if self.streams or self._next != self._counted:
            self._used_at, self._counted = now, self._next
        elif now - self._used_at > IDLE_SECONDS:
            self.close("idle")
            return
        if self._pinged_at > self._heard_at:
            if now - self._pinged_at > PING_WITHIN:
                self.abort("no answer to PING")
        elif now - self._heard_at > PING_AFTER:
            self._pinged_at = now
            self._frame(PING, 0, 0, b"carillon")

    def _expire(self, now: float) -> None:
        late = [request for request in self.streams.values() if request.deadline <= now]
        for request in late:
            self._break(request, CANCEL, "no answer in time")
        if any(self._heard_at < request.deadline - self._timeout for request in late) or (
            late and not self.is_proven
        ):
            self.leave("no answer in time")  # not a word since it was sent: perhaps nobody is there
        elif late:
            self._changed()

    # What goes out.

    def _send_blocked(self) -> None:
        for request in [*self._blocked.values()]:
            number, is_last = request.number, False
            while not is_last:
                left = len(request.unsent)
                size = max(0, min(left, request.window, self._window, FRAME_LIMIT))
                is_last = size == left
                if not size and not is_last:
                    break
                self._frame(DATA, END_STREAM if is_last else 0, number, bytes(request.unsent[:size]))
                request.unsent = request.unsent[size:]
                request.window -= size
                self._window -= size
            if is_last:
                del self._blocked[number]
