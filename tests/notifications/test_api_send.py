"""POST /v1/notifications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devices.models import Device
from notifications.models import Batch
from tests.conftest import Tenant

HELLO = {"title": "Hello", "body": "World"}


def wish(**changes: Any) -> dict[str, Any]:
    return {"to": {"subscribers": ["ada"]}, "content": HELLO, **changes}


def test_a_notification_is_accepted_for_a_subscribers_devices(
    shop: Tenant, make_device: Callable[..., Device]
) -> None:
    devices = [make_device(shop, "ada"), make_device(shop, "ada")]
    response = shop.server.post("notifications", wish())
    assert response.status_code == 202
    assert response.json().keys() == {"id", "status", "created_at"}
    (batch,) = Batch.objects.filter(notification_id=response.json()["id"])
    assert sorted(batch.device_ids) == sorted(device.id for device in devices)
