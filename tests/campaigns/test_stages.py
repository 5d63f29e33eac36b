"""How an audience is cut: once, whole, in the shares that were asked for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from campaigns import document, stages
from campaigns.document import Experiment, Plan, Safety, Variant


def plan(*shares: int, **fields: Any) -> Plan:
    variants = [
        Variant(key=key, share=share) for key, share in zip(document.KEYS, shares or (1,), strict=False)
    ]
    return msgspec.structs.replace(Plan(), variants=variants, **fields)


def cut(plan: Plan, devices: int = 100_000) -> list[tuple[str, str, int, int, bool]]:
    return [(one.kind, one.variant, one.lower, one.upper, one.is_held) for one in stages.of(plan, devices)]


def test_a_plain_campaign_is_one_slice() -> None:
    assert cut(plan()) == [("send", "A", 0, 10_000, False)]


def test_a_canary_goes_first_and_the_others_are_held() -> None:
    assert cut(plan(safety=Safety(canary=1_000))) == [
        ("canary", "A", 0, 100, False),
        ("send", "A", 100, 10_000, True),
    ]


def test_a_canary_of_most_of_the_audience_is_none() -> None:
    assert cut(plan(safety=Safety(canary=1_000)), devices=1_500) == [("send", "A", 0, 10_000, False)]
    assert cut(plan(safety=Safety(canary=1_000)), devices=0) == [("send", "A", 0, 10_000, False)]


def test_variants_have_their_shares_and_the_rest_waits_for_the_winner() -> None:
    assert cut(plan(3, 1, experiment=Experiment(holdout=10, test=20))) == [
        ("holdout", "", 0, 1_000, False),
        ("send", "A", 1_000, 2_350, False),
        ("send", "B", 2_350, 2_800, False),
        ("rest", "", 2_800, 10_000, True),
    ]


def test_every_variant_has_its_part_of_the_canary() -> None:
    kinds = [(kind, variant) for kind, variant, *_ in cut(plan(1, 1, safety=Safety(canary=500)))]
    assert kinds == [("canary", "A"), ("send", "A"), ("canary", "B"), ("send", "B")]


@given(
    shares=st.lists(st.integers(1, 100), min_size=1, max_size=5),
    holdout=st.integers(0, 50),
    test=st.integers(1, 100),
    canary=st.none() | st.integers(1, 1_000_000),
    devices=st.integers(0, 20_000_000),
)
def test_the_slices_are_the_whole_audience_once(
    shares: list[int], holdout: int, test: int, canary: int | None, devices: int
) -> None:
    wanted = plan(*shares, experiment=Experiment(holdout=holdout, test=test), safety=Safety(canary=canary))
    slices = sorted(stages.of(wanted, devices), key=lambda one: one.lower)
    assert slices[0].lower == 0
    assert slices[-1].upper == stages.BUCKETS
    for one, following in pairwise(slices):
        assert one.lower < one.upper == following.lower
    assert any(not one.is_held and one.kind != "holdout" for one in slices)
