"""One table per rule: what is given on the left, what becomes of the message on the right.

A result is "sent" (at noon, when it is meant for), "sent at 20:00" (held until then, UTC), or the ledger's reason.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from devices import quiet
from devices.models import Cap, Category, Device, Preference, QuietHours, Subscriber
from notifications.models import Batch
from notifications.pipeline import policy, timing
from tests.conftest import forget
from tests.notifications.pipeline.conftest import Pipeline
from tests.notifications.pipeline.world import decided, start

NOON = datetime(2032, 6, 15, 12, tzinfo=UTC)  # a Tuesday, ahead of us
NIGHT = [{"start": "22:00", "end": "08:00"}]
LUNCH = [{"start": "11:30", "end": "13:00"}]
WEEKEND = [{"start": "00:00", "end": "00:00", "days": [6, 7]}]
DAYTIME = {"days": [1, 2, 3, 4, 5, 6, 7], "start": "09:00", "end": "18:00"}
WEEKDAYS = {"days": [1, 2, 3, 4, 5], "start": "09:00", "end": "18:00"}


class Try:
    """One person with one device, one category; each `of` sends them a message."""

    def __init__(
        self, steps: Pipeline, make_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.steps, self.patch = steps, monkeypatch
        self.device = make_device(steps.tenant, "mia")
        self.person = Subscriber.objects.get(external_id="mia")
        self.application = steps.tenant.application
        self.category = Category.objects.create(
            application=self.application,
            slug="news",
            name="News",
            kind="transactional",
            default="on",
            crash_rule="leave",
        )

    def set(self, row: Any, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(row, name, value)
        row.save()

    def says(self, word: bool | None) -> None:
        if word is not None:
            Preference.objects.create(subscriber=self.person, category=self.category, is_allowed=word)

    def own_quiet_hours(self, windows: Any) -> None:
        row = QuietHours.objects.create(application=self.application, windows=quiet.check(windows))
        self.set(self.person, quiet_hours=row)

    def of(self, *, at: datetime = NOON, category: str = "news", **message: Any) -> str:
        forget()  # what one row of a table said of the rules
        self.patch.setattr(timing, "now", lambda: at)
        notification = self.steps.accept({"subscribers": ["mia"]}, category=category, send_at=at, **message)
        start(notification)
        self.steps.assert_sum(notification.id)
        (word,) = decided(notification, at).values()
        if isinstance(word, str):
            return word
        return (
            "sent" if word == at else f"sent at {word:%H:%M}" + f" on {word:%d}" * (word.date() != at.date())
        )


@pytest.fixture
def trial(steps: Pipeline, make_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch) -> Try:
    return Try(steps, make_device, monkeypatch)


@pytest.mark.parametrize(
    ("permission", "channels", "result"),
    [
        ("granted", ["push"], "sent"),
        ("", ["push"], "sent"),
        ("denied", ["push"], "permission_denied"),
        ("granted", ["email"], "channel_not_allowed"),
        ("denied", ["email"], "permission_denied"),
    ],
)
def test_the_address(trial: Try, permission: str, channels: list[str], result: str) -> None:
    trial.set(trial.device, permission=permission)
    trial.set(trial.category, channels=channels)
    assert trial.of() == result


@pytest.mark.parametrize(
    ("local_time", "window", "ttl_hours", "deadline_in_hours", "result"),
    [
        ("", None, 1, None, "sent"),
        ("2032-06-15T15:00", None, 1, None, "sent at 15:00"),  # its life begins at that time
        ("2032-06-15T15:00", None, 72, 3.25, "sent at 15:00"),
        ("2032-06-15T15:00", None, 72, 3, "local_time_past_deadline"),  # the end itself is too late
        ("2032-06-15T15:00", None, 72, 1, "local_time_past_deadline"),
        ("", {**DAYTIME, "start": "16:00"}, 5, None, "sent at 16:00"),
        ("", {**DAYTIME, "start": "16:00"}, 4, None, "held_past_deadline"),
        ("", {**DAYTIME, "start": "16:00"}, 72, 2, "held_past_deadline"),
        ("2032-06-15T15:00", {**DAYTIME, "start": "16:00"}, 72, 3.5, "held_past_deadline"),
    ],
)
def test_the_deadline(
    trial: Try, local_time: str, window: Any, ttl_hours: int, deadline_in_hours: float | None, result: str
) -> None:
    deadline = None if deadline_in_hours is None else NOON + timedelta(hours=deadline_in_hours)
    asked = {"ttl_seconds": ttl_hours * 3600, "deadline": deadline}
    assert trial.of(local_time=local_time, send_window=window, **asked) == result


@pytest.mark.parametrize(
    ("kind", "default", "unsubscribed", "result"),
    [
        ("marketing", "on", False, "sent"),
        ("marketing", "on", True, "unsubscribed"),
        ("marketing", "off", True, "unsubscribed"),
        ("transactional", "on", True, "sent"),
        ("transactional", "forced", True, "sent"),
        ("critical", "on", True, "sent"),
        ("critical", "forced", True, "sent"),
    ],
)
def test_consent(trial: Try, kind: str, default: str, unsubscribed: bool, result: str) -> None:
    trial.set(trial.category, kind=kind, default=default)
    trial.set(trial.person, unsubscribed_at=NOON if unsubscribed else None)
    assert trial.of() == result


@pytest.mark.parametrize(
    ("default", "said", "result"),
    [
        ("on", None, "sent"),
        ("on", True, "sent"),
        ("on", False, "opted_out"),
        ("off", None, "not_opted_in"),
        ("off", True, "sent"),
        ("off", False, "opted_out"),
        ("forced", None, "sent"),
        ("forced", True, "sent"),
        ("forced", False, "sent"),
    ],
)
def test_the_preference(trial: Try, default: str, said: bool | None, result: str) -> None:
    trial.set(trial.category, default=default)
    trial.says(said)
    assert trial.of() == result


@pytest.mark.parametrize(
    ("kind", "default", "percent", "said", "result"),
    [
        ("marketing", "on", 0, None, "sent"),
        ("marketing", "on", "less", None, "sent"),
        ("marketing", "on", "enough", None, "global_holdout"),
        ("marketing", "on", "enough", True, "global_holdout"),
        ("marketing", "off", "enough", True, "global_holdout"),
        ("transactional", "on", "enough", None, "sent"),
        ("critical", "forced", "enough", None, "sent"),
    ],
)
def test_the_holdout(
    trial: Try, kind: str, default: str, percent: Any, said: bool | None, result: str
) -> None:
    """percent: "enough" is the smallest share this person's lot is among, "less" one per cent less."""
    enough = next(n for n in range(101) if policy.is_held_out(trial.application.id, n, trial.person.id, None))
    trial.set(trial.category, kind=kind, default=default)
    trial.says(said)
    trial.set(trial.application, holdout_percent={"less": enough - 1, "enough": enough}.get(percent, percent))
    assert trial.of() == result


