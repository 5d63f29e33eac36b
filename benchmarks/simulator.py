"""What the simulator costs: `python -m benchmarks.simulator [--seconds N] [--pin]`.

One JSON line per service and load generator. The simulator runs in a process of its own with every check on,
arrivals counted and Web Push bodies decrypted; `cpu_us` is that process's CPU time per request, the number that
matters where it shares the machine with what is measured. h2load (Debian: nghttp2-client) drives APNs and FCM
where present, pyreqwest drives all three. `--pin`: simulator on the last core, load on the first.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jwt
import uvloop
from py_vapid import Vapid
from pyreqwest.client import Client
from pyreqwest.http import HeaderMap

from simulator import devices
from simulator.client import Simulation
from tests.simulator.senders import WebSender, access_token, http2_client

CONNECTIONS, STREAMS = 4, 64
ENCRYPTED = 2_000  # Web Push bodies made ahead: encrypting costs more than decrypting
NOTIFICATION = "0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
TITLE, BODY = "Your order is on its way", "It left our warehouse this morning and arrives on Thursday."


class Load(NamedTuple):
    """Requests to one service. `request` gives the URL and body of the n-th."""

    service: str
    headers: dict[str, str]
    request: Callable[[int], tuple[str, bytes]]
    book: str


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="simulator-benchmark-"))
    with Simulation.start(folder) as simulation:
        if arguments.pin:
            _pin(simulation.details["pid"], os.cpu_count() - 1)
            _pin(os.getpid(), 0)
        for load in (_apns(simulation), _fcm(simulation), _web(simulation)):
            with _measured(simulation, load, "pyreqwest", arguments.pin):
                uvloop.run(_drive(load, simulation, arguments.seconds))
            if load.service != "webpush" and shutil.which("h2load"):
                with _measured(simulation, load, "h2load", arguments.pin):
                    _h2load(load, folder, arguments.seconds)
    shutil.rmtree(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of load, per line")
    parser.add_argument("--pin", action="store_true", help="simulator and load on a core each")
    return parser.parse_args()


@contextmanager
def _measured(simulation: Simulation, load: Load, driver: str, pinned: bool) -> Iterator[None]:
    simulation.reset()
    pid = simulation.details["pid"]
    cpu, began = _cpu_seconds(pid), time.perf_counter()
    yield
    seconds, cpu = time.perf_counter() - began, _cpu_seconds(pid) - cpu
    stats = simulation.stats()[load.book]
    figures = {
        "benchmark": "simulator",
        "service": load.service,
        "driver": driver,
        "pinned": pinned,
        "requests": stats["received"],
        "accepted": stats["accepted"],
        "per_second": round(stats["received"] / seconds),
        "cpu_us": round(cpu / stats["received"] * 1e6, 1),
        "per_core": round(stats["received"] / cpu),
        "load_after": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(figures), flush=True)


def _apns(simulation: Simulation) -> Load:
    known = simulation.credentials["apns"]
    claims = {"iss": known["team_id"], "iat": int(time.time())}
    secret = Path(known["secret_file"]).read_text()
    headers = {
        "authorization": "bearer "
        + jwt.encode(claims, secret, algorithm="ES256", headers={"kid": known["key_id"]}),
        "apns-topic": known["bundle_id"],
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": "1924992000",
    }
    alert = {"alert": {"title": TITLE, "body": BODY}, "sound": "default"}
    body = json.dumps({"aps": alert, "carillon": {"id": NOTIFICATION}}).encode()
    start = f"{simulation.apns}/3/device/"
    return Load("apns", headers, lambda n: (start + devices.apns_token(n), body), "apns")


def _fcm(simulation: Simulation) -> Load:
    project = simulation.credentials["fcm"]["project_id"]
    headers = {"authorization": f"Bearer {access_token(simulation)}", "content-type": "application/json"}
    url = f"{simulation.fcm}/v1/projects/{project}/messages:send"
    message = {
        "token": "TOKEN",
        "notification": {"title": TITLE, "body": BODY},
        "data": {"carillon": NOTIFICATION, "carillon_url": "https://example.com/orders/12"},
        "android": {"priority": "HIGH", "ttl": "3600s", "collapse_key": "order-12"},
    }
    before, after = json.dumps({"message": message}).encode().split(b"TOKEN")
    return Load("fcm", headers, lambda n: (url, before + devices.fcm_token(n).encode() + after), "fcm")


def _web(simulation: Simulation) -> Load:
    sender = WebSender.__new__(WebSender)  # only its encryption and signature; it holds no connection
    sender.simulation, sender.vapid = simulation, Vapid()
    sender.vapid.generate_keys()
    headers = {
        "authorization": sender.sign(),
        "ttl": "3600",
        "urgency": "high",
        "content-encoding": "aes128gcm",
    }
    text = json.dumps({"title": TITLE, "body": BODY, "carillon": NOTIFICATION}).encode()
    made = []
    for index in range(ENCRYPTED):
        subscription = sender.subscription(index)
        made.append((subscription.endpoint, sender.encrypt(subscription, text)))
    return Load("webpush", headers, lambda n: made[n % ENCRYPTED], "webpush")


async def _drive(load: Load, simulation: Simulation, seconds: float) -> None:
    clients = [http2_client(simulation).build() for _ in range(CONNECTIONS)]
    numbers, headers = itertools.count(), HeaderMap(load.headers)
    for client in clients:  # one request alone opens each connection
        await _send(client, load, headers, next(numbers))
    end = time.perf_counter() + seconds

    async def one(client: Client) -> None:
        while time.perf_counter() < end:
            await _send(client, load, headers, next(numbers))

    await asyncio.gather(*(one(client) for client in clients for _ in range(STREAMS)))
    for client in clients:
        await client.close()


async def _send(client: Client, load: Load, headers: HeaderMap, number: int) -> None:
    url, body = load.request(number)
    response = await client.post(url).headers(headers).body_bytes(body).build().send()
    assert response.status in (200, 201), (response.status, bytes(await response.bytes()))


def _h2load(load: Load, folder: Path, seconds: float) -> None:
    """As fast as C can: the URLs are of several devices, the body is one."""
    urls, body = folder / "urls", folder / "body"
    urls.write_text("\n".join(load.request(number)[0] for number in range(5_000)))
    body.write_bytes(load.request(0)[1])
    headers = [part for name, value in load.headers.items() for part in ("-H", f"{name}: {value}")]
    size = ["-c", str(CONNECTIONS), "-m", str(STREAMS), "-D", str(int(seconds))]
    command = ["h2load", *size, "-i", str(urls), "-d", str(body), *headers]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    refused: Any = re.search(r"status codes: \d+ 2xx, \d+ 3xx, (\d+) 4xx, (\d+) 5xx", output)
    assert refused and refused.groups() == ("0", "0"), output


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pin(pid: int, core: int) -> None:
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})


if __name__ == "__main__":
    main()
