"""/v1/segments: definitions, the members of lists, and estimates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devices import segment_lists
from devices.models import Preference, Segment, SegmentMember, SegmentSize, Subscriber
from notifications import reach
from tests.conftest import Tenant, apns_token
from tests.devices.test_segments import matched

IOS = {"field": "device.platform", "is": "equal", "value": "ios"}
GOLD = {"field": "attribute.plan", "is": "equal", "value": "gold"}


def create(tenant: Tenant, slug: str = "apple", **more: Any) -> Any:
    return tenant.server.post("segments", {"slug": slug, "name": "Apple", "rules": IOS, **more})


def test_a_segment_is_created_shown_changed_and_deleted(shop: Tenant) -> None:
    created = create(shop)
    assert created.status_code == 201
    row = created.json()
    assert (row["slug"], row["kind"], row["rules"], row["size"]) == ("apple", "rules", IOS, None)
    assert shop.server.get("segments").json() == {"results": [row], "next": None}
    assert shop.server.get("segments/apple").json() == {**row, "sizes": []}
    changed = shop.server.put("segments/apple", {"name": "Gold", "rules": GOLD, "refresh_minutes": 60})
    assert (changed.status_code, changed.json()["rules"]) == (200, GOLD)
    assert shop.server.put("segments/new", {"name": "New", "kind": "list"}).status_code == 201
    assert shop.server.delete("segments/apple").status_code == 204
    assert shop.server.get("segments/apple").status_code == 404


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"rules": {}}, "/rules"),
        ({"rules": {"all": [IOS, {"consent": "none"}]}}, "/rules/all/1/consent"),
        ({"rules": {"segment": "apple"}}, "/rules/segment"),
        ({"rules": {**IOS, "value": "a\x00"}}, "/rules/value"),
        ({"rules": []}, "/rules"),
        ({"name": ""}, "/name"),
        ({"slug": "a b"}, "/slug"),
        ({"kind": "other"}, "/kind"),
        ({"refresh_minutes": 4}, "/refresh_minutes"),
        ({"kind": "list"}, "/rules"),
        ({"kind": "list", "rules": {}, "refresh_minutes": 60}, "/refresh_minutes"),
        ({"what": 1}, "/what"),
    ],
)
def test_a_bad_definition_names_the_field_and_stores_nothing(
    shop: Tenant, more: dict[str, Any], pointer: str
) -> None:
    answer = create(shop, **more)
    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert not Segment.objects.exists()


def test_a_slug_is_taken_once_per_application(shop: Tenant, rival: Tenant) -> None:
    assert create(shop).status_code == 201
    assert create(shop).status_code == 409
    assert create(rival).status_code == 201


def test_a_segment_stays_what_it_is(shop: Tenant) -> None:
    create(shop)
    assert shop.server.put("segments/apple", {"name": "x", "kind": "list"}).status_code == 422


def test_what_another_segment_names_is_not_deleted(shop: Tenant) -> None:
    create(shop)
    create(shop, "deep", rules={"any": [GOLD, {"not": {"all": [{"segment": "apple"}]}}]})
    create(shop, "word", rules={**GOLD, "value": "apple"})  # only a word
    answer = shop.server.delete("segments/apple")
    assert (answer.status_code, answer.json()["detail"]) == (409, "These segments name it: deep.")
    assert shop.server.delete("segments/deep").status_code == 204
    assert shop.server.delete("segments/apple").status_code == 204


def test_changed_rules_forget_the_members_the_old_ones_found(shop: Tenant, make_device: Any) -> None:
    make_device(shop, "ada", token="ada", platform="web")
    create(shop, refresh_minutes=60)
    segment = Segment.objects.get()
    ada = Subscriber.objects.get()
    SegmentMember.objects.create(segment_id=segment.pk, subscriber_id=ada.pk)
    Segment.objects.update(size=1)
    assert matched(shop, {"segment": "apple"}) == {"ada"}
    shop.server.put("segments/apple", {"name": "other name", "rules": IOS, "refresh_minutes": 30})
    assert matched(shop, {"segment": "apple"}) == {"ada"}
    shop.server.put("segments/apple", {"name": "x", "rules": GOLD, "refresh_minutes": 30})
    assert matched(shop, {"segment": "apple"}) == set()
    assert not SegmentMember.objects.exists()


def test_nobody_sees_or_touches_another_applications_segments(shop: Tenant, rival: Tenant) -> None:
    create(shop)
    assert rival.server.get("segments").json()["results"] == []
    assert rival.server.get("segments/apple").status_code == 404
    assert rival.server.delete("segments/apple").status_code == 404
    assert upload(rival, b"").status_code == 404
    assert create(rival, "theirs", rules={"segment": "apple"}).status_code == 422
    assert rival.server.post("segments/estimate", {"rules": {"segment": "apple"}}).status_code == 422


def test_client_keys_and_strangers_have_no_segments(shop: Tenant, stranger: Any) -> None:
    for api, status in ((shop.client, 403), (stranger, 401)):
        assert api.get("segments").status_code == status
        assert api.post("segments", {}).status_code == status
        assert api.put("segments/x", {}).status_code == status
        assert api.post("segments/estimate", {}).status_code == status


# --- Lists ------------------------------------------------------------------------------------


def upload(
    tenant: Tenant, data: bytes, query: str = "", type_: str = "text/csv", slug: str = "friends"
) -> Any:
    return tenant.server.raw("POST", f"segments/{slug}/members{query}", data=data, content_type=type_)


@pytest.fixture
def friends(shop: Tenant) -> Segment:
    for name in ("ada", "bob", "cyd"):
        Subscriber.objects.create(application=shop.application, external_id=name)
    create(shop, "friends", kind="list", rules={})
    return Segment.objects.get(slug="friends")


def members(segment: Segment) -> set[str]:
    ids = SegmentMember.objects.filter(segment_id=segment.pk).values_list("subscriber_id", flat=True)
    return set(Subscriber.objects.filter(id__in=list(ids)).values_list("external_id", flat=True))


def test_a_list_is_added_to_taken_from_and_replaced(shop: Tenant, friends: Segment) -> None:
    first = upload(shop, b"external_id,email\nada,a@b.c\nbob,\nbob,\n").json()
    assert first == {"lines": 3, "added": 2, "removed": 0, "size": 2, "error_count": 0, "errors": []}
    again = upload(shop, b"external_id\nada\ncyd\n").json()
    assert (again["added"], again["size"]) == (1, 3)
    assert upload(shop, b"external_id\nada\n", "?mode=remove").json()["removed"] == 1
    assert members(friends) == {"bob", "cyd"}
    replaced = upload(shop, b"external_id\nada\nbob\n", "?mode=replace").json()
    assert (replaced["added"], replaced["removed"], replaced["size"]) == (1, 1, 2)
    assert members(friends) == {"ada", "bob"}
    assert [row["size"] for row in shop.server.get("segments/friends").json()["sizes"]] == [2, 3, 2]
    assert Segment.objects.get(slug="friends").size == 2


def test_lines_that_name_nobody_are_reported(shop: Tenant, rival: Tenant, friends: Segment) -> None:
    Subscriber.objects.create(application=rival.application, external_id="theirs")
    lines = [
        '"ada"',
        '{"external_id": "bob"}',
        '"nobody"',
        '{"external_id": 7}',
        '{"id": "x"}',
        "cyd",
        '"theirs"',
        '""',
    ]
    answer = upload(shop, "\n".join(lines).encode(), type_="application/x-ndjson").json()
    assert (answer["lines"], answer["added"], answer["error_count"]) == (8, 2, 6)
    assert [error["line"] for error in answer["errors"]] == [4, 5, 6, 8, 3, 7]
    assert {error["reason"] for error in answer["errors"] if error["line"] in (3, 7)} == {
        "there is no such subscriber"
    }
    many = upload(shop, b"external_id\n" + b"nobody\n" * 500).json()
    assert (many["error_count"], len(many["errors"])) == (500, 100)


def test_a_file_that_cannot_be_read_leaves_the_list_as_it_is(shop: Tenant, friends: Segment) -> None:
    upload(shop, b"external_id\nada\n")
    assert upload(shop, b"name\nbob\n", "?mode=replace").status_code == 422
    assert upload(shop, b"", "?mode=all").status_code == 422
    assert upload(shop, b"x", type_="text/html").status_code == 415
    create(shop, "apple")
    assert upload(shop, b"external_id\nada\n", slug="apple").status_code == 422
    assert members(friends) == {"ada"}


def test_a_list_spans_many_chunks(shop: Tenant, friends: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_lists, "CHUNK", 2)
    assert upload(shop, b"external_id\nada\nx\nbob\ny\ncyd\n").json()["size"] == 3


def test_deleting_a_list_forgets_its_members_and_erasing_somebody_takes_them_off(
    shop: Tenant, friends: Segment
) -> None:
    upload(shop, b"external_id\nada\nbob\n")
    segment_lists.forget(Subscriber.objects.get(external_id="ada"))
    assert members(friends) == {"bob"}
    shop.server.delete("segments/friends")
    assert not SegmentMember.objects.exists()
    assert not SegmentSize.objects.exists()


# --- Estimates --------------------------------------------------------------------------------


def estimate(tenant: Tenant, rules: Any, **more: Any) -> Any:
    return tenant.server.post("segments/estimate", {"rules": rules, **more})


def test_an_estimate_says_how_many_are_reached_and_why_not_all(
    shop: Tenant, rival: Tenant, make_device: Any
) -> None:
    make_device(shop, "ada")
    make_device(shop, "ada", permission="denied")
    make_device(shop, "bob")
    make_device(shop, "cyd", platform="web")
    make_device(shop)
    make_device(rival, "ada")
    for name, is_allowed in (("ada", True), ("bob", False)):
        Preference.objects.create(
            subscriber=Subscriber.objects.get(application=shop.application, external_id=name),
            category=shop.application.categories.get(slug="marketing"),
            is_allowed=is_allowed,
        )
    assert estimate(shop, IOS).json() == {
        "people": 2,
        "devices": 4,
        "reachable": {"push": 3},
        "platforms": {"ios": 3},
        "held_back": {"permission_denied": 1},
        "held": 0,
        "is_estimate": False,
    }
    assert estimate(shop, IOS, category="marketing").json() == {
        "people": 2,
        "devices": 4,
        "reachable": {"push": 1},
        "platforms": {"ios": 1},
        "held_back": {"permission_denied": 1, "opted_out": 1, "not_opted_in": 1},
        "held": 0,
        "is_estimate": False,
    }


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/rules"]),
        (
            {"rules": {"all": [{"consent": "x"}, {**IOS, "is": "="}]}},
            ["/rules/all/0/consent", "/rules/all/1/is"],
        ),
        ({"rules": IOS, "category": "none"}, ["/category"]),
        ({"rules": IOS, "x": 1}, ["/x"]),
    ],
)
def test_bad_rules_are_not_estimated(shop: Tenant, body: Any, pointers: list[str]) -> None:
    answer = shop.server.post("segments/estimate", body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers


@pytest.fixture
def crowd(shop: Tenant, rival: Tenant, make_device: Any) -> None:
    """1200 people: a third has two devices, both iOS; half of all is gold. Rival's devices lie between them."""
    lines = [
        {
            "external_id": f"u-{n}",
            "attributes": {"plan": "gold" if n % 2 else "free"},
            "devices": [{"platform": "ios", "token": apns_token()} for _ in range(2 if n % 3 == 0 else 1)],
        }
        for n in range(1200)
    ]
    for start in range(0, 1200, 100):
        for tenant in (shop, rival):
            data = "\n".join(json.dumps(line) for line in lines[start : start + 100]).encode()
            tenant.server.raw("POST", "subscribers/import", data=data, content_type="application/x-ndjson")


