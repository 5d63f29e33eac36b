"""A request between the connection it is on and the one who hands it out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from .answer import Answer
from .hpack_fields import Headers, Prepared

if TYPE_CHECKING:
    from .http2 import Connection


class Owner(Protocol):
    """Who hands requests to connections."""

    waiting: Any  # true while requests wait for a stream

    def pump(self) -> None:
        """Streams may have come free."""

    def again(self, request: Request, why: str) -> None:
        """The server processed none of it; called with the latest request first."""

    def made(self, connection: Connection) -> None:
        """Its transport is there."""

    def unproven(self, why: str) -> None:
        """The first request of a connection has failed."""

    def lost(self, connection: Connection) -> None:
        """It is of no more use; its requests have failed."""

    def gone(self, connection: Connection) -> None:
        """Nothing is left of it."""


class Request(asyncio.Future[Answer]):
    """One POST, from the moment it is asked for; cancelling it frees its stream."""

    __slots__ = (
        "body",
        "connection",
        "deadline",
        "fields",
        "number",
        "parts",
        "refusals",
        "status",
        "unsent",
        "window",
    )

    deadline: float  # on the monotonic clock
    parts: tuple[str, Prepared, bytes, tuple[tuple[str, str], ...]]
    refusals: int  # connections that handed it back
    connection: Connection
    number: int  # of its stream
    status: int  # 0 until the answer's headers have come
    fields: Headers
    body: bytes
    unsent: memoryview  # with `window`: set while a window holds the body back
    window: int

    def cancel(self, msg: Any = None) -> bool:
        is_cancelled = super().cancel(msg)
        connection: Connection | None = getattr(self, "connection", None)  # none while it waits for one
        if is_cancelled and connection is not None:
            connection.abandon(self)
        return is_cancelled
