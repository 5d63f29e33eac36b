"""What each rule of a segment means: one person and one device against one rule, junk included."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from config.problems import InvalidField
from devices import segments
from devices.models import Category, Device, Event, Preference, Segment, SegmentMember, Subscriber
from tests.conftest import Tenant
from tests.devices.segment_truth import NOW, ago

Matches = Callable[..., bool]


def matched(tenant: Tenant, rules: Any, now: datetime = NOW) -> set[str]:
    """Tokens of the application's devices that match."""
    condition, parameters = segments.condition(rules, tenant.id, now=now)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT d.token FROM devices_device d LEFT JOIN devices_subscriber s ON s.id = d.subscriber_id"
            f" WHERE d.application_id = %(application)s AND d.retired_at IS NULL AND {condition}",
            {"application": tenant.id, **parameters},
        )
        return {token for (token,) in cursor.fetchall()}


@pytest.fixture
def matches(shop: Tenant, make_device: Any) -> Matches:
    """Whether a rule takes in a device with these columns, of a subscriber with these (None: anonymous)."""

    def ask(rules: Any, subscriber: dict[str, Any] | None = None, **device: Any) -> bool:
        name = uuid.uuid4().hex
        made: Device = make_device(shop, name if subscriber is not None else None, token=name, **device)
        if subscriber:
            Subscriber.objects.filter(pk=made.subscriber_id).update(**subscriber)
        return name in matched(shop, rules)

    return ask


def rule(field: str, is_: str, value: Any) -> dict[str, Any]:
    return {"field": field, "is": is_, "value": value}


LATE = "2026-11-20T23:59:59+01:00"

# operator, value of the rule, attributes that match, attributes that do not. An attribute that is absent, null or
# of a type that cannot be compared never matches.
ATTRIBUTES: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("equal", "gold", ["gold"], ["Gold", "gold ", "", 1, True, ["gold"], {"gold": 1}]),
    ("equal", "42", ["42", 42], ["42.0", 42.5, [42]]),
    ("equal", 42, [42, 42.0, "42", "42.0"], ["x42", "4 2", "42\n", "٤٢", True, [42], "1e9", "", "-", "."]),
    ("equal", 0.1, [0.1, "0.1", "0.10"], [0.1000001, "0,1"]),
    ("equal", True, [True, "true", "TRUE"], [False, 1, "yes", [True]]),
    ("equal", False, [False, "false"], [True, 0, "", []]),
    ("in", ["gold", "silver"], ["gold", "silver"], ["bronze", "", ["gold"], 7]),
    ("in", ["a", 7, True], ["a", 7, "7", 7.0, "true", True], ["b", 8, False, "t"]),
    ("contains", "ol", ["gold", "OLD", "kohl ol"], ["o l", "", 1, ["ol"]]),
    ("contains", "%", ["5 %"], ["5"]),
    ("starts_with", "go", ["gold", "Going"], ["ego", "g", ["go"]]),
    ("starts_with", "_", ["_a"], ["a"]),
    ("greater", 5, [6, 5.1, "5.5", 10**30, "999999999999999"], [5, "5", 4, "abc", "9" * 400, None, True, [6], "6x"]),
    ("at_least", 5, [5, "5", "5.0", 6], [4.999, "", "五"]),
    ("less", 5, [4, -1, "-3", "-0.5"], [5, "--3", "nan", "-Infinity", "infinity"]),
    ("at_most", 5, [5, 4, "4"], [5.01, "five"]),
    ("greater", -1.5, [-1, "0"], [-1.5, -2, "-2"]),
    ("before", "2026-11-20", ["2026-11-19", "2026-11-19T23:59:59Z", "2026-11-20T00:30+01:00"],
     ["2026-11-20", "2026-02-31", "yesterday", "now", "-infinity", "epoch", "2026", 20261119, True, "2026-13-01",
      "2026-11-19T25:00:00Z", "2026-11-19T10:00:00+99:99", "0000-01-01"]),
    ("after", "2026-11-20", ["2026-11-20", "2026-11-20 00:00", "2026-11-20T01:00:00.123456789+0100", "9999-12-31"],
     ["2026-11-19", LATE.replace("20T", "19T"), "tomorrow", "infinity", "", ["2026-11-20"]]),
    ("in_last_days", 7, ["2026-11-21", "2026-11-14T12:00:00Z", LATE], ["2026-11-14", "2026-11-22", 7, "7", "today"]),
    ("over_days_ago", 7, ["2026-11-14", "1999-01-01"], ["2026-11-15", "2027-01-01", "never"]),
    ("in_next_days", 7, ["2026-11-22", "2026-11-28T12:00:00Z"], ["2026-11-21", "2026-11-29", "soon"]),
    ("has", "a", [["a"], ["b", "a"]], ["a", ["A"], [], {"a": 1}, [["a"]], "ba"]),
    ("has", 7, [[7], [7.0, 8]], [7, ["7"], [True]]),
    ("has", True, [[True]], [True, [1], ["true"]]),
    ("exists", True, ["", 0, False, [], {}, "x"], [None]),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "value", "yes", "no"), ATTRIBUTES)