@pytest.mark.parametrize(
    ("application", "own", "zone", "hold", "drop", "inbox"),
    [
        ([], None, "UTC", "sent", "sent", "sent"),
        (NIGHT, None, "UTC", "sent", "sent", "sent"),
        (LUNCH, None, "UTC", "sent at 13:00", "quiet_hours", "quiet_hours_inbox_only"),
        (LUNCH, None, "Asia/Tokyo", "sent", "sent", "sent"),  # 21:00 there
        (NIGHT, None, "Australia/Sydney", "sent at 22:00", "quiet_hours", "quiet_hours_inbox_only"),
        (LUNCH, [], "UTC", "sent", "sent", "sent"),  # their own: none
        ([], LUNCH, "UTC", "sent at 13:00", "quiet_hours", "quiet_hours_inbox_only"),
        (LUNCH, NIGHT, "UTC", "sent", "sent", "sent"),
        (WEEKEND, None, "UTC", "sent", "sent", "sent"),  # it is Tuesday
        (
            LUNCH,
            None,
            "Mars/Olympus",
            "sent at 13:00",
            "quiet_hours",
            "quiet_hours_inbox_only",
        ),  # the application's
        (LUNCH, None, "", "sent at 13:00", "quiet_hours", "quiet_hours_inbox_only"),
    ],
)
def test_quiet_hours(
    trial: Try, application: Any, own: Any, zone: str, hold: str, drop: str, inbox: str
) -> None:
    trial.set(trial.application, quiet_hours=quiet.check(application), default_time_zone="UTC")
    trial.set(trial.person, time_zone=zone)
    if own is not None:
        trial.own_quiet_hours(own)
    results = {}
    for rule in Category.QuietRule:
        trial.set(trial.category, quiet_rule=rule)
        results[rule.value] = trial.of()
    assert results == {"hold": hold, "drop": drop, "inbox": inbox, "ignore": "sent"}


