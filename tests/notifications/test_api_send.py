"""POST /v1/notifications and /v1/notifications/batch."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from devices.models import Device
from notifications.models import Batch, Delivery, Notification, Shard
from tests.conftest import Api, Tenant

HELLO = {"title": "Hello", "body": "World"}


def wish(**changes: Any) -> dict[str, Any]:
    return {"to": {"subscribers": ["ada"]}, "content": HELLO, **changes}


def content(**changes: Any) -> dict[str, Any]:
    return wish(content={**HELLO, **changes})


def stored() -> Notification:
    return Notification.objects.get()


def test_a_subscribers_devices_are_batched_at_once(shop: Tenant, make_device: Callable[..., Device]) -> None:
    devices = [make_device(shop, "ada"), make_device(shop, "ada")]
    response = shop.server.post("notifications", wish())
    assert response.status_code == 202
    assert response.json().keys() == {"id", "status", "created_at"}
    (batch,) = Batch.objects.filter(notification_id=response.json()["id"])
    assert sorted(batch.device_ids) == sorted(device.id for device in devices)
    assert stored().requested_by == shop.server.key[:16]


def test_everything_a_producer_may_say(shop: Tenant, make_device: Callable[..., Device]) -> None:
    device = make_device(shop)
    soon = datetime.now(UTC) + timedelta(hours=1)
    body = wish(
        to={"devices": [str(device.public_id), str(device.public_id).upper()]},
        category="marketing",
        content={
            **HELLO,
            "image": "https://example.com/a.png",
            "url": "shop://orders/7",
            "data": {"order": "7"},
            "actions": [{"id": "track", "title": "Track", "url": "https://example.com/7"}],
        },
        channels=["push"],
        priority="high",
        ttl_seconds=0,
        collapse_key="order-7",
        send_at=soon.isoformat(),
        overrides={
            "apns": {"badge": 3, "sound": None, "url": "shop://orders/7?from=push"},
            "fcm": {"priority": "normal"},
            "webpush": {"silent": True},
        },
        dry_run=False,
    )
    assert shop.server.post("notifications", body).json()["status"] == "scheduled"
    notification = stored()
    assert notification.audience == {"devices": [str(device.public_id)]}
    assert notification.overrides == {
        "apns": {"badge": 3, "sound": None, "url": "shop://orders/7?from=push"},
        "fcm": {"priority": "normal"},
        "webpush": {"silent": True},
    }
    assert (notification.content, notification.send_at) == (body["content"], soon)
    assert not Batch.objects.exists()


def test_a_mass_audience_is_cut_into_shards(shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada")
    to = {"all": True, "platforms": ["ios", "ios"], "attribute": {"name": "gold", "value": True}}
    assert shop.server.post("notifications", wish(to=to)).json()["status"] == "fanning_out"
    assert Shard.objects.count() == 1
    assert stored().audience == {
        "all": True,
        "platforms": ["ios"],
        "attribute": {"name": "gold", "value": "true"},
    }


def test_a_time_that_has_passed_is_now(shop: Tenant) -> None:
    for send_at in ("0001-01-01T00:00:00+14:00", "2020-01-01T00:00:00Z"):
        assert shop.server.post("notifications", wish(send_at=send_at)).json()["status"] == "sending"


def test_listed_twice_is_sent_once(shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada")
    shop.server.post("notifications", wish(to={"subscribers": ["ada", "ada"]}))
    assert stored().recipient_count == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/to"),
        ({"to": {"subscribers": ["ada"]}}, "/content"),
        (wish(to={}), "/to"),
        (wish(to={"subscribers": ["a"], "all": True}), "/to"),
        (wish(to={"subscribers": []}), "/to/subscribers"),
        (wish(to={"subscribers": ["a"] * 1001}), "/to/subscribers"),
        (wish(to={"subscribers": [""]}), "/to/subscribers/0"),
        (wish(to={"subscribers": ["a\x00"]}), "/to/subscribers/0"),
        (wish(to={"subscribers": "ada"}), "/to/subscribers"),
        (wish(to={"subscribers": None}), "/to/subscribers"),
        (wish(to={"devices": ["x"]}), "/to/devices/0"),
        (wish(to={"all": False}), "/to/all"),
        (wish(to={"segment": "gold"}), "/to/segment"),
        (wish(to={"subscribers": ["a"], "platforms": ["ios"]}), "/to/platforms"),
        (wish(to={"subscribers": ["a"], "segments": ["gold"]}), "/to/segments"),
        (wish(to={"all": True, "segments": []}), "/to/segments"),
        (wish(to={"all": True, "not_segments": ["gold"]}), "/to/not_segments/0"),
        (wish(to={"segments": ["gold"]}), "/to"),
        (wish(to={"all": True, "slice": {"salt": "x", "from": 0, "to": 1}}), "/to/slice"),
        (wish(to={"all": True, "platforms": ["symbian"]}), "/to/platforms/0"),
        (wish(to={"all": True, "attribute": {"name": "x", "value": 1.5}}), "/to/attribute/value"),
        (wish(category="nope"), "/category"),
        (wish(category="../x"), "/category"),
        (wish(content={"title": "x"}), "/content/body"),
        (wish(content={"title": "", "body": ""}), "/content"),
        (content(image="http://example.com/a.png"), "/content/image"),
        (content(url="javascript:alert(1)"), "/content/url"),
        (content(url="no scheme"), "/content/url"),
        (content(data={"a": 1}), "/content/data"),
        (content(data={"aps": "x"}), "/content/data/aps"),
        (content(data={"google.x": "x"}), "/content/data/google/x"),
        (content(actions=[{"id": "a", "title": "A"}] * 6), "/content/actions"),
        (content(locales={"x y": {}}), "/content/locales"),
        (content(title="x" * 4000, body="y" * 1000), "/content"),
        (content(data={str(n): "é" * 100 for n in range(30)}), "/content"),
        (wish(template="x"), "/template"),
        (wish(local_time="09:00"), "/local_time"),
        (wish(channels=["sms"]), "/channels/0"),
        (wish(channels=[]), "/channels"),
        (wish(priority="urgent"), "/priority"),
        (wish(ttl_seconds=-1), "/ttl_seconds"),
        (wish(ttl_seconds=2_419_201), "/ttl_seconds"),
        (wish(ttl_seconds=10**30), "/ttl_seconds"),
        (wish(ttl_seconds=True), "/ttl_seconds"),
        (wish(collapse_key="x" * 65), "/collapse_key"),
        (wish(collapse_key="é" * 33), "/collapse_key"),
        (wish(send_at="2030-01-01T00:00:00"), "/send_at"),
        (wish(send_at="9999-12-31T23:59:59Z"), "/send_at"),
        (wish(send_at="tomorrow"), "/send_at"),
        (wish(send_at=17), "/send_at"),
        (wish(overrides={"sms": {}}), "/overrides/sms"),
        (wish(overrides={"apns": {"shoe": 1}}), "/overrides/apns/shoe"),
        (wish(overrides={"apns": {"url": "no scheme"}}), "/overrides/apns/url"),
        (wish(overrides={"webpush": {"navigate": "javascript:alert(1)"}}), "/overrides/webpush/navigate"),
        (wish(overrides={"apns": {"badge": 10**30}}), "/overrides/apns"),
        (wish(overrides={"apns": {"payload": {"aps": {}}}}), "/overrides/apns"),
        (wish(overrides={"fcm": {"data": {"from": "x"}}}), "/content/data/from"),
        (wish(shoe=1), "/shoe"),
        ([], "/"),
    ],
)
def test_bad_input_is_named_and_nothing_is_stored(shop: Tenant, body: Any, pointer: str) -> None:
    response = shop.server.post("notifications", body)
    assert response.status_code == 422, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["errors"][0]["pointer"] == pointer
    assert not Notification.objects.exists()


def test_a_payload_that_is_too_large_says_how_large(shop: Tenant) -> None:
    answer = shop.server.post("notifications", content(body="x" * 4090)).json()
    assert "bytes, the limit is" in answer["detail"]


def test_the_largest_that_fits_is_taken(shop: Tenant) -> None:
    """The short cut for small payloads and the providers' own count agree at the edge."""
    low, high = 0, 4096
    while high - low > 1:
        middle = (low + high) // 2
        status = shop.server.post("notifications", content(body='"' * middle)).status_code
        low, high = (middle, high) if status == 202 else (low, middle)
    assert 1500 < low < 2048


