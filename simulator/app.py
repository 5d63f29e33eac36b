"""The simulator put together: services, who answers which path, and the RSGI applications of the TLS listeners."""

from __future__ import annotations

import asyncio
from typing import Any

from simulator import apns, devices, oauth, webpush
from simulator.answers import RESET, STALL, Answer, Headers, json_answer
from simulator.apns import Apns, Keys
from simulator.arrivals import Book
from simulator.connections import cut
from simulator.faults import Faults, Plan
from simulator.fcm import Fcm
from simulator.oauth import Accounts
from simulator.receipts import Receipts
from simulator.service import Context, Service
from simulator.stats import Stats
from simulator.vapid import Verifier
from simulator.wall import SHOWN_PER_SECOND, Wall
from simulator.webpush import WebPush

PROVIDERS = ("apns", "fcm", "webpush")
BOOKS = ("apns", "apns_sandbox", "fcm", "webpush")


class Simulator:
    def __init__(self) -> None:
        self.receipts, self.wall = Receipts(), Wall()
        self.keys, self.accounts, self.verifier = Keys(), Accounts(), Verifier()
        self.faults = {provider: Faults() for provider in PROVIDERS}
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

    def _shared(self, book: str, provider: str) -> tuple[Any, ...]:
        context = Context(self.receipts, self.wall)
        return book, self.books[book], self.faults[provider], self.stats[book], context

    def answer(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        """The main TLS listener: everything but APNs' sandbox."""
        if path.startswith(apns.PATH):
            return self.apns.answer(method, path, headers, body)
        if path.startswith("/v1/projects/"):
            return self.fcm.answer(method, path, headers, body)
        if path.startswith(webpush.PATH):
            return self.webpush.answer(method, path, headers, body)
        if path == oauth.PATH:
            return self.accounts.answer(method, headers, body, self.faults["fcm"].plan.revoked)
        if path.startswith("/3/"):
            return self.apns.answer(method, path, headers, body)
        return json_answer(404, {"error": "nothing is simulated here"})

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
                self.wall.report({name: stats.summary() for name, stats in self.stats.items()})
            await asyncio.sleep(1 / SHOWN_PER_SECOND)


class Listener:
    """One TLS listener as an RSGI application."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        status, headers, body, delay, fate = self._answer(
            scope.method, scope.path, scope.headers, await protocol()
        )
        if delay:
            await asyncio.sleep(delay)
        if not fate:
            protocol.response_bytes(status, headers, body)
        elif fate == STALL:
            await protocol.client_disconnect()
        elif fate == RESET:
            cut(scope.client)


def service_of(simulator: Simulator, name: str) -> Service:
    return {"apns": simulator.apns, "apns_sandbox": simulator.sandbox}.get(name) or getattr(simulator, name)


def _apns_index(environment: str) -> Any:
    def find(token: str) -> int | None:
        known = devices.apns_index(token)
        return known[1] if known and known[0] == environment else None

    return find


def _web_index(identifier: str) -> int | None:
    known = devices.web_index(identifier.rpartition("/")[2])
    return known[1] if known else None
