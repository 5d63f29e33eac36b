"""Bad rules name every spot that is wrong, and nothing else happens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.problems import InvalidField
from devices import segments
from devices.models import Segment
from tests.conftest import Tenant
from tests.properties import examples

GOOD = {"field": "device.platform", "is": "equal", "value": "ios"}


def field(name: str, is_: Any, value: Any) -> dict[str, Any]:
    return {"field": name, "is": is_, "value": value}


def event(**more: Any) -> dict[str, Any]:
    return {"event": "buy", **more}


BAD: list[tuple[Any, str, str]] = [
    (None, "/", "object"),
    ([], "/", "object"),
    ("x", "/", "object"),
    ({}, "/", "exactly one of"),
    ({"all": [GOOD], "any": [GOOD]}, "/", "exactly one of"),
    ({"every": []}, "/", "exactly one of"),
    ({"all": []}, "/all", "at least one"),
    ({"any": {}}, "/any", "list"),
    ({"all": [GOOD, {"not": 7}]}, "/all/1/not", "object"),
    ({"all": [GOOD], "also": 1}, "/also", "unknown"),
    ({**GOOD, "a/b~": 1}, "/a~1b~0", "unknown"),
    (field("device.token", "equal", "x"), "/field", "no such field"),
    (field("s.id; --", "equal", "x"), "/field", "no such field"),
    (field(["x"], "equal", "x"), "/field", "no such field"),  # type: ignore[arg-type]
    (field("attribute.", "equal", "x"), "/field", "1 to 128"),
    (field("attribute." + "x" * 129, "equal", "x"), "/field", "1 to 128"),
    (field("attribute.a\x00", "equal", "x"), "/field", "cannot be stored"),
    (field("attribute.a", "=", "x"), "/is", "one of equal"),
    (field("attribute.a", ["equal"], "x"), "/is", "one of equal"),
    (field("device.platform", "greater", "x"), "/is", "one of equal, not_equal, in, not_in, exists"),
    ({"field": "attribute.a", "is": "equal"}, "/value", "missing"),
    (field("attribute.a", "equal", None), "/value", "text, a number"),
    (field("attribute.a", "equal", ["x"]), "/value", "text, a number"),
    (field("attribute.a", "equal", ""), "/value", "1 to 1000"),
    (field("attribute.a", "equal", "\ud800"), "/value", "cannot be stored"),
    (field("attribute.a", "in", []), "/value", "1 to 1000 values"),
    (field("attribute.a", "in", "x"), "/value", "list"),
    (field("attribute.a", "in", ["x", None]), "/value/1", "text, a number"),
    (field("attribute.a", "greater", "5"), "/value", "number"),
    (field("attribute.a", "greater", True), "/value", "number"),
    (field("attribute.a", "greater", 10**400), "/value", "lie between"),
    (field("attribute.a", "greater", float("nan")), "/value", "lie between"),
    (field("attribute.a", "before", "soon"), "/value", "date"),
    (field("attribute.a", "before", "2026-02-31"), "/value", "date"),
    (field("attribute.a", "before", "9999-12-31"), "/value", "date"),
    (field("attribute.a", "in_last_days", 0), "/value", "1 to 3650"),
    (field("attribute.a", "in_last_days", 1.5), "/value", "whole number"),
    (field("attribute.a", "exists", "yes"), "/value", "true or false"),
    (field("device.platform", "equal", "symbian"), "/value", "ios, android"),
    (field("device.platform", "in", ["ios", "symbian"]), "/value/1", "ios, android"),
    (field("device.app_version", "at_least", "new"), "/value", "version"),
    (field("device.app_version", "at_least", 3.1), "/value", "version"),
    (field("subscriber.unsubscribed", "equal", "yes"), "/value", "true or false"),
    ({"event": ""}, "/event", "1 to 64"),
    ({"event": 7}, "/event", "text"),
    (event(did="yes"), "/did", "true or false"),
    (event(did=False, times={"at_least": 1}), "/times", "never done"),
    (event(times={}), "/times", "has to hold"),
    (event(times={"exactly": 1, "at_most": 2}), "/times", "has to hold"),
    (event(times={"at_least": 0}), "/times/at_least", "1 to 1000"),
    (event(times={"at_least": 3, "at_most": 2}), "/times", "more than"),
    (event(within_days=-1), "/within_days", "whole number"),
    (event(within_days=1, between=["2026-01-01", "2026-01-02"]), "/between", "not together"),
    (event(between=["2026-01-02", "2026-01-01"]), "/between", "before it begins"),
    (event(between=["2026-01-02", "x"]), "/between/1", "date"),
    (event(between="x"), "/between", "[from, to]"),
    (event(where={}), "/where", "list"),
    (event(where=[{"property": "a", "is": "equal", "value": 1}] * 11), "/where", "at most 10"),
    (event(where=[{"property": "a", "is": "like", "value": 1}]), "/where/0/is", "one of"),
    (event(where=[{"property": "", "is": "equal", "value": 1}]), "/where/0/property", "1 to 128"),
    (event(where=[{"is": "equal", "value": 1, "x": 1}]), "/where/0/x", "unknown"),
    ({"consent": "none"}, "/consent", "no such category"),
    ({"consent": "marketing", "is": 1}, "/is", "true or false"),
    ({"segment": "none"}, "/segment", "no such segment"),
    ({"segment": ["none"]}, "/segment", "no such segment"),
    ({"segment": "\ud800"}, "/segment", "no such segment"),
    ({"consent": "a\x00"}, "/consent", "no such category"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "at", "words"), BAD)
def test_a_bad_rule_is_named(shop: Tenant, rules: Any, at: str, words: str) -> None:
    faults = segments.check(rules, shop.id)
    assert at in [where for where, _ in faults]
    assert words in next(message for where, message in faults if where == at)
    with pytest.raises(InvalidField):
        segments.condition(rules, shop.id)


def test_every_fault_is_told_at_once(shop: Tenant) -> None:
    rules = {
        "all": [
            GOOD,
            field("device.platform", "equal", "symbian"),
            {"any": [{"consent": "none"}, {"event": "buy", "did": 1}]},
        ]
    }
    assert [at for at, _ in segments.check(rules, shop.id)] == [
        "/all/1/value",
        "/all/2/any/0/consent",
        "/all/2/any/1/did",
    ]


def test_good_rules_have_no_faults(shop: Tenant) -> None:
    Segment.objects.create(application=shop.application, slug="friends", name="x", kind="list")
    rules = {
        "all": [
            {"field": "attribute.plan", "is": "in", "value": ["gold"]},
            {"not": GOOD},
            {"any": [{"consent": "marketing", "is": True}, {"segment": "friends"}]},
            event(did=True, times={"at_least": 2}, within_days=30,
                  where=[{"property": "amount", "is": "greater", "value": 50}]),
        ]
    }  # fmt: skip
    assert segments.check(rules, shop.id) == []


def nested(depth: int) -> Any:
    rules: Any = GOOD
    for _ in range(depth):
        rules = {"not": rules}
    return rules


def test_depth_and_size_are_limited(shop: Tenant) -> None:
    assert segments.check(nested(7), shop.id) == []
    assert "nested more than 8" in segments.check(nested(8), shop.id)[0][1]
    assert "nested more than 8" in segments.check(nested(900), shop.id)[0][1]
    assert segments.check({"any": [GOOD] * 199}, shop.id) == []
    faults = segments.check({"any": [GOOD] * 5000}, shop.id)
    assert [message for _, message in faults] == ["more than 200 rules"]


def store(shop: Tenant, slug: str, rules: Any) -> Segment:
    segment = Segment(application=shop.application, slug=slug, name=slug, rules=rules)
    segments.save(segment)
    return segment


def test_segments_do_not_go_round_in_circles(shop: Tenant) -> None:
    first = store(shop, "a", GOOD)
    store(shop, "b", {"all": [{"segment": "a"}]})
    assert "circle: a → a" in segments.check({"segment": "a"}, shop.id, slug="a")[0][1]
    ((at, message),) = segments.check({"any": [GOOD, {"segment": "b"}]}, shop.id, slug="a")
    assert at == "/any/1/segment"
    assert "circle: a → b → a" in message
    Segment.objects.filter(pk=first.pk).update(rules={"segment": "b"})  # past the check
    with pytest.raises(InvalidField, match="circle"):
        segments.condition({"segment": "a"}, shop.id)


def test_segments_that_multiply_are_refused(shop: Tenant) -> None:
    store(shop, "s0", GOOD)
    for n in range(1, 7):
        rules = {"any": [{"segment": f"s{n - 1}"}] * 6}
        if segments.check(rules, shop.id):
            break
        store(shop, f"s{n}", rules)
    assert n == 3  # 6 · 6 · 6 rules are more than 200
    assert "more than 200 rules" in segments.check(rules, shop.id)[0][1]


def test_what_a_segment_names_and_has_lost_makes_it_unusable(shop: Tenant) -> None:
    store(shop, "a", GOOD)
    Segment.objects.filter(slug="a").update(rules={"consent": "gone"})
    ((at, message),) = segments.check({"segment": "a"}, shop.id)
    assert (at, message) == ("/segment", "“a” cannot be used: /consent: there is no such category")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["all", "any", "not", "field", "is", "value", "event", "did", "times", "within_days", "between",
             "where", "property", "consent", "segment", "at_least", "x"]
        ),
        inner
        | st.sampled_from(["attribute.a", "device.platform", "equal", "in", "greater", "marketing", "2026-01-01"]),
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(
    max_examples=examples(150, long=3_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(JSON)
def test_any_json_is_either_refused_or_runs(shop: Tenant, rules: Any) -> None:
    from tests.devices.test_segments import matched

    if segments.check(rules, shop.id):
        with pytest.raises(InvalidField):
            segments.condition(rules, shop.id)
    else:
        matched(shop, rules)
