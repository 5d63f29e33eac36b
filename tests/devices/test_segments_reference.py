"""Random rule trees over random people, devices and events: SQL and a slow, obvious reference agree."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.models import Category, Device, Event, Preference, Segment, SegmentMember, Subscriber
from tests.conftest import Tenant
from tests.devices.segment_truth import NOW, Person, ago, truth
from tests.devices.test_segments import matched
from tests.properties import examples

DEVICES = 120
PLANS = ("gold", "Gold", "golden", "", "free", 7, 7.0, 7.5, "7", "7.50", True, "true", False, None, [7], ["gold", True],
         {"gold": 1}, "2026-11-20", "2026-11-20T23:30:00-05:00", "2026-02-31", "now", 10**20)  # fmt: skip
VERSIONS = ("", "3.9", "3.10", "v3.10.0", "4", "beta", "3.9.1-rc (5)", "Android 14", "0.0")
LOCALES = ("", "de", "de-AT", "de_at", "en-GB", "EN")
SOMETIMES = (0, 1, 5, 6.9, 7, 7.1, 29, 40)


# --- The people ---------------------------------------------------------------------------------


@pytest.fixture
def people(shop: Tenant, rival: Tenant, make_device: Any) -> list[Person]:
    random = Random(7)
    found = [_person(shop, make_device, random, n) for n in range(DEVICES)]
    make_device(rival, "somebody-else")
    rows = {"application": shop.application, "name": "x"}
    friends = Segment.objects.create(slug="friends", kind="list", **rows)
    Segment.objects.create(slug="stored", rules=STORED["stored"], **rows)
    by_person = {one.person.pk: one for one in reversed(found) if one.person}
    for one in found:  # two devices of one person share what they are
        if one.person:
            first = by_person[one.person.pk]
            one.person, one.events, one.said, one.lists = first.person, first.events, first.said, first.lists
    for id, one in by_person.items():
        if random.random() < 0.3:
            SegmentMember.objects.create(segment_id=friends.pk, subscriber_id=id)
            one.lists.add("friends")
    return found


STORED = {
    "stored": {"any": [{"field": "device.platform", "is": "equal", "value": "ios"}, {"segment": "friends"}]}
}


def _person(shop: Tenant, make_device: Any, random: Random, n: int) -> Person:
    name = None if random.random() < 0.15 else f"u-{n - n % 2 if random.random() < 0.3 else n}"
    device = make_device(
        shop,
        name,
        token=f"t-{n}",
        platform=random.choice(Device.Platform.values),
        permission=random.choice(["", "granted", "denied"]),
        app_version=random.choice(VERSIONS),
        os_version=random.choice(VERSIONS),
        locale=random.choice(LOCALES),
        model=random.choice(["", "Pixel 9", "iPhone"]),
        last_seen_at=random.choice([None, *(ago(days) for days in SOMETIMES)]),
    )
    one = Person(device, device.subscriber)
    is_first = one.person and one.person.devices.count() == 1
    if one.person and is_first:
        _describe(shop, one, one.person, random)
    return one


def _describe(shop: Tenant, one: Person, person: Subscriber, random: Random) -> None:
    person.attributes = {name: random.choice(PLANS) for name in ("plan", "score") if random.random() < 0.9}
    person.locale = random.choice(LOCALES)
    person.country = random.choice(["", "DE", "AT"])
    person.unsubscribed_at = NOW if random.random() < 0.2 else None
    person.save()
    for slug in ("marketing", "transactional", "critical"):
        if random.random() < 0.5:
            category = Category.objects.get(application=shop.application, slug=slug)
            one.said[slug] = random.random() < 0.5
            Preference.objects.create(subscriber=person, category=category, is_allowed=one.said[slug])
    for _ in range(random.choice([0, 0, 1, 2, 5])):
        event = Event(
            at=ago(random.choice(SOMETIMES) % 20),
            application_id=shop.id,
            subscriber_id=person.pk,
            name=random.choice(["buy", "look"]),
            properties={"amount": random.choice([5, 50.5, "60", "much", None, True])},
        )
        event.save(force_insert=True)
        one.events.append(event)


# --- The rules ----------------------------------------------------------------------------------

ONE = st.sampled_from(["equal", "not_equal"])
texts = st.sampled_from(["gold", "Gold", "7", "7.5", "true", "o", "G", "2026-11-20"])
numbers = st.sampled_from([7, 7.0, 7.5, 50, 0, -1, 60])
scalars = texts | numbers | st.booleans()
json_comparisons = st.one_of(
    st.tuples(st.sampled_from(["equal", "not_equal", "has", "has_not"]), scalars),
    st.tuples(st.sampled_from(["in", "not_in"]), st.lists(scalars, min_size=1, max_size=3)),
    st.tuples(st.sampled_from(["contains", "not_contains", "starts_with"]), texts),
    st.tuples(st.sampled_from(["greater", "at_least", "less", "at_most"]), numbers),
    st.tuples(st.sampled_from(["before", "after"]), st.sampled_from(["2026-11-20", "2026-11-21T04:30:00Z"])),
    st.tuples(st.sampled_from(["in_last_days", "over_days_ago", "in_next_days"]), st.integers(1, 9)),
    st.tuples(st.just("exists"), st.booleans()),
)
text_comparisons = st.one_of(
    st.tuples(
        st.sampled_from(["equal", "not_equal", "contains", "starts_with"]),
        st.sampled_from(["de", "en", "pixel 9"]),
    ),
    st.tuples(
        st.sampled_from(["in", "not_in"]), st.lists(st.sampled_from(["de", "de-at", "en-gb"]), min_size=1)
    ),
    st.tuples(st.just("exists"), st.booleans()),
)
version_comparisons = st.tuples(
    st.sampled_from(["equal", "not_equal", "greater", "at_least", "less", "at_most"]),
    st.sampled_from(["3.9", "3.10", "3.10.0", "4", "0", "14"]),
)
choices = {"device.platform": list(Device.Platform.values), "device.permission": ["granted", "denied"]}


def fields(names: list[str], comparisons: Any) -> Any:
    return st.builds(
        lambda name, compared: {"field": name, "is": compared[0], "value": compared[1]},
        st.sampled_from(names),
        comparisons,
    )


events = st.fixed_dictionaries(
    {"event": st.sampled_from(["buy", "look", "never"])},
    optional={
        "within_days": st.sampled_from([1, 5, 7, 30]),
        "where": st.lists(
            st.builds(
                lambda compared: {"property": "amount", "is": compared[0], "value": compared[1]},
                json_comparisons,
            ),
            max_size=2,
        ),
        "times": st.sampled_from(
            [
                {"at_least": 2},
                {"at_most": 1},
                {"at_most": 0},
                {"exactly": 0},
                {"exactly": 1},
                {"at_least": 1, "at_most": 2},
            ]
        ),
    },
)  # fmt: skip
LOCAL = ["subscriber.language", "subscriber.locale", "device.language", "device.locale", "device.model"]
categories = st.sampled_from(["marketing", "transactional", "critical"])
leaves = st.one_of(
    fields(["attribute.plan", "attribute.score", "attribute.none"], json_comparisons),
    fields(LOCAL, text_comparisons),
    fields(["device.app_version", "device.os_version"], version_comparisons),
    fields(["device.last_seen_at"], st.tuples(st.sampled_from(["in_last_days", "over_days_ago"]), st.integers(1, 40))),
    fields(["subscriber.unsubscribed"], st.tuples(st.just("equal"), st.booleans())),
    fields(["subscriber.country"], st.tuples(ONE, st.sampled_from(["DE", "CH"]))),
    *(fields([name], st.tuples(ONE, st.sampled_from(found))) for name, found in choices.items()),
    events.map(lambda rule: {**rule, "did": True}),
    events.map(lambda rule: {key: value for key, value in {**rule, "did": False}.items() if key != "times"}),
    events.map(lambda rule: {
        **{key: value for key, value in rule.items() if key != "within_days"},
        "did": True,
        "between": ["2026-11-10", "2026-11-16"],
    }),
    st.builds(lambda slug, is_: {"consent": slug, "is": is_}, categories, st.booleans()),
    st.sampled_from([{"segment": "friends"}, {"segment": "stored"}]),
)  # fmt: skip
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda nodes: {"all": nodes}),
        st.lists(inner, min_size=1, max_size=3).map(lambda nodes: {"any": nodes}),
        inner.map(lambda node: {"not": node}),
    ),
    max_leaves=6,
)


def test_sql_and_reference_agree(shop: Tenant, people: list[Person]) -> None:
    @settings(max_examples=examples(200, long=2_000), deadline=None, suppress_health_check=list(HealthCheck))
    @given(trees)
    def agree(rules: dict[str, Any]) -> None:
        expected = {one.device.token for one in people if truth(rules, one, STORED)}
        assert matched(shop, rules) == expected

    agree()
