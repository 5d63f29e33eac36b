"""What is wrong with a plan's schedule is said at the spot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from campaigns import checking
from campaigns.models import Campaign

SOON = f"{timezone.now() + timedelta(days=2):%Y-%m-%d}T09:00"


@pytest.mark.parametrize(
    ("schedule", "pointer"),
    [
        ({"kind": "at", "starts": SOON, "time_zone": "Mars/Base"}, "/schedule/time_zone"),
        ({"kind": "at", "starts": "2020-01-01T09:00"}, "/schedule/starts"),
        ({"kind": "at", "starts": "tomorrow"}, "/schedule/starts"),
        ({"kind": "at", "starts": ""}, "/schedule/starts"),
        ({"kind": "local", "starts": "2020-01-01T09:00"}, "/schedule/starts"),
        ({"kind": "recurring", "starts": SOON, "rule": "every day"}, "/schedule/rule"),
        ({"kind": "recurring", "starts": SOON, "rule": ""}, "/schedule/rule"),
        ({"kind": "recurring", "starts": SOON, "rule": "FREQ=SECONDLY"}, "/schedule/rule"),
        ({"kind": "recurring", "starts": SOON, "rule": "FREQ=WEEKLY;BYDAY=XX"}, "/schedule/rule"),
        ({"kind": "at", "starts": SOON, "window": {"start": "09:00", "end": "09:00"}}, "/schedule/window"),
    ],
)
def test_the_spot_is_named(
    make_campaign: Callable[..., Campaign], schedule: dict[str, Any], pointer: str
) -> None:
    faults = checking.faults(make_campaign(schedule=schedule))
    assert [fault.pointer for fault in faults] == [pointer]
