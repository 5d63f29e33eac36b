"""The segments of a launch are resolved once: its stages see the same people, whatever changes between them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from devices import segment_lists, segment_snapshots, segments
from devices.models import Device, Segment, SegmentMember, SegmentSnapshot, SnapshotPart, Subscriber
from notifications.models import Batch, Notification
from tests.notifications.pipeline.conftest import Pipeline, steps

__all__ = ["steps"]

GERMANS = {"field": "subscriber.country", "is": "equal", "value": "DE"}


@pytest.fixture
def people(steps: Pipeline, make_device: Callable[..., Device]) -> dict[str, Device]:
    """ada and bob are in Germany, eve in Austria."""
    found = {name: make_device(steps.tenant, name) for name in ("ada", "bob", "eve")}
    Subscriber.objects.filter(external_id__in=["ada", "bob"]).update(country="DE")
    Subscriber.objects.filter(external_id="eve").update(country="AT")
    return found


@pytest.fixture
def germans(steps: Pipeline) -> Segment:
    segment = Segment(application=steps.tenant.application, slug="germans", name="Germans", rules=GERMANS)
    segments.save(segment)
    return segment


def frozen(steps: Pipeline, at: datetime | None = None) -> dict[str, int]:
    return segment_snapshots.freeze(steps.tenant.id, ["germans"], at=at or timezone.now())


def reached(steps: Pipeline, people: dict[str, Device], found: dict[str, int], **audience: Any) -> str:
    """The names of whom a stage goes to."""
    meant = {"all": True, "segments": ["germans"], "frozen": found, **audience}
    notification: Notification = steps.accept(meant, category="critical")
    steps.resolve(notification)
    ids = {id for batch in Batch.objects.filter(notification_id=notification.id) for id in batch.device_ids}
    return " ".join(sorted(name for name, device in people.items() if device.id in ids))


def move(name: str, country: str) -> None:
    Subscriber.objects.filter(external_id=name).update(country=country)


def test_two_stages_see_the_same_people(steps: Pipeline, people: dict[str, Device], germans: Segment) -> None:
    launch = frozen(steps)
    assert reached(steps, people, launch) == "ada bob"
    parts = list(SnapshotPart.objects.values_list("number", "device_ids"))
    move("ada", "AT")
    move("eve", "DE")
    assert reached(steps, people, launch) == "ada bob"
    assert reached(steps, people, launch, segments=[], not_segments=["germans"]) == "eve"
    assert list(SnapshotPart.objects.values_list("number", "device_ids")) == parts
    assert reached(steps, people, {}) == "bob eve"  # without a launch, the rules are asked


def test_over_several_ranges(
    steps: Pipeline, people: dict[str, Device], germans: Segment, settings: Any
) -> None:
    settings.SHARD_SIZE = 1
    launch = frozen(steps)
    assert reached(steps, people, launch) == "ada bob"
    settings.SHARD_SIZE = 1000  # changed since
    move("ada", "AT")
    assert reached(steps, people, launch) == "ada bob"


def test_who_registers_after_the_launch_is_not_in_it(
    steps: Pipeline, people: dict[str, Device], germans: Segment, make_device: Callable[..., Device]
) -> None:
    launch = frozen(steps)
    reached(steps, people, launch)
    people["zoe"] = make_device(steps.tenant, "zoe")
    move("zoe", "DE")
    assert reached(steps, people, launch) == "ada bob"


def test_a_fresh_one_is_taken_over_by_another_launch(
    steps: Pipeline, people: dict[str, Device], germans: Segment
) -> None:
    now = timezone.now()
    assert frozen(steps, now) == frozen(steps, now + segment_snapshots.FRESH)
    assert SegmentSnapshot.objects.count() == 1


def test_a_stale_one_is_resolved_anew(steps: Pipeline, people: dict[str, Device], germans: Segment) -> None:
    now = timezone.now()
    first = frozen(steps, now - segment_snapshots.FRESH - timedelta(seconds=1))
    assert reached(steps, people, first) == "ada bob"
    move("ada", "AT")
    second = frozen(steps, now)
    assert second != first
    assert reached(steps, people, second) == "bob"
    assert frozen(steps, now - timedelta(hours=1)) not in (first, second)  # nor one of a later launch


def test_other_rules_are_another_segment_and_a_launch_keeps_its_own(
    steps: Pipeline, people: dict[str, Device], germans: Segment
) -> None:
    outer = Segment(
        application=steps.tenant.application, slug="outer", name="Outer", rules={"segment": "germans"}
    )
    segments.save(outer)
    now = timezone.now()
    launch, named = frozen(steps, now), segment_snapshots.freeze(steps.tenant.id, ["outer"], at=now)
    germans.rules = {**GERMANS, "value": "AT"}
    segments.save(germans)
    assert frozen(steps, now) != launch
    assert segment_snapshots.freeze(steps.tenant.id, ["outer"], at=now) != named
    assert reached(steps, people, launch) == "ada bob"  # nobody had asked for its members yet
    assert reached(steps, people, frozen(steps, now)) == "eve"


def test_a_deleted_segment_stays_with_the_launch_that_has_it(
    steps: Pipeline, people: dict[str, Device], germans: Segment
) -> None:
    launch = frozen(steps)
    segments.delete(germans)
    assert frozen(steps) == {}
    assert reached(steps, people, launch) == "ada bob"
    assert reached(steps, people, {}) == ""


def test_a_list_is_frozen_too_but_an_upload_counts_for_the_next_launch_at_once(
    steps: Pipeline, people: dict[str, Device]
) -> None:
    some = Segment(application=steps.tenant.application, slug="germans", name="Some", kind="list")
    segments.save(some)
    add = segment_lists.Mode.ADD
    segment_lists.fill(some, [(1, b'"ada"')], add)
    launch = frozen(steps)
    assert reached(steps, people, launch) == "ada"
    segment_lists.fill(some, [(1, b'"eve"')], add)
    assert SegmentMember.objects.count() == 2
    assert reached(steps, people, launch) == "ada"
    assert reached(steps, people, frozen(steps)) == "ada eve"


def test_old_ones_are_dropped_and_what_still_names_them_asks_the_rules(
    steps: Pipeline, people: dict[str, Device], germans: Segment
) -> None:
    launch = frozen(steps, timezone.now() - segment_snapshots.KEPT - timedelta(minutes=1))
    reached(steps, people, launch)
    move("ada", "AT")
    segment_snapshots.drop_old()
    assert not SnapshotPart.objects.exists()
    assert reached(steps, people, launch) == "bob"
