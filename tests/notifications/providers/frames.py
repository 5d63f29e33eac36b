"""A scripted HTTP/2 peer: a test reads the client's frames one by one and answers with any it likes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import Any, NamedTuple

from hpack import Decoder, Encoder

from . import wire

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 2.0


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Asked(NamedTuple):
    stream: int
    headers: list[tuple[str, str]]  # hpack's own tuples: they know whether they may be indexed
    body: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBL", kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HL", *pair) for pair in values.items()))


def block(status: int = 200, *fields: tuple[str, str]) -> bytes:
    """Plain literals, but for the status."""
    encoder = Encoder()
    encoder.header_table_size = 0
    encoded = encoder.encode([(":status", str(status)), *fields], huffman=False)
    return bytes(encoded).removeprefix(b"\x20")


class Peer:
    """Listens; `accept` gives the next connection with SETTINGS exchanged."""

    def __init__(self) -> None:
        self.arrivals: asyncio.Queue[Line] = asyncio.Queue()
        self.lines: list[Line] = []

    async def start(self, certificates: wire.Certificates, alpn: tuple[str, ...] = ("h2",)) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.chain, certificates.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Line(self), sock=listening, ssl=context)
        self.url = f"https://localhost:{listening.getsockname()[1]}"

    async def stop_listening(self) -> None:
        self._server.close()
        await asyncio.sleep(0)

    async def stop(self) -> None:
        self._server.close()
        for line in self.lines:
            line.transport.abort()
        for _ in range(3):  # the transports let go of their sockets in the loop's next turns
            await asyncio.sleep(0)

    async def accept(self, values: dict[int, int] | None = None) -> Line:
        line = await self.arrive()
        line.write(settings(values or {}))
        line.write(frame(SETTINGS, ACK))
        return line

    async def arrive(self) -> Line:
        """The next connection, nothing said yet."""
        return await asyncio.wait_for(self.arrivals.get(), PATIENCE)


class Line(asyncio.Protocol):
    """One connection, from the server's end."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.decoder = peer, Decoder()
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.rest, self.is_greeted, self.reads = b"", False, 0
        self.seen: list[Frame] = []
        self.gone = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.peer.lines.append(self)
        self.peer.arrivals.put_nowait(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()

    def data_received(self, data: bytes) -> None:
        self.rest += data
        self.reads += 1
        if not self.is_greeted:
            if len(self.rest) < len(PREFACE):
                return
            assert self.rest.startswith(PREFACE)
            self.rest, self.is_greeted = self.rest[len(PREFACE) :], True
        while len(self.rest) >= 9:
            size = int.from_bytes(self.rest[:3], "big")
            if len(self.rest) < 9 + size:
                break
            kind, flags, stream = struct.unpack(">BBL", self.rest[3:9])
            self.seen.append(Frame(kind, flags, stream, self.rest[9 : 9 + size]))
            self.frames.put_nowait(self.seen[-1])
            self.rest = self.rest[9 + size :]

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    async def read(self, *kinds: int) -> Frame:
        """The next frame of one of these kinds; others are passed over."""
        while True:
            found = await asyncio.wait_for(self.frames.get(), PATIENCE)
            if not kinds or found.kind in kinds:
                return found

    async def asked(self) -> Asked:
        """The next request whose body has come as a whole (one at a time)."""
        head = await self.read(HEADERS)
        headers, body = list(self.decoder.decode(head.payload)), b""
        while True:
            part = await self.read(DATA)
            assert part.stream == head.stream
            body += part.payload
            if part.flags & END_STREAM:
                return Asked(head.stream, headers, body)

    async def say(self, *data: bytes) -> None:
        """Write, and wait until the client has read it."""
        self.write(b"".join(data) + frame(PING, 0, 0, b"heard it"))
        await self.read(PING)

    async def silent(self, kind: int, seconds: float = 0.1) -> bool:
        """No frame of this kind comes."""
        try:
            await asyncio.wait_for(self.read(kind), seconds)
        except TimeoutError:
            return True
        return False

    def answer(self, stream: int, status: int = 200, body: bytes = b"", *fields: tuple[str, str]) -> None:
        last = 0 if body else END_STREAM
        self.write(frame(HEADERS, END_HEADERS | last, stream, block(status, *fields)))
        if body:
            self.write(frame(DATA, END_STREAM, stream, body))

    def goaway(self, last: int, code: int = 0, words: bytes = b"") -> None:
        self.write(frame(GOAWAY, payload=struct.pack(">LL", last, code) + words))
