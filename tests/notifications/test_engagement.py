"""What devices tell of messages: each once, of what was sent to them, and nobody else's."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from config import partitions
from devices.models import Device, Subscriber
from notifications import engagement
from notifications.models import Delivery, Engagement
from tests.conftest import Tenant

Send = Callable[..., str]


@pytest.fixture
def ada(shop: Tenant, make_device: Callable[..., Device]) -> Device:
    return make_device(shop, "ada")


@pytest.fixture
def sent(db: None) -> Send:
    """A message to a device, as its sender recorded it; its id."""
    partitions.ensure("notifications_delivery")
    partitions.ensure("notifications_engagement", months_back=1)

    def send(tenant: Tenant, device: Device, *, outcome: str = "accepted", reason: str = "") -> str:
        body = {
            "to": {"devices": [str(device.public_id)]},
            "category": "transactional",
            "content": {"title": "Hi", "body": "there"},
        }
        id = str(tenant.server.post("notifications", body).json()["id"])
        Delivery.objects.create(
            at=timezone.now(),
            application_id=tenant.id,
            notification_id=id,
            device_id=device.pk,
            subscriber_id=device.subscriber_id,
            lane="apns.transactional",
            outcome=outcome,
            reason=reason,
            attempt=1,
            provider_id="",
            detail="",
        )
        return id

    return send


def tell(tenant: Tenant, *lines: dict[str, Any], as_app: bool = True) -> list[dict[str, Any]]:
    key = tenant.client if as_app else tenant.server
    answer = key.post("events", {"events": list(lines)})
    assert answer.status_code == 200, answer.content
    return answer.json()["results"]  # type: ignore[no-any-return]


def line(name: str, id: str, device: Device, **more: Any) -> dict[str, Any]:
    return {"name": name, "notification": id, "device": str(device.public_id), **more}


def counts(tenant: Tenant, id: str) -> dict[str, int]:
    found = tenant.server.get(f"notifications/{id}").json()["counts"]
    return {name: found[name] for name in ("received", "opened", "clicked", "converted")}


def pointers(results: list[dict[str, Any]]) -> list[str]:
    return [one["problem"]["errors"][0]["pointer"] for one in results]


def test_each_counts_once_however_often_it_is_told(shop: Tenant, ada: Device, sent: Send) -> None:
    id = sent(shop, ada)
    first = tell(shop, line("received", id, ada), line("opened", id, ada), line("opened", id, ada))
    assert [one["status"] for one in first] == ["accepted", "accepted", "repeated"]
    again = tell(shop, line("opened", id, ada), line("clicked", id, ada, action="buy"))
    assert [one["status"] for one in again] == ["repeated", "accepted"]
    assert counts(shop, id) == {"received": 1, "opened": 1, "clicked": 1, "converted": 0}


def test_a_conversion_counts_once_for_a_person_and_goal(
    shop: Tenant, ada: Device, sent: Send, make_device: Callable[..., Device]
) -> None:
    tablet = make_device(shop, "ada", platform="android")
    id = sent(shop, ada)
    by_phone = line("converted", id, ada, goal="order", value=20)
    by_name = {"name": "converted", "notification": id, "subscriber": "ada", "goal": "order", "value": 5}
    other = {**by_name, "goal": "review"}
    told = tell(shop, by_phone, by_name, other, as_app=False)
    assert [one["status"] for one in told] == ["accepted", "repeated", "accepted"]
    (orders, reviews) = engagement.goals([uuid.UUID(id)])
    assert (orders.name, orders.count, orders.value) == ("order", 1, 20)
    assert (reviews.name, reviews.count) == ("review", 1)
    # The tablet was not sent it: what it tells is not of this message.
    assert pointers(tell(shop, line("opened", id, tablet))) == ["/device"]


def test_what_was_not_sent_there_is_refused(
    shop: Tenant, rival: Tenant, ada: Device, sent: Send, make_device: Callable[..., Device]
) -> None:
    stranger = make_device(rival, "eve")
    suppressed = sent(shop, ada, outcome="suppressed", reason="opted_out")
    theirs = sent(rival, stranger)
    told = tell(
        shop,
        line("opened", suppressed, ada),
        line("opened", theirs, ada),
        line("opened", suppressed, stranger),
        line("opened", str(uuid.uuid4()), ada),
        {"name": "opened", "notification": suppressed},
        {"name": "opened", "device": str(ada.public_id)},
        line("opened", suppressed, ada, goal="order"),
        line("opened", suppressed, ada, at="tomorrow"),
    )
    assert {one["status"] for one in told} == {"error"}
    assert pointers(told) == [
        "/device",
        "/notification",
        "/device",
        "/notification",
        "/device",
        "/notification",
        "/goal",
        "/at",
    ]
    assert counts(shop, suppressed) == dict.fromkeys(counts(shop, suppressed), 0)
    assert counts(rival, theirs)["opened"] == 0


def test_apps_tell_of_devices_only(shop: Tenant, ada: Device, sent: Send) -> None:
    id = sent(shop, ada)
    told = tell(
        shop,
        line("converted", id, ada, goal="order"),
        {"name": "converted", "notification": id, "subscriber": "ada"},
        {"name": "purchase", "subscriber": "ada"},
    )
    assert [one["problem"]["status"] for one in told] == [403, 403, 403]
    assert not Engagement.objects.exists()


def test_a_phone_that_is_faster_than_its_senders_record(shop: Tenant, ada: Device, sent: Send) -> None:
    """It may open a message of a batch that is being sent."""
    id = sent(shop, ada)
    Delivery.objects.filter(notification_id=id).delete()
    assert pointers(tell(shop, line("received", id, ada))) == ["/device"]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE notifications_batch SET status = 'sending' WHERE notification_id = %s", [id])
        assert cursor.rowcount == 1
    assert tell(shop, line("received", id, ada))[0]["status"] == "accepted"


@pytest.mark.django_db(transaction=True)
def test_told_by_eight_at_once_it_counts_once(shop: Tenant, ada: Device, sent: Send) -> None:
    id, start = sent(shop, ada), threading.Barrier(8)
    told = engagement.Told(name="opened", notification=uuid.UUID(id), device=ada.public_id)
    left: list[dict[int, str]] = []

    def store() -> None:
        start.wait()
        try:
            left.append(engagement.store([(0, told)], application_id=shop.id, now=datetime.now(UTC)))
        finally:
            connection.close()

    threads = [threading.Thread(target=store) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, left)) == [0, *[1] * 7]
    assert counts(shop, id)["opened"] == 1


def test_what_an_erased_person_did_counts_for_nobody(shop: Tenant, ada: Device, sent: Send) -> None:
    id = sent(shop, ada)
    tell(shop, line("clicked", id, ada, url="https://shop.example/ada"))
    assert Engagement.objects.get().device_id == ada.pk
    assert shop.server.delete("subscribers/ada").status_code in (202, 204)
    kept = Engagement.objects.get()
    assert (kept.device_id, kept.subscriber_id, kept.counted_for, kept.url) == (None, None, None, "")
    assert counts(shop, id)["clicked"] == 1
    assert not Subscriber.objects.exists()
