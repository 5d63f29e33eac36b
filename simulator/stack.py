"""The whole product as subprocesses against a simulator: for the demo, the smoke test, e2e tests and benchmarks.

The processes are those of `Procfile`, each started once per name with a log file of its own, and started
again when it ends if `supervise` was asked for. Ending this process, however, ends them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from simulator.client import Simulation

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 30.0
SUPERVISE_SECONDS = 0.2

RUN_ALL = """
import json, sys
from django.core.management import call_command
for words in json.load(sys.stdin):
    call_command(*words)
"""

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class StackError(RuntimeError):
    """A process did not start or a command failed; the message ends with its last words."""


class Stack:
    """Use as a context manager. `environment` is what every process and command is given."""

    def __init__(self, data_dir: Path, simulation: Simulation, *, port: int = 0) -> None:
        self.data_dir, self.simulation = data_dir, simulation
        self.logs = data_dir / "logs"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts: Counter[str] = Counter()  # by the supervisor
        self.environment = {
            **os.environ,
            **simulation.environment(),
            "DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            # Our interpreter's scripts first: Procfile names celery and granian without a path.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        self._keep: subprocess.Popen[bytes] | None = None
        self._replaced: list[tuple[str, int]] = []  # (name, process) of those that were started again
        self._is_stopping = threading.Event()
        self._restarting = threading.Lock()

    def __enter__(self) -> Stack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def migrate(self) -> None:
        """Start PostgreSQL and Redis, hold them up, and bring the schema up to date."""
        if self._keep is None:
            self._keep = self._spawn(
                "services", [*_python("config.embedded"), "run", "--", "sleep", "infinity"]
            )
        self.manage("migrate", "--no-input", "--verbosity", "0")

    def manage(self, *arguments: str, given: str | None = None) -> str:
        """Run a management command; what it printed. Raises StackError."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StackError(f"manage.py {arguments[0]}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def manage_all(self, *commands: Sequence[str]) -> None:
        """Run several management commands in one process: starting one takes longer than most commands."""
        self.manage("shell", "--no-imports", "-c", RUN_ALL, given=json.dumps(commands))

    def create_application(self, name: str, *, devices: int = 0) -> dict[str, str]:
        """An application with the simulator's credentials and devices; see `manage.py create_application --json`."""
        made = json.loads(self.manage("create_application", name, "--json"))
        slug = made["application"]
        commands = [["add_credential", slug, *words] for words in credential_arguments(self.simulation)]
        if devices:
            commands += [["simulate_devices", slug, str(devices), "--origin", self.simulation.webpush]]
        self.manage_all(*commands)
        return made

    def start(self, *names: str) -> None:
        """Start the processes of Procfile (or some of them) and wait for the web server."""
        for name, command in _procfile().items():
            if not names or name in names:
                self.processes[name] = self._spawn(name, ["/bin/sh", "-c", command])
        if "web" in self.processes:
            self._wait_for_web()

    def run(self, name: str, *arguments: str) -> None:
        """Keep a management command running beside them."""
        self.processes[name] = self._spawn(name, [sys.executable, "manage.py", *arguments])

    def restart(self, name: str) -> None:
        """Start a process that has ended again."""
        self._replaced.append((name, self.processes[name].pid))
        self.processes[name] = self._spawn(name, ["/bin/sh", "-c", _procfile()[name]])

    def supervise(self) -> None:
        """From now on start again whatever ends, as an installation's supervisor does."""
        threading.Thread(target=self._supervise, name="supervisor", daemon=True).start()

    def orphans(self) -> list[tuple[str, int]]:
        """(name in Procfile, process id) of what lives on though the process that started it was killed."""
        leaders = {leader: name for name, leader in self._replaced}
        return [(leaders[group], pid) for pid, group in self._members() if group in leaders]

    def stop(self) -> None:
        """End everything in order; may be called twice."""
        with self._restarting:
            self._is_stopping.set()
        for process in self.processes.values():
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            _end(process, deadline)
        for _, orphan in self.orphans():
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
        self.processes.clear()
        if self._keep is not None:
            _signal(self._keep, signal.SIGTERM)
            _end(self._keep, time.monotonic() + STOP_SECONDS)
            self._keep = None

    def log_tail(self, name: str, lines: int = 20) -> str:
        path = self.logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is ours to handle: the processes are asked one by one.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509
            )

    def _supervise(self) -> None:
        while not self._is_stopping.wait(SUPERVISE_SECONDS):
            with self._restarting:
                ended = [name for name, process in self.processes.items() if process.poll() is not None]
                for name in () if self._is_stopping.is_set() else ended:
                    self.restart(name)
                    self.restarts[name] += 1
        # What this thread started is sent SIGTERM when it ends: prctl(2), PR_SET_PDEATHSIG.
        for process in list(self.processes.values()):
            process.wait()

    def _members(self) -> Iterator[tuple[int, int]]:
        """(process, its group) of all that was started with our environment; each start makes a group."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if process.environ().get("DATA_DIR") == str(self.data_dir):
                    yield process.pid, os.getpgid(process.pid)

    def _wait_for_web(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise StackError(f"{name} ended:\n{self.log_tail(name)}")
            with contextlib.suppress(OSError, urllib.error.URLError):
                urllib.request.urlopen(f"{self.url}/healthz", timeout=2)  # noqa: S310 (our own URL)
                return
            time.sleep(0.1)
        raise StackError(f"the web server does not answer:\n{self.log_tail('web')}")


@contextlib.contextmanager
def running(
    data_dir: Path, *, port: int = 0, simulator_options: tuple[str, ...] = (), processes: tuple[str, ...] = ()
) -> Iterator[Stack]:
    """A migrated, started stack with its own simulator, all stopped at the end."""
    with (
        Simulation.start(data_dir / "simulator", *simulator_options) as simulation,
        Stack(data_dir, simulation, port=port) as stack,
    ):
        stack.migrate()
        stack.start(*processes)
        yield stack


def credential_arguments(simulation: Simulation) -> list[list[str]]:
    """`add_credential`'s arguments for everything the simulator has keys for."""
    apns, fcm = simulation.credentials["apns"], simulation.credentials["fcm"]
    settings = [f"{key}={apns[key]}" for key in ("team_id", "key_id", "bundle_id")]
    return [
        ["apns", "--secret-file", apns["secret_file"], "--set", *settings, "environment=both"],
        # The simulator has no quotas; Google's, and its slow start, would only make tests and benchmarks wait.
        ["fcm", "--secret-file", fcm["secret_file"], "--messages-per-second", "1000000"],
        ["webpush", "--set", "subject=mailto:push@carillon.dev"],
    ]


def request(
    method: str, url: str, body: Any = None, *, key: str = "", headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """One JSON call; (status, decoded body). Error statuses are answers, not exceptions."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **(headers or {})}
    call = urllib.request.Request(url, data=data, method=method, headers=sent)  # noqa: S310 (our own URL)
    try:
        with urllib.request.urlopen(call, timeout=60) as response:  # noqa: S310
            status, raw = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, raw = error.code, error.read()
    return status, json.loads(raw) if raw else None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name.strip(): command.strip() for name, _, command in pairs}


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _die_with_parent() -> None:
    if _libc:
        _libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        process.send_signal(number)


def _end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for it; what remains of its group after the deadline is killed."""
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