def test_an_attribute_is_compared_as_what_the_rule_holds(
    matches: Matches, operator: str, value: Any, yes: list[Any], no: list[Any]
) -> None:
    one = rule("attribute.x", operator, value)
    found = {repr(each): matches(one, {"attributes": {"x": each}}) for each in [*yes, *no, None]}
    assert found == {repr(each): any(each is one for one in yes) for each in [*yes, *no, None]}
    assert not matches(one, {"attributes": {"y": yes[0]}})
    assert not matches(one)


@pytest.mark.parametrize(
    ("negative", "positive", "value"),
    [
        ("not_equal", "equal", "gold"),
        ("not_in", "in", ["gold", 7]),
        ("not_contains", "contains", "ol"),
        ("has_not", "has", "gold"),
    ],
)
def test_a_negative_is_exactly_what_its_positive_is_not(
    matches: Matches, negative: str, positive: str, value: Any
) -> None:
    for attributes in ({}, {"x": None}, {"x": "gold"}, {"x": 7}, {"x": ["gold"]}, {"x": ""}):
        person = {"attributes": attributes}
        is_so = matches(rule("attribute.x", positive, value), person)
        assert matches(rule("attribute.x", negative, value), person) is not is_so
    assert matches(
        rule("attribute.x", negative, value)
    )  # an anonymous device's person is not known to have it


def test_exists_can_ask_for_its_opposite(matches: Matches) -> None:
    absent = rule("attribute.x", "exists", False)
    assert matches(absent, {"attributes": {}})
    assert matches(absent, {"attributes": {"x": None}})
    assert matches(absent)
    assert not matches(absent, {"attributes": {"x": ""}})