# --- Idempotency ------------------------------------------------------------------------------


def test_a_replay_gets_the_first_answer(shop: Tenant) -> None:
    first = shop.server.post("notifications", wish(), Idempotency_Key="k")
    reordered = dict(reversed(wish().items()))
    again = shop.server.post("notifications", reordered, Idempotency_Key="k")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["Idempotent-Replay"] == "true"
    assert "Idempotent-Replay" not in first.headers


def test_a_key_used_for_another_body_is_a_conflict(shop: Tenant, rival: Tenant) -> None:
    shop.server.post("notifications", wish(), Idempotency_Key="k")
    assert shop.server.post("notifications", wish(priority="high"), Idempotency_Key="k").status_code == 409
    assert rival.server.post("notifications", wish(priority="high"), Idempotency_Key="k").status_code == 202


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "é", "a\tb", "\x7f"])
def test_a_key_that_cannot_be_one(shop: Tenant, key: str) -> None:
    response = shop.server.post("notifications", wish(), Idempotency_Key=key)
    assert response.status_code == 422
    assert response.json()["errors"][0]["header"] == "Idempotency-Key"


@pytest.mark.django_db(transaction=True)
def test_64_at_once_make_one_notification(shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada")

    def post(number: int) -> tuple[int, str]:
        try:
            response = shop.server.post("notifications", wish(), Idempotency_Key="k")
            return response.status_code, response.json()["id"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(post, range(64)))
    assert sorted(status for status, _ in answers) == [200] * 63 + [202]
    assert len({id for _, id in answers}) == 1
    assert Notification.objects.count() == Batch.objects.count() == 1


# --- Dry runs ---------------------------------------------------------------------------------


def test_a_dry_run_counts_and_writes_nothing(
    shop: Tenant, rival: Tenant, make_device: Callable[..., Device]
) -> None:
    make_device(shop, "ada")
    make_device(shop, "ada", platform="android")
    make_device(shop, "bob", permission="denied")
    make_device(shop, platform="web")
    make_device(rival, "ada")
    listed = shop.server.post("notifications", wish(to={"subscribers": ["ada", "bob", "eve"]}, dry_run=True))
    assert listed.status_code == 200
    assert listed.json() == {
        "dry_run": True,
        "recipients": 4,
        "held": 0,
        "reachable": 2,
        "suppressed": {"permission_denied": 1, "unknown_subscriber": 1},
        "providers": {"apns": 1, "fcm": 1},
    }
    everyone = shop.server.post("notifications", wish(to={"all": True}, dry_run=True)).json()
    assert (everyone["recipients"], everyone["reachable"]) == (4, 3)
    marketing = shop.server.post(
        "notifications", wish(to={"all": True}, category="marketing", dry_run=True)
    ).json()
    assert (marketing["reachable"], marketing["suppressed"]["not_opted_in"]) == (0, 3)
    assert not (Notification.objects.exists() or Batch.objects.exists() or Delivery.objects.exists())


# --- Batches ----------------------------------------------------------------------------------


def test_good_items_are_kept_and_bad_ones_named(shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada")
    items = [wish(), wish(shoe=1), wish(category="nope"), wish(dry_run=True), wish(priority="high")]
    response = shop.server.post("notifications/batch", {"notifications": items})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [(result["index"], result["status"]) for result in results] == [
        (0, "accepted"),
        (1, "error"),
        (2, "error"),
        (3, "error"),
        (4, "accepted"),
    ]
    assert [result["problem"]["errors"][0]["pointer"] for result in results[1:4]] == [
        "/shoe",
        "/category",
        "/dry_run",
    ]
    assert Notification.objects.count() == Batch.objects.count() == 2


def test_a_batch_replays_by_item_and_conflicts_by_item(shop: Tenant) -> None:
    first = shop.server.post(
        "notifications/batch", {"notifications": [wish(), wish()]}, Idempotency_Key="b"
    ).json()
    items = [wish(), wish(priority="high"), wish()]
    again = shop.server.post("notifications/batch", {"notifications": items}, Idempotency_Key="b").json()
    assert [result["status"] for result in again["results"]] == ["replayed", "error", "accepted"]
    assert again["results"][0]["id"] == first["results"][0]["id"]
    assert again["results"][1]["problem"]["status"] == 409
    assert Notification.objects.count() == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"notifications": []}, 422),
        ({"notifications": [wish()] * 1001}, 422),
        ({"notifications": {}}, 422),
        ({}, 422),
    ],
)
def test_a_batch_that_is_none(shop: Tenant, body: Any, status: int) -> None:
    assert shop.server.post("notifications/batch", body).status_code == status
    assert not Notification.objects.exists()


