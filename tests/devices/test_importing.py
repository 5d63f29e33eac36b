"""POST /v1/subscribers/import and /v1/devices/import, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import selectors
from devices.models import Device, Preference, QuietHours, Subscriber
from tests.conftest import Tenant, apns_token

BOUNDARY = "carillon"


def upload(tenant: Tenant, lines: list[Any], path: str = "subscribers/import") -> Any:
    data = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    return tenant.server.raw("POST", path, data=data, content_type="application/x-ndjson")


def person(external_id: str, **fields: Any) -> dict[str, Any]:
    return {"external_id": external_id, **fields}


def ios(token: str, **fields: Any) -> dict[str, Any]:
    return {"platform": "ios", "token": token, **fields}


def test_people_devices_and_preferences_land(shop: Tenant) -> None:
    response = upload(
        shop,
        [
            person("ada", attributes={"plan": "gold"}, locale="de", time_zone="Europe/Berlin", country="DE",
                   email="ada@example.com", phone="+4930123456", preferences={"marketing": True},
                   devices=[ios(apns_token(1)), ios(apns_token(2))]),
            person("bob"),
        ],
    )  # fmt: skip
    assert response.json() == {
        "lines": 2,
        "subscribers": {"created": 2, "updated": 0},
        "devices": {"created": 2, "updated": 0},
        "error_count": 0,
        "errors": [],
    }
    ada = Subscriber.objects.get(application=shop.application, external_id="ada")
    assert (ada.attributes, ada.time_zone, ada.email) == (
        {"plan": "gold"},
        "Europe/Berlin",
        "ada@example.com",
    )
    assert ada.devices.count() == 2
    assert selectors.preferences(ada)["marketing"] == {"push": True}


def test_importing_again_changes_nothing(shop: Tenant) -> None:
    lines = [
        person("ada", attributes={"n": 1}, preferences={"marketing": True}, devices=[ios(apns_token(1))])
    ]
    upload(shop, lines)
    before = _everything(shop)
    again = upload(shop, lines).json()
    assert again["subscribers"] == again["devices"] == {"created": 0, "updated": 1}
    assert _everything(shop) == before


def _everything(tenant: Tenant) -> list[Any]:
    return [
        list(Subscriber.objects.filter(application=tenant.application).order_by("id").values()),
        list(Device.objects.filter(application=tenant.application).order_by("id").values()),
        list(Preference.objects.filter(subscriber__application=tenant.application).values()),
    ]


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ("{", "", "cannot be read as JSON"),
        ("[]", "", "Expected `object`"),
        (person(""), "external_id", "length"),
        (person("x", shoe=1), "shoe", "unknown"),
        (person("x", time_zone="Mars/Base"), "time_zone", "time zone"),
        (person("x", email="nope"), "email", "regex"),
        (person("x", attributes={"a": "\x00"}), "attributes.a", "U+0000"),
        (person("x", attributes={"a": 10**30}), "attributes", "64 bits"),
        (person("x", attributes={"a": "b" * 20_000}), "attributes", "limit"),
        (person("x", preferences={"nope": True}), "preferences.nope", "no such category"),
        (person("x", preferences={"critical": False}), "preferences.critical", "always on"),
        (person("x", quiet_hours=[{"start": "22:00"}]), "quiet_hours.0.end", "time of day"),
        (person("x", devices=[ios("zz")]), "devices.0.token", "APNs"),
        (person("x", devices=[ios(apns_token(), subscriber="y")]), "devices.0.subscriber", "line itself"),
        ('{"external_id": "x", "attributes": ' + "[" * 5000 + "]" * 5000 + "}", "", "nested"),
    ],
)
def test_a_bad_line_is_named_and_the_good_ones_land(shop: Tenant, line: Any, field: str, reason: str) -> None:
    answer = upload(shop, [person("ada"), "", line, person("bob")]).json()
    (error,) = answer["errors"]
    assert (error["line"], error["field"]) == (3, field)
    assert reason in error["reason"]
    assert answer["subscribers"] == {"created": 2, "updated": 0}
    assert answer["lines"] == 3


def test_errors_are_counted_beyond_those_listed(shop: Tenant) -> None:
    answer = upload(shop, [person("")] * 150).json()
    assert (answer["error_count"], len(answer["errors"])) == (150, 100)


def test_a_line_that_is_not_utf8_is_named(shop: Tenant) -> None:
    data = b'{"external_id": "\xff"}\n{"external_id": "ada"}'
    answer = shop.server.raw(
        "POST", "subscribers/import", data=data, content_type="application/x-ndjson"
    ).json()
    assert [error["line"] for error in answer["errors"]] == [1]
    assert answer["subscribers"]["created"] == 1


def test_a_person_listed_twice_is_one_person_with_both_devices(shop: Tenant) -> None:
    answer = upload(
        shop,
        [
            person("ada", locale="de", devices=[ios(apns_token(1))]),
            person("ada", devices=[ios(apns_token(2))]),
        ],
    ).json()
    assert answer["subscribers"] == {"created": 1, "updated": 0}
    ada = Subscriber.objects.get(external_id="ada")
    assert (ada.locale, ada.devices.count()) == ("de", 2)


def test_quiet_hours_are_set_kept_changed_and_cleared(shop: Tenant) -> None:
    nights = [{"days": [1, 7], "start": "22:00", "end": "08:00"}]
    upload(shop, [person("ada", quiet_hours=nights), person("bob", quiet_hours=nights), person("cy")])
    assert QuietHours.objects.count() == 1
    upload(shop, [person("ada", locale="de"), person("bob", quiet_hours=None), person("cy", quiet_hours=[])])
    people = {
        row["external_id"]: row["quiet_hours"] for row in shop.server.get("subscribers").json()["results"]
    }
    assert people == {"ada": nights, "bob": None, "cy": []}


def test_a_listed_token_moves_to_its_new_person(shop: Tenant, make_device: Callable[..., Device]) -> None:
    device = make_device(shop, "ada")
    upload(shop, [person("bob", devices=[ios(device.token)])])
    device.refresh_from_db()
    assert device.subscriber
    assert device.subscriber.external_id == "bob"


def test_tokens_that_changed_hands_between_installations(
    shop: Tenant, make_device: Callable[..., Device]
) -> None:
    a = make_device(shop, "ada", installation_id="a")
    b = make_device(shop, "bob", installation_id="b")
    upload(
        shop,
        [
            person("ada", devices=[ios(b.token, installation_id="a")]),
            person("bob", devices=[ios(a.token, installation_id="b")]),
        ],
    )
    now_a, now_b = Device.objects.get(id=a.id), Device.objects.get(id=b.id)
    assert (now_a.token, now_b.token) == (b.token, a.token)
    assert now_a.retired_at is now_b.retired_at is None


def test_a_list_does_not_revive_the_dead(shop: Tenant, make_device: Callable[..., Device]) -> None:
    device = make_device(shop, "ada", installation_id="a")
    Device.objects.filter(id=device.id).update(retired_at=device.registered_at, retired_reason="unregistered")
    upload(shop, [person("ada", devices=[ios(device.token, installation_id="a")])])
    device.refresh_from_db()
    assert device.retired_at
    upload(shop, [person("ada", devices=[ios(apns_token(), installation_id="a")])])
    device.refresh_from_db()
    assert device.retired_at is None


def test_one_tenants_import_leaves_anothers_people_alone(
    shop: Tenant, rival: Tenant, make_device: Callable[..., Device]
) -> None:
    theirs = make_device(rival, "ada", installation_id="a")
    before = _everything(rival)
    upload(shop, [person("ada", locale="fr", devices=[ios(theirs.token, installation_id="a")])])
    assert _everything(rival) == before
    assert Device.objects.filter(application=shop.application).count() == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv(shop: Tenant, newline: str) -> None:
    rows = [
        "\ufeffexternal_id,email,attr.plan,pref.marketing,platform,token",
        f'ada,ada@example.com,"gold, plus",yes,ios,{apns_token(1)}',
        "bob,,,,,",
        "eve,,,maybe,,",
        "short",
    ]
    answer = shop.server.raw(
        "POST", "subscribers/import", data=newline.join(rows).encode(), content_type="text/csv; charset=utf-8"
    ).json()
    assert [(error["line"], error["field"]) for error in answer["errors"]] == [(4, "pref.marketing"), (5, "")]
    assert answer["subscribers"]["created"] == 2
    assert Subscriber.objects.get(external_id="ada").attributes == {"plan": "gold, plus"}


@pytest.mark.parametrize(
    "header", [b"", b"email", b"external_id,shoe", b"external_id,external_id", b"\xff\xfe"]
)
def test_a_csv_with_a_wrong_header_is_refused(shop: Tenant, header: bytes) -> None:
    response = shop.server.raw(
        "POST", "subscribers/import", data=header + b"\nada\n", content_type="text/csv"
    )
    assert response.status_code == 422


def test_csv_with_garbage_in_a_cell(shop: Tenant) -> None:
    data = b"external_id,email\n\xff,\na\x00,\nada,\n" + b'"' + b"x" * 200_000
    answer = shop.server.raw("POST", "subscribers/import", data=data, content_type="text/csv").json()
    assert [error["line"] for error in answer["errors"]][:2] == [2, 3]
    assert answer["subscribers"]["created"] == 1


def form(name: str, filename: str, content: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def test_a_file_in_a_form(shop: Tenant) -> None:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    send = shop.server.raw
    good = send(
        "POST", "subscribers/import", data=form("file", "a.csv", b"external_id\nada\n"), content_type=kind
    )
    assert good.json()["subscribers"]["created"] == 1
    wrong = send("POST", "subscribers/import", data=form("document", "a.csv", b""), content_type=kind)
    assert wrong.status_code == 422
    unnamed = send("POST", "subscribers/import", data=form("file", "a.zip", b"x"), content_type=kind)
    assert unnamed.status_code == 415
    garbled = send("POST", "subscribers/import", data=b"garbage", content_type="multipart/form-data")
    assert garbled.status_code == 400


def test_what_is_not_an_import(shop: Tenant, stranger: Any) -> None:
    path = "subscribers/import"
    assert shop.server.raw("POST", path, data=b"{}", content_type="application/json").status_code == 415
    assert shop.server.raw("GET", path).status_code == 405
    assert shop.client.raw("POST", path, data=b"{}", content_type="application/x-ndjson").status_code == 403
    assert stranger.raw("POST", path, data=b"{}", content_type="application/x-ndjson").status_code == 401
    assert shop.server.raw("POST", path, content_type="application/x-ndjson").status_code == 411


def test_anonymous_devices(shop: Tenant) -> None:
    answer = upload(
        shop,
        [ios(apns_token(1)), ios(apns_token(2), subscriber="ada"), ios("x")],
        "devices/import",
    ).json()
    assert answer["devices"] == {"created": 2, "updated": 0}
    assert [error["field"] for error in answer["errors"]] == ["token"]
    # Listed again without a word on whose it is: it stays theirs.
    upload(shop, [ios(apns_token(2))], "devices/import")
    assert Device.objects.get(token=apns_token(2)).subscriber


def test_as_many_queries_for_a_hundred_lines_as_for_one(shop: Tenant) -> None:
    counts = []
    upload(shop, [person("ada")])  # the key is known to the process from now on
    for number in (1, 100):
        lines = [
            person(f"p{number}-{n}", devices=[ios(apns_token())], preferences={"marketing": True})
            for n in range(number)
        ]
        with CaptureQueriesContext(connection) as queries:
            upload(shop, lines)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_command(shop: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("external_id\nada\n")
    out = StringIO()
    call_command("import_subscribers", shop.application.slug, str(file), stdout=out)
    assert json.loads(out.getvalue())["subscribers"]["created"] == 1
