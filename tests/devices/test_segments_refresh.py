"""Segments that are refreshed: members written, sizes kept, twice at once harmless."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import periodic, segment_lists
from devices.models import Segment, SegmentMember, SegmentSize, Subscriber
from tests.conftest import Tenant
from tests.devices.test_segments import matched

IOS = {"field": "device.platform", "is": "equal", "value": "ios"}
GOLD = {"field": "attribute.plan", "is": "equal", "value": "gold"}


def make(tenant: Tenant, slug: str, rules: Any, **more: Any) -> Segment:
    fields = {"name": slug, "refresh_minutes": 5, **more}
    return Segment.objects.create(application=tenant.application, slug=slug, rules=rules, **fields)


def members(segment: Segment) -> set[str]:
    ids = SegmentMember.objects.filter(segment_id=segment.pk).values_list("subscriber_id", flat=True)
    return set(Subscriber.objects.filter(id__in=list(ids)).values_list("external_id", flat=True))


def later() -> None:
    Segment.objects.update(refreshed_at=timezone.now() - timedelta(minutes=5))


def test_members_are_found_anew_when_their_time_has_come(shop: Tenant, make_device: Any) -> None:
    make_device(shop, "ada", token="ada")
    make_device(shop, "ada", platform="web")
    make_device(shop, "bob", token="bob", platform="web")
    apple = make(shop, "apple", IOS)
    periodic.refresh_segments()
    assert members(apple) == {"ada"}
    phone = make_device(shop, "bob")
    Subscriber.objects.filter(external_id="ada").delete()
    periodic.refresh_segments()
    assert SegmentMember.objects.count() == 1  # not yet
    later()
    periodic.refresh_segments()
    assert members(apple) == {"bob"}
    assert SegmentMember.objects.count() == 1
    apple.refresh_from_db()
    assert apple.size == 1
    assert matched(shop, {"segment": "apple"}) == {
        "bob",
        phone.token,
    }  # a member is a person: all their devices


def test_people_without_a_device_are_members_by_what_is_known_of_them(
    shop: Tenant, rival: Tenant, make_device: Any
) -> None:
    for tenant in (shop, rival):
        Subscriber.objects.create(
            application=tenant.application, external_id="ada", attributes={"plan": "gold"}
        )
    golden, not_apple = make(shop, "golden", GOLD), make(shop, "other", {"not": IOS})
    periodic.refresh_segments()
    assert members(golden) == members(not_apple) == {"ada"}
    assert SegmentMember.objects.count() == 2
    device = make_device(shop, "ada", token="t")
    assert matched(shop, {"segment": "golden"}) == {device.token}


def test_the_history_keeps_what_changed(shop: Tenant) -> None:
    golden = make(shop, "golden", GOLD)
    periodic.refresh_segments()
    later()
    periodic.refresh_segments()
    Subscriber.objects.create(application=shop.application, external_id="ada", attributes={"plan": "gold"})
    later()
    periodic.refresh_segments()
    assert list(SegmentSize.objects.filter(segment=golden).values_list("size", flat=True)) == [1, 0]
    SegmentSize.objects.filter(size=0).update(at=timezone.now() - timedelta(days=91))
    later()
    periodic.refresh_segments()
    assert SegmentSize.objects.count() == 1


def test_the_planner_is_told_of_a_large_change(shop: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_lists, "SMALL", 2)
    people = [Subscriber(application=shop.application, external_id=f"u-{n}") for n in range(5)]
    Subscriber.objects.bulk_create(people)
    make(shop, "all", {"not": GOLD})
    with CaptureQueriesContext(connection) as first:
        periodic.refresh_segments()
    later()
    with CaptureQueriesContext(connection) as second:
        periodic.refresh_segments()
    told = [any("ANALYZE" in query["sql"] for query in found) for found in (first, second)]
    assert told == [True, False]


def test_lists_and_live_segments_are_let_be(shop: Tenant) -> None:
    make(shop, "live", GOLD, refresh_minutes=None)
    make(shop, "list", {}, kind="list", refresh_minutes=None)
    periodic.refresh_segments()
    assert not Segment.objects.exclude(refreshed_at=None).exists()


def test_one_that_cannot_be_refreshed_keeps_its_members_and_stops_no_other(shop: Tenant) -> None:
    ada = Subscriber.objects.create(
        application=shop.application, external_id="ada", attributes={"plan": "gold"}
    )
    broken = make(shop, "broken", {"consent": "gone"}, size=1)
    SegmentMember.objects.create(segment_id=broken.pk, subscriber_id=ada.pk)
    golden = make(shop, "golden", GOLD)
    periodic.refresh_segments()
    assert members(golden) == members(broken) == {"ada"}
    assert not periodic._due().exists()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_the_work_once(shop: Tenant) -> None:
    Subscriber.objects.create(application=shop.application, external_id="ada", attributes={"plan": "gold"})
    golden = make(shop, "golden", GOLD)

    def refresh() -> None:
        try:
            periodic.refresh_segments()
        finally:
            connection.close()

    with transaction.atomic():
        Segment.objects.select_for_update(no_key=True).get()
        other = threading.Thread(target=refresh)
        other.start()
        other.join(10)
        assert not other.is_alive()  # it did not wait for whoever is at it
        assert not SegmentMember.objects.exists()
    threads = [threading.Thread(target=refresh) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert members(golden) == {"ada"}
    assert SegmentSize.objects.count() == 1
