"""`python -m simulator`: listeners, certificates, demo credentials, and DIR/simulator.json when ready."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server

from simulator import certificates, credentials
from simulator.app import Simulator
from simulator.control import Control
from simulator.server import Listener

BACKLOG = 256


def main() -> None:
    arguments = _arguments()
    arguments.state_dir.mkdir(parents=True, exist_ok=True)
    uvloop.run(_run(arguments))
    # Viewers of the wall would hold the control server's threads.
    sys.stdout.flush()
    os._exit(0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="TLS: APNs, FCM, Web Push, OAuth (0: any free)")
    parser.add_argument("--sandbox-port", type=int, default=0, help="TLS: APNs sandbox")
    parser.add_argument("--control-port", type=int, default=0, help="plain HTTP: control API and wall")
    parser.add_argument(
        "--state-dir", type=Path, required=True, help="certificates, credentials, simulator.json"
    )
    parser.add_argument("--public-host", default="localhost", help="host name in the published URLs")
    parser.add_argument("--hosts", default="", help="further names for the certificate, comma-separated")
    parser.add_argument("--decrypt-share", type=float, default=1.0, help="share of Web Push bodies decrypted")
    parser.add_argument(
        "--apns-token-updates", type=int, default=1, help="new provider tokens per key and 20 min"
    )
    parser.add_argument("--no-arrivals", action="store_true", help="do not count arrivals by device")
    parser.add_argument(
        "--outlive-parent", action="store_true", help="keep running when the parent process ends"
    )
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    simulator = Simulator()
    control = Control(simulator)
    hosts = [arguments.public_host, *filter(None, arguments.hosts.split(","))]
    files = certificates.ensure(arguments.state_dir, hosts)
    listeners = [Listener(simulator.route, files), Listener(simulator.route_sandbox, files)]
    for listener, port in zip(listeners, (arguments.port, arguments.sandbox_port), strict=True):
        await listener.open(arguments.host, port)
    control_port = _Port(arguments.host, arguments.control_port)
    control.details = _details(
        arguments, simulator, files, *(each.port for each in listeners), control_port.number
    )
    tasks = [asyncio.create_task(_control_server(control, arguments.host, control_port.number).serve())]
    tasks.append(asyncio.create_task(simulator.keep_time()))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if not arguments.outlive_parent:
        tasks.append(asyncio.create_task(_watch_parent(stopping)))
    await control_port.wait_until_open()
    _publish(arguments.state_dir / "simulator.json", control.details)
    await stopping.wait()
    (arguments.state_dir / "simulator.json").unlink(missing_ok=True)
    for listener in listeners:
        listener.close()
    await asyncio.sleep(0.05)  # let the farewells out


def _details(
    arguments: argparse.Namespace, simulator: Simulator, files: certificates.Certificates, *ports: int
) -> dict[str, Any]:
    """What simulator.json says; tells the services the URLs they go by."""
    origin, sandbox = (f"https://{arguments.public_host}:{port}" for port in ports[:2])
    plain = f"http://{arguments.public_host}:{ports[2]}"
    origins = frozenset(
        f"https://{name}:{ports[0]}" for name in ("localhost", "127.0.0.1", arguments.public_host)
    )
    simulator.accounts.audiences = frozenset(f"{each}/token" for each in origins)
    simulator.verifier.audiences, simulator.webpush.origin = origins, origin
    simulator.webpush.decrypt_share = arguments.decrypt_share
    simulator.keys.updates_allowed = arguments.apns_token_updates
    for book in simulator.books.values():
        book.enabled = not arguments.no_arrivals
    return {
        "pid": os.getpid(),
        "apns": origin,
        "apns_sandbox": sandbox,
        "fcm": origin,
        "token_uri": f"{origin}/token",
        "webpush": origin,
        "control": plain,
        "wall": f"{plain}/wall",
        "ca_file": str(files.authority.resolve()),
        "credentials": credentials.ensure(arguments.state_dir.resolve(), simulator, f"{origin}/token"),
    }


def _control_server(control: Control, host: str, port: int) -> Server:
    return Server(
        control,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        backlog=BACKLOG,
        backpressure=BACKLOG,
        websockets=False,
        log_enabled=False,
    )


class _Port:
    """A port number held for this process: bound, not listening, shared with the server by SO_REUSEPORT."""

    def __init__(self, host: str, number: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((host, number))
        self.number: int = self._socket.getsockname()[1]
        self._host = host

    async def wait_until_open(self) -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(self._host, self.number)
                writer.close()
                return
            await asyncio.sleep(0.01)


def _publish(path: Path, details: dict[str, Any]) -> None:
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(details, indent=2))
    unfinished.replace(path)
    print(f"simulator ready: {details['wall']} (settings in {path})", flush=True)


async def _watch_parent(stopping: asyncio.Event) -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 (nobody signals an orphan)
        await asyncio.sleep(0.5)
    stopping.set()


if __name__ == "__main__":
    main()
