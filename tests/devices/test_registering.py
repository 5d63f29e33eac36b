"""PUT /v1/devices and what hangs on one device."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Device, Subscriber
from tenants import keys, services
from tests.conftest import Api, Tenant, apns_token, forget

P256DH = "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM"
AUTH = "tBHItJI5svbpez7KI4CCXg"
ENDPOINT = "https://fcm.googleapis.com/fcm/send/dpH5lCsTSSM:APA91bHqjZxM0VImWWqDRN7U0a3AycjUf4O-byuxb_wJsKRaKvV_iKw56s16"


def ios(token: str, **fields: Any) -> dict[str, Any]:
    return {"platform": "ios", "token": token, **fields}


def signed(tenant: Tenant, external_id: str) -> dict[str, str]:
    return {"X_Subscriber_Signature": keys.signature(tenant.application.identity_secret, external_id)}


def active(tenant: Tenant) -> list[Device]:
    return list(Device.objects.filter(application=tenant.application, retired_at__isnull=True).order_by("id"))


def test_a_new_device_then_a_known_one(shop: Tenant) -> None:
    first = shop.client.put("devices", ios(apns_token(1), locale="de", app_version="1.0"))
    again = shop.client.put("devices", ios(apns_token(1), app_version="1.1"))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert (again.json()["locale"], again.json()["app_version"]) == ("de", "1.1")
    assert "token" not in again.json()


def test_upper_case_digits_are_the_same_token(shop: Tenant) -> None:
    first = shop.client.put("devices", ios(apns_token(1)))
    again = shop.client.put("devices", ios(apns_token(1).upper()))
    assert first.json()["id"] == again.json()["id"]


def test_an_installation_keeps_its_row_when_its_token_changes(shop: Tenant) -> None:
    first = shop.client.put("devices", ios(apns_token(1), installation_id="i")).json()
    same = shop.client.put("devices", ios(apns_token(1), installation_id="i")).json()
    changed = shop.client.put("devices", ios(apns_token(2), installation_id="i")).json()
    assert first["id"] == same["id"] == changed["id"]
    assert first["registered_at"] == same["registered_at"] < changed["registered_at"]
    assert [device.token for device in active(shop)] == [apns_token(2)]


def test_a_token_that_moves_to_another_installation_retires_the_old_row(shop: Tenant) -> None:
    old = shop.client.put("devices", ios(apns_token(1), installation_id="old")).json()["id"]
    new = shop.client.put("devices", ios(apns_token(1), installation_id="new")).json()["id"]
    assert old != new
    retired = Device.objects.get(public_id=old)
    assert (retired.retired_reason, [str(device.public_id) for device in active(shop)]) == ("replaced", [new])


def test_an_anonymous_row_is_adopted_by_the_installation_that_shows_its_token(shop: Tenant) -> None:
    anonymous = shop.client.put("devices", ios(apns_token(1))).json()["id"]
    assert shop.client.put("devices", ios(apns_token(1), installation_id="i")).json()["id"] == anonymous
    assert active(shop)[0].installation_id == "i"


@pytest.mark.parametrize("installation", [{}, {"installation_id": "i"}])
def test_registering_again_revives(shop: Tenant, installation: dict[str, str]) -> None:
    made = shop.client.put("devices", ios(apns_token(1), **installation)).json()
    Device.objects.update(retired_at=timezone.now(), retired_reason="unregistered")
    revived = shop.client.put("devices", ios(apns_token(1), **installation))
    assert revived.status_code == 200
    assert (revived.json()["id"], revived.json()["is_active"]) == (made["id"], True)
    # The verdict that retired it was about the registration before.
    assert revived.json()["registered_at"] > made["registered_at"]


def test_login_moves_a_device_and_logout_detaches_it(shop: Tenant) -> None:
    put = shop.server.put
    assert put("devices", ios(apns_token(1), subscriber="ada")).json()["subscriber"] == "ada"
    assert put("devices", ios(apns_token(1))).json()["subscriber"] == "ada"
    assert put("devices", ios(apns_token(1), subscriber="bob")).json()["subscriber"] == "bob"
    assert put("devices", ios(apns_token(1), subscriber=None)).json()["subscriber"] is None
    assert Subscriber.objects.filter(application=shop.application).count() == 2


def test_a_client_names_a_subscriber_only_with_the_backends_signature(shop: Tenant) -> None:
    body = ios(apns_token(1), subscriber="ada")
    assert shop.client.put("devices", body).status_code == 403
    assert shop.client.put("devices", body, **signed(shop, "bob")).status_code == 403
    assert shop.client.put("devices", body, X_Subscriber_Signature="é").status_code == 403
    assert not active(shop)
    made = shop.client.put("devices", body, **signed(shop, "ada"))
    assert made.status_code == 201
    path = f"devices/{made.json()['id']}"
    assert shop.client.patch(path, {"subscriber": "bob"}).status_code == 403
    assert shop.client.patch(path, {"subscriber": "bob"}, **signed(shop, "bob")).status_code == 200
    assert shop.client.patch(path, {"subscriber": None}).status_code == 200


def test_a_client_is_not_told_whose_device_it_is(shop: Tenant) -> None:
    shop.server.put("devices", ios(apns_token(1), subscriber="ada"))
    assert "subscriber" not in shop.client.put("devices", ios(apns_token(1))).json()


def test_android_by_token_or_fid(shop: Tenant) -> None:
    def put(**fields: str) -> Any:
        return shop.client.put("devices", {"platform": "android", **fields})

    by_fid = put(fid="cfid1234567890abcdef12")
    assert by_fid.status_code == 201
    both = put(fid="cfid1234567890abcdef12", token="cfid1234567890abcdef12:APA91bxyz")
    assert (both.status_code, both.json()["id"]) == (200, by_fid.json()["id"])
    assert put(fid="another-fid-0123456789").status_code == 201
    assert len(active(shop)) == 2


def test_a_web_subscription_remembers_the_key_it_was_made_with(shop: Tenant) -> None:
    assert shop.client.get("vapid-key").status_code == 404
    services.store_credential(
        shop.application,
        provider="webpush",
        public={"public_key": "BKey", "subject": "mailto:a@b.example"},
        secret="s",
    )
    forget()
    assert shop.client.get("vapid-key").json() == {"public_key": "BKey"}
    made = shop.client.put(
        "devices", {"platform": "web", "token": ENDPOINT, "keys": {"p256dh": P256DH, "auth": AUTH}}
    )
    assert made.status_code == 201, made.content
    (device,) = active(shop)
    assert (device.vapid_key, device.p256dh, device.auth) == ("BKey", P256DH, AUTH)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/platform"),
        ({"platform": "ios"}, "/token"),
        ({"platform": "symbian", "token": "x"}, "/platform"),
        (ios("xyz"), "/token"),
        (ios("abc"), "/token"),
        (ios("ab" * 300), "/token"),
        (ios("ab" * 32 + "\n"), "/token"),
        (ios("ab" * 32, fid="f" * 22), "/fid"),
        (ios("ab" * 32, keys={"p256dh": "x", "auth": "y"}), "/keys"),
        (ios("ab" * 32, time_zone="Mars/Base"), "/time_zone"),
        (ios("ab" * 32, time_zone=3), "/time_zone"),
        (ios("ab" * 32, locale="not a locale"), "/locale"),
        (ios("ab" * 32, locale="de\n"), "/locale"),
        (ios("ab" * 32, permission="maybe"), "/permission"),
        (ios("ab" * 32, environment="staging"), "/environment"),
        (ios("ab" * 32, model="x" * 81), "/model"),
        (ios("ab" * 32, app_version="1\x00"), "/app_version"),
        (ios("ab" * 32, installation_id=""), "/installation_id"),
        (ios("ab" * 32, subscriber=""), "/subscriber"),
        (ios("ab" * 32, colour="red"), "/colour"),
        ({"platform": "android"}, "/token"),
        ({"platform": "android", "token": "has spaces in it"}, "/token"),
        ({"platform": "android", "token": "x" * 20, "environment": "sandbox"}, "/environment"),
        ({"platform": "web", "token": ENDPOINT}, "/keys"),
        ({"platform": "web", "token": ENDPOINT, "keys": {"p256dh": "x", "auth": AUTH}}, "/keys/p256dh"),
        ({"platform": "web", "token": ENDPOINT, "keys": {"p256dh": P256DH, "auth": "x"}}, "/keys/auth"),
        (
            {
                "platform": "web",
                "token": "http://fcm.googleapis.com/x",
                "keys": {"p256dh": P256DH, "auth": AUTH},
            },
            "/token",
        ),
        (
            {"platform": "web", "token": "https://10.0.0.1/x", "keys": {"p256dh": P256DH, "auth": AUTH}},
            "/token",
        ),
    ],
)
def test_bad_input_is_named(shop: Tenant, body: dict[str, Any], pointer: str) -> None:
    response = shop.server.put("devices", body)
    assert response.status_code == 422, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["errors"][0]["pointer"] == pointer
    assert not active(shop)


def test_details_change_by_id(shop: Tenant) -> None:
    id = shop.client.put("devices", ios(apns_token(1), locale="de", model="iPhone17,1")).json()["id"]
    changed = shop.client.patch(f"devices/{id}", {"locale": None, "permission": "denied"}).json()
    assert (changed["locale"], changed["permission"], changed["model"]) == (None, "denied", "iPhone17,1")
    assert shop.client.patch(f"devices/{id}", {"token": apns_token(2)}).status_code == 422


def test_unregistering_may_be_repeated(shop: Tenant) -> None:
    path = f"devices/{shop.client.put('devices', ios(apns_token(1))).json()['id']}"
    assert [shop.client.delete(path).status_code for _ in range(2)] == [204, 204]
    shown = shop.client.get(path).json()
    assert (shown["is_active"], shown["retired_reason"]) == (False, "unregistered_by_app")


def test_another_tenants_devices_are_not_there(shop: Tenant, rival: Tenant) -> None:
    id = shop.client.put("devices", ios(apns_token(1), installation_id="i")).json()["id"]
    for api in (rival.client, rival.server):
        assert api.get(f"devices/{id}").status_code == 404
        assert api.patch(f"devices/{id}", {"locale": "fr"}).status_code == 404
        assert api.delete(f"devices/{id}").status_code == 404
    # The same token and installation there are another device.
    assert rival.client.put("devices", ios(apns_token(1), installation_id="i")).status_code == 201
    assert rival.server.get("devices?subscriber=ada").json()["results"] == []
    assert [device.public_id.hex for device in active(shop)] == [id.replace("-", "")]


def test_who_may_call(shop: Tenant, stranger: Api) -> None:
    assert stranger.put("devices", ios(apns_token(1))).status_code == 401
    assert shop.client.get("devices").status_code == 403
    assert shop.server.get("devices").status_code == 200
    assert shop.server.post("devices", {}).status_code == 405
    assert shop.server.raw("PUT", "devices", data=b"a=1", content_type="text/plain").status_code == 415
    assert shop.server.raw("PUT", "devices", data=b"{", content_type="application/json").status_code == 400


def test_browsers_of_any_origin_may_call(stranger: Api, db: None) -> None:
    preflight = stranger.raw("OPTIONS", "devices", headers={"Origin": "https://shop.example"})
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "X-Subscriber-Signature" in preflight.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    assert stranger.get("devices").headers["Access-Control-Allow-Origin"] == "*"


def test_pages_and_their_queries(shop: Tenant, make_device: Callable[..., Device]) -> None:
    def listed(query: str) -> tuple[Any, int]:
        with CaptureQueriesContext(connection) as queries:
            answer = shop.server.get(f"devices?{query}").json()
        return answer, len(queries)

    make_device(shop, "first")
    listed("limit=1")  # the key is known to the process from now on
    _, for_one = listed("limit=100")
    for number in range(99):
        make_device(shop, f"s{number}")
    page, for_hundred = listed("limit=100")
    assert (len(page["results"]), page["next"], for_hundred) == (100, None, for_one)
    seen, cursor = [], ""
    while cursor is not None:
        page, _ = listed(f"limit=40{cursor and '&cursor=' + cursor}")
        seen += [row["id"] for row in page["results"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 100
    assert [row["subscriber"] for row in listed("subscriber=s7")[0]["results"]] == ["s7"]


@pytest.mark.django_db(transaction=True)
def test_32_at_once_make_one_device(shop: Tenant) -> None:
    def put(number: int) -> int:
        try:
            status: int = shop.server.put(
                "devices", ios(apns_token(1), installation_id="i", subscriber="ada")
            ).status_code
            return status
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(put, range(32)))
    assert sorted(statuses) == [200] * 31 + [201]
    assert Device.objects.count() == Subscriber.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_token_fought_over_has_one_active_device(shop: Tenant) -> None:
    def put(number: int) -> int:
        try:
            body = (
                ios(apns_token(number % 3), installation_id=f"i{number % 4}")
                if number % 5
                else ios(apns_token(0))
            )
            status: int = shop.client.put("devices", body).status_code
            return status
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        statuses = set(pool.map(put, range(64)))
    assert statuses <= {200, 201}
    tokens = [device.token for device in active(shop)]
    assert len(tokens) == len(set(tokens))
