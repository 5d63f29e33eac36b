"""Subscribers, their preferences, and categories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from devices.models import Device, Preference, QuietHours, Subscriber
from tests.conftest import Api, Tenant


def test_put_creates_then_replaces_what_is_given(shop: Tenant) -> None:
    first = shop.server.put(
        "subscribers/ada", {"attributes": {"a": 1}, "country": "DE", "email": "a@b.example"}
    )
    again = shop.server.put("subscribers/ada", {"attributes": {"b": 2}, "email": None})
    assert (first.status_code, again.status_code) == (201, 200)
    row = again.json()
    assert (row["attributes"], row["country"], row["email"]) == ({"b": 2}, "DE", None)
    assert shop.server.get("subscribers/ada").json() == row


def test_patch_merges_attributes(shop: Tenant) -> None:
    shop.server.put("subscribers/ada", {"attributes": {"a": 1, "b": {"c": 1}}})
    changed = shop.server.patch(
        "subscribers/ada", {"attributes": {"a": None, "d": True}, "locale": "de"}
    ).json()
    assert (changed["attributes"], changed["locale"]) == ({"b": {"c": 1}, "d": True}, "de")
    big = {"attributes": {f"n{n}": "x" * 1000 for n in range(17)}}
    assert shop.server.patch("subscribers/ada", big).status_code == 422
    assert shop.server.patch("subscribers/bob", {}).status_code == 404


@pytest.mark.parametrize("external_id", ["a b", "a/b", "ä@ö.example", "preferences", "%2525", "x" * 255])
def test_ids_are_as_they_are(shop: Tenant, external_id: str) -> None:
    from urllib.parse import quote

    path = f"subscribers/{quote(external_id, safe='')}"
    assert shop.server.put(path, {}).json()["external_id"] == external_id
    assert shop.server.get(path).json()["external_id"] == external_id


def test_ids_that_cannot_be(shop: Tenant) -> None:
    assert shop.server.put(f"subscribers/{'x' * 256}", {}).status_code == 422
    assert shop.server.put("subscribers/a%00b", {}).status_code == 404
    assert not Subscriber.objects.exists()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"attributes": []}, "/attributes"),
        ({"attributes": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}}, "/attributes"),
        ({"attributes": {"": 1}}, "/attributes"),
        ({"attributes": {"a": "x" * 20_000}}, "/attributes"),
        ({"attributes": {"a": 10**100}}, "/attributes"),
        ({"attributes": {"a": ["\x00"]}}, "/attributes/a/0"),
        ({"country": "Germany"}, "/country"),
        ({"country": "de"}, "/country"),
        ({"email": "nobody"}, "/email"),
        ({"phone": "030 123"}, "/phone"),
        ({"time_zone": "Europe/Atlantis"}, "/time_zone"),
        ({"external_id": "bob"}, "/external_id"),
        ({"unsubscribed_at": None}, "/unsubscribed_at"),
        ({"quiet_hours": "22-8"}, "/quiet_hours"),
        ({"quiet_hours": [{"start": "22:00", "end": "8"}]}, "/quiet_hours/0/end"),
        ({"quiet_hours": [{"days": [8], "start": "22:00", "end": "08:00"}]}, "/quiet_hours/0/days"),
        ({"quiet_hours": [{"start": "00:00", "end": "00:00"}]}, "/quiet_hours"),
    ],
)
def test_bad_input_is_named(shop: Tenant, body: dict[str, Any], pointer: str) -> None:
    for call in (shop.server.put, shop.server.patch):
        response = call("subscribers/ada", body)
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == pointer
    assert not Subscriber.objects.exists()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"attributes": {"a": NaN}}', b'{"attributes": {"a": "\\ud800"}}']
)
def test_what_is_not_json(shop: Tenant, body: bytes) -> None:
    response = shop.server.raw("PUT", "subscribers/ada", data=body, content_type="application/json")
    assert response.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"attributes": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
        b'{"attributes": {"a": 1e999}}',
    ],
)
def test_json_made_to_hurt(shop: Tenant, body: bytes) -> None:
    response = shop.server.raw("PUT", "subscribers/ada", data=body, content_type="application/json")
    assert response.status_code == 422


def test_preferences(shop: Tenant) -> None:
    shop.server.put("subscribers/ada", {})
    path = "subscribers/ada/preferences"
    off, on = {"push": False}, {"push": True}
    assert shop.server.get(path).json() == {
        "critical": on,
        "marketing": off,
        "transactional": on,
        "unsubscribed": False,
    }
    assert shop.server.put(path, {"marketing": {"push": True}, "transactional": False}).json() == {
        "critical": on,
        "marketing": on,
        "transactional": off,
        "unsubscribed": False,
    }
    # Null takes the word back; what a GET gave can be PUT.
    assert shop.server.put(path, {"marketing": None}).json()["marketing"] == off
    assert shop.server.put(path, shop.server.get(path).json()).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"critical": False}, "/critical"),
        ({"critical": {"push": False}}, "/critical/push"),
        ({"marketing": True, "unsubscribed": None}, "/unsubscribed"),
        ({"unsubscribed": {"push": True}}, "/unsubscribed"),
        ({"nope": True}, "/nope"),
        ({"marketing": True, "nope": True}, "/nope"),
        ({"marketing": "yes"}, "/"),
        ({"marketing": {"pigeon": True}}, "/"),
    ],
)
def test_preferences_that_are_refused(shop: Tenant, body: dict[str, Any], pointer: str) -> None:
    shop.server.put("subscribers/ada", {})
    response = shop.server.put("subscribers/ada/preferences", body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer
    assert not Preference.objects.exists()


NIGHTS = [{"days": [7, 1, 1], "start": "22:00", "end": "08:00"}]
IN_ORDER = [{"days": [1, 7], "start": "22:00", "end": "08:00"}]


def test_quiet_hours_of_ones_own(shop: Tenant) -> None:
    assert shop.server.put("subscribers/ada", {"quiet_hours": NIGHTS}).json()["quiet_hours"] == IN_ORDER
    assert shop.server.patch("subscribers/ada", {"country": "DE"}).json()["quiet_hours"] == IN_ORDER
    assert shop.server.patch("subscribers/ada", {"quiet_hours": []}).json()["quiet_hours"] == []
    assert shop.server.get("subscribers/ada").json()["quiet_hours"] == []
    assert shop.server.put("subscribers/ada", {"quiet_hours": None}).json()["quiet_hours"] is None


def test_the_same_quiet_hours_are_one_row(shop: Tenant, rival: Tenant) -> None:
    for name in ("ada", "bob"):
        shop.server.put(f"subscribers/{name}", {"quiet_hours": NIGHTS})
        shop.server.patch(f"subscribers/{name}", {"quiet_hours": IN_ORDER})
    rival.server.put("subscribers/ada", {"quiet_hours": NIGHTS})
    assert QuietHours.objects.filter(application=shop.application).count() == 1
    assert QuietHours.objects.count() == 2


def test_erasure_takes_the_person_and_their_devices(shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada")
    kept = make_device(shop, "bob")
    shop.server.put("subscribers/ada/preferences", {"marketing": True})
    assert shop.server.delete("subscribers/ada").status_code == 204
    assert shop.server.delete("subscribers/ada").status_code == 404
    assert list(Device.objects.all()) == [kept]
    assert not Preference.objects.exists()


def test_another_tenants_people_are_not_there(shop: Tenant, rival: Tenant) -> None:
    shop.server.put("subscribers/ada", {"locale": "de"})
    for answer in (
        rival.server.get("subscribers/ada"),
        rival.server.patch("subscribers/ada", {"locale": "fr"}),
        rival.server.delete("subscribers/ada"),
        rival.server.get("subscribers/ada/preferences"),
        rival.server.put("subscribers/ada/preferences", {"marketing": True}),
    ):
        assert answer.status_code == 404
    assert rival.server.put("subscribers/ada", {"locale": "fr"}).status_code == 201
    assert rival.server.delete("subscribers/ada").status_code == 204
    assert shop.server.get("subscribers/ada").json()["locale"] == "de"
    assert rival.server.get("subscribers").json() == {"results": [], "next": None}


def test_who_may_call(shop: Tenant, stranger: Api) -> None:
    for path in ("subscribers", "subscribers/ada", "subscribers/ada/preferences", "categories"):
        assert stranger.get(path).status_code == 401
        assert shop.client.get(path).status_code == 403
    assert shop.client.put("subscribers/ada", {}).status_code == 403
    assert not Subscriber.objects.exists()


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "limit=%00", "cursor=!", "cursor=AAAA", "page=2"]
)
def test_bad_query_parameters(shop: Tenant, query: str) -> None:
    response = shop.server.get(f"subscribers?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == query.partition("=")[0]
