"""The lanes of one sender share its room."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from django.utils import timezone

from devices.models import Device
from notifications.models import Batch
from notifications.providers.base import Session
from notifications.providers.memory import Memory
from tenants.models import Credential
from tests.conftest import apns_token
from tests.notifications.pipeline.conftest import Pipeline

PROVIDERS = ("apns", "fcm", "webpush")
DEVICES = 600
BUDGET = 100


class Slow(Memory):
    """Takes its time for each message."""

    def __init__(self, name: str, sent: Counter[str]) -> None:
        super().__init__()
        self.name, self.counts = name, sent

    def open(self, credential: Any, tokens: Any) -> Session:
        session = super().open(credential, tokens)
        send = session.send

        async def slowly(rendered: Any, target: Any) -> Any:
            await asyncio.sleep(0.1)
            self.counts[self.name] += 1
            return await send(rendered, target)

        session.send = slowly  # type: ignore[method-assign]
        return session


def test_three_busy_lanes_all_move_within_the_budget(pipeline: Pipeline, settings: Any) -> None:
    settings.BATCH_SIZE = 25
    _ready(pipeline)
    sent: Counter[str] = Counter()
    counted, most_held = asyncio.run(_two_seconds(pipeline, sent))
    assert most_held <= BUDGET
    assert min(counted[name] for name in PROVIDERS) >= max(counted.values()) / 3, counted


def _ready(pipeline: Pipeline) -> None:
    """As many batches in each of three lanes."""
    now = timezone.now()
    Device.objects.bulk_create(
        Device(
            application=pipeline.tenant.application,
            platform="ios",
            token=apns_token(),
            registered_at=now,
            last_seen_at=now,
        )
        for _ in range(3 * DEVICES)
    )
    pipeline.resolve(pipeline.accept({"all": True}))
    ids = list(Batch.objects.order_by("id").values_list("id", flat=True))
    for number, name in enumerate(PROVIDERS):
        Credential.objects.create(application=pipeline.tenant.application, provider=name)
        Batch.objects.filter(id__in=ids[number::3]).update(lane=f"{name}.campaign")


async def _two_seconds(pipeline: Pipeline, sent: Counter[str]) -> tuple[Counter[str], int]:
    """Who was sent how much, and the most that was held at a time."""
    lane_names = [f"{name}.campaign" for name in PROVIDERS]
    providers = {name: Slow(name, sent) for name in PROVIDERS}
    sender = pipeline.sender(lane_names, providers=providers, budget=BUDGET, batch_size=25)
    running = asyncio.create_task(sender.run())
    most_held = 0
    for _ in range(200):
        await asyncio.sleep(0.01)
        most_held = max(most_held, sum(lane.held for lane in sender.lanes.values()))
    counted = Counter(sent)
    sender.stop()
    await running
    return counted, most_held
