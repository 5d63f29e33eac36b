"""When: local time, send windows and deadlines, as a producer asks for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifications.models import Batch, Notification
from tests.conftest import Tenant

NINE = "2027-03-29T09:00"


@pytest.fixture(autouse=True)
def audience(shop: Tenant, make_device: Any) -> None:
    make_device(shop, "mia")


def ask(shop: Tenant, **fields: Any) -> Any:
    body = {"to": {"subscribers": ["mia"]}, "content": {"title": "Hi", "body": "there"}, **fields}
    return shop.server.post("notifications", body)


def test_a_local_time_waits_for_the_first_place_on_earth(shop: Tenant) -> None:
    answer = ask(shop, local_time=NINE)
    assert answer.status_code == 202
    stored = Notification.objects.get()
    assert (stored.status, stored.send_at) == ("scheduled", datetime(2027, 3, 28, 19, tzinfo=UTC))
    assert shop.server.get(f"notifications/{stored.id}").json()["local_time"] == NINE


def test_a_send_window_holds_until_it_opens(shop: Tenant) -> None:
    now = datetime.now(UTC)
    opens = (now + timedelta(hours=3)).strftime("%H:%M")
    window = {"start": opens, "end": (now + timedelta(hours=5)).strftime("%H:%M")}
    assert ask(shop, send_window=window).status_code == 202
    batch = Batch.objects.get()
    assert batch.status == "waiting"
    assert batch.due_at.strftime("%H:%M:%S") == f"{opens}:00"
    shown = shop.server.get(f"notifications/{batch.notification_id}").json()
    assert shown["send_window"] == {"days": [1, 2, 3, 4, 5, 6, 7], **window}


def test_what_would_be_held_past_its_deadline_is_suppressed(shop: Tenant) -> None:
    now = datetime.now(UTC)
    window = {
        "start": (now + timedelta(hours=3)).strftime("%H:%M"),
        "end": (now + timedelta(hours=5)).strftime("%H:%M"),
    }
    id = ask(shop, send_window=window, deadline=(now + timedelta(hours=2)).isoformat()).json()["id"]
    counts = shop.server.get(f"notifications/{id}").json()["counts"]
    assert (counts["suppressed"], counts["pending"]) == ({"held_past_deadline": 1}, 0)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"local_time": "2027-02-30T09:00"}, "/local_time"),
        ({"local_time": "tomorrow"}, "/local_time"),
        ({"local_time": "2020-01-01T09:00"}, "/local_time"),
        ({"local_time": "2040-01-01T09:00"}, "/local_time"),
        ({"local_time": NINE, "send_at": "2027-01-01T00:00:00Z"}, "/local_time"),
        ({"send_window": {"start": "9:00", "end": "20:00"}}, "/send_window/start"),
        ({"send_window": {"start": "09:00"}}, "/send_window"),
        ({"send_window": {"start": "09:00", "end": "20:00", "days": [0]}}, "/send_window/days/0"),
        ({"send_window": {"start": "09:00", "end": "20:00", "zone": "x"}}, "/send_window"),
        ({"deadline": "2020-01-01T00:00:00Z"}, "/deadline"),
        ({"deadline": "2027-01-01T00:00:00"}, "/deadline"),
        ({"deadline": "2027-01-01T00:00:00Z", "send_at": "2027-01-02T00:00:00Z"}, "/deadline"),
    ],
)
def test_what_cannot_be_names_the_field(shop: Tenant, fields: dict[str, Any], path: str) -> None:
    answer = ask(shop, **fields)
    assert answer.status_code == 422
    assert any(path in str(one) for one in answer.json()["errors"]), answer.json()
    assert not Notification.objects.exists()