# column, rule, values that match, values that do not; absent ("" or NULL) never does.
PEOPLE: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("country", ("subscriber.country", "equal", "de"), ["DE"], ["AT", ""]),
    ("country", ("subscriber.country", "in", ["DE", "at"]), ["DE", "AT"], ["CH", ""]),
    ("locale", ("subscriber.language", "equal", "PT"), ["pt", "pt-BR", "pt_BR", "PT-br"], ["ptx", "en", ""]),
    ("locale", ("subscriber.locale", "equal", "pt_BR"), ["pt-BR", "pt_br"], ["pt", "pt-PT", ""]),
    ("locale", ("subscriber.locale", "starts_with", "zh-Hant"), ["zh-Hant-TW", "zh_hant"], ["zh-Hans", ""]),
    ("time_zone", ("subscriber.time_zone", "contains", "berlin"), ["Europe/Berlin"], ["Europe/Paris", ""]),
    ("time_zone", ("subscriber.time_zone", "exists", True), ["UTC"], [""]),
    ("created_at", ("subscriber.created_at", "after", "2026-11-20"), [NOW], [ago(2)]),
    ("created_at", ("subscriber.created_at", "in_last_days", 7), [NOW, ago(7)], [ago(8)]),
    ("unsubscribed_at", ("subscriber.unsubscribed", "equal", True), [NOW], [None]),
    ("unsubscribed_at", ("subscriber.unsubscribed", "equal", False), [None], [NOW]),
]  # fmt: skip
DEVICES: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("platform", ("device.platform", "equal", "ios"), ["ios"], ["android"]),
    ("platform", ("device.platform", "not_in", ["ios", "macos"]), ["android"], ["ios", "macos"]),
    ("app_version", ("device.app_version", "greater", "3.9"), ["3.10", "4", "v3.9.1-beta", "3.9.0.1"],
     ["3.9", "3.9.0", "3.09", "2.99", "beta", "", "....", "-"]),
    ("app_version", ("device.app_version", "equal", "3.10"), ["3.10", "3.10.0.0", "v3.10 (77)"], ["3.1", "3.10.1", ""]),
    ("app_version", ("device.app_version", "equal", "0"), ["0", "0.0", "00.0.0"], ["0.1", ""]),
    ("app_version", ("device.app_version", "less", "2.0"), ["1.99.99", "1"], ["2", "2.0.1", "9" * 40, "x", ""]),
    ("os_version", ("device.os_version", "at_least", "14"), ["14", "Android 14", "iOS 17.2"], ["13.9", "Android", ""]),
    ("os_version", ("device.os_version", "at_most", "14.0.0"), ["14", "13"], ["14.0.1", ""]),
    ("model", ("device.model", "contains", "pixel"), ["Pixel 9"], ["iPhone", ""]),
    ("locale", ("device.language", "in", ["de", "fr"]), ["de-AT", "fr"], ["en", ""]),
    ("permission", ("device.permission", "equal", "granted"), ["granted"], ["denied", ""]),
    ("permission", ("device.permission", "exists", False), [""], ["denied"]),
    ("last_seen_at", ("device.last_seen_at", "over_days_ago", 30), [ago(31)], [ago(30), NOW, None]),
    ("registered_at", ("device.registered_at", "before", "2026-11-20"), [datetime(2026, 11, 19, tzinfo=UTC)], [NOW]),
]  # fmt: skip


@pytest.mark.parametrize(("column", "words", "yes", "no"), PEOPLE)
def test_what_is_known_of_a_person(
    matches: Matches, column: str, words: Any, yes: list[Any], no: list[Any]
) -> None:
    assert [matches(rule(*words), {column: value}) for value in yes] == [True] * len(yes)
    assert [matches(rule(*words), {column: value}) for value in no] == [False] * len(no)


@pytest.mark.parametrize(("column", "words", "yes", "no"), DEVICES)
def test_what_is_known_of_a_device(
    matches: Matches, column: str, words: Any, yes: list[Any], no: list[Any]
) -> None:
    assert [matches(rule(*words), **{column: value}) for value in yes] == [True] * len(yes)
    assert [matches(rule(*words), **{column: value}) for value in no] == [False] * len(no)


def test_groups_mean_what_they_say(matches: Matches) -> None:
    ios, gold = rule("device.platform", "equal", "ios"), rule("attribute.plan", "equal", "gold")
    for platform in ("ios", "android"):
        for plan in ("gold", "free"):
            is_ios, is_gold = platform == "ios", plan == "gold"
            person = {"attributes": {"plan": plan}}
            assert matches({"all": [ios, gold]}, person, platform=platform) is (is_ios and is_gold)
            assert matches({"any": [ios, gold]}, person, platform=platform) is (is_ios or is_gold)
            assert matches({"not": {"any": [ios, gold]}}, person, platform=platform) is not (
                is_ios or is_gold
            )


# --- Events -----------------------------------------------------------------------------------


