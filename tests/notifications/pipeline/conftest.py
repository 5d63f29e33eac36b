"""The pipeline on a real database, with the memory provider in place of the vendors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from psycopg.conninfo import make_conninfo

from devices.models import Category, Preference
from notifications import services
from notifications.models import Notification
from notifications.pipeline import fan_out, wake
from notifications.pipeline.sender import Sender
from notifications.providers.memory import Memory
from tenants.models import Credential
from tests.conftest import Tenant

LANES = ("memory.transactional", "memory.campaign")


class NoTokens:
    async def get(self, key: str, mint: Any) -> Any:
        return await mint()

    async def drop(self, key: str, value: str) -> None:
        """Nothing is kept."""


@dataclass
class Pipeline:
    """The steps by hand: accept, resolve, send with one or more senders, look at the ledger."""

    tenant: Tenant
    provider: Memory = field(default_factory=Memory)
    options: dict[str, Any] = field(default_factory=dict)  # of its senders
    lane_names: Sequence[str] = LANES

    def category(self, slug: str) -> Category:
        return Category.objects.get(application=self.tenant.application, slug=slug)

    def accept(
        self, audience: dict[str, Any], *, category: str = "transactional", **fields: Any
    ) -> Notification:
        draft = services.Draft(
            category=self.category(category),
            content={"title": "Hello", "body": "there"},
            audience=audience,
            **fields,
        )
        (accepted,) = services.accept([draft], application_id=self.tenant.id, requested_by="test")
        return Notification.objects.get(id=accepted.id)

    def resolve(self, notification: Notification) -> None:
        for shard in notification.shards.order_by("number"):
            fan_out.shard(shard.id)
        notification.refresh_from_db()

    def opt_in(self, *external_ids: str) -> None:
        category = self.category("marketing")
        for subscriber in self.tenant.application.subscribers.filter(external_id__in=external_ids):
            Preference.objects.create(subscriber=subscriber, category=category, is_allowed=True)

    def sender(self, lane_names: Sequence[str] = LANES, **options: Any) -> Sender:
        """Call inside the loop."""
        usual = {
            "conninfo": _conninfo(),
            "providers": {"memory": self.provider},
            "tokens": lambda pool: NoTokens(),
            "redis_url": settings.REDIS_URL,
            "budget": 500,
            "share": 0.6,
            "batch_size": 100,
            "lease_seconds": 60,
        }
        return Sender(lane_names, **usual | self.options | options)

    def send(self, senders: int = 1) -> None:
        """Run senders until nothing is ready or claimed."""
        asyncio.run(self._send(senders))

    async def _send(self, count: int) -> None:
        senders = [self.sender(self.lane_names) for _ in range(count)]
        running = [asyncio.create_task(sender.run()) for sender in senders]
        lanes = [lane for sender in senders for lane in sender.lanes.values()]
        idle = 0
        deadline = time.monotonic() + 40
        while idle < 2:
            assert time.monotonic() < deadline, "the senders do not come to an end"
            await asyncio.sleep(0.03)
            for task in running:
                if task.done():
                    task.result()
            is_busy = any(lane.held or lane.claiming for lane in lanes)
            idle = 0 if is_busy or await asyncio.to_thread(_has_ready) else idle + 1
        for sender in senders:
            sender.stop()
        await asyncio.gather(*running)

    def ledger(self, notification: Notification) -> dict[int | None, list[tuple[str, str]]]:
        """Device → its lines (outcome, reason), oldest first."""
        lines: dict[int | None, list[tuple[str, str]]] = {}
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT device_id, outcome, reason FROM notifications_delivery"
                " WHERE notification_id = %s ORDER BY at, id",
                [notification.id],
            )
            for device_id, outcome, reason in cursor.fetchall():
                lines.setdefault(device_id, []).append((outcome, reason))
        return lines

    def assert_sum(self, id: UUID) -> None:
        """Law 2, on the rows themselves."""
        with connection.cursor() as cursor:
            cursor.execute(SUM, [id])
            recipients, final, still_open, tallied = cursor.fetchone()
        assert recipients == final + still_open, (recipients, final, still_open)
        assert tallied == final


SUM = """
    SELECT recipient_count,
        (SELECT count(*) FILTER (WHERE d.outcome NOT IN ('retry', 'blocked', 'resent', 'replayed'))
            - count(*) FILTER (WHERE d.outcome = 'replayed')
         FROM notifications_delivery d WHERE d.notification_id = n.id),
        (SELECT coalesce(sum(cardinality(device_ids)), 0) FROM notifications_batch b WHERE b.notification_id = n.id),
        (SELECT coalesce(sum(count), 0)::bigint FROM notifications_tally t WHERE t.notification_id = n.id)
    FROM notifications_notification n WHERE n.id = %s
"""


def _conninfo() -> str:
    return make_conninfo(settings.DATABASE_URL, dbname=connection.settings_dict["NAME"])


SOON = timedelta(seconds=0.5)  # what comes due meanwhile is sent too


def _has_ready() -> bool:
    from notifications.models import Batch, Incident

    try:
        now = timezone.now() + SOON
        is_due = Q(status="ready") | Q(status="waiting", due_at__lte=now)
        is_stopped = Exists(
            Incident.objects.filter(
                Q(trial_at__isnull=True) | Q(trial_at__gt=now),
                application_id=OuterRef("application_id"),
                closed_at__isnull=True,
                stops_lanes=True,
            )
        )
        return Batch.objects.filter(~is_stopped, is_due).exists()
    finally:
        connection.close()


@pytest.fixture
def pipeline(
    transactional_db: None, make_tenant: Callable[[str], Tenant], monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """A shop whose every platform falls to the memory provider. Wake-ups go nowhere: the steps are taken by hand."""
    return _pipeline(make_tenant, monkeypatch)


@pytest.fixture
def steps(db: None, make_tenant: Callable[[str], Tenant], monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The same within the test's own transaction: for all steps but sending, and set up in no time."""
    return _pipeline(make_tenant, monkeypatch)


def _pipeline(make_tenant: Callable[[str], Tenant], monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(wake, "lanes", lambda names: None)
    monkeypatch.setattr(wake, "fan_out", lambda shard_ids: None)
    shop = make_tenant("Shop")
    Credential.objects.create(application=shop.application, provider="memory")
    return Pipeline(shop)
