"""A good producer of one-off messages: a steady rate, an Idempotency-Key each, and again until it is stored."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from types import TracebackType

from tests.chaos.product import BUYERS, Product

THREADS = 4
GIVE_UP_SECONDS = 120.0
PAUSE_SECONDS = 0.2

_names = itertools.count(1)


class Producer:
    """Use as a context manager. `accepted` holds the ids of what the API took: all of it must arrive.

    answers: how many calls ended how. faults: answers a producer must never see.
    """

    def __init__(self, product: Product, per_second: float = 30.0) -> None:
        self.product, self.per_second = product, per_second
        self.accepted: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.faults: list[str] = []
        self._name = f"{time.time_ns()}-{next(_names)}"
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]

    def __enter__(self) -> Producer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.product.stack.port, timeout=30)
        began = time.monotonic()
        for number in itertools.count(first, THREADS):
            if self._is_over.wait(max(0.0, began + number / self.per_second - time.monotonic())):
                break
            self._send(connection, number)
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, number: int) -> None:
        body = json.dumps(
            {
                "to": {"subscribers": [f"buyer-{number % BUYERS}"]},
                "category": "transactional",
                "priority": "high",
                "content": {"title": "Your order", "body": f"Number {number} is on its way."},
            }
        ).encode()
        headers = {
            "Authorization": f"Bearer {self.product.key}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"order-{self._name}-{number}",
        }
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while not self._attempt(connection, body, headers):
            if time.monotonic() > deadline:
                self.faults.append(f"order {number}: not stored after {GIVE_UP_SECONDS:.0f} s")
                return
            time.sleep(PAUSE_SECONDS)

    def _attempt(self, connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]) -> bool:
        """Whether there is an end to it: stored, or an answer that should not be."""
        try:
            connection.request("POST", "/v1/notifications", body, headers)
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.answers[type(error).__name__] += 1
            return False
        self.answers[str(response.status)] += 1
        if response.status in (200, 202):
            self.accepted.add(json.loads(raw)["id"])
            return True
        if response.status == 503 and response.getheader("Retry-After"):
            return False
        self.faults.append(f"{response.status} {dict(response.getheaders())} {raw[:200]!r}")
        return True