@pytest.fixture
def bought(shop: Tenant, make_device: Any) -> Callable[..., str]:
    """A person who did "buy" so many days before NOW each; their device's token."""

    def make(*days: float, tenant: Tenant = shop, name: str = "buy", **properties: Any) -> str:
        token = uuid.uuid4().hex
        device = make_device(tenant, token, token=token)
        for day in days:
            Event.objects.create(
                at=ago(day),
                application_id=tenant.id,
                subscriber_id=device.subscriber_id,
                name=name,
                properties=properties,
            )
        return token

    return make


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ({}, [1, 2, 3]),
        ({"did": True}, [1, 2, 3]),
        ({"did": False}, [0]),
        ({"times": {"at_least": 2}}, [2, 3]),
        ({"times": {"at_most": 1}}, [0, 1]),
        ({"times": {"at_most": 0}}, [0]),
        ({"times": {"exactly": 2}}, [2]),
        ({"times": {"exactly": 0}}, [0]),
        ({"times": {"at_least": 1, "at_most": 2}}, [1, 2]),
    ],
)
def test_how_often_somebody_did_something(
    shop: Tenant, bought: Callable[..., str], more: dict[str, Any], counts: list[int]
) -> None:
    people = {count: bought(*range(count)) for count in range(4)}
    assert matched(shop, {"event": "buy", **more}) == {people[count] for count in counts}


def test_when_somebody_did_something(shop: Tenant, bought: Callable[..., str]) -> None:
    today, week, long_ago, never = bought(0), bought(7), bought(20), bought(1, name="look")
    assert matched(shop, {"event": "buy", "within_days": 7}) == {today, week}
    assert matched(shop, {"event": "buy", "between": ["2026-11-01", "2026-11-14"]}) == {week, long_ago}
    assert matched(shop, {"event": "buy", "between": ["2026-11-14", "2026-11-14T12:00:00Z"]}) == set()
    assert matched(shop, {"event": "buy", "did": False, "within_days": 10}) == {long_ago, never}


def test_which_of_the_events_count(shop: Tenant, bought: Callable[..., str]) -> None:
    dear, cheap, odd = bought(1, amount=80, sort="coat"), bought(1, 2, amount=8), bought(1, amount="much")
    where = [{"property": "amount", "is": "greater", "value": 50}]
    assert matched(shop, {"event": "buy", "where": where}) == {dear}
    assert matched(shop, {"event": "buy", "did": False, "where": where}) == {cheap, odd}
    known = [*where, {"property": "sort", "is": "equal", "value": "coat"}]
    assert matched(shop, {"event": "buy", "where": known}) == {dear}
    assert matched(
        shop,
        {"event": "buy", "where": [{"property": "amount", "is": "less", "value": 9}], "times": {"at_least": 2}},
    ) == {cheap}  # fmt: skip


# --- Consent, lists, other segments ------------------------------------------------------------


def test_consent_is_the_one_that_sending_goes_by(shop: Tenant, make_device: Any) -> None:
    said = {"yes": True, "no": False, "silent": None, "left": True}
    for name, is_allowed in said.items():
        person = make_device(shop, name, token=name).subscriber
        for slug in ("marketing", "transactional", "critical"):
            category = Category.objects.get(application=shop.application, slug=slug)
            if is_allowed is not None:
                Preference.objects.create(subscriber=person, category=category, is_allowed=is_allowed)
    Subscriber.objects.filter(external_id="left").update(unsubscribed_at=NOW)
    make_device(shop, token="anonymous")
    everyone = {*said, "anonymous"}
    expected = {
        "marketing": {"yes"},  # off unless opted in
        "transactional": everyone - {"no"},
        "critical": everyone,
    }
    for slug, agreed in expected.items():
        assert matched(shop, {"consent": slug}) == agreed
        assert matched(shop, {"consent": slug, "is": False}) == everyone - agreed
    Category.objects.filter(slug="critical").update(channels=[])
    assert matched(shop, {"consent": "critical"}) == set()


