"""HTTP/2 or HTTP/1.1, whichever TLS negotiates, over pyreqwest: for push services nobody here chose.

Redirects, proxies, cookies and decompression are off. The one thing below that repeats a request is reqwest's
own answer to a REFUSED_STREAM or a GOAWAY above the last stream: at most twice, and only where HTTP/2 says
that the server has processed nothing (RFC 9113, 8.7). pyreqwest 0.15 has no switch for it; such a refusal
that persists arrives here as `NotSent`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import HeaderMap
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from .answer import AGENT, BODY_LIMIT, IDLE_SECONDS, Answer, NoAnswer, NotSent, Prepared


class Clients:
    """One client for each connection number, shared by all origins."""

    def __init__(
        self,
        *,
        ca_file: str,
        timeout: float,
        connect_timeout: float,
        streams: int,
        connections: int,
        bounded: bool,
    ) -> None:
        self._certificates = Path(ca_file).read_bytes() if ca_file else b""
        self._timeout, self._connect_timeout = timeout, connect_timeout
        self.streams, self.connections = streams, connections
        self.exchange = _exchange_bounded if bounded else _exchange
        self._clients: list[Client] = []
        self.closed = False

    def client(self, index: int) -> Client:
        """The client behind every origin's connection number `index`."""
        while len(self._clients) <= index:
            self._clients.append(self._build())
        return self._clients[index]

    def renew(self) -> None:
        self._clients = []

    async def close(self) -> None:
        self.closed = True
        clients, self._clients = self._clients, []
        for client in clients:
            await client.close()

    def _build(self) -> Client:
        builder = (
            ClientBuilder()
            .user_agent(AGENT)
            .no_proxy()
            .follow_redirects(False)
            .referer(False)
            .default_cookie_store(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .timeout(timedelta(seconds=self._timeout))
            .connect_timeout(timedelta(seconds=min(self._connect_timeout, self._timeout)))
            .pool_idle_timeout(timedelta(seconds=IDLE_SECONDS))
            .http2_keep_alive_interval(timedelta(seconds=60))
            .http2_keep_alive_timeout(timedelta(seconds=10))
            .http2_keep_alive_while_idle(True)
        )
        if self._certificates:
            builder = builder.add_root_certificate_pem(self._certificates)
        return builder.http2(True).build()


class ReqwestOrigin:
    """One server: as many connections as the load asks for, each opened by one request alone.

    APNs allows a single stream until the first answer, and a burst on a cold pool would open a
    connection for each request. So the first request goes ahead and the others wait for its answer.
    """

    def __init__(self, clients: Clients, url: str) -> None:
        self.url = url
        self._clients = clients
        self._lines: list[_Line] = []
        self._current = self._line()

    async def post(
        self, path: str, headers: Prepared, body: bytes, extra: tuple[tuple[str, str], ...] = ()
    ) -> Answer:
        """One POST. `extra`: headers of this request alone. Raises NotSent or NoAnswer."""
        if self._clients.closed:
            raise NotSent("closed")
        line = self._current
        if line.in_flight >= self._clients.streams:
            line = self._current = self._line()
        line.in_flight += 1
        try:
            while not line.is_open or time.monotonic() - line.answered_at > IDLE_SECONDS:
                if line.opening is None:
                    return await self._open(line, path, headers.map, body, extra)
                await line.opened()
            return await self._exchange(line, path, headers.map, body, extra)
        finally:
            line.in_flight -= 1

    async def _open(self, line: _Line, *request: Any) -> Answer:
        line.opening = opening = asyncio.get_running_loop().create_future()
        why = ""
        try:
            answer = await self._exchange(line, *request)
            line.is_open = True
            return answer
        except (NotSent, NoAnswer) as error:
            why = str(error) or type(error).__name__
            raise
        finally:
            line.opening = None
            opening.set_result(why)

    async def _exchange(
        self, line: _Line, path: str, headers: HeaderMap, body: bytes, extra: tuple[tuple[str, str], ...]
    ) -> Answer:
        try:
            builder = line.client.post(self.url + path).headers(headers).body_bytes(body)
            for name, value in extra:
                # "Sensitive" is HPACK's never-indexed: a value of one request must not push out the shared ones.
                builder = builder.header(name, value, is_sensitive=True)
            answer = await self._clients.exchange(builder)
        except PyreqwestError as error:
            raise line.failed(error) from None
        line.answered_at = time.monotonic()
        return answer

    def _line(self) -> _Line:
        """The least busy connection; a new one while all are full."""
        line = min(self._lines, key=lambda line: line.in_flight, default=None)
        if line is None or (
            line.in_flight >= self._clients.streams and len(self._lines) < self._clients.connections
        ):
            line = _Line(self._clients.client(len(self._lines)))
            self._lines.append(line)
        return line

    async def close(self) -> None:
        """Its connections are the clients', and end with them."""

    def forget(self) -> None:
        self._lines = []
        self._current = self._line()


class _Line:
    """One connection, as far as can be seen from here."""

    __slots__ = ("answered_at", "client", "in_flight", "is_open", "opening")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.in_flight = 0
        self.is_open = False
        self.opening: asyncio.Future[str] | None = None
        self.answered_at = 0.0

    async def opened(self) -> None:
        """Wait for the request that opens the connection; its failure is the failure of all who wait."""
        assert self.opening is not None
        why = await asyncio.shield(self.opening)
        if why:
            raise NotSent(why)

    def failed(self, error: PyreqwestError) -> NotSent | NoAnswer:
        words = _causes(error)
        if "timed out" not in words[-1] and "stream error" not in words[-1]:
            self.is_open = False  # the connection went, not just this stream
        kind = NotSent if any(sign in word for word in words for sign in _NOT_SENT) else NoAnswer
        return kind(words[-1][:120])


# What reqwest, hyper and h2 say when no server has seen the request.
_NOT_SENT = (
    "client error (Connect)",
    "refused stream",
    "connection error received",  # a GOAWAY, and this stream is above its last
)


def _causes(error: PyreqwestError) -> list[str]:
    """The chain of causes, without the URL (it holds the device token)."""
    details = getattr(error, "details", None) or {}
    causes = [str(cause.get("message", "")) for cause in details.get("causes") or ()]
    return [word for word in causes if " url " not in word and "://" not in word] or [type(error).__name__]


async def _exchange(builder: RequestBuilder) -> Answer:
    response: Response = await builder.build().send()
    return Answer(response.status, response.headers, bytes(await response.bytes())[:BODY_LIMIT])


async def _exchange_bounded(builder: RequestBuilder) -> Answer:
    async with builder.build_streamed() as response:
        body = b""
        while len(body) < BODY_LIMIT:
            chunk = await response.body_reader.read_chunk()
            if chunk is None:
                break
            body += bytes(chunk)
        return Answer(response.status, response.headers, body[:BODY_LIMIT])