def test_garbage_in_a_batch(shop: Tenant) -> None:
    send = shop.server.raw
    path, kind = "notifications/batch", "application/json"
    assert send("POST", path, data=b'{"notifications": [{]}', content_type=kind).status_code == 400
    nested = b'{"notifications": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
    assert send("POST", path, data=nested, content_type=kind).status_code in (200, 422)
    answer = send("POST", path, data=b'{"notifications": [1, null, "\xff"]}', content_type=kind)
    assert answer.status_code in (200, 400)
    assert not Notification.objects.exists()


def test_as_many_queries_for_a_hundred_as_for_one(shop: Tenant, make_device: Callable[..., Device]) -> None:
    for number in range(100):
        make_device(shop, f"u{number}")
    shop.server.post("notifications", wish())  # key and category are known to the process from now on
    counts = []
    for number in (1, 100):
        items = [wish(to={"subscribers": [f"u{n}"]}) for n in range(number)]
        with CaptureQueriesContext(connection) as queries:
            shop.server.post("notifications/batch", {"notifications": items})
        counts.append(len(queries))
    assert counts[0] == counts[1]


# --- Who may ----------------------------------------------------------------------------------


def test_who_may_send(shop: Tenant, stranger: Api) -> None:
    for path, body in (("notifications", wish()), ("notifications/batch", {"notifications": [wish()]})):
        assert stranger.post(path, body).status_code == 401
        assert shop.client.post(path, body).status_code == 403
    assert not Notification.objects.exists()


