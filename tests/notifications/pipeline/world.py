"""An application whose people, rules and messages are drawn by lot, and the plain reference for it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from devices import quiet
from devices.models import Cap, Category, Device, Preference, QuietHours, Subscriber
from notifications.models import Notification
from notifications.pipeline import accept, fan_out, policy
from tests.conftest import apns_token
from tests.notifications.pipeline.conftest import Pipeline
from tests.notifications.pipeline.reference import Kind, Message, Reference, Someone

HELD_OUT = 20  # per cent
ZONES = ["", "", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Mars/Olympus"]
# Ahead of us, so that what is due then is not due now: days on which clocks change.
CHANGES = [(2032, 3, 28), (2032, 10, 31), (2032, 3, 14), (2032, 11, 7), (2032, 4, 4), (2032, 6, 15)]
OWN = [
    [],
    [{"start": "22:00", "end": "08:00"}],
    [{"start": "01:00", "end": "02:30"}],
    [{"start": "00:00", "end": "00:00", "days": [6, 7]}],
    [{"start": "12:30", "end": "13:45", "days": [1, 2, 3, 4, 5]}, {"start": "21:15", "end": "06:45"}],
]
WINDOWS = [None, None, {"days": [1, 2, 3, 4, 5, 6, 7], "start": "09:00", "end": "20:00"}]


class World:
    """An application whose people, rules and messages are drawn by lot."""

    def __init__(self, pipeline: Pipeline, seed: int, *, people: int) -> None:
        self.chance, self.pipeline, self.application = (
            random.Random(seed),
            pipeline,
            pipeline.tenant.application,
        )
        self.application.default_time_zone = "Asia/Tokyo"
        self.application.holdout_percent = HELD_OUT
        self.application.quiet_hours = quiet.check(self.chance.choice(OWN))
        self.application.save()
        self.categories = self._categories()
        self.people = self._people(people)
        self.reference = Reference(
            {slug: self._kind(one) for slug, one in self.categories.items()},
            "Asia/Tokyo",
            self.application.quiet_hours,
        )

    def _categories(self) -> dict[str, Category]:
        rules = [rule.value for rule in Category.QuietRule]
        for number, default in enumerate(("on", "on", "off", "on", "on")):
            Category.objects.create(
                application=self.application,
                slug=f"c{number}",
                name=f"C{number}",
                kind=self.chance.choice(["marketing", "transactional"]),
                default=default,
                crash_rule="leave",
                quiet_rule=rules[number % 4],
                channels=["push"] if self.chance.random() < 0.9 else ["email"],
            )
        found = {one.slug: one for one in Category.objects.filter(application=self.application)}
        for category, kind, most, period in (
            (found["c0"], "", 2, "day"),
            (None, "marketing", 4, "week"),
            (None, "", 9, "week"),
        ):
            Cap.objects.create(
                application=self.application, category=category, kind=kind, most=most, period=period
            )
        return found

    def _kind(self, category: Category) -> Kind:
        counted = []
        for cap in Cap.objects.filter(application=self.application):
            ones = {
                slug
                for slug, one in self.categories.items()
                if one.kind != "critical" and cap.kind in ("", one.kind) and cap.category_id in (None, one.id)
            }
            if category.slug in ones:
                counted.append((ones, cap.most, cap.period == "week"))
        return Kind(
            category.kind == "marketing",
            category.default,
            category.quiet_rule,
            "push" in category.channels,
            counted,
        )

    def _people(self, count: int) -> list[Someone]:
        chance, now = self.chance, timezone.now()
        owns = [chance.choice([None, None, *OWN]) for _ in range(count)]
        rows = Subscriber.objects.bulk_create(
            Subscriber(
                application=self.application,
                external_id=f"user-{number}",
                time_zone=chance.choice(ZONES),
                unsubscribed_at=now if chance.random() < 0.1 else None,
                quiet_hours=None if own is None else self._quiet_hours(own),
            )
            for number, own in enumerate(owns)
        )
        people = [
            Someone(
                row.id,
                row.time_zone,
                quiet.check(own) if own is not None else None,
                bool(row.unsubscribed_at),
                {slug: chance.random() < 0.6 for slug in self.categories if chance.random() < 0.3},
                policy.is_held_out(self.application.id, HELD_OUT, row.id, None),
            )
            for row, own in zip(rows, owns, strict=True)
        ]
        Preference.objects.bulk_create(
            Preference(subscriber_id=one.id, category=self.categories[slug], is_allowed=said)
            for one in people
            for slug, said in one.says.items()
        )
        self._devices({one.id: one for one in people})
        return people

    def _quiet_hours(self, windows: Any) -> QuietHours:
        return QuietHours.objects.get_or_create(application=self.application, windows=quiet.check(windows))[0]

    def _devices(self, people: dict[int, Someone]) -> None:
        chance, now = self.chance, timezone.now()
        devices = Device.objects.bulk_create(
            Device(
                application=self.application,
                subscriber_id=id,
                platform=chance.choice(["ios", "android", "web"]),
                token=apns_token(),
                registered_at=now,
                last_seen_at=now,
                retired_at=now if chance.random() < 0.1 else None,
                permission=chance.choice(["", "granted", "denied"]),
                time_zone=chance.choice(ZONES),
            )
            for id in people
            for _ in range(chance.choice([0, 1, 1, 1, 2]))
        )
        for device in devices:
            known = device.id, device.permission, device.time_zone, bool(device.retired_at)
            people[device.subscriber_id].devices.append(known)

    def message(
        self, chance: random.Random, day: tuple[int, int, int] | None = None
    ) -> tuple[Message, dict[str, Any]]:
        """As the reference reads it, and as it is asked for. day: about when."""
        midnight = datetime(*(day or chance.choice(CHANGES)), tzinfo=UTC)
        now = midnight + chance.randrange(-96, 96) * timedelta(minutes=15)
        window, ttl = chance.choice(WINDOWS), chance.choice([3600, 6 * 3600, 3 * 24 * 3600])
        deadline = chance.choice([None, None, now + timedelta(hours=chance.randrange(1, 40))])
        local = (now + chance.randrange(-40, 120) * timedelta(minutes=15)).strftime("%Y-%m-%dT%H:%M")
        local = chance.choice(["", "", local])
        message = Message(
            None, chance.choice(list(self.categories)), now, local, window, timedelta(seconds=ttl), deadline
        )
        return message, {
            "local_time": local,
            "send_window": window,
            "ttl_seconds": ttl,
            "deadline": deadline,
            "send_at": now,
        }


def start(notification: Notification) -> None:
    """As when its moment has come."""
    notification.status = Notification.Status.FANNING_OUT
    notification.save()
    accept.start(notification)
    for shard in notification.shards.all():
        fan_out.shard(shard.id)


def decided(notification: Notification, now: datetime) -> dict[int, str | datetime]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT device_id, reason, NULL, NULL FROM notifications_delivery WHERE notification_id = %(id)s UNION ALL"
            " SELECT unnest(device_ids), NULL, due_at, status FROM notifications_batch WHERE notification_id = %(id)s",
            {"id": notification.id},
        )
        return {
            device: reason or (now if status == "ready" else due_at)
            for device, reason, due_at, status in cursor.fetchall()
        }
