"""HTTP/2 frames (RFC 9113): their numbers, their shapes, and what breaks them."""

from __future__ import annotations

import asyncio
import struct
import time

from .hpack_fields import LIST_LIMIT

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR = 0, 1, 3, 6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 8, 9, 11
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)
MAX_HEADER_LIST_SIZE = 6

FRAME_LIMIT = 16_384  # ours, and the least a peer must take
WINDOW_LIMIT = (1 << 31) - 1
LAST_STREAM = (1 << 31) - 1
STREAM_WINDOW = 1 << 20  # more than the part of a body that is ever read

HEAD = struct.Struct(">HBBBL")  # length (24 bits in two parts), type, flags, stream
SETTING = struct.Struct(">HL")
OUR_SETTINGS = b"".join(
    SETTING.pack(*setting)
    for setting in (
        (HEADER_TABLE_SIZE, 0),
        (ENABLE_PUSH, 0),
        (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
        (MAX_HEADER_LIST_SIZE, LIST_LIMIT),
    )
)


class ConnectionFault(Exception):
    """The peer broke the protocol; the connection ends with GOAWAY."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class Frames(asyncio.Protocol):
    """Cuts what comes into frames and sends those of one turn of the loop in one write."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.is_closed = False
        self._next = 1  # stream
        self._written = -1  # the last stream whose frames left
        self._rest = b""
        self._heard_at = time.monotonic()
        self._expected: int | None = SETTINGS  # no other frame may come next
        self._partial = 0, 0, b""  # stream, flags and start of HEADERS that wait for CONTINUATION
        self._out: list[bytes] = []
        self._is_flushing = self._is_paused = False
        self._take = (
            self._on_data, self._on_headers, self._ignore, self._on_reset, self._on_settings,
            self._on_push, self._on_ping, self._on_goaway, self._on_window_update, self._on_continuation,
        )  # fmt: skip

    def close(self, why: str, code: int) -> None:
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self.is_closed:
            return
        self._heard_at = time.monotonic()
        if self._rest:
            data = self._rest + data
        try:
            self._rest = data[self._take_frames(data) :]
        except ConnectionFault as fault:
            self.close(str(fault), fault.code)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()

    def _take_frames(self, data: bytes) -> int:
        """How far whole frames went."""
        position, end, unpack, take = 0, len(data), HEAD.unpack_from, self._take
        while end - position >= 9:
            high, low, kind, flags, number = unpack(data, position)
            start = position + 9
            stop = start + (high << 8 | low)
            if stop - start > FRAME_LIMIT:
                raise ConnectionFault(FRAME_SIZE_ERROR, "frame too long")
            if stop > end:
                break
            if self._expected is not None and kind != self._expected:
                raise ConnectionFault(PROTOCOL_ERROR, "another frame was expected")
            position = stop
            if kind <= CONTINUATION:
                take[kind](flags, number & LAST_STREAM, data[start:stop])
        return position

    def _on_headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & (PADDED | HAS_PRIORITY):
            payload = unpadded(flags, payload)
        if flags & END_HEADERS:
            self._on_block(number, flags & END_STREAM, payload)
        else:
            self._expected, self._partial = CONTINUATION, (number, flags, payload)

    def _on_continuation(self, flags: int, number: int, payload: bytes) -> None:
        stream, first, block = self._partial
        if number != stream or self._expected is None:
            raise ConnectionFault(PROTOCOL_ERROR, "unexpected CONTINUATION")
        block += payload
        if len(block) > LIST_LIMIT or not (payload or flags & END_HEADERS):
            raise ConnectionFault(ENHANCE_YOUR_CALM, "header block too long")
        self._partial = number, first, block
        if flags & END_HEADERS:
            self._expected = None
            self._on_block(number, first & END_STREAM, block)

    def _ignore(self, flags: int, number: int, payload: bytes) -> None:
        """PRIORITY."""

    def _on_block(self, number: int, is_last: int, block: bytes) -> None:
        raise NotImplementedError

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def _on_reset(self, flags: int, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def _on_settings(self, flags: int, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def _on_push(self, flags: int, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def _on_ping(self, flags: int, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def _on_goaway(self, flags: int, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def _on_window_update(self, flags: int, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._out.append(HEAD.pack(size >> 8, size & 0xFF, kind, flags, number) + payload)
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._out and not (self._is_paused or self.is_closed or self._transport.is_closing()):
            self._written = self._next - 2
            self._transport.write(b"".join(self._out))
            self._out.clear()


def unpadded(flags: int, payload: bytes) -> bytes:
    """Without padding and priority."""
    start, padding = 0, 0
    if flags & PADDED:
        start, padding = 1, payload[0] if payload else 256
    if flags & HAS_PRIORITY:
        start += 5
    if start + padding > len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "padding too long")
    return payload[start : len(payload) - padding]


def number_in(payload: bytes) -> int:
    if len(payload) != 4:
        raise ConnectionFault(FRAME_SIZE_ERROR, "frame of a wrong length")
    return int.from_bytes(payload, "big")
