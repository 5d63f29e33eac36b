"""When a recipient is tried again: never too early, never too late, never once too often; whatever the header says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from devices.models import Device
from notifications.models import Batch, Delivery
from notifications.pipeline import build, retry
from notifications.providers import verdict
from notifications.providers.base import Backoff, Outcome, Provider, Result, Target, Verdict
from notifications.providers.memory import Memory
from tests.notifications.pipeline.conftest import Pipeline

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
FAR = NOW + timedelta(days=400)

backoffs = st.builds(
    Backoff,
    base=st.floats(0, 1000),
    cap=st.floats(0, 10_000),
    attempts=st.integers(min_value=1, max_value=10),
)
waits = st.none() | st.floats(0, verdict.LONGEST_WAIT)
attempts = st.integers(1, 12)


def again(wait: float | None, attempt: int, backoff: Backoff, expires_at: datetime = FAR) -> datetime | None:
    result = Result(1, Outcome.RETRY, "busy", retry_after=wait)
    return retry.due_at(result, attempt=attempt, backoff=backoff, now=NOW, expires_at=expires_at)


# --- the time of the next attempt -------------------------------------------------------------


@given(waits, attempts, backoffs)
def test_it_lies_between_what_the_provider_asked_for_and_the_ceiling_on_top(
    wait: float | None, attempt: int, backoff: Backoff
) -> None:
    assume(attempt < backoff.attempts)
    due = again(wait, attempt, backoff)
    assert due is not None
    earliest = NOW + timedelta(seconds=wait or 0)
    latest = NOW + timedelta(seconds=(wait or 0) + backoff.ceiling(attempt))
    assert earliest <= due <= latest


@given(waits, attempts, backoffs, st.floats(-10, 20_000))
def test_it_is_given_up_when_the_attempts_are_used_up_or_the_message_would_be_late(
    wait: float | None, attempt: int, backoff: Backoff, lifetime: float
) -> None:
    expires_at = NOW + timedelta(seconds=lifetime)
    due = again(wait, attempt, backoff, expires_at)
    if attempt >= backoff.attempts or NOW + timedelta(seconds=wait or 0) >= expires_at:
        assert due is None
    elif NOW + timedelta(seconds=(wait or 0) + backoff.ceiling(attempt)) < expires_at:
        assert due is not None
    assert due is None or due < expires_at


@given(backoffs)
def test_what_is_cured_already_is_tried_again_at_once_but_only_once(backoff: Backoff) -> None:
    assume(backoff.attempts > 2 and backoff.ceiling(2) > 1)
    assert again(0, 1, backoff) == NOW
    assert {again(0, 2, backoff) for _ in range(5)} != {NOW}


def test_a_million_retries_do_not_come_back_in_one_moment() -> None:
    random.seed(1)
    backoff = Backoff(base=100, cap=100, attempts=2)
    tenths = Counter(
        (again(60, 1, backoff) - NOW - timedelta(seconds=60)) // timedelta(seconds=10) for _ in range(5000)
    )  # type: ignore[operator]
    assert tenths.keys() == set(range(10))
    assert all(400 < found < 600 for found in tenths.values())


@given(backoffs, attempts)
def test_the_ceiling_never_falls_and_never_passes_its_cap(backoff: Backoff, attempt: int) -> None:
    assert backoff.ceiling(attempt) <= backoff.ceiling(attempt + 1) <= backoff.cap
    assert backoff.ceiling(10_000) <= backoff.cap


@given(
    st.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=90)),
    st.timedeltas(min_value=timedelta()),
)
def test_the_longer_something_is_held_the_rarer_it_is_looked_at_within_bounds(
    age: timedelta, more: timedelta
) -> None:
    assume(more < timedelta(days=900))
    assert retry.HOLD <= retry.hold(age) <= retry.hold(age + more) <= retry.LONGEST_HOLD


RETRIED = [
    pytest.param(provider, judged, id=f"{name}-{judged.reason}")
    for name, provider in build.providers().items()
    for judged in dict.fromkeys(one for one in provider.OUTCOMES.values() if one.outcome is Outcome.RETRY)
]


@pytest.mark.parametrize(("provider", "judged"), RETRIED)
def test_an_answer_that_never_changes_comes_to_an_end_within_its_table(
    provider: Provider, judged: Verdict
) -> None:
    for attempt in count(1):
        result = verdict.result(judged, Target(1, "token", attempt=attempt))
        due = result.outcome is Outcome.RETRY and retry.due_at(
            result, attempt=attempt, backoff=provider.BACKOFF, now=NOW, expires_at=FAR
        )
        if not due:
            break
        assert due >= NOW + timedelta(seconds=judged.retry_after or 0)
    assert attempt == min(judged.attempts or provider.BACKOFF.attempts, provider.BACKOFF.attempts)


def test_what_is_recorded_is_not_due_before_the_provider_said(
    pipeline: Pipeline, make_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "BACKOFF", Backoff(base=0, cap=0, attempts=3))
    pipeline.provider.default = Verdict(Outcome.RETRY, "busy", retry_after=60)
    make_device(pipeline.tenant, "mia")
    notification = pipeline.accept({"subscribers": ["mia"]})
    pipeline.send()
    line = Delivery.objects.get(notification_id=notification.id)
    assert Batch.objects.get().due_at >= line.at + timedelta(seconds=60)


# --- Retry-After ------------------------------------------------------------------------------


def bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), verdict.LONGEST_WAIT)


@given(st.integers() | st.integers(10**300, 10**330))
def test_seconds_are_taken_at_their_word_within_reason(seconds: int) -> None:
    assert verdict.retry_after(str(seconds)) == (
        bounded(seconds) if seconds < 10**9 else verdict.LONGEST_WAIT
    )


@given(
    st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    st.integers(-(10**5), 10**5),
)
def test_a_date_is_the_seconds_until_then(then: datetime, ahead: int) -> None:
    """In all three forms of RFC 9110, 5.6.7."""
    now = then.timestamp() - ahead
    assert verdict.retry_after(format_datetime(then, usegmt=True), now) == bounded(ahead)
    assert verdict.retry_after(f"{then:%a %b} {then.day:2} {then:%H:%M:%S %Y}", now) == bounded(ahead)
    if then.year < 2069:
        assert verdict.retry_after(f"{then:%A, %d-%b-%y %H:%M:%S} GMT", now) == bounded(ahead)


@given(
    st.text(max_size=60)
    | st.text(alphabet="0123456789 :,;-+.eEGMTZJanFebThurs", max_size=60)
    | st.lists(
        st.sampled_from(
            ["Thu,", "31", "Feb", "1994", "99999", "08:49:37", "25:61:61", "GMT", "+9999", "-0000", ":", ","]
        ),
        max_size=8,
    ).map(" ".join)
)
@example("-inf")
@example("1e400")
@example("9" * 5000)
@example("Thu, 01 Jan 0000 00:00:00 GMT")
@example("Thu, 01 Jan 9999 00:00:00 -2359")
def test_no_header_breaks_anything(value: str) -> None:
    seconds = verdict.retry_after(value, now=NOW.timestamp())
    assert seconds is None or 0 <= seconds <= verdict.LONGEST_WAIT
