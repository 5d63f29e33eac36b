"""What became of notifications: lists, counts, ledger lines, explanations; and cancelling."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.models import Device
from notifications.models import Batch, Delivery
from tests.conftest import Tenant


def send(tenant: Tenant, **changes: Any) -> str:
    body = {"to": {"subscribers": ["ada"]}, "content": {"title": "Hello", "body": "World"}, **changes}
    return str(tenant.server.post("notifications", body).json()["id"])


def test_a_notification_and_its_counts(shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada")
    make_device(shop, "ada", permission="denied")
    shown = shop.server.get(f"notifications/{send(shop, to={'subscribers': ['ada', 'eve']})}").json()
    assert (shown["status"], shown["category"], shown["content"]["title"]) == (
        "sending",
        "transactional",
        "Hello",
    )
    counts = shown["counts"]
    assert (counts["recipients"], counts["pending"]) == (3, 1)
    assert counts["suppressed"] == {"permission_denied": 1, "unknown_subscriber": 1}


def test_nobody_to_send_to_is_done_at_once(shop: Tenant) -> None:
    assert shop.server.get(f"notifications/{send(shop)}").json()["status"] == "done"


def test_pages_newest_first_with_as_many_queries_for_a_hundred(shop: Tenant) -> None:
    def listed(query: str) -> tuple[Any, int]:
        with CaptureQueriesContext(connection) as queries:
            answer = shop.server.get(f"notifications?{query}").json()
        return answer, len(queries)

    ids = [send(shop)]
    listed("limit=1")
    _, for_one = listed("limit=100")
    ids += [send(shop) for _ in range(99)]
    page, for_hundred = listed("limit=100")
    assert for_hundred == for_one
    assert sorted(row["id"] for row in page["results"]) == sorted(ids)
    half, _ = listed("limit=50")
    rest, _ = listed(f"limit=50&cursor={half['next']}")
    assert [row["id"] for row in half["results"] + rest["results"]] == [row["id"] for row in page["results"]]
    assert rest["next"] is None


def test_the_ledger_by_names_callers_know(shop: Tenant, make_device: Callable[..., Device]) -> None:
    device = make_device(shop, "ada", permission="denied")
    id = send(shop, to={"subscribers": ["ada", "eve"]})
    lines = shop.server.get(f"notifications/{id}/deliveries").json()["results"]
    assert {(line["device"], line["subscriber"], line["reason"]) for line in lines} == {
        (str(device.public_id), "ada", "permission_denied"),
        (None, None, "unknown_subscriber"),
    }
    suppressed = shop.server.get(f"notifications/{id}/deliveries?outcome=suppressed&limit=1").json()
    assert len(suppressed["results"]) == 1
    more = shop.server.get(f"notifications/{id}/deliveries?limit=1&cursor={suppressed['next']}").json()
    assert more["next"] is None
    assert shop.server.get(f"notifications/{id}/deliveries?outcome=accepted").json()["results"] == []
    assert shop.server.get(f"notifications/{id}/deliveries?outcome=lost").status_code == 422


def test_why_somebody_will_or_will_not_get_it(shop: Tenant, make_device: Callable[..., Device]) -> None:
    waiting = make_device(shop, "ada")
    silent = make_device(shop, "ada", permission="denied")
    make_device(shop, "bob")
    id = send(shop, to={"subscribers": ["ada", "bob"]})
    answer = shop.server.get(f"subscribers/ada/explain/{id}").json()
    assert [(line["device"], line["reason"]) for line in answer["deliveries"]] == [
        (str(silent.public_id), "permission_denied")
    ]
    assert [(row["device"], row["status"]) for row in answer["pending"]] == [
        (str(waiting.public_id), "ready")
    ]
    assert shop.server.get(f"subscribers/eve/explain/{id}").status_code == 404


def test_cancelling_may_be_repeated(shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada")
    id = send(shop)
    for _ in range(2):
        answer = shop.server.post(f"notifications/{id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert answer.json()["counts"]["cancelled"] == 1
    assert not Batch.objects.exists()


def test_a_scheduled_one_can_be_cancelled(shop: Tenant) -> None:
    id = send(shop, send_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    assert shop.server.post(f"notifications/{id}/cancel").json()["status"] == "cancelled"


def test_erasure_leaves_counts_only(shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada", permission="denied")
    id = send(shop)
    shop.server.delete("subscribers/ada")
    assert shop.server.get(f"notifications/{id}").json()["counts"]["suppressed"] == {"permission_denied": 1}
    (line,) = Delivery.objects.filter(notification_id=id)
    assert (line.device_id, line.subscriber_id, line.detail) == (None, None, "")


def test_another_tenants_notifications_are_not_there(
    shop: Tenant, rival: Tenant, make_device: Callable[..., Device]
) -> None:
    make_device(shop, "ada")
    make_device(rival, "ada")
    id = send(shop)
    for path in (f"notifications/{id}", f"notifications/{id}/deliveries", f"subscribers/ada/explain/{id}"):
        assert rival.server.get(path).status_code == 404
        assert shop.client.get(path).status_code == 403
        assert shop.server.get(path).status_code == 200
    assert rival.server.post(f"notifications/{id}/cancel").status_code == 404
    assert rival.server.get("notifications").json()["results"] == []
    assert Batch.objects.filter(notification_id=id).count() == 1


@pytest.mark.parametrize(
    "path", [f"notifications/{uuid.UUID(int=7, version=4)}", "notifications/x", "nothing", ""]
)
def test_what_is_not_there(shop: Tenant, path: str) -> None:
    response = shop.server.get(path)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
