"""POST /v1/events: good events are kept, each line is answered, nothing is stored twice."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import events
from devices.models import Event, Subscriber
from tests.conftest import Tenant


@pytest.fixture
def ada(shop: Tenant) -> Subscriber:
    return Subscriber.objects.create(application=shop.application, external_id="ada")


def send(tenant: Tenant, *lines: Any) -> Any:
    return tenant.server.post("events", {"events": list(lines)})


def buy(**more: Any) -> dict[str, Any]:
    return {"subscriber": "ada", "name": "buy", **more}


def before(**period: float) -> str:
    return (datetime.now(UTC) - timedelta(**period)).isoformat()


def test_events_are_stored_as_they_were_told(shop: Tenant, ada: Subscriber) -> None:
    at = before(days=3)
    answer = send(shop, buy(at=at, properties={"amount": 80.5, "tags": ["a"]}), buy())
    assert answer.status_code == 200
    assert answer.json() == {
        "accepted": 2,
        "results": [{"index": 0, "status": "accepted"}, {"index": 1, "status": "accepted"}],
    }
    first, second = Event.objects.filter(application_id=shop.id, subscriber_id=ada.pk).order_by("at")
    assert (first.name, first.at.isoformat(), first.properties) == (
        "buy",
        at,
        {"amount": 80.5, "tags": ["a"]},
    )
    assert second.properties == {}
    assert abs(second.at - datetime.now(UTC)) < timedelta(minutes=1)


BAD: list[tuple[Any, str]] = [
    (7, "/"),
    ({"subscriber": "ada"}, "/name"),
    (buy(name=""), "/name"),
    (buy(name="x" * 65), "/name"),
    (buy(name="a\nb"), "/name"),
    *((buy(name=name), "/notification") for name in sorted(events.RESERVED)),  # they tell of a message
    (buy(subscriber="nobody"), "/subscriber"),
    (buy(at="yesterday"), "/at"),
    (buy(at="2026-11-20T10:00:00"), "/at"),
    (buy(at=before(days=26)), "/at"),
    (buy(at=before(hours=-6)), "/at"),
    (buy(id="x"), "/id"),
    (buy(id=str(uuid.uuid4())), "/at"),
    (buy(properties=[]), "/properties"),
    (buy(properties={"x": "y" * 20_000}), "/properties"),
    (buy(properties={"": 1}), "/properties"),
    (buy(what=1), "/what"),
]


def test_a_bad_line_names_its_field_and_costs_no_other(shop: Tenant, ada: Subscriber) -> None:
    answer = send(shop, buy(), *(line for line, _ in BAD), buy()).json()
    assert answer["accepted"] == 2
    assert Event.objects.count() == 2
    told = [result["problem"]["errors"][0]["pointer"] for result in answer["results"][1:-1]]
    assert told == [pointer for _, pointer in BAD]
    assert [result["index"] for result in answer["results"]] == list(range(len(BAD) + 2))


def test_a_character_that_cannot_be_stored_is_named(shop: Tenant, ada: Subscriber) -> None:
    answer = send(shop, buy(), buy(properties={"x": "\x00"}))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/events/1/properties/x"
    assert not Event.objects.exists()


def test_an_event_sent_again_is_the_same_event(shop: Tenant, ada: Subscriber) -> None:
    known = buy(id=str(uuid.uuid4()), at=before(days=1))
    assert [line["status"] for line in send(shop, known, known).json()["results"]] == ["accepted", "repeated"]
    assert [line["status"] for line in send(shop, known, buy()).json()["results"]] == ["repeated", "accepted"]
    assert Event.objects.filter(uid__isnull=False).count() == 1


def test_one_statement_stores_a_thousand(shop: Tenant, ada: Subscriber) -> None:
    send(shop, buy())  # the key is remembered
    with CaptureQueriesContext(connection) as few:
        send(shop, buy())
    with CaptureQueriesContext(connection) as many:
        assert send(shop, *[buy()] * 1000).json()["accepted"] == 1000
    assert len(many) == len(few)
    assert send(shop, *[buy()] * 1001).status_code == 422
    assert send(shop).status_code == 422


def test_nobody_tells_events_of_another_application(shop: Tenant, rival: Tenant, ada: Subscriber) -> None:
    answer = send(rival, buy()).json()
    assert answer["results"][0]["problem"]["errors"] == [
        {"pointer": "/subscriber", "detail": "there is no such subscriber"}
    ]
    same = buy(id=str(uuid.uuid4()), at=before(days=1))
    Subscriber.objects.create(application=rival.application, external_id="ada")
    assert send(rival, same).json()["accepted"] == send(shop, same).json()["accepted"] == 1


def test_client_keys_and_strangers_tell_nothing(shop: Tenant, stranger: Any, ada: Subscriber) -> None:
    (told,) = shop.client.post("events", {"events": [buy()]}).json()["results"]
    assert (told["status"], told["problem"]["status"]) == ("error", 403)
    assert stranger.post("events", {"events": [buy()]}).status_code == 401
    assert not Event.objects.exists()


def test_an_erased_person_has_done_nothing(shop: Tenant, ada: Subscriber) -> None:
    send(shop, buy(), buy())
    events.forget(ada)
    assert not Event.objects.exists()
