"""The simulator put together: services, who answers which path, and the clock."""

from __future__ import annotations

import asyncio
from typing import Any

from simulator import devices, oauth, webpush
from simulator.answers import Answer, Answering, Headers, json_answer
from simulator.apns import Apns, Keys
from simulator.arrivals import Book
from simulator.faults import Faults, Plan
from simulator.fcm import Fcm
from simulator.oauth import Accounts
from simulator.receipts import Receipts
from simulator.service import Context
from simulator.stats import Stats
from simulator.vapid import Verifier
from simulator.wall import SHOWN_PER_SECOND, Wall
from simulator.webpush import WebPush

PROVIDERS = ("apns", "fcm", "webpush")
BOOKS = ("apns", "apns_sandbox", "fcm", "webpush")


class Simulator:
    def __init__(self) -> None:
        self.receipts, self.wall = Receipts(), Wall()
        self.faults = {provider: Faults() for provider in PROVIDERS}
        self.keys, self.accounts, self.verifier = Keys(), Accounts(self.faults["fcm"]), Verifier()
        self.stats = {book: Stats() for book in BOOKS}
        self.books = {
            "apns": Book(devices.apns_token, _apns_index(devices.PRODUCTION)),
            "apns_sandbox": Book(
                lambda index: devices.apns_token(index, devices.SANDBOX), _apns_index(devices.SANDBOX)
            ),
            "fcm": Book(devices.fcm_token, devices.fcm_index),
            "webpush": Book(devices.web_identifier, _web_index),
        }
        self.apns = Apns(devices.PRODUCTION, self.keys, *self._shared("apns", "apns"))
        self.sandbox = Apns(devices.SANDBOX, self.keys, *self._shared("apns_sandbox", "apns"))
        self.fcm = Fcm(self.accounts, *self._shared("fcm", "fcm"))
        self.webpush = WebPush(self.verifier, *self._shared("webpush", "webpush"))
        self._routes: tuple[tuple[str, Answering], ...] = (
            ("/3/", self.apns),
            ("/v1/projects/", self.fcm),
            (webpush.PATH, self.webpush),
            (oauth.PATH, self.accounts),
        )
        self._nothing = Nothing()

    def _shared(self, book: str, provider: str) -> tuple[Any, ...]:
        context = Context(self.receipts, self.wall)
        return book, self.books[book], self.faults[provider], self.stats[book], context

    def route(self, path: str) -> Answering:
        """The main TLS listener: everything but APNs' sandbox."""
        for start, service in self._routes:
            if path.startswith(start):
                return service
        return self._nothing

    def route_sandbox(self, path: str) -> Answering:
        return self.sandbox

    def reset(self) -> None:
        """Forget what came and every fault; credentials stay."""
        for faults in self.faults.values():
            faults.set(Plan())
        for stats in self.stats.values():
            stats.reset()
        for book in self.books.values():
            book.reset()
        self.receipts.reset()
        self.keys.forget_tokens()

    async def keep_time(self) -> None:
        """The simulator's own clock: wall ticks, rate samples."""
        for tick in range(1 << 62):
            self.wall.tick()
            if tick % (SHOWN_PER_SECOND // 2) == 0:
                for stats in self.stats.values():
                    stats.sample()
                self.keys.forget_connections()
                self.wall.report({name: stats.summary() for name, stats in self.stats.items()})
            await asyncio.sleep(1 / SHOWN_PER_SECOND)


class Nothing:
    faults = Faults()

    def answer(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        return json_answer(404, {"error": "nothing is simulated here"})


def _apns_index(environment: str) -> Any:
    def find(token: str) -> int | None:
        known = devices.apns_index(token)
        return known[1] if known and known[0] == environment else None

    return find


def _web_index(identifier: str) -> int | None:
    known = devices.web_index(identifier.rpartition("/")[2])
    return known[1] if known else None
