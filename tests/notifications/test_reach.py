"""Who would get it, and when: what a dry run and an estimate say of clocks and caps. That it is what a real send then
records is shown by pipeline/test_policy.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devices import quiet
from devices.models import Cap, Category, Device, Subscriber
from notifications import reach
from notifications.models import Recent
from notifications.pipeline import terms
from tests.conftest import Tenant

NIGHT = [{"start": "22:00", "end": "08:00"}]


@pytest.fixture
def crowd(shop: Tenant, make_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch) -> list[Device]:
    """It is 14:00 in UTC. Kim and Lee are in Tokyo, where it is night and quiet; Ada is in Berlin, with two devices."""
    afternoon = datetime.now(UTC).replace(hour=14, minute=0, second=0, microsecond=0)
    monkeypatch.setattr("notifications.pipeline.timing.now", lambda: afternoon)
    shop.application.quiet_hours = quiet.check(NIGHT)
    shop.application.save()
    Category.objects.filter(slug="transactional").update(quiet_rule="hold")
    for name, zone in (("kim", "Asia/Tokyo"), ("lee", "Asia/Tokyo"), ("ada", "Europe/Berlin")):
        make_device(shop, name)
        Subscriber.objects.filter(external_id=name).update(time_zone=zone)
    make_device(shop, "ada", platform="web", time_zone="Asia/Tokyo")  # the person's own zone counts
    return list(Device.objects.all())


def dry(shop: Tenant, **fields: Any) -> tuple[int, int, dict[str, int]]:
    """reachable, of these held, suppressed."""
    terms.of.forget()  # type: ignore[attr-defined]
    body = {"to": {"all": True}, "content": {"title": "Hi", "body": "there"}, "dry_run": True, **fields}
    answer = shop.server.post("notifications", body)
    assert answer.status_code == 200, answer.json()
    found = answer.json()
    assert found["recipients"] == found["reachable"] + sum(found["suppressed"].values())
    return found["reachable"], found["held"], found["suppressed"]


def test_a_dry_run_says_what_clocks_and_caps_would_do(shop: Tenant, crowd: list[Device]) -> None:
    assert dry(shop) == (4, 2, {})
    assert dry(shop, ttl_seconds=3600) == (2, 0, {"held_past_deadline": 2})
    assert dry(shop, to={"subscribers": ["kim", "ada", "nobody"]}) == (3, 1, {"unknown_subscriber": 1})
    assert dry(shop, to={"devices": [str(crowd[-1].public_id)]}) == (1, 1, {})
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    at = {"send_at": (tomorrow + timedelta(days=1)).isoformat()}  # morning in Tokyo, night in Berlin
    assert dry(shop, **at) == (4, 2, {})
    assert dry(shop, send_window={"start": "14:00", "end": "15:00"}) == (4, 4, {})
    local = {"local_time": f"{tomorrow:%Y-%m-%d}T09:00"}
    assert dry(shop, **local) == (4, 4, {})
    deadline = tomorrow.replace(hour=6).isoformat()  # after 9:00 in Tokyo, before it in Berlin
    assert dry(shop, **local, deadline=deadline) == (2, 2, {"local_time_past_deadline": 2})

    Category.objects.filter(slug="transactional").update(quiet_rule="drop")
    assert dry(shop) == (2, 0, {"quiet_hours": 2})
    Category.objects.filter(slug="transactional").update(quiet_rule="ignore")
    Cap.objects.create(application=shop.application, kind="transactional", most=1, period="day")
    assert dry(shop) == (4, 0, {})
    sent = shop.server.post(
        "notifications", {"to": {"subscribers": ["ada"]}, "content": {"title": "Hi", "body": "there"}}
    )
    assert sent.status_code == 202
    before = list(Recent.objects.values())
    assert dry(shop) == (2, 0, {"capped": 2})
    assert dry(shop) == (2, 0, {"capped": 2})  # asking takes no place
    assert list(Recent.objects.values()) == before


def test_an_estimate_says_so_too_from_a_sample_where_there_are_many(
    shop: Tenant, crowd: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone: dict[str, Any] = {"field": "device.platform", "is": "exists", "value": True}
    asked = {"rules": everyone, "category": "transactional"}
    exact = shop.server.post("segments/estimate", asked).json()
    assert (exact["reachable"], exact["held"], exact["is_estimate"]) == ({"push": 4}, 2, False)
    assert shop.server.post("segments/estimate", {"rules": everyone}).json()["held"] == 0
    category = Category.objects.get(application=shop.application, slug="transactional")
    monkeypatch.setattr(reach, "RULED_UP_TO", 1)
    monkeypatch.setattr(reach, "SMALL_SAMPLE", 4)
    # Each of many own quiet hours: the zones of those sampled are asked for first.
    monkeypatch.setattr("notifications.pipeline.resolve.FEW", 0)
    found = reach.of({"all": True}, application_id=shop.id, category_id=category.pk)
    assert (found.reachable, found.later) == (4, 2)
