"""Why did Mia get it, or not? Each rule says what it sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from devices import quiet
from devices.models import Cap, Category, Device, Preference, QuietHours, Segment, Subscriber
from notifications.pipeline import policy
from tenants.models import Application
from tests.conftest import Tenant

ORDER = [
    *("audience", "address", "deadline", "consent", "preference", "holdout"),
    *("quiet_hours", "cap", "time", "throttle", "template"),
]


@pytest.fixture
def mia(shop: Tenant, make_device: Callable[..., Device]) -> Subscriber:
    subscriber = make_device(shop, "mia", permission="granted").subscriber
    assert subscriber
    return subscriber


def explained(shop: Tenant, **fields: Any) -> dict[str, Any]:
    """Sends it, and asks why; rule → step."""
    body = {"to": {"subscribers": ["mia"]}, "content": {"title": "Hi", "body": "there"}, **fields}
    body = {name: value for name, value in body.items() if value is not None}
    id = shop.server.post("notifications", body).json()["id"]
    answer = shop.server.get(f"subscribers/mia/explain/{id}").json()
    names = [step["rule"] for step in answer["rules"]]
    assert names == [name for name in ORDER if name in names]
    return {step["rule"]: step for step in answer["rules"]}


def stops(steps: dict[str, Any]) -> dict[str, str]:
    return {name: step["reason"] for name, step in steps.items() if step["decides"] == "stops"}


def test_what_nothing_holds_passes_every_rule(shop: Tenant, mia: Subscriber) -> None:
    steps = explained(shop, throttle_per_second=5)
    assert {step["decides"] for step in steps.values()} == {"passes"}
    assert steps["throttle"]["sees"] == "at most 5 a second"
    assert "permission granted" in steps["address"]["sees"]


def test_consent_and_preference(shop: Tenant, mia: Subscriber) -> None:
    assert stops(explained(shop, category="marketing")) == {"preference": "not_opted_in"}
    category = Category.objects.get(application=shop.application, slug="marketing")
    Preference.objects.create(subscriber=mia, category=category, is_allowed=True)
    assert stops(explained(shop, category="marketing")) == {}
    Subscriber.objects.update(unsubscribed_at=timezone.now())
    assert stops(explained(shop, category="marketing")) == {"consent": "unsubscribed"}


def test_the_global_holdout_is_a_rule_of_marketing_only(shop: Tenant, mia: Subscriber) -> None:
    Category.objects.filter(slug="marketing").update(default="on")
    for percent in (1, 50):
        Application.objects.update(holdout_percent=percent)
        is_held_out = policy.is_held_out(shop.id, percent, mia.id, None)
        steps = explained(shop, category="marketing")
        assert stops(steps) == ({"holdout": "global_holdout"} if is_held_out else {})
        assert steps["holdout"]["sees"].startswith(f"{percent} % of people")
    assert "holdout" not in explained(shop, category="transactional")


def test_an_address_that_cannot_be_reached(shop: Tenant, mia: Subscriber) -> None:
    Device.objects.update(permission="denied")
    assert stops(explained(shop)) == {"address": "permission_denied"}
    Device.objects.update(retired_at=timezone.now())
    assert stops(explained(shop))["address"] == "no_device"


def test_quiet_hours_say_whose_and_until_when(shop: Tenant, mia: Subscriber) -> None:
    now = datetime.now(UTC)
    start, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (-1, 2))
    own = QuietHours.objects.create(
        application=shop.application, windows=quiet.check([{"start": start, "end": end}])
    )
    Subscriber.objects.update(quiet_hours=own)
    Category.objects.filter(slug="transactional").update(quiet_rule="hold")
    steps = explained(shop)
    assert f"their own: {start}-{end}, in UTC" in steps["quiet_hours"]["sees"]
    assert (steps["quiet_hours"]["decides"], steps["time"]["decides"]) == ("holds", "holds")
    assert steps["quiet_hours"]["until"] == steps["time"]["until"]
    assert steps["time"]["until"][11:16] == end


def test_quiet_hours_that_drop(shop: Tenant, mia: Subscriber) -> None:
    now = datetime.now(UTC)
    shop.application.quiet_hours = quiet.check(
        [{"start": f"{now - timedelta(hours=1):%H:%M}", "end": f"{now + timedelta(hours=2):%H:%M}"}]
    )
    shop.application.save()
    Category.objects.filter(slug="transactional").update(quiet_rule="drop")
    assert stops(explained(shop)) == {"quiet_hours": "quiet_hours"}


def test_caps_count_the_others(shop: Tenant, mia: Subscriber) -> None:
    Cap.objects.create(application=shop.application, kind="transactional", most=1, period="day")
    first, second = explained(shop), explained(shop)
    assert (first["cap"]["decides"], second["cap"]["reason"]) == ("passes", "capped")
    assert second["cap"]["sees"] == "1 others of at most 1 in that day"


def test_who_is_not_meant(shop: Tenant, mia: Subscriber) -> None:
    rules = {"all": [{"field": "attribute.plan", "is": "equal", "value": "gold"}]}
    Segment.objects.create(application=shop.application, slug="gold", name="Gold", rules=rules)
    assert stops(explained(shop, to={"segment": "gold"})) == {"audience": "not_in_audience"}
    Subscriber.objects.update(attributes={"plan": "gold"})
    assert stops(explained(shop, to={"segment": "gold"})) == {}


def test_a_template_names_the_text_they_get_and_what_is_not_known(shop: Tenant, mia: Subscriber) -> None:
    name = "{{ subscriber.attributes.name }}"
    said = {
        "content": {"title": f"Hi {name}", "body": "{{ variables.order }}"},
        "locales": {"de": {"title": f"Hallo {name}"}},
        "missing": "skip",
    }
    Subscriber.objects.update(locale="de-AT")
    assert shop.server.post("templates", {"slug": "hello", "name": "Hello", **said}).status_code == 201
    call = {"content": None, "template": "hello", "variables": {"order": "7"}}
    step = explained(shop, **call)["template"]
    assert (step["decides"], step["reason"]) == ("stops", "missing_variable")
    assert step["sees"].startswith("hello, version 1; in de; not known, and without a default: ")
    assert "subscriber.attributes.name" in step["sees"]
    Subscriber.objects.update(attributes={"name": "Mia"})
    step = explained(shop, **call)["template"]
    assert (step["decides"], step["sees"]) == ("passes", "hello, version 1; in de")

    Subscriber.objects.update(attributes={}, locale="")
    said |= {"defaults": {"subscriber.attributes.name": "you"}}
    assert shop.server.put("templates/hello", said).status_code == 200
    step = explained(shop, **call)["template"]
    assert step["decides"] == "passes"
    assert step["sees"] == (
        "hello, version 2; in the main language; not known, so by default: subscriber.attributes.name"
    )
    said |= {"defaults": {}, "missing": "default"}
    assert shop.server.put("templates/hello", said).status_code == 200
    assert explained(shop, **call)["template"]["sees"].endswith("left empty: subscriber.attributes.name")

    assert "template" not in explained(shop)
    texts = {"title": "Hi", "body": "there", "locales": {"fr": {"title": "Salut"}}}
    Subscriber.objects.update(locale="fr")
    assert explained(shop, content=texts)["template"]["sees"] == "texts of its own; in fr"


def test_the_device_that_can_be_reached_speaks_for_them(
    shop: Tenant, mia: Subscriber, make_device: Callable[..., Device]
) -> None:
    make_device(shop, "mia", platform="android", permission="denied")
    assert stops(explained(shop)) == {}
    assert "iOS" in explained(shop)["address"]["sees"]


def test_what_is_to_be_sent_later_is_asked_for_that_moment(shop: Tenant, mia: Subscriber) -> None:
    at = datetime.now(UTC) + timedelta(days=1)
    start, end = (f"{at + timedelta(hours=hours):%H:%M}" for hours in (-1, 2))
    shop.application.quiet_hours = quiet.check([{"start": start, "end": end}])
    shop.application.save()
    Category.objects.filter(slug="transactional").update(quiet_rule="drop")
    assert stops(explained(shop, send_at=at.isoformat())) == {"quiet_hours": "quiet_hours"}


def test_another_tenant_learns_nothing(shop: Tenant, rival: Tenant, mia: Subscriber) -> None:
    id = shop.server.post(
        "notifications", {"to": {"subscribers": ["mia"]}, "content": {"title": "Hi", "body": "there"}}
    ).json()["id"]
    assert rival.server.get(f"subscribers/mia/explain/{id}").status_code == 404
