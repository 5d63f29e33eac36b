"""The mathematics against published values and its own laws; the verdict as people read it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns import statistics
from campaigns.statistics import Arm

A, B = Arm("A", 20_000, 840), Arm("B", 20_000, 1_001)


@st.composite
def arms(draw: st.DrawFn, key: str = "A") -> Arm:
    people = draw(st.integers(0, 10**7))
    return Arm(key, people, draw(st.integers(0, people)), draw(st.sampled_from((0.0, 0.5, 1.0, 3.0))))


# --- Known values -----------------------------------------------------------------------------


def test_people_needed_are_those_of_the_textbook() -> None:
    known = {
        0.01: (163_095, 42_693, 7_750),
        0.02: (80_682, 21_109, 3_826),
        0.05: (31_234, 8_158, 1_471),
        0.10: (14_751, 3_841, 686),
    }
    for baseline, needed in known.items():
        assert tuple(statistics.people_needed(baseline, lift) for lift in (0.1, 0.2, 0.5)) == needed
    assert statistics.detectable_lift(0.05, 9_000) == pytest.approx(0.19, abs=0.002)
    assert statistics.people_needed(0.05, 0.2, variants=3) > 8_158 * 1.2  # type: ignore[operator]


def test_chi_square_tails_are_those_of_the_tables() -> None:
    for value, freedom, tail in ((3.841, 1, 0.05), (5.991, 2, 0.05), (20.0, 9, 0.0179), (10.828, 1, 0.001)):
        assert statistics.chi_square_tail(value, freedom) == pytest.approx(tail, abs=5e-5)


def test_intervals_are_those_of_the_papers() -> None:
    """Newcombe 1998: table I, 81 of 263 and 15 of 148; table II, 56 of 70 against 48 of 80 and 9 of 10 against 3."""
    assert statistics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert statistics.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert statistics.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    found = statistics.difference(Arm("A", 70, 56), Arm("B", 80, 48))
    assert found == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert statistics.difference(Arm("A", 10, 9), Arm("B", 10, 3)) == pytest.approx(
        (0.1705, 0.8090), abs=5e-5
    )


# --- Laws -------------------------------------------------------------------------------------


@given(arms(), arms("B"))
def test_neither_order_nor_emptiness_matters(one: Arm, other: Arm) -> None:
    assert statistics.two_proportions(one, other) == statistics.two_proportions(other, one)
    low, high = statistics.difference(one, other)
    assert (low, high) == pytest.approx(tuple(-bound for bound in statistics.difference(other, one))[::-1])
    assert -1 <= low <= one.rate - other.rate + 1e-12 and one.rate - other.rate - 1e-12 <= high <= 1
    assert 0 <= statistics.split_p([one, other]) <= 1
    for planned in (None, 0, 1_000):
        found = statistics.verdict([one, other], planned=planned)
        turned = statistics.verdict([other, one], planned=planned)
        assert (found.p, found.winner, found.enough) == (turned.p, turned.winner, turned.enough)
        assert found.sentence and found.chance and 0 <= found.p <= 1
        assert found.winner is None or (found.enough and found.split_ok and found.difference > 0)


@given(st.lists(arms(), max_size=6), st.one_of(st.none(), st.integers(0, 10**6)))
def test_any_counts_have_a_verdict(found: list[Arm], planned: int | None) -> None:
    said = statistics.verdict([arm._replace(key=str(n)) for n, arm in enumerate(found)], planned=planned)
    assert said.sentence
    assert said.winner is None or said.enough


@given(st.integers(1, 10**6), st.data())
def test_more_hits_are_a_higher_interval(people: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, people - 1))
    fewer, more = statistics.wilson(hits, people), statistics.wilson(hits + 1, people)
    assert 0 <= fewer.low < more.low <= 1 and 0 <= fewer.high < more.high + 1e-12 <= 1 + 1e-12
    assert fewer.low - 1e-12 <= hits / people <= fewer.high + 1e-12


@given(st.floats(0.001, 0.9), st.floats(0.01, 3.0), st.integers(2, 6))
def test_smaller_lifts_need_more_people(baseline: float, lift: float, variants: int) -> None:
    needed = statistics.people_needed(baseline, lift, variants=variants)
    if needed is None:
        assert baseline * (1 + lift) > 1
        return
    assert needed <= (statistics.people_needed(baseline, lift * 0.9, variants=variants) or 0)
    assert needed <= (statistics.people_needed(baseline, lift, variants=variants + 1) or 0)
    shown = statistics.detectable_lift(baseline, needed, variants=variants)
    assert shown is not None and shown <= lift * 1.0001
    assert statistics.people_needed(baseline, shown, variants=variants) <= needed  # type: ignore[operator]


@given(st.floats(0, 200), st.floats(0, 200), st.integers(1, 40))
def test_tails_fall_with_the_value_and_rise_with_the_freedom(one: float, other: float, freedom: int) -> None:
    low, high = sorted((one, other))
    assert 0 <= statistics.chi_square_tail(high, freedom) <= statistics.chi_square_tail(low, freedom) <= 1
    assert statistics.chi_square_tail(high, freedom) <= statistics.chi_square_tail(high, freedom + 1) + 1e-12


def test_what_cannot_be_asked_has_no_number() -> None:
    for baseline, lift in ((0.0, 0.2), (1.0, 0.2), (0.5, 0.0), (0.6, 1.0), (-1.0, 0.2)):
        assert statistics.people_needed(baseline, lift) is None
    assert statistics.detectable_lift(0.0, 1_000) is None
    assert statistics.detectable_lift(0.05, 1) is None


# --- The verdict ------------------------------------------------------------------------------


def test_a_winner_is_told_in_a_sentence() -> None:
    found = statistics.verdict([A, B], planned=17_050)
    assert found.sentence == (
        "B opens more: 5.0 % against 4.2 %. Difference +0.8 points, likely between +0.4 and +1.2."
    )
    assert (found.winner, found.rival, found.enough, found.split_ok) == ("B", "A", True, True)
    assert found.p == pytest.approx(0.0001, abs=5e-5)
    assert found.chance.startswith("once in ") and found.chance.endswith(" times by chance")


def test_there_is_no_winner_before_the_planned_size() -> None:
    found = statistics.verdict([A, B], planned=20_001)
    assert (found.winner, found.enough) == (None, False)
    assert found.sentence == "No result yet: 20,000 of 20,001 people per variant."
    few = statistics.verdict([Arm("A", 50, 0), Arm("B", 50, 9)], planned=None)
    assert (few.winner, few.enough) == (None, False) and few.sentence.startswith("No result yet: too few")
    assert statistics.verdict([], planned=None).sentence == "No result yet."


def test_what_may_be_chance_has_no_winner() -> None:
    found = statistics.verdict([A, Arm("B", 20_000, 850)], planned=20_000)
    assert (found.winner, found.leader, found.enough) == (None, "B", True)
    assert found.sentence.startswith("No clear winner: B 4.25 % against 4.20 % for A")
    assert "likely between \N{MINUS SIGN}0.3" in found.sentence


def test_a_broken_split_is_no_result() -> None:
    found = statistics.verdict([A, Arm("B", 18_000, 1_001)], planned=1_000)
    assert (found.winner, found.split_ok) == (None, False)
    assert found.sentence == (
        "The split is broken, do not use this: A has 20,000 people where 19,000 were to be expected, "
        "B has 18,000 people where 19,000 were to be expected."
    )
    # As planned: one in three.
    assert statistics.verdict([A._replace(weight=2.0), Arm("B", 10_050, 600, 1.0)], planned=1_000).split_ok


def test_several_variants_are_held_to_more() -> None:
    near = Arm("B", 20_000, 927)
    assert statistics.verdict([A, near], planned=20_000).winner == "B"
    among = statistics.verdict([A, near, Arm("C", 20_000, 838)], planned=20_000)
    assert (among.winner, among.rival) == (None, "A")
    assert among.p == pytest.approx(3 * statistics.two_proportions(A, near))


def test_the_guard_keeps_false_winners_near_one_in_twenty() -> None:
    """Two variants alike, looked at ten times on the way to the planned size."""
    draw, looks, step, runs = random.Random(7), 10, 400, 1_500
    with_guard = without = 0
    for _ in range(runs):
        hits = [0, 0]
        guarded = impatient = False
        for look in range(1, looks + 1):
            hits = [count + draw.getrandbits(step).bit_count() for count in hits]
            seen = [Arm(key, look * step, count) for key, count in zip("AB", hits, strict=True)]
            guarded |= statistics.verdict(seen, planned=looks * step).winner is not None
            impatient |= statistics.verdict(seen, planned=None).winner is not None
        with_guard += guarded
        without += impatient
    assert 0.035 < with_guard / runs < 0.065
    assert without / runs > 0.12
