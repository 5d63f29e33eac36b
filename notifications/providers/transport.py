"""HTTPS for the providers: one attempt per call, two ways to fail.

Nothing here knows what is sent. Two clients do the work: our own for vendors whose servers are known to speak
HTTP/2 (`http2`, a third of the cost), pyreqwest for push services nobody here chose and whatever else may
answer in HTTP/1.1 (`reqwest_origin`).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable
from functools import cached_property, lru_cache
from typing import Protocol

from .answer import BODY_LIMIT, IDLE_SECONDS, Answer, NoAnswer, NotSent, Prepared
from .http2_origin import Http2Origin
from .reqwest_origin import Clients, ReqwestOrigin

__all__ = ["BODY_LIMIT", "IDLE_SECONDS", "Answer", "NoAnswer", "NotSent", "Origin", "Prepared", "Transport"]

ORIGINS = 512  # servers remembered at a time
RENEW_SECONDS = 10.0  # renew() again within this is ignored: a storm of 503 must not become one of handshakes

headers = Prepared  # parsed once, sent many times


class Origin(Protocol):
    """One server."""

    def post(
        self, path: str, headers: Prepared, body: bytes, extra: tuple[tuple[str, str], ...] = ()
    ) -> Awaitable[Answer]:
        """One POST. `extra`: headers of this request alone. Raises NotSent or NoAnswer, when awaited or before."""
        ...

    def forget(self) -> None:
        """Use new connections from now on."""
        ...

    async def close(self) -> None: ...


class Transport:
    """The connections of one session. Built after the fork, inside the running loop.

    streams: requests in flight on one connection before the next is opened.
    connections: most connections to one origin.
    http2_only: False lets TLS negotiate HTTP/1.1 (push services nobody here chose), but for the servers
    `speaks_http2` knows better about.
    bounded: stop reading an answer at BODY_LIMIT instead of cutting it there (HTTP/2 always does; where
    HTTP/1.1 is allowed it is some 20 % dearer).
    """

    def __init__(
        self,
        *,
        ca_file: str = "",
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        streams: int = 100,
        connections: int = 8,
        http2_only: bool = True,
        speaks_http2: Callable[[str], bool] = lambda url: False,
        bounded: bool = False,
    ) -> None:
        self._ca_file, self._timeout = ca_file, timeout
        self._connect_timeout = min(connect_timeout, timeout)
        self._http2_only, self._speaks_http2, self._bounded = http2_only, speaks_http2, bounded
        self._streams, self._connections = streams, connections
        self._origins: dict[str, Origin] = {}
        self._renewed_at = 0.0
        self.closed = False

    def origin(self, url: str) -> Origin:
        """The server at `url` (scheme, host and port). Raises NotSent once closed."""
        origin = self._origins.get(url)
        return self._make(url.rstrip("/")) if origin is None else origin

    def renew(self) -> None:
        """Use new connections from now on; requests in flight end on the old ones."""
        if time.monotonic() - self._renewed_at > RENEW_SECONDS:
            self._renewed_at = time.monotonic()
            if not self._http2_only:
                self._clients.renew()
            for origin in self._origins.values():
                origin.forget()

    async def close(self) -> None:
        """Requests in flight end in NoAnswer, later ones in NotSent. May be called twice."""
        self.closed = True
        origins, self._origins = self._origins, {}
        for origin in origins.values():
            await origin.close()
        if not self._http2_only:
            await self._clients.close()

    def _make(self, url: str) -> Origin:
        if self.closed:
            raise NotSent("closed")
        if url in self._origins:
            return self._origins[url]
        if len(self._origins) >= ORIGINS:
            for origin in self._origins.values():
                origin.forget()  # requests in flight keep theirs
            self._origins = {}
        origin = self._origins[url] = (
            self._http2(url)
            if self._http2_only or self._speaks_http2(url)
            else ReqwestOrigin(self._clients, url)
        )
        return origin

    def _http2(self, url: str) -> Http2Origin:
        return Http2Origin(
            url,
            tls(self._ca_file),
            streams=self._streams,
            connections=self._connections,
            timeout=self._timeout,
            connect_timeout=self._connect_timeout,
        )

    @cached_property
    def _clients(self) -> Clients:
        return Clients(
            ca_file=self._ca_file,
            timeout=self._timeout,
            connect_timeout=self._connect_timeout,
            streams=self._streams,
            connections=self._connections,
            bounded=self._bounded,
        )


@lru_cache(maxsize=8)
def tls(ca_file: str) -> ssl.SSLContext:
    """The system's authorities, and those in `ca_file`. Reading them takes 20 ms: once per process."""
    context = ssl.create_default_context()  # checks certificates and names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if ca_file:
        context.load_verify_locations(ca_file)
    return context
