"""With the real web server, as Procfile starts it: its workers do not outlive it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from config import env, orphans
from simulator.stack import free_port

WORKERS = 2


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(port: int) -> Iterator[psutil.Process]:
    command = (env.BASE_DIR / "Procfile").read_text().splitlines()[0].removeprefix("web: ")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=env.BASE_DIR,
        env={**os.environ, "PORT": str(port), "PATH": path},
        start_new_session=True,
    )
    try:
        _wait(lambda: _answers(port))
        yield psutil.Process(started.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def test_the_workers_of_a_web_server_end_when_it_is_killed_and_not_before(
    server: psutil.Process, port: int
) -> None:
    workers = server.children()
    assert len(workers) == WORKERS
    time.sleep(orphans.POLL_SECONDS + 0.5)
    assert server.children() == workers
    server.kill()
    _wait(lambda: not any(map(_is_alive, workers)), 10)
    assert not _answers(port)


def _is_alive(process: psutil.Process) -> bool:
    """Where nobody waits for a process that has ended it stays a zombie."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2)
        return True
    return False


def _wait(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
