"""`make demo`: everything on this machine, with 100 000 simulated phones and browsers to send to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from simulator.client import Simulation
from simulator.stack import ROOT, Stack, free_port

DEVICES = 100_000
PORT = 8000


@contextlib.contextmanager
def step(words: str) -> Iterator[None]:
    print(f"  {words} …", end="", flush=True)
    began = time.monotonic()
    yield
    print(f" {time.monotonic() - began:.1f} s", flush=True)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell's `&` has it ignored
    data_dir = Path(os.environ.get("DATA_DIR") or ROOT / ".data").absolute()
    state_dir = data_dir / "simulator"
    print("Carillon demo", flush=True)
    with contextlib.ExitStack() as stack:
        with step("starting the phone simulator"):
            simulation = stack.enter_context(_simulation(state_dir))
        product = stack.enter_context(Stack(data_dir, simulation, port=_port()))
        with step("starting PostgreSQL and Redis, bringing the database up to date"):
            product.migrate()
        with step(f"preparing a shop with {DEVICES:,} simulated devices"):
            seeded = json.loads(product.manage("seed_demo", "--simulator", str(state_dir)))
        with step("starting the web server and the workers"):
            product.start()
            product.run("readers", *readers(product, seeded))
        _welcome(product, simulation, seeded)
        _watch(product)
    print("Stopped. Your data is kept; `make demo` brings it back.", flush=True)
    return 0


def _simulation(state_dir: Path) -> Simulation:
    """On the ports of last time if they are free: browsers of the demo are registered under them."""
    ports = state_dir / "ports.json"
    known = json.loads(ports.read_text()) if ports.exists() else []
    wanted = known if all(_is_free(port) for port in known) else []
    names = ("--port", "--sandbox-port", "--control-port")
    options = [word for name, port in zip(names, wanted, strict=False) for word in (name, str(port))]
    simulation = Simulation.start(state_dir, *options)
    urls = (simulation.apns, simulation.apns_sandbox, simulation.control)
    ports.write_text(json.dumps([int(url.rpartition(":")[2]) for url in urls]))
    return simulation


def _port() -> int:
    """PORT, or 8000, or any free one if another demo has that."""
    if given := os.environ.get("PORT"):
        return int(given)
    return PORT if _is_free(PORT) else free_port()


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def readers(product: Stack, seeded: dict[str, str]) -> list[str]:
    """The command that lets people open what comes."""
    return ["simulate_readers", seeded["application"], "--url", product.url, "--key", seeded["client_key"]]


def _welcome(product: Stack, simulation: Simulation, seeded: dict[str, str]) -> None:
    print(
        f"""
  Admin    {product.url}/admin/     login: {seeded["username"]}   password: {seeded["password"]}
           the same password for one person per role: demo-viewer, demo-marketer, demo-approver,
           demo-operator, demo-developer, demo-admin
  Phones   {simulation.wall}   (watch them receive)
  API      {product.url}/v1/docs     server key: {seeded["server_key"]}
                                            client key: {seeded["client_key"]}

  Open the admin, choose Campaigns ▸ Autumn sale, and launch it. Ctrl-C stops everything.
""",
        flush=True,
    )


def _watch(product: Stack) -> None:
    """Until Ctrl-C, or until a process ends that should not."""
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        while True:
            time.sleep(1)
            for name, process in product.processes.items():
                if process.poll() is not None:
                    print(f"{name} ended unexpectedly:\n{product.log_tail(name)}", flush=True)
                    return
    print("\nStopping …", flush=True)


if __name__ == "__main__":
    sys.exit(main())
