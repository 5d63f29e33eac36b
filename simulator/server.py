"""A TLS listener speaking HTTP/2, and HTTP/1.1 to those that ask for it."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from simulator.answers import Router
from simulator.certificates import Certificates
from simulator.http1 import Http1
from simulator.http2 import PREFACE, Http2

BACKLOG = 1024


class Listener:
    def __init__(self, router: Router, files: Certificates) -> None:
        self._router, self._tls = router, _context(files)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self, host: str, port: int) -> None:
        """Listen; port 0 takes any free one. `port` says which."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._router, self._connections), host, port, ssl=self._tls, backlog=BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening and say GOAWAY on every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.shut()


class Connection(asyncio.Protocol):
    """Which protocol it is, the first bytes tell."""

    def __init__(self, router: Router, connections: set[Connection]) -> None:
        self._router, self._connections = router, connections
        self._transport: asyncio.Transport
        self._protocol: Http1 | Http2 | None = None
        self._start = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._protocol is not None:
            self._protocol.received(data)
            return
        self._start += data
        if self._start.startswith(PREFACE):
            self._protocol, data = Http2(self._transport, self._router), self._start[len(PREFACE) :]
        elif PREFACE.startswith(self._start):
            return
        else:
            self._protocol, data = Http1(self._transport, self._router), self._start
        self._protocol.received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        if self._protocol is not None:
            self._protocol.lost()

    def shut(self) -> None:
        if self._protocol is None:
            self._transport.close()
        else:
            self._protocol.shut()


def _context(files: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
