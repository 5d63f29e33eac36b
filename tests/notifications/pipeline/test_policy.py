"""The rules together: what SQL decides for a whole audience is what a plain reference decides one by one."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from devices import quiet
from devices.models import Cap, Category, Device, Preference, QuietHours, Subscriber
from notifications import reach
from notifications.models import Notification
from notifications.pipeline import policy, timing
from notifications.reach import Reach
from tests.conftest import apns_token
from tests.notifications.pipeline.conftest import Pipeline
from tests.notifications.pipeline.reference import Kind, Message, Reference, Someone

PEOPLE, MESSAGES = 400, 25
ZONES = ["", "", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Mars/Olympus"]
# Ahead of us, so that what is due then is not due now: days on which clocks change.
CHANGES = [(2027, 3, 28), (2027, 10, 31), (2027, 3, 14), (2027, 11, 7), (2027, 4, 4), (2027, 6, 15)]
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

    def __init__(self, pipeline: Pipeline, seed: int) -> None:
        self.chance, self.pipeline, self.application = (
            random.Random(seed),
            pipeline,
            pipeline.tenant.application,
        )
        self.application.default_time_zone = "Asia/Tokyo"
        self.application.holdout_percent = 20
        self.application.quiet_hours = quiet.check(self.chance.choice(OWN))
        self.application.save()
        self.categories = self._categories()
        self.people = [self._someone(number) for number in range(PEOPLE)]
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

    def _someone(self, number: int) -> Someone:
        chance, own = self.chance, self.chance.choice([None, None, *OWN])
        row = Subscriber.objects.create(
            application=self.application,
            external_id=f"user-{number}",
            time_zone=chance.choice(ZONES),
            unsubscribed_at=timezone.now() if chance.random() < 0.1 else None,
            quiet_hours=None
            if own is None
            else QuietHours.objects.get_or_create(application=self.application, windows=quiet.check(own))[0],
        )
        says = {slug: chance.random() < 0.6 for slug in self.categories if chance.random() < 0.3}
        Preference.objects.bulk_create(
            Preference(subscriber=row, category=self.categories[slug], is_allowed=said)
            for slug, said in says.items()
        )
        someone = Someone(
            row.id,
            row.time_zone,
            quiet.check(own) if own is not None else None,
            bool(row.unsubscribed_at),
            says,
            policy.is_held_out(self.application.id, 20, row.id, None),
        )
        for _ in range(chance.choice([0, 1, 1, 1, 2])):
            someone.devices.append(self._device(row))
        return someone

    def _device(self, row: Subscriber) -> tuple[int, str, str, bool]:
        is_retired, now = self.chance.random() < 0.1, timezone.now()
        permission, zone = self.chance.choice(["", "granted", "denied"]), self.chance.choice(ZONES)
        device = Device.objects.create(
            application=self.application,
            subscriber=row,
            platform=self.chance.choice(["ios", "android", "web"]),
            token=apns_token(),
            registered_at=now,
            last_seen_at=now,
            retired_at=now if is_retired else None,
            permission=permission,
            time_zone=zone,
        )
        return device.id, permission, zone, is_retired

    def message(self) -> tuple[Message, dict[str, Any]]:
        """As the reference reads it, and as it is asked for."""
        chance = self.chance
        now = datetime(*chance.choice(CHANGES), tzinfo=UTC) + chance.randrange(-96, 96) * timedelta(
            minutes=15
        )
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


@pytest.mark.parametrize("seed", [1, 2])
def test_sql_and_a_plain_reference_agree(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    world = World(pipeline, seed)
    compared: dict[str, int] = {}
    for _ in range(MESSAGES):
        message, asked = world.message()
        monkeypatch.setattr(timing, "now", lambda now=message.now: now)
        foreseen = reach.of(
            {"all": True},
            application_id=pipeline.tenant.id,
            category_id=world.categories[message.category].id,
            **asked,
        )
        notification = pipeline.accept({"all": True}, category=message.category, **asked)
        message.id = notification.id
        _start(notification)
        decided = _decided(notification, message.now)
        assert _foreseen(foreseen) == _counted(decided, message.now), message
        for someone in world.people:
            for device, word in world.reference.decide(someone, message).items():
                assert decided.pop(device) == word, (message, someone, device)
                name = word if isinstance(word, str) else "sent"
                compared[name] = compared.get(name, 0) + 1
        assert not decided
        pipeline.assert_sum(notification.id)
    assert sum(compared.values()) >= 8000
    assert len(compared) >= 9, compared


def _foreseen(found: Reach) -> dict[str, int]:
    words = {**found.held_back, "now": found.reachable - found.later, "later": found.later}
    return {word: count for word, count in words.items() if count}


def _counted(decided: dict[int, str | datetime], now: datetime) -> dict[str, int]:
    words = (word if isinstance(word, str) else "later" if word > now else "now" for word in decided.values())
    return dict(Counter(words))


def _start(notification: Notification) -> None:
    """As when its moment has come."""
    from notifications.pipeline import accept, fan_out

    notification.status = Notification.Status.FANNING_OUT
    notification.save()
    accept.start(notification)
    for shard in notification.shards.all():
        fan_out.shard(shard.id)


def _decided(notification: Notification, now: datetime) -> dict[int, str | datetime]:
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
