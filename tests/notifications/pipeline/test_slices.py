"""Parts of a mass audience: by lot, by segments, and those held out to compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from devices.models import Category, Device, Segment, SegmentMember, Subscriber
from notifications import reach
from notifications.models import Batch, Notification
from notifications.pipeline import audience, buckets, policy
from tenants.models import Application
from tests.notifications.pipeline.conftest import Pipeline

Make = Callable[..., Device]


def test_sql_and_python_draw_the_same_lots(db: None) -> None:
    people = [*range(1, 3000), *range(-3000, -1), 2**31, 2**32 + 7, 2**62, -(2**31), -(2**62)]
    for salt in ("", "summer", "é"):
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT p, {buckets.SQL.format(person='p', seed='%s')} FROM unnest(%s::bigint[]) AS p",
                [buckets.seed(salt), people],
            )
            for person, drawn in cursor.fetchall():
                given = (person, None) if person > 0 else (None, -person)
                assert audience.bucket(salt, *given) == drawn


def test_lots_are_even_and_those_of_two_salts_independent() -> None:
    pairs = Counter((buckets.bucket("a", n) // 2500, buckets.bucket("b", n) // 2500) for n in range(16_000))
    assert len(pairs) == 16
    assert all(abs(count - 1000) < 150 for count in pairs.values())  # five standard deviations


@pytest.fixture
def people(pipeline: Pipeline, make_device: Make) -> dict[int, str]:
    """Device → name. Two lists and rules that overlap; one person with two devices, and a device of nobody."""
    application = pipeline.tenant.application
    devices = {make_device(pipeline.tenant, name).id: name for name in ("ada", "bob", "cem", "dua", "eve")}
    devices[make_device(pipeline.tenant, "ada", platform="android").id] = "ada's second"
    devices[make_device(pipeline.tenant, None, platform="android").id] = "nobody's"
    rules = {"field": "attribute.city", "is": "equal", "value": "Berlin"}
    Subscriber.objects.filter(external_id__in=("bob", "cem")).update(attributes={"city": "Berlin"})
    Segment.objects.create(application=application, slug="berlin", name="Berlin", rules=rules)
    for slug, names in (("gold", ("ada", "bob")), ("old", ("dua",))):
        listed = Segment.objects.create(application=application, slug=slug, name=slug, kind="list")
        for person in Subscriber.objects.filter(external_id__in=names):
            SegmentMember.objects.create(segment_id=listed.id, subscriber_id=person.id)
    return devices


def reached(pipeline: Pipeline, notification: Notification) -> set[int]:
    pipeline.resolve(notification)
    pipeline.assert_sum(notification.id)
    return {id for batch in Batch.objects.filter(notification_id=notification.id) for id in batch.device_ids}


ADA = {"ada", "ada's second"}
NARROWED: list[tuple[dict[str, Any], set[str]]] = [
    ({"all": True, "segments": ["gold"]}, {*ADA, "bob"}),
    ({"all": True, "segments": ["gold", "berlin"]}, {*ADA, "bob", "cem"}),
    ({"all": True, "not_segments": ["gold", "berlin"]}, {"dua", "eve", "nobody's"}),
    ({"all": True, "segments": ["gold", "old"], "not_segments": ["berlin"]}, {*ADA, "dua"}),
    ({"segment": "gold", "segments": ["berlin", "old"]}, {"bob"}),
    ({"segment": "berlin", "not_segments": ["gold"]}, {"cem"}),
    ({"all": True, "not_segments": ["berlin"], "platforms": ["android"]}, {"ada's second", "nobody's"}),
    (
        {"all": True, "segments": ["gold"], "attribute": {"name": "city", "value": "Berlin"}},
        {"bob"},
    ),
]


def test_segments_narrow_an_audience(pipeline: Pipeline, people: dict[int, str]) -> None:
    category = pipeline.category("critical")
    for narrowed, names in NARROWED:
        notification = pipeline.accept(narrowed, category="critical")
        assert {people[id] for id in reached(pipeline, notification)} == names, narrowed
        counted = reach.of(narrowed, application_id=pipeline.tenant.id, category_id=category.id)
        assert counted.devices == len(names)
    unknown = pipeline.accept({"all": True, "not_segments": ["gone"]}, category="critical")
    assert reached(pipeline, unknown) == set()


def test_slices_of_one_salt_share_everybody_out(pipeline: Pipeline, people: dict[int, str]) -> None:
    found: list[set[int]] = []
    for lower, upper in ((0, 2500), (2500, 6000), (6000, buckets.BUCKETS)):
        part = {"all": True, "slice": {"salt": "x", "from": lower, "to": upper}}
        found.append(reached(pipeline, pipeline.accept(part, category="critical")))
        assert found[-1] == {
            id
            for id, subscriber_id in Device.objects.values_list("id", "subscriber_id")
            if lower <= audience.bucket("x", subscriber_id, id) < upper
        }
    assert sum(map(len, found)) == len(people)
    assert set.union(*found) == set(people)


def test_who_is_held_out_is_on_record(pipeline: Pipeline, people: dict[int, str]) -> None:
    held_out = {"all": True, "segments": ["gold"], "held_out": True}
    notification = pipeline.accept(held_out, category="marketing")
    assert reached(pipeline, notification) == set()
    assert {people[id]: lines for id, lines in pipeline.ledger(notification).items() if id} == {
        name: [("suppressed", "holdout")] for name in {*ADA, "bob"}
    }
    assert notification.recipient_count == 3


def test_who_gets_no_marketing_at_all_is_the_same_at_the_claim(
    pipeline: Pipeline, people: dict[int, str]
) -> None:
    Category.objects.filter(slug="marketing").update(default="on")
    held_out = {
        id
        for id, subscriber_id in Device.objects.values_list("id", "subscriber_id")
        if policy.is_held_out(pipeline.tenant.id, 50, subscriber_id, id)
    }
    before = pipeline.accept({"all": True}, category="marketing")
    pipeline.resolve(before)
    Application.objects.filter(id=pipeline.tenant.id).update(holdout_percent=50)
    pipeline.send()
    after = pipeline.accept({"all": True}, category="marketing")
    assert reached(pipeline, after) == set(people) - held_out
    for notification in (before, after):
        reasons = {
            id
            for id, lines in pipeline.ledger(notification).items()
            if lines[-1] == ("suppressed", "global_holdout")
        }
        assert reasons == held_out
    other = pipeline.accept({"all": True}, category="critical")
    assert reached(pipeline, other) == set(people)
