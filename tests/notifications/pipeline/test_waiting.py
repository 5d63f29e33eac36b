"""What waits: for quiet hours that began meanwhile, and while somebody has paused it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from devices.models import Category, Device, QuietHours, Subscriber
from notifications import periodic, services
from notifications.models import Batch, Delivery
from tests.notifications.pipeline.conftest import Pipeline

Make = Callable[..., Device]


@pytest.fixture
def held(pipeline: Pipeline) -> Category:
    Category.objects.filter(slug="transactional").update(quiet_rule="hold")
    return pipeline.category("transactional")


def around_now() -> list[dict[str, Any]]:
    """Quiet hours that began an hour ago and last three more, in UTC."""
    now = datetime.now(UTC)
    start, end = (now + timedelta(hours=hours) for hours in (-1, 3))
    return [{"days": [1, 2, 3, 4, 5, 6, 7], "start": start.strftime("%H:%M"), "end": end.strftime("%H:%M")}]


def test_quiet_hours_that_began_while_it_waited_hold_it(
    pipeline: Pipeline, make_device: Make, held: Category
) -> None:
    quiet, awake = (make_device(pipeline.tenant, name) for name in ("mia", "tom"))
    notification = pipeline.accept({"subscribers": ["mia", "tom"]})
    own = QuietHours.objects.create(application=pipeline.tenant.application, windows=around_now())
    Subscriber.objects.filter(external_id="mia").update(quiet_hours=own)
    pipeline.send()
    assert [target.device_id for _, target in pipeline.provider.sent] == [awake.id]
    (batch,) = Batch.objects.all()
    assert (batch.device_ids, batch.status, batch.attempt) == ([quiet.id], "waiting", 1)
    assert timedelta(hours=2, minutes=58) < batch.due_at - timezone.now() < timedelta(hours=3, seconds=2)
    pipeline.assert_sum(notification.id)


def test_once_they_are_over_it_is_sent(pipeline: Pipeline, make_device: Make, held: Category) -> None:
    device = make_device(pipeline.tenant, "mia")
    application = pipeline.tenant.application
    application.quiet_hours = around_now()
    application.save()
    pipeline.accept({"subscribers": ["mia"]})
    assert Batch.objects.get().status == "waiting"
    application.quiet_hours = []
    application.save()
    Batch.objects.update(due_at=timezone.now())
    pipeline.send()
    assert [target.device_id for _, target in pipeline.provider.sent] == [device.id]


def test_a_paused_one_waits_and_goes_on_where_it_was(pipeline: Pipeline, make_device: Make) -> None:
    for number in range(5):
        make_device(pipeline.tenant, f"user-{number}")
    notification = pipeline.accept({"all": True})
    pipeline.resolve(notification)
    services.pause(notification)
    pipeline.send()
    assert pipeline.provider.sent == []
    pipeline.assert_sum(notification.id)
    services.resume(notification)
    pipeline.send()
    assert len(pipeline.provider.sent) == 5
    periodic.finish()
    notification.refresh_from_db()
    assert (notification.status, notification.paused_at) == ("done", None)


def test_an_audience_is_not_resolved_while_paused(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant)
    notification = pipeline.accept({"all": True})
    services.pause(notification)
    pipeline.resolve(notification)
    assert not Batch.objects.exists()
    services.resume(notification)
    pipeline.resolve(notification)
    assert Batch.objects.get().status == "ready"


def test_what_comes_back_after_a_pause_waits_with_the_rest(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]})
    services.pause(notification)
    Batch.objects.update(status="waiting", due_at=timezone.now())
    periodic.keep_paused()
    assert Batch.objects.get().status == "paused"
    services.resume(notification)
    Batch.objects.update(status="paused")  # by a statement that had not seen the resuming
    periodic.keep_paused()
    assert Batch.objects.get().status == "waiting"


def test_a_scheduled_one_that_is_paused_does_not_begin(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]}, send_at=timezone.now() + timedelta(hours=1))
    services.pause(notification)
    type(notification).objects.update(send_at=timezone.now())
    periodic.start_due()
    assert not Batch.objects.exists()
    services.resume(notification)
    periodic.start_due()
    assert Batch.objects.exists()


def test_a_paused_one_can_be_cancelled(pipeline: Pipeline, make_device: Make) -> None:
    make_device(pipeline.tenant, "mia")
    notification = services.cancel(services.pause(pipeline.accept({"subscribers": ["mia"]})))
    assert (notification.status, notification.paused_at) == ("cancelled", None)
    assert Delivery.objects.get(notification_id=notification.id).outcome == "cancelled"
    assert services.pause(notification).paused_at is None