@pytest.mark.parametrize(
    ("most", "period", "kind", "days_of_june", "results"),
    [
        (1, "day", "", [15, 15], ["sent", "capped"]),
        (2, "day", "", [15, 15, 15], ["sent", "sent", "capped"]),
        (1, "day", "", [15, 16], ["sent", "sent"]),
        (2, "week", "", [14, 20, 20], ["sent", "sent", "capped"]),  # Monday, Sunday
        (1, "week", "", [20, 21], ["sent", "sent"]),  # Sunday, Monday
        (1, "day", "transactional", [15, 15], ["sent", "capped"]),
        (1, "day", "marketing", [15, 15], ["sent", "sent"]),  # of another kind
    ],
)
def test_the_cap(
    trial: Try, most: int, period: str, kind: str, days_of_june: list[int], results: list[str]
) -> None:
    Cap.objects.create(application=trial.application, kind=kind, most=most, period=period)
    assert [trial.of(at=NOON.replace(day=day)) for day in days_of_june] == results


def test_what_is_critical_is_never_capped(trial: Try) -> None:
    trial.set(trial.category, kind="critical")
    Cap.objects.create(application=trial.application, most=1, period="day")
    assert [trial.of(), trial.of()] == ["sent", "sent"]


@pytest.mark.parametrize(
    ("zone", "now", "local_time", "result"),
    [
        ("UTC", NOON, "2032-06-15T18:00", "sent at 18:00"),
        ("Europe/Berlin", NOON, "2032-06-15T18:00", "sent at 16:00"),
        ("America/New_York", NOON, "2032-06-15T18:00", "sent at 22:00"),
        ("Asia/Kolkata", NOON, "2032-06-15T18:00", "sent at 12:30"),
        ("Asia/Tokyo", NOON, "2032-06-15T18:00", "sent"),  # it was three hours ago
        ("Mars/Olympus", NOON, "2032-06-15T18:00", "sent at 18:00"),  # the application's zone
        # 02:30 is skipped in spring: as soon as clocks show more; met twice in autumn: the first time.
        ("Europe/Berlin", datetime(2032, 3, 28, tzinfo=UTC), "2032-03-28T02:30", "sent at 01:00"),
        ("Europe/Berlin", datetime(2032, 10, 30, 23, tzinfo=UTC), "2032-10-31T02:30", "sent at 00:30 on 31"),
        ("America/New_York", datetime(2032, 3, 14, tzinfo=UTC), "2032-03-14T02:30", "sent at 07:00"),
        ("America/New_York", datetime(2032, 11, 7, tzinfo=UTC), "2032-11-07T01:30", "sent at 05:30"),
        # Half an hour back, from 02:00 to 01:30.
        ("Australia/Lord_Howe", datetime(2032, 4, 3, 12, tzinfo=UTC), "2032-04-04T01:45", "sent at 14:45"),
    ],
)
def test_local_time(trial: Try, zone: str, now: datetime, local_time: str, result: str) -> None:
    trial.set(trial.application, default_time_zone="UTC")
    trial.set(trial.person, time_zone=zone)
    assert trial.of(at=now, local_time=local_time) == result