def test_segments_can_be_made_of_segments_and_lists(shop: Tenant, make_device: Any) -> None:
    for name, platform in (("ada", "ios"), ("bob", "ios"), ("cyd", "web")):
        make_device(shop, name, token=name, platform=platform)
    make_device(shop, token="anonymous")
    rows = {"application": shop.application, "name": "x"}
    Segment.objects.create(slug="apple", rules=rule("device.platform", "equal", "ios"), **rows)
    friends = Segment.objects.create(slug="friends", kind="list", **rows)
    ada = Subscriber.objects.get(external_id="ada")
    SegmentMember.objects.create(segment_id=friends.pk, subscriber_id=ada.pk)
    assert matched(shop, {"segment": "friends"}) == {"ada"}
    assert matched(shop, {"not": {"segment": "friends"}}) == {"bob", "cyd", "anonymous"}
    assert matched(shop, {"all": [{"segment": "apple"}, {"not": {"segment": "friends"}}]}) == {
        "bob",
        "anonymous",
    }


def test_the_members_of_a_refreshed_segment_are_those_found_last(shop: Tenant, make_device: Any) -> None:
    make_device(shop, "ada", token="ada")
    segment = Segment.objects.create(
        application=shop.application,
        slug="fresh",
        name="x",
        rules=rule("device.platform", "equal", "ios"),
        refresh_minutes=5,
    )
    assert matched(shop, {"segment": "fresh"}) == {"ada"}  # not refreshed yet: by its rules
    Segment.objects.filter(pk=segment.pk).update(size=0)
    assert matched(shop, {"segment": "fresh"}) == set()


def test_several_conditions_fit_into_one_statement(shop: Tenant, make_device: Any) -> None:
    make_device(shop, "ada", token="ada", platform="ios")
    first = segments.condition(rule("device.platform", "equal", "ios"), shop.id)
    second = segments.condition(rule("device.platform", "equal", "web"), shop.id)
    assert not first[1].keys() & second[1].keys()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {first[0]}, {second[0]} FROM devices_device d LEFT JOIN devices_subscriber s ON false",
            {**first[1], **second[1]},
        )
        assert cursor.fetchall() == [(True, False)]


# --- Other people's data -----------------------------------------------------------------------


def test_nothing_of_another_application_counts(
    shop: Tenant, rival: Tenant, bought: Callable[..., str]
) -> None:
    token = bought()
    ada = Subscriber.objects.get(application=shop.application, external_id=token)
    Event.objects.create(at=NOW, application_id=rival.id, subscriber_id=ada.pk, name="buy", properties={})
    assert matched(shop, {"event": "buy"}) == set()
    Segment.objects.create(
        application=rival.application, slug="theirs", name="x", rules=rule("device.platform", "exists", True)
    )
    Category.objects.create(
        application=rival.application,
        slug="secret",
        name="x",
        kind="marketing",
        default="on",
        crash_rule="leave",
    )
    for foreign in ({"segment": "theirs"}, {"consent": "secret"}):
        with pytest.raises(InvalidField, match="there is no such"):
            segments.condition(foreign, shop.id)


NASTY = [
    "'",
    "''; DROP TABLE devices_device; --",
    "%s",
    "%(application)s",
    "%",
    "\\",
    '"',
    "{}",
    "$1",
    "$$",
    "a' OR '1'='1",
]


@pytest.mark.parametrize("text", NASTY)
def test_whatever_a_rule_holds_is_only_ever_a_value(matches: Matches, shop: Tenant, text: str) -> None:
    assert matches(rule(f"attribute.{text}", "equal", text), {"attributes": {text: text}})
    assert not matches(rule(f"attribute.{text}", "equal", text), {"attributes": {"x": "y"}})
    for operator in ("contains", "starts_with", "has"):
        matched(shop, rule("attribute.x", operator, text))
    matched(shop, rule("device.model", "in", [text, "x"]))
    matched(shop, {"event": text[:64], "where": [{"property": text, "is": "equal", "value": text}]})
    assert Device.objects.exists()
