"""Quiet hours and local times, on the days clocks change too, against a clock that is watched minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices import clocks, quiet
from devices.clocks import Clock
from tests.properties import examples

MINUTE = timedelta(minutes=1)
NIGHT = quiet.check([{"start": "22:00", "end": "08:00"}])

times = st.tuples(st.integers(0, 23), st.sampled_from([0, 15, 30, 45])).map(lambda t: f"{t[0]:02}:{t[1]:02}")
windows = st.lists(
    st.fixed_dictionaries(
        {"start": times, "end": times}, optional={"days": st.lists(st.integers(1, 7), min_size=1, max_size=7)}
    ),
    max_size=4,
)
# Half hours, a DST of half an hour, both hemispheres, a change at midnight, none at all.
ZONES = """Europe/Berlin America/New_York Asia/Kolkata Asia/Kathmandu Australia/Lord_Howe America/Santiago
    Asia/Beirut UTC"""
zones = st.sampled_from(ZONES.split()).map(ZoneInfo)
around_changes = st.builds(
    lambda day, minutes: day + minutes * MINUTE,
    st.sampled_from(
        [
            datetime(2026, month, day, tzinfo=UTC)
            for month, day in ((3, 8), (3, 28), (4, 4), (9, 5), (10, 24), (11, 1))
        ]
    ),
    st.integers(0, 3 * 24 * 60),
)


def is_quiet(given: list[dict[str, Any]], local: datetime) -> bool:
    """One window after the other, as a person would read them."""
    for window in given:
        for back in (0, 1):
            first = local.replace(tzinfo=None, fold=0, hour=0, minute=0) - timedelta(days=back)
            begin, end = (
                first + timedelta(hours=int(window[name][:2]), minutes=int(window[name][3:]))
                for name in ("start", "end")
            )
            end += timedelta(days=end <= begin)
            if first.isoweekday() in window["days"] and begin <= local.replace(tzinfo=None, fold=0) < end:
                return True
    return False


def watched(given: list[dict[str, Any]], zone: ZoneInfo, at: datetime) -> datetime | None:
    moment = at
    while is_quiet(given, moment.astimezone(zone)):
        moment += MINUTE
    return None if moment == at else moment


@settings(max_examples=examples(150, long=3_000), deadline=None)
@given(windows, zones, around_changes)
def test_they_end_when_a_watched_clock_says_so(
    given: list[dict[str, Any]], zone: ZoneInfo, at: datetime
) -> None:
    try:
        checked = quiet.check(given)
    except ValueError:
        return  # they leave no time at all
    assert quiet.ends(checked, zone, at) == watched(checked, zone, at)


@pytest.mark.parametrize(
    ("zone", "at", "end"),
    [
        ("Europe/Berlin", "2026-11-21T21:30:00", "2026-11-22T07:00:00"),  # 22:30 there
        ("Europe/Berlin", "2026-11-21T20:59:59", None),
        ("Europe/Berlin", "2026-11-22T07:00:00", None),
        ("Europe/Berlin", "2026-03-28T23:00:00", "2026-03-29T06:00:00"),  # a night of nine hours
        ("Europe/Berlin", "2026-10-24T22:00:00", "2026-10-25T07:00:00"),  # and one of eleven
        ("Asia/Kolkata", "2026-11-21T16:30:00", "2026-11-22T02:30:00"),
    ],
)
def test_a_night(zone: str, at: str, end: str | None) -> None:
    found = quiet.ends(NIGHT, ZoneInfo(zone), datetime.fromisoformat(at).replace(tzinfo=UTC))
    assert found == (datetime.fromisoformat(end).replace(tzinfo=UTC) if end else None)


def test_an_end_that_the_clocks_skip_is_when_they_do() -> None:
    early = quiet.check([{"start": "22:00", "end": "02:30"}])
    found = quiet.ends(early, ZoneInfo("Europe/Berlin"), datetime(2026, 3, 28, 23, tzinfo=UTC))
    assert found == datetime(2026, 3, 29, 1, tzinfo=UTC)  # 03:00 there


@pytest.mark.parametrize(
    ("local", "kind", "at"),
    [
        ("2026-03-29T02:30", Clock.SKIPPED, "2026-03-29T01:00"),
        ("2026-10-25T02:30", Clock.REPEATED, "2026-10-25T00:30"),
        ("2026-11-25T09:00", Clock.USUAL, "2026-11-25T08:00"),
    ],
)
def test_a_local_time(local: str, kind: Clock, at: str) -> None:
    berlin, naive = ZoneInfo("Europe/Berlin"), datetime.fromisoformat(local)
    assert clocks.kind(naive, berlin) == kind
    assert clocks.instant(naive, berlin) == datetime.fromisoformat(at).replace(tzinfo=UTC)


def test_unknown_zones_are_none() -> None:
    assert (
        clocks.zone("Mars/Olympus")
        is clocks.zone("")
        is clocks.zone(None)
        is clocks.zone("../etc/passwd")
        is None
    )
    assert clocks.zone("Asia/Tokyo") == ZoneInfo("Asia/Tokyo")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, ": expected a list"),
        ([1], "/0: expected an object"),
        ([{"start": "22:00"}], "/0/end: expected a time"),
        ([{"start": "24:00", "end": "08:00"}], "/0/start: expected a time"),
        ([{"start": "22:00", "end": "08:00", "zone": "x"}], "/0/zone: there is no such field"),
        ([{"start": "22:00", "end": "08:00"}, {"start": "22:00", "end": "08:00", "days": [0]}], "/1/days"),
        ([{"start": "22:00", "end": "08:00", "days": []}], "/0/days"),
        ([{"start": "22:00", "end": "08:00", "days": [True]}], "/0/days"),
        ([{"start": "00:00", "end": "00:00"}], ": they leave no time"),
        ([{"start": "08:00", "end": "22:00"}, {"start": "22:00", "end": "08:00"}], ": they leave no time"),
        ([{"start": "22:00", "end": "08:00"}] * 22, ": more than 21"),
    ],
)
def test_faults_are_named(given: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=rf"^{fault}"):
        quiet.check(given)


def test_the_normal_form_is_one() -> None:
    one = [{"start": "22:00", "end": "08:00", "days": [2, 1, 2]}, {"start": "12:00", "end": "13:00"}]
    assert quiet.check(one) == quiet.check(one[::-1] + one) == quiet.check(quiet.check(one))
    assert quiet.describe(quiet.check(one)) == "Mon, Tue 22:00-08:00, 12:00-13:00"
