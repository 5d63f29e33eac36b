"""The HTTP/2 connections to one server: which one a request takes, when another is opened."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from contextlib import suppress
from urllib.parse import urlsplit

from .answer import NotSent, Prepared
from .http2 import Connection
from .http2_request import Request

OPEN_AGAIN = 1.0  # seconds before another connection beside working ones is tried after one that failed
MOST_REFUSALS = 3  # a request that as many connections did not process is not sent
CLOSE_SECONDS = 1.0  # for the farewells
TLS_SHUTDOWN_SECONDS = 2.0


class Http2Origin:
    """As many connections as the load asks for, each opened by one request alone.

    APNs allows a single stream until the first answer, so the first request of a connection goes ahead
    and its failure, where there is no other connection, is the failure of all who wait for it.
    """

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext,
        *,
        streams: int,
        connections: int,
        timeout: float,
        connect_timeout: float,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._authority, self._is_secure = parts.netloc, parts.scheme == "https"
        self._tls, self._timeout, self._connect_timeout = tls, timeout, connect_timeout
        self._streams, self._most = streams, connections
        self._loop = asyncio.get_running_loop()
        self.waiting: deque[Request] = deque()
        self._connections: list[Connection] = []
        self._current: Connection | None = None
        self._remains: set[Connection] = set()  # until their transports are gone
        self._connecting: asyncio.Task[None] | None = None
        self._open_at = 0.0
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._all_gone: asyncio.Event | None = None

    def post(
        self, path: str, headers: Prepared, body: bytes, extra: tuple[tuple[str, str], ...] = ()
    ) -> Request:
        """To be awaited: an Answer, NotSent or NoAnswer. It is on its way where a connection has room."""
        request = Request(loop=self._loop)
        request.deadline, request.refusals = time.monotonic() + self._timeout, 0
        request.parts = path, headers, body, extra
        connection = self._current
        if connection is not None and len(connection.streams) < connection.limit and not self.waiting:
            connection.send(request, path, headers, body, extra)
            return request
        if self._is_closed:
            raise NotSent("closed")
        self.waiting.append(request)
        self._sweep_later()
        self.pump()
        return request

    def forget(self) -> None:
        """New connections from now on."""
        for connection in [*self._connections]:
            connection.leave("renewed")

    async def close(self) -> None:
        self._is_closed, self._current = True, None
        self._fail_waiting("closed")
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        for connection in [*self._connections]:
            connection.close("closed")
        if self._remains:
            self._all_gone = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), CLOSE_SECONDS)
        for connection in [*self._remains]:
            connection.abort("closed")
            await asyncio.sleep(0)  # the transport lets go of its socket

    # A connection's owner.

    def made(self, connection: Connection) -> None:
        self._connections.append(connection)
        self._remains.add(connection)

    def pump(self) -> None:
        waiting = self.waiting
        while waiting:
            if waiting[0].done():  # cancelled
                waiting.popleft()
                continue
            connection = self._with_room()
            if connection is None:
                break
            self._current, request = connection, waiting.popleft()
            connection.send(request, *request.parts)
        if waiting and self._connecting is None and self._may_open():
            self._connecting = self._loop.create_task(self._connect())

    def again(self, request: Request, why: str) -> None:
        request.refusals += 1
        if self._is_closed or request.refusals > MOST_REFUSALS:
            self._refuse(request, why)
        else:
            self.waiting.appendleft(request)  # the oldest is the first to be late
            self._sweep_later()

    def unproven(self, why: str) -> None:
        if not any(one.is_proven and not one.is_leaving for one in self._connections):
            self._fail_waiting(why)

    def lost(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
        if self._current is connection:
            self._current = None
        if not connection.is_proven:
            self.unproven(connection.why)
        self.pump()

    def gone(self, connection: Connection) -> None:
        self._remains.discard(connection)
        if self._all_gone is not None and not self._remains:
            self._all_gone.set()

    # Opening one.

    def _with_room(self) -> Connection | None:
        """The least busy of those that take a request now."""
        free = [one for one in self._connections if len(one.streams) < one.limit]
        return min(free, key=lambda one: len(one.streams), default=None)

    def _may_open(self) -> bool:
        staying = [one for one in self._connections if not one.is_leaving]
        if any(not one.is_proven for one in staying) or len(staying) >= self._most or self._is_closed:
            return False
        return not staying or time.monotonic() >= self._open_at

    async def _connect(self) -> None:
        why = ""
        try:
            if not self._is_secure:
                raise OSError("https only")
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._handshake()
            why = connection.why
        except TimeoutError:
            why = "no connection in time"
        except (OSError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"[:120]
        self._connecting = None
        if why:
            self._open_at = time.monotonic() + OPEN_AGAIN
            self.unproven(why)
        self.pump()

    async def _handshake(self) -> Connection:
        _, connection = await self._loop.create_connection(
            lambda: Connection(self, self._authority, self._streams, self._timeout),
            self._host,
            self._port,
            ssl=self._tls,
            server_hostname=self._host,
            ssl_handshake_timeout=self._connect_timeout,
            ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
        )
        try:
            await connection.greeted
        except asyncio.CancelledError:
            connection.abort("no SETTINGS in time")
            raise
        return connection

    # Waiting.

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._timeout / 20, self._sweep)

    def _sweep(self) -> None:
        now = time.monotonic()
        while self.waiting and self.waiting[0].deadline <= now:
            self._refuse(self.waiting.popleft(), "no stream came free")
        self.pump()
        self._sweeper = None
        if self.waiting:
            self._sweep_later()

    def _fail_waiting(self, why: str) -> None:
        waiting, self.waiting = self.waiting, deque()
        for request in waiting:
            self._refuse(request, why)

    def _refuse(self, request: Request, why: str) -> None:
        if not request.done():
            request.set_exception(NotSent(why))
