"""The course every request takes, whichever the provider: faults of the network, checks, faults of the
provider, acceptance. A provider says how it examines and how it words its answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from simulator.answers import RESET, Answer, Headers, Refusal, ill_fated
from simulator.arrivals import Book
from simulator.faults import Faults, Injection
from simulator.receipts import Receipts
from simulator.stats import Stats
from simulator.wall import Wall


class Arrival(NamedTuple):
    """A request that passed every check."""

    address: str  # token, or identifier of a subscription
    number: int | None  # index of a device of devices.py
    notification: str
    high: bool
    payload: Any  # for the wall
    detail: Any = None  # what the provider's own acceptance needs


class Context(NamedTuple):
    """What the services of one simulator share."""

    receipts: Receipts
    wall: Wall


class Service(ABC):
    platform: str  # as the wall shows it

    def __init__(self, name: str, book: Book, faults: Faults, stats: Stats, context: Context) -> None:
        self.name, self.book, self.faults, self.stats = name, book, faults, stats
        self.receipts, self.wall = context

    @abstractmethod
    def examine(self, method: str, path: str, headers: Headers, body: bytes) -> Arrival:
        """Every check the vendor makes; raises Refusal."""

    @abstractmethod
    def acceptance(self, arrival: Arrival, headers: Headers) -> Answer: ...

    @abstractmethod
    def refusal(self, refusal: Refusal, headers: Headers) -> Answer: ...

    @abstractmethod
    def dead(self) -> Injection:
        """The vendor's usual answer for a token that is gone."""

    @abstractmethod
    def usual_code(self, status: int) -> str:
        """The vendor's word for an injected status that names none."""

    @abstractmethod
    def shown(self, payload: Any) -> dict[str, Any]:
        """title, body, image of a payload, for the wall."""

    def answer(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        self.stats.received += 1
        if self.faults.active:
            return self._answer_with_faults(method, path, headers, body)
        try:
            arrival = self.examine(method, path, headers, body)
        except Refusal as refusal:
            return self._refuse(refusal, headers)
        self._accept(arrival)
        return self.acceptance(arrival, headers)

    def _accept(self, arrival: Arrival) -> None:
        address, number, notification, high, payload, _ = arrival
        self.stats.accepted += 1
        self.book.accept(number, address, notification)
        self.receipts.add(self.name, address, notification, high)
        if self.wall.is_open:
            self.wall.show(self.platform, address, self.shown(payload))

    def _refuse(self, refusal: Refusal, headers: Headers) -> Answer:
        self.stats.answers[refusal.status, refusal.code] += 1
        return self.refusal(refusal, headers)

    def _answer_with_faults(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        faults = self.faults
        early = faults.network()
        if isinstance(early, Injection):
            return self._inject(early, headers)
        if early is not None:
            self.stats.answers[0, early.fate] += 1
            return early
        try:
            arrival = self.examine(method, path, headers, body)
        except Refusal as refusal:
            return self._refuse(refusal, headers)
        verdict = faults.device(arrival.address) or faults.error()
        if verdict is not None:
            self.book.fault(arrival.number, arrival.address)
            return self._inject(self.dead() if verdict == "dead" else verdict, headers)
        self._accept(arrival)
        if faults.answer_lost():
            return ill_fated(RESET)
        return self.acceptance(arrival, headers)._replace(delay=faults.latency())

    def _inject(self, injection: Injection, headers: Headers) -> Answer:
        code = injection.code or self.usual_code(injection.status)
        answer = self._refuse(Refusal(injection.status, code), headers)
        if injection.retry_after is not None:
            answer = answer._replace(headers=[*answer.headers, ("retry-after", str(injection.retry_after))])
        return answer._replace(delay=self.faults.latency())
