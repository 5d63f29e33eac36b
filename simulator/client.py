"""Start and steer a simulator from tests, the demo and benchmarks. Synchronous; standard library only.

with Simulation.start(tmp_path) as simulation:
    simulation.set_faults("apns", dead_share=0.01)
    ...
    assert simulation.stats()["apns"]["accepted"] == 100
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

START_SECONDS = 20.0
STOP_SECONDS = 5.0
_ROOT = Path(__file__).resolve().parent.parent


class SimulationError(RuntimeError):
    """The simulator did not start, or refused a control request."""


class Simulation:
    """A running simulator. `details` is simulator.json; its URLs are attributes as well."""

    def __init__(self, details: Mapping[str, Any], process: subprocess.Popen[bytes] | None = None) -> None:
        self.details, self._process = dict(details), process
        self.apns: str = details["apns"]
        self.apns_sandbox: str = details["apns_sandbox"]
        self.fcm: str = details["fcm"]
        self.token_uri: str = details["token_uri"]
        self.webpush: str = details["webpush"]
        self.control: str = details["control"]
        self.wall: str = details["wall"]
        self.ca_file: str = details["ca_file"]
        self.credentials: dict[str, dict[str, str]] = details["credentials"]

    @classmethod
    def start(cls, state_dir: Path | str | None = None, *options: str, log: Path | None = None) -> Simulation:
        """Run `python -m simulator` and wait until it answers. Raises SimulationError with its last words."""
        folder = Path(state_dir or tempfile.mkdtemp(prefix="simulator-"))
        folder.mkdir(parents=True, exist_ok=True)
        ready, said = folder / "simulator.json", log or folder / "simulator.log"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "simulator", "--state-dir", str(folder), *options]
        with said.open("ab") as output:
            process = subprocess.Popen(command, cwd=_ROOT, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise SimulationError(f"the simulator did not start:\n{said.read_text()[-2000:]}")
            time.sleep(0.02)
        return cls(json.loads(ready.read_text()), process)

    @classmethod
    def attach(cls, state_dir: Path | str) -> Simulation:
        """One already running with this state directory."""
        return cls(json.loads((Path(state_dir) / "simulator.json").read_text()))

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """May be called twice."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def environment(self) -> dict[str, str]:
        """Environment variables that point the product at this simulator."""
        return {
            "APNS_URL": self.apns,
            "APNS_SANDBOX_URL": self.apns_sandbox,
            "FCM_URL": self.fcm,
            "PROVIDER_CA_FILE": self.ca_file,
            "WEBPUSH_ALLOWED_HOSTS": self.webpush.removeprefix("https://").rpartition(":")[0],
        }

    def stats(self) -> dict[str, Any]:
        return self._call("GET", "stats")

    def arrivals(self, book: str = "", **query: object) -> dict[str, Any]:
        """book: apns, apns_sandbox, fcm or webpush; "" for all. query: token, notification, missing="0-1000",
        duplicates=LIMIT, addresses=1.
        """
        return self._call("GET", f"arrivals/{book}".rstrip("/"), query=query)

    def counts(self, book: str, of: str = "accepted") -> bytes:
        """Arrivals by device index, one byte each (255: that many or more)."""
        return self._fetch("GET", f"arrivals/{book}/counts", query={"of": of})

    def receipts(self, notification: str = "", since: int = 0) -> list[dict[str, Any]]:
        """[{at (unix ns), provider, device, notification}]; see watch()."""
        lines = self._fetch("GET", "receipts", query={"notification": notification, "since": since})
        return [json.loads(line) for line in lines.splitlines()]

    def watch(
        self, notifications: Iterable[str] = (), *, high_priority: bool = True, limit: int = 200_000
    ) -> None:
        """Which receipts are kept for good, besides the last few thousand."""
        wanted = {"notifications": list(notifications), "high_priority": high_priority, "limit": limit}
        self._call("PUT", "watch", wanted)

    def set_faults(self, provider: str, **plan: Any) -> dict[str, Any]:
        """Replace the whole plan of apns, fcm or webpush; no arguments: no faults. See faults.Plan."""
        return self._call("PUT", f"faults/{provider}", plan)

    def set(self, **settings: Any) -> dict[str, Any]:
        """See control.Settings."""
        return self._call("PUT", "settings", settings)

    def reset(self) -> None:
        """Forget arrivals, statistics, receipts and faults; credentials stay."""
        self._call("POST", "reset")

    def add_apns_key(
        self, *, team_id: str, key_id: str, public_key: str, bundle_ids: list[str], **more: Any
    ) -> None:
        """public_key: PEM. more: environments."""
        key = {"team_id": team_id, "key_id": key_id, "public_key": public_key, "bundle_ids": bundle_ids}
        self._call("POST", "credentials/apns", {**key, **more})

    def add_service_account(
        self, *, project_id: str, client_email: str, public_key: str, **more: Any
    ) -> None:
        """public_key: PEM. more: private_key_id."""
        account = {"project_id": project_id, "client_email": client_email, "public_key": public_key}
        self._call("POST", "credentials/fcm", {**account, **more})

    def add_subscription(self, identifier: str, **subscription: Any) -> str:
        """Register a browser of one's own (private_key, auth, …); returns its endpoint."""
        return self._call("PUT", f"subscriptions/{identifier}", subscription)["endpoint"]

    def wait_for(self, book: str, accepted: int, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until so many were accepted; returns the statistics. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while (stats := self.stats()[book])["accepted"] < accepted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{book}: {stats['accepted']} of {accepted} accepted")
            time.sleep(0.02)
        return stats

    def _call(
        self, method: str, path: str, body: object = None, query: Mapping[str, object] | None = None
    ) -> Any:
        return json.loads(self._fetch(method, path, body, query))

    def _fetch(
        self, method: str, path: str, body: object = None, query: Mapping[str, object] | None = None
    ) -> bytes:
        url = f"{self.control}/_control/{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 (our own URL)
        try:
            with _opener.open(request, timeout=30) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise SimulationError(f"{method} {path}: {error.read().decode()}") from None


# Never through a proxy named in the environment.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
