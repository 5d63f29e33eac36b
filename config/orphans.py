"""What a process does when the one that started it was killed: nobody is left to end it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

POLL_SECONDS = 1
TERMINATE_SECONDS = 5


def watch(parent: int, end: Callable[[], None]) -> None:
    """Once `parent`, the process that started this one, is gone, call `end` and exit, whatever comes of it.

    `end` runs on a thread of its own and must return within a bound.
    """
    threading.Thread(target=_watch, args=(parent, end), name="orphans", daemon=True).start()


def terminate() -> None:
    """Ask this process to end, and give it time to."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(TERMINATE_SECONDS)


def _watch(parent: int, end: Callable[[], None]) -> None:
    # The kernel's own signal (PR_SET_PDEATHSIG) is Linux's only, and lost if the parent dies before it is asked for.
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    try:
        end()
    finally:
        os._exit(1)