def test_large_audiences_are_estimated_from_a_sample(
    shop: Tenant, crowd: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = estimate(shop, GOLD).json()
    assert (exact["devices"], exact["people"], exact["is_estimate"]) == (800, 600, False)
    monkeypatch.setattr(reach, "EXACT_UP_TO", 100)
    monkeypatch.setattr(reach, "SMALL_SAMPLE", 800)
    monkeypatch.setattr("notifications.sample.STRATA", 200)
    found = estimate(shop, GOLD).json()
    assert found["is_estimate"]
    assert found["devices"] == pytest.approx(800, rel=0.15)
    assert found["people"] == pytest.approx(600, rel=0.15)
    assert found["devices"] == found["reachable"]["push"] + sum(found["held_back"].values())
    everyone = estimate(shop, IOS).json()
    assert everyone["devices"] == pytest.approx(1600, rel=0.1)
    assert everyone["people"] == pytest.approx(1200, rel=0.1)
    assert estimate(shop, IOS).json() == everyone  # asked twice, the same


def test_the_reach_of_everyone_is_sampled_where_counting_takes_too_long(
    shop: Tenant, crowd: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from devices.models import Category

    category = Category.objects.get(application=shop.application, slug="transactional")
    patience = iter(["1ms", "10s"])
    counted = reach._counted
    monkeypatch.setattr(
        reach,
        "_counted",
        lambda *given, **more: counted(*given[:3], next(patience)),  # the first one is cut short
    )
    monkeypatch.setattr(reach, "SAMPLE", 800)
    monkeypatch.setattr("notifications.sample.STRATA", 200)
    found = reach.of({"all": True}, application_id=shop.id, category_id=category.pk)
    assert found.is_estimate
    assert found.reachable == pytest.approx(1600, rel=0.1)