@pytest.mark.parametrize(
    ("zone", "now", "window", "result"),
    [
        ("UTC", NOON, DAYTIME, "sent"),
        ("UTC", NOON.replace(hour=9), DAYTIME, "sent"),  # the start is within
        ("UTC", NOON.replace(hour=18), DAYTIME, "sent at 09:00 on 16"),  # the end is not
        ("UTC", NOON.replace(hour=8, minute=59), DAYTIME, "sent at 09:00"),
        ("Asia/Tokyo", NOON, DAYTIME, "sent at 00:00 on 16"),
        ("UTC", NOON.replace(day=18, hour=19), WEEKDAYS, "sent at 09:00 on 21"),  # Friday evening
        (
            "Europe/Berlin",
            datetime(2032, 3, 28, 0, tzinfo=UTC),
            DAYTIME,
            "sent at 07:00",
        ),  # summer time by then
    ],
)
def test_the_send_window(trial: Try, zone: str, now: datetime, window: Any, result: str) -> None:
    trial.set(trial.person, time_zone=zone)
    assert trial.of(at=now, send_window=window) == result


def test_quiet_hours_and_a_send_window_that_leave_no_time(trial: Try) -> None:
    trial.set(trial.application, quiet_hours=quiet.check([{"start": "08:00", "end": "19:00"}]))
    trial.set(trial.category, quiet_rule="hold")
    assert trial.of(send_window=DAYTIME) == "never_in_send_window"


@pytest.mark.parametrize(
    ("people", "per_second", "batches"), [(5, None, [5]), (5, 2, [1, 2, 2]), (5, 5, [5]), (5, 100, [5])]
)
def test_the_throttle_forbids_nothing_and_makes_batches_of_a_second(
    steps: Pipeline,
    make_device: Callable[..., Device],
    people: int,
    per_second: int | None,
    batches: list[int],
) -> None:
    for number in range(people):
        make_device(steps.tenant, f"user-{number}")
    steps.resolve(steps.accept({"all": True}, category="critical", throttle_per_second=per_second))
    assert sorted(len(batch.device_ids) for batch in Batch.objects.all()) == batches


# --- together: of two rules that forbid, the higher is on record -------------------------------


def _late(trial: Try) -> dict[str, Any]:
    return {"local_time": "2032-06-15T15:00", "deadline": NOON + timedelta(hours=1)}


def _unsubscribed(trial: Try) -> None:
    trial.set(trial.person, unsubscribed_at=NOON)


def _opted_out(trial: Try) -> None:
    trial.says(False)


def _held_out(trial: Try) -> None:
    enough = next(n for n in range(101) if policy.is_held_out(trial.application.id, n, trial.person.id, None))
    trial.set(trial.application, holdout_percent=enough)


def _quiet(trial: Try) -> None:
    trial.set(trial.application, quiet_hours=quiet.check(LUNCH))
    trial.set(trial.category, quiet_rule="drop")


def _full(trial: Try) -> None:
    trial.of()
    Cap.objects.create(application=trial.application, most=1, period="day")


# The highest first; full is set up first, since it takes a message that was sent.
PRECEDENCE: dict[str, Callable[[Try], dict[str, Any] | None]] = {
    "local_time_past_deadline": _late,
    "unsubscribed": _unsubscribed,
    "opted_out": _opted_out,
    "global_holdout": _held_out,
    "quiet_hours": _quiet,
    "capped": _full,
}


@pytest.mark.parametrize(("higher", "lower"), list(combinations(PRECEDENCE, 2)))
def test_of_two_that_forbid_the_higher_is_on_record(trial: Try, higher: str, lower: str) -> None:
    trial.set(trial.application, default_time_zone="UTC")
    trial.set(trial.category, kind="marketing")
    message: dict[str, Any] = {}
    for word in (lower, higher):
        message |= PRECEDENCE[word](trial) or {}
    if {higher, lower} == {"local_time_past_deadline", "quiet_hours"}:
        # One look at the clock gives one word: quiet at three, when it would be, and too late by then.
        trial.set(trial.application, quiet_hours=quiet.check([{"start": "16:00", "end": "17:00"}]))
    assert trial.of(**message) == higher
