"""Segments in the admin: the rule builder's JSON is checked where it was written, lists are uploaded, sizes shown."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from devices import segment_admin
from devices.models import Category, Segment, SegmentMember, SegmentSize, Subscriber
from tests.conftest import Tenant

LIST, ADD = "/admin/devices/segment/", "/admin/devices/segment/add/"
FEBRUARY = ["2026-02-01", "2026-02-28"]
IOS = {"field": "device.platform", "is": "equal", "value": "ios"}


def form(tenant: Tenant, rules: Any = IOS, **more: Any) -> dict[str, Any]:
    values = {
        "application": tenant.id,
        "name": "Apple",
        "slug": "apple",
        "kind": "rules",
        "refresh_minutes": "",
    }
    return {**values, "rules": json.dumps(rules), **more}


def faults(page: str) -> list[list[str]]:
    found = re.search(r'id="rule-faults" type="application/json">(.*?)</script>', page)
    assert found
    return json.loads(found[1])  # type: ignore[no-any-return]


def make(tenant: Tenant, slug: str = "apple", **more: Any) -> Segment:
    values = {"rules": IOS if more.get("kind") != "list" else {}, "name": slug, **more}
    return Segment.objects.create(application=tenant.application, slug=slug, **values)


def change(segment: Segment) -> str:
    return f"{LIST}{segment.pk}/change/"


def test_a_segment_is_written_and_changed(admin: Client, shop: Tenant) -> None:
    assert admin.post(ADD, form(shop, refresh_minutes="60")).status_code == 302
    segment = Segment.objects.get()
    assert (segment.slug, segment.rules, segment.refresh_minutes) == ("apple", IOS, 60)
    rules = {"not": {"any": [IOS]}}
    # What is settled is not for the form to change.
    assert admin.post(change(segment), form(shop, rules, slug="other", kind="list")).status_code == 302
    segment.refresh_from_db()
    assert (segment.slug, segment.kind, segment.rules, segment.refresh_minutes) == (
        "apple",
        "rules",
        rules,
        None,
    )


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, ["/"]),
        ({"all": [IOS, {**IOS, "value": ""}]}, ["/all/1/value"]),
        ({"all": [{"consent": "none"}, {"any": [{"event": ""}]}]}, ["/all/0/consent", "/all/1/any/0/event"]),
    ],
)
def test_what_is_wrong_goes_back_to_its_rule(
    admin: Client, shop: Tenant, rules: Any, expected: list[str]
) -> None:
    answer = admin.post(ADD, form(shop, rules))
    assert answer.status_code == 200
    assert [at for at, _ in faults(answer.content.decode())] == expected
    assert not Segment.objects.exists()


def test_words_that_are_no_json_are_refused(admin: Client, shop: Tenant) -> None:
    assert "Enter a valid JSON" in admin.post(ADD, form(shop) | {"rules": "{"}).content.decode()
    assert not Segment.objects.exists()


def test_texts_of_rules_do_not_become_markup(admin: Client, shop: Tenant) -> None:
    nasty = "</script><script>alert(1)</script>"
    segment = make(shop, rules={"field": "attribute.x", "is": "equal", "value": nasty}, name=nasty)
    for url in (LIST, change(segment)):
        assert "<script>alert" not in admin.get(url).content.decode()
    answer = admin.post(ADD, form(shop, {"segment": nasty}, slug="b"))
    assert "<script>alert" not in answer.content.decode()


def test_the_list_shows_sizes_and_what_they_were(admin: Client, shop: Tenant) -> None:
    segment = make(shop, size=1234, refresh_minutes=60)
    for size in (1000, 1300, 1234):
        SegmentSize.objects.create(segment=segment, size=size)
    shown = admin.get(LIST).content.decode()
    assert "1,234" in shown
    assert "From 1,000 to 1,234, between 1,000 and 1,300" in shown
    assert "From 1,000 to 1,234" in admin.get(change(segment)).content.decode()


def test_the_list_costs_the_same_however_long(
    admin: Client, shop: Tenant, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        SegmentSize.objects.create(segment=make(shop, f"s{number}"), size=number)
    admin.get(LIST)
    with django_assert_max_num_queries(12):
        admin.get(LIST)


def test_what_others_name_is_not_deleted(admin: Client, shop: Tenant) -> None:
    segment = make(shop)
    other = make(shop, "deep", rules={"segment": "apple"})
    answer = admin.post(f"{LIST}{segment.pk}/delete/", {"post": "yes"}, follow=True)
    assert "the rules of deep name it" in answer.content.decode()
    for each in (other, segment):
        admin.post(f"{LIST}{each.pk}/delete/", {"post": "yes"})
    assert not Segment.objects.exists()


def upload(client: Client, segment: Segment, data: bytes, mode: str = "add", name: str = "people.csv") -> Any:
    file = SimpleUploadedFile(name, data)
    return client.post(f"{LIST}{segment.pk}/upload/", {"file": file, "mode": mode}, follow=True)


def test_a_list_is_filled_by_upload(admin: Client, shop: Tenant) -> None:
    for name in ("ada", "bob"):
        Subscriber.objects.create(application=shop.application, external_id=name)
    friends = make(shop, "friends", kind="list")
    said = upload(admin, friends, b"external_id\nada\nbob\nnobody\n").content.decode()
    assert "2 added, 0 removed: the list has 2 members." in said
    assert "1 line left out: line 4: there is no such subscriber." in said
    assert "1 removed" in upload(admin, friends, b"external_id\nada\n", "remove").content.decode()
    for data, mode, name in (
        (b"name\nx\n", "replace", "a.csv"),
        (b"x", "add", "a.txt"),
        (b"", "all", "a.csv"),
    ):
        assert "Nothing was changed" in upload(admin, friends, data, mode, name).content.decode()
    assert SegmentMember.objects.filter(segment_id=friends.pk).count() == 1
    assert "Upload: 2 added" in admin.get(f"{LIST}{friends.pk}/history/").content.decode()


def count(client: Client, tenant: Tenant, rules: Any, category: Any = "") -> Any:
    body = form(tenant, rules, estimate_category=category)
    return client.post("/admin/segments/estimate/", body)


def test_rules_are_counted_while_they_are_written(admin: Client, shop: Tenant, make_device: Any) -> None:
    make_device(shop, "ada")
    make_device(shop, "bob", permission="denied")
    said = " ".join(count(admin, shop, IOS).content.decode().split())
    assert 'num">2</strong> <span>people with 2 devices, 1 of them reachable' in said
    marketing = Category.objects.get(application=shop.application, slug="marketing")
    said = count(admin, shop, IOS, marketing.pk).content.decode()
    assert "0 of them reachable with “Marketing”" in said
    assert "Complete the rules first" in count(admin, shop, {"event": ""}).content.decode()
    assert "Add a rule first" in count(admin, shop, {}).content.decode()
    assert "Nobody yet" in count(admin, shop, {**IOS, "value": "web"}).content.decode()


def test_viewers_look_and_strangers_do_not(viewer: Client, client: Client, shop: Tenant) -> None:
    segment = make(shop)
    assert {viewer.get(url).status_code for url in (LIST, change(segment))} == {200}
    assert viewer.get(ADD).status_code == 403
    assert viewer.post(change(segment), form(shop)).status_code == 403
    assert viewer.post(f"{LIST}{segment.pk}/upload/").status_code == 403
    assert client.post("/admin/segments/estimate/", form(shop)).status_code == 302
    assert client.get(LIST).status_code == 302


def test_a_curve_needs_two_sizes() -> None:
    assert segment_admin.curve([7]) == ""
    assert "0.0,22.0 100.0,22.0" in segment_admin.curve([7, 7])
