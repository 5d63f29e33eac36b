"""What can be killed, how, and whether it is there to be killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.product import Product

CHILDREN = {"web": 2, "transactional": 1, "campaign": 2, "background": 2, "clock": 0}  # as in Procfile
SENDERS = ("transactional", "campaign")


@dataclass(frozen=True)
class Target:
    """strike: ends it and says how many senders went down with it. is_up: whether it is (again) at work."""

    strike: Callable[[Product, random.Random], int]
    is_up: Callable[[Product], bool]


def _parent(name: str) -> Target:
    """The process of Procfile itself; its children are left to find out for themselves."""

    def strike(product: Product, chance: random.Random) -> int:
        _kill(product.stack.processes[name].pid)
        return CHILDREN[name] if name in SENDERS else 0

    return Target(strike, lambda product: _is_up(product, name))


def _child(name: str) -> Target:
    def strike(product: Product, chance: random.Random) -> int:
        _kill(chance.choice(_children(product, name)))
        return 1 if name in SENDERS else 0

    return Target(strike, lambda product: _is_up(product, name))


def _kill(pid: int) -> None:
    """Returns when it is dead: nobody takes it for alive any more."""
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.002)


def _is_up(product: Product, name: str) -> bool:
    is_running = product.stack.processes[name].poll() is None
    is_whole = is_running and len(_children(product, name)) == CHILDREN[name]
    return is_whole and (name != "web" or product.is_web_up())


def _children(product: Product, name: str) -> list[int]:
    try:
        children = psutil.Process(product.stack.processes[name].pid).children()
        return [child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def _kill_redis(product: Product, chance: random.Random) -> int:
    with product.redis() as client:
        _kill(client.info("server")["process_id"])
    return 0


def _flush_redis(product: Product, chance: random.Random) -> int:
    with product.redis() as client:
        client.flushall()
    return 0


def _kill_postgres(product: Product, chance: random.Random) -> int:
    pid_file = Path(product.rows("SHOW data_directory")[0][0]) / "postmaster.pid"
    _kill(int(pid_file.read_text().split()[0]))
    return 0


TARGETS: Mapping[str, Target] = {
    "web server": _parent("web"),
    "web worker": _child("web"),
    "campaign worker": _parent("campaign"),
    "campaign sender": _child("campaign"),
    "transactional worker": _parent("transactional"),
    "transactional sender": _child("transactional"),
    "background worker": _parent("background"),
    "background process": _child("background"),
    "clock": _parent("clock"),
    "Redis": Target(_kill_redis, Product.is_redis_up),
    "what Redis holds": Target(_flush_redis, Product.is_redis_up),
    "PostgreSQL": Target(_kill_postgres, Product.is_database_up),
}
