"""`manage.py simulate_readers APPLICATION --url URL --key CLIENT_KEY`: people who receive, open and tap what comes.

They report as an app would: over the API, with the client key, each for its own device. How many open a message is
drawn by the message, so that versions of a campaign differ. Until it is ended.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import time
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection
from django.utils import timezone

from simulator.stack import request
from tenants.models import Application

# Of 100.
RECEIVE, TAP = 88, 30
OPEN = range(2, 10)  # drawn by the message
OPEN_SECONDS = 45.0  # on average
MOST = 1000  # a call
PER_SECOND = 2_000  # the machine has other things to do

# Lines of the last second may still be written.
ARRIVED = """
    SELECT l.notification_id::text, d.public_id::text FROM notifications_delivery l
    JOIN devices_device d ON d.id = l.device_id AND d.installation_id LIKE 'simulated-%%'
    WHERE l.at > %s AND l.at <= %s AND l.application_id = %s AND l.outcome = 'accepted'
"""


class Readers:
    """What they are going to do, by when: (seconds, lot, line)."""

    def __init__(self) -> None:
        self.lot = random.Random()
        self.plans: list[tuple[float, float, dict[str, str]]] = []

    def receive(self, notification: str, device: str) -> None:
        if self.lot.random() * 100 >= RECEIVE:
            return
        line = {"notification": notification, "device": device}
        now = time.monotonic()
        self._plan(now, {"name": "received", **line})
        if self.lot.random() * 100 < OPEN[int(notification[-4:], 16) % len(OPEN)]:
            opens = now + self.lot.expovariate(1 / OPEN_SECONDS)
            self._plan(opens, {"name": "opened", **line})
            if self.lot.random() * 100 < TAP:
                self._plan(opens + self.lot.uniform(1, 20), {"name": "clicked", **line})

    def _plan(self, at: float, line: dict[str, str]) -> None:
        heapq.heappush(self.plans, (at, self.lot.random(), line))

    def due(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        while self.plans and self.plans[0][0] <= time.monotonic() and len(found) < MOST:
            found.append(heapq.heappop(self.plans)[2])
        return found


class Command(BaseCommand):
    help = "Let the simulated devices of an application report what they receive, open and tap."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("application", help="slug")
        parser.add_argument("--url", required=True)
        parser.add_argument("--key", required=True, help="a client key")

    def handle(self, *, application: str, url: str, key: str, **options: Any) -> None:
        id = Application.objects.get(slug=application).pk
        readers, since = Readers(), timezone.now()
        while True:
            until = timezone.now() - timedelta(seconds=1)
            for notification, device in _arrived(id, since, until):
                readers.receive(notification, device)
            since = max(since, until)
            for _ in range(PER_SECOND // MOST):
                if lines := readers.due():
                    with contextlib.suppress(OSError):  # the web server is starting again
                        request("POST", f"{url}/v1/events", {"events": lines}, key=key)
            time.sleep(1)


def _arrived(application_id: int, since: datetime, until: datetime) -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(ARRIVED, [since, until, application_id])
        return cursor.fetchall()
