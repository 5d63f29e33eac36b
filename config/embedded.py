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

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from config import env, keeper
from config.keeper import POLL_SECONDS, SERVICES, START_SECONDS, ServicesError


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
    with keeper.log_file(directory / "keeper.log") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "config.keeper", name, str(directory)],
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


def _tails(directory: Path, lines: int = 15) -> str:
    found = []
    for path in sorted(directory.glob("*.log")):
        with path.open(errors="replace") as log:
            found.append(f"--- {path}\n{''.join(deque(log, maxlen=lines))}")
    return "\n".join(found)


# --- run ------------------------------------------------------------------------------------------


def _run(command: Sequence[str]) -> int:
    """Hold the services while the command runs. It attaches to them itself; its environment is as ours."""
    environment = env.load(os.environ)
    services(environment)
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and has_terminal:
            return  # which sends Ctrl-C to the command as well
        child.send_signal(number) if child else early.append(number)

    has_terminal = sys.stdin is not None and sys.stdin.isatty()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, forward)
    child = subprocess.Popen(command)
    for missed in early:
        child.send_signal(missed)
    while True:
        with suppress(subprocess.TimeoutExpired):
            code = child.wait(timeout=1)
            return code if code >= 0 else 128 - code
        services(environment)  # a killed keeper is replaced


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["run", "--", *command] if command:
            try:
                return _run(command)
            except (env.ConfigurationError, ServicesError, FileNotFoundError) as error:
                sys.exit(str(error))
    sys.exit("usage: python -m config.embedded run -- COMMAND [ARGUMENT ...]")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
