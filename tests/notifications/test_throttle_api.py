"""`throttle_per_second`: asked for, stored, shown, refused."""

from __future__ import annotations

from typing import Any

import pytest

from notifications.models import Notification
from tests.conftest import Tenant

MOST = 1_000_000


def wish(**changes: Any) -> dict[str, Any]:
    return {"to": {"subscribers": ["ada"]}, "content": {"title": "Hello", "body": "World"}, **changes}


@pytest.mark.parametrize("to", [{"subscribers": ["ada"]}, {"all": True}])
@pytest.mark.parametrize("throttle", [1, 250, MOST, None])
def test_a_throttle_is_stored_and_shown(shop: Tenant, to: dict[str, Any], throttle: int | None) -> None:
    accepted = shop.server.post("notifications", wish(to=to, throttle_per_second=throttle))
    assert accepted.status_code == 202
    assert shop.server.get(f"notifications/{accepted.json()['id']}").json()["throttle_per_second"] == throttle
    (row,) = shop.server.get("notifications").json()["results"]
    assert row["throttle_per_second"] == throttle


def test_without_one_it_goes_as_fast_as_it_can(shop: Tenant) -> None:
    shop.server.post("notifications", wish())
    assert Notification.objects.get().throttle_per_second is None


@pytest.mark.parametrize("throttle", [0, -1, MOST + 1, 10**30, 1.5, "100", True, [], {}])
def test_what_is_no_rate_is_named_and_nothing_is_stored(shop: Tenant, throttle: Any) -> None:
    response = shop.server.post("notifications", wish(throttle_per_second=throttle))
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/throttle_per_second"
    assert not Notification.objects.exists()


def test_each_item_of_a_batch_has_its_own(shop: Tenant) -> None:
    items = [wish(throttle_per_second=5), wish(), wish(throttle_per_second=0), wish(throttle_per_second=MOST)]
    results = shop.server.post("notifications/batch", {"notifications": items}).json()["results"]
    assert [result["status"] for result in results] == ["accepted", "accepted", "error", "accepted"]
    assert results[2]["problem"]["errors"][0]["pointer"] == "/throttle_per_second"
    stored = {str(row.id): row.throttle_per_second for row in Notification.objects.all()}
    assert [stored[results[index]["id"]] for index in (0, 1, 3)] == [5, None, MOST]


def test_another_throttle_is_another_body(shop: Tenant) -> None:
    statuses = [
        shop.server.post("notifications", wish(throttle_per_second=throttle), Idempotency_Key="k").status_code
        for throttle in (5, 5, 6, None)
    ]
    assert statuses == [202, 200, 409, 409]


def test_the_schema_says_what_may_be_asked(shop: Tenant) -> None:
    schema = shop.server.get("schema", Accept="application/vnd.oai.openapi+json").json()
    operation = schema["paths"]["/v1/notifications"]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    number, nothing = asked["throttle_per_second"]["anyOf"]
    assert (number["type"], number["minimum"], number["maximum"]) == ("integer", 1, MOST)
    assert nothing == {"type": "null"}
    shown = schema["paths"]["/v1/notifications/{id}"]["get"]["responses"]["200"]
    assert "throttle_per_second" in shown["content"]["application/json"]["schema"]["properties"]