def test_another_tenants_people_cannot_be_reached(
    shop: Tenant, rival: Tenant, make_device: Callable[..., Device]
) -> None:
    theirs = make_device(shop, "ada")
    rival.server.post("notifications", wish())
    rival.server.post("notifications", wish(to={"devices": [str(theirs.public_id)]}))
    rival.server.post("notifications", wish(to={"all": True}))
    assert not (Batch.objects.exists() or Shard.objects.exists())
    reasons = set(Delivery.objects.values_list("reason", flat=True))
    assert reasons == {"unknown_subscriber", "unknown_device"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"null", b'{"to": {"all": true}, "content": {"title": "\\ud800", "body": ""}}'],
)
def test_garbage(shop: Tenant, body: bytes) -> None:
    response = shop.server.raw("POST", "notifications", data=body, content_type="application/json")
    assert response.status_code in (400, 422)
    assert json.loads(response.content)["status"] == response.status_code


def test_a_body_beyond_the_limit(shop: Tenant) -> None:
    body = b'{"x": "' + b"x" * 9_000_000 + b'"}'
    assert (
        shop.server.raw("POST", "notifications", data=body, content_type="application/json").status_code
        == 413
    )


def test_ids_are_made_in_order_of_time(shop: Tenant) -> None:
    ids = [uuid.UUID(shop.server.post("notifications", wish()).json()["id"]) for _ in range(2)]
    assert [id.version for id in ids] == [7, 7]
