"""Cutting a client's TCP connection from inside the process that serves it.

The server library offers no handle on a connection, but its socket is a file descriptor of this process.
"""

from __future__ import annotations

import ctypes
import os
import socket

_libc = ctypes.CDLL(None, use_errno=True)
_DISCONNECT = (ctypes.c_uint16 * 8)(socket.AF_UNSPEC)


def cut(client: str) -> bool:
    """Reset the connection whose far end is `client` ("host:port"); the peer sees ECONNRESET."""
    host, _, port = client.rpartition(":")
    peer = host.strip("[]"), int(port)
    for descriptor in _sockets():
        if _peer(descriptor) == peer:
            # Linux: connecting a TCP socket to AF_UNSPEC aborts it with a RST, whoever else holds it.
            return _libc.connect(descriptor, ctypes.byref(_DISCONNECT), ctypes.sizeof(_DISCONNECT)) == 0
    return False


def _sockets() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.append(int(name))
        except OSError:
            continue
    return found


def _peer(descriptor: int) -> tuple[str, int] | None:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            return duplicate.getpeername()[:2]
    except (OSError, TypeError, ValueError):
        return None
