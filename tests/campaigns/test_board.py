"""What the overview says: what needs somebody, what moves, what comes, and what the days came to."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import RequestFactory
from django.utils import timezone

from campaigns import approving, board, checklist, models, scopes, services, trends
from campaigns.models import Campaign
from notifications.models import Batch, Incident, Notification, RollupDay, Tally
from tenants.models import Credential
from tests.campaigns.conftest import notification_of
from tests.conftest import Tenant

Make = Callable[..., Campaign]


def asks(user: User, app: str = "") -> Any:
    request = RequestFactory().get("/admin/", {"app": app} if app else {})
    request.user = user
    return request


def seen(user: User, app: str = "") -> dict[str, Any]:
    return board.board(asks(user, app))


def fragment(name: str, user: User, app: str = "") -> dict[str, Any]:
    request = asks(user, app)
    return board.FRAGMENTS[name](request, scopes.of(request))


def in_days(days: int, hour: int = 9) -> str:
    return f"{timezone.now() + timedelta(days=days):%Y-%m-%d}T{hour:02}:00"


def rolled(tenant: Tenant, ago: int, **counts: int) -> None:
    day = timezone.now().date() - timedelta(days=ago)
    for outcome, count in counts.items():
        RollupDay.objects.create(application_id=tenant.id, day=day, outcome=outcome, count=count)


def test_the_steps_are_ticked_as_they_are_walked(
    anna: User, shop: Tenant, make_campaign: Make, make_device: Any
) -> None:
    def done() -> list[bool]:
        return [step.is_done for step in checklist.steps(scopes.of(asks(anna)), anna)]

    assert done() == [True, False, False, False, False]
    Credential.objects.create(application=shop.application, provider="console", public={})
    make_device(shop, "ada")
    draft = make_campaign()
    assert done() == [True, True, True, False, False]
    steps = checklist.steps(scopes.of(asks(anna)), anna)
    assert [step.is_next for step in steps] == [False, False, False, True, False]
    assert str(draft.pk) in steps[3].url

    launched = services.launch(draft, by="staff:anna")
    assert done() == []
    Campaign.objects.update(launched_at=None)
    models.TestSend.objects.create(
        campaign=draft, version=1, variant="A", notification=notification_of(launched)
    )
    assert done() == [True, True, True, True, False]


def test_what_needs_somebody(anna: User, shop: Tenant, make_campaign: Make, console_credential: None) -> None:
    bert = User.objects.create_user("bert")
    own, asked = make_campaign(by=anna, name="Own"), make_campaign(by=bert, name="Asked")
    approving.ask(own, by=anna, devices=1)
    approving.ask(asked, by=bert, devices=1)
    stopped = services.launch(make_campaign(name="Stopped"), by="staff:anna")
    services.pause(stopped, why="problems", detail="12 % failed.")
    by_hand = services.launch(make_campaign(name="By hand"), by="staff:anna")
    services.pause(by_hand)
    Credential.objects.update(blocked_at=timezone.now(), blocked_reason="invalid_provider_token")

    found = seen(anna)["needs"]
    assert [need.what.partition("”")[0].lstrip("“") for need in found][1:] == ["Stopped", "Asked"]
    assert "refuses" in found[0].what
    assert found[0].tone == "bad"
    assert found[1].detail == "12 % failed."

    # An incident's banner stands above it on the page.
    Incident.objects.create(
        application=shop.application, provider="console", cause="credential", stops_lanes=True
    )
    assert [need.tone for need in seen(anna)["needs"]] == ["warn", "run"]

    # Who may do nothing about it is not asked to.
    vera = User.objects.create_user("vera")
    vera.user_permissions.set(Permission.objects.filter(codename="view_campaign"))
    assert seen(vera)["needs"] == []


def test_what_is_sent_now_is_not_what_waits(anna: User, make_campaign: Make) -> None:
    going = services.launch(make_campaign(name="Going"), by="staff:anna")
    Notification.objects.filter(id=notification_of(going).id).update(
        recipient_count=100, status="sending", finished_at=None
    )
    Tally.objects.create(
        notification_id=notification_of(going).id, slot=0, outcome="accepted", reason="", count=40
    )
    services.launch(
        make_campaign(name="Later", schedule={"kind": "at", "starts": in_days(2)}), by="staff:anna"
    )
    again = {"kind": "recurring", "starts": in_days(1), "rule": "FREQ=DAILY"}
    services.launch(make_campaign(name="Daily", schedule=again), by="staff:anna")

    found = seen(anna)
    assert [(str(campaign), progress.sum.percent) for campaign, progress in found["sending"]] == [
        ("Going", 40)
    ]
    assert [(str(one.campaign), one.is_recurring) for one in found["coming"]] == [
        ("Daily", True),
        ("Later", False),
    ]


def test_today_is_compared_with_the_day_before(anna: User, shop: Tenant, rival: Tenant) -> None:
    rolled(shop, 0, accepted=90, rejected=10, opened=9, unregistered=0)
    rolled(shop, 1, accepted=99, rejected=1, opened=9, unregistered=3)
    rolled(rival, 1, accepted=1000)
    numbers = fragment("numbers", anna, "shop")
    assert len(numbers["days"]) == trends.DAYS
    sent, accepted, opened, _ = numbers["tiles"]
    assert (sent.value, sent.change) == ("100", "103 the day before")  # devices gone were tried as well
    assert accepted.value == "90.0 %"
    assert accepted.change.startswith("−")
    assert accepted.is_worse
    assert opened.value == "10.0 %"
    assert numbers["days"][-2].gone == 3
    assert fragment("numbers", anna)["days"][-2].accepted == 1099


def test_without_anything_sent_there_are_no_drawings(anna: User, shop: Tenant) -> None:
    assert fragment("numbers", anna) == {"days": []}


@pytest.mark.parametrize(("most", "top", "half"), [(0, "4", "2"), (7, "10", "5"), (1_200_000, "2M", "1M")])
def test_a_drawing_has_an_axis_that_reads_well(most: int, top: str, half: str) -> None:
    today = timezone.now().date()
    days = [trends.Day(today, 0, 0, 0, 0, 0, 0)] * 29 + [trends.Day(today, most, 0, 0, 0, 0, 0)]
    chart = trends.messages(days)
    assert (chart.top, chart.half) == (top, half)
    for bar in chart.bars:
        assert all(0 <= float(piece.y) <= trends.HEIGHT for piece in bar.pieces)
    assert len(chart.bars[-1].pieces) == (most > 0)


def test_lanes_say_how_late_they_are(anna: User, shop: Tenant, rival: Tenant) -> None:
    def waits(tenant: Tenant, lane: str, status: str, seconds: int, number: int) -> None:
        at = timezone.now() - timedelta(seconds=seconds)
        Batch.objects.create(
            application_id=tenant.id,
            notification_id=uuid.uuid4(),
            lane=lane,
            status=status,
            device_ids=list(range(number)),
            due_at=at,
            turn_at=at,
        )

    waits(shop, "apns.campaign", "ready", 300, 5)
    waits(shop, "apns.campaign", "waiting", -3600, 2)
    waits(shop, "fcm.transactional", "sending", 1, 3)
    waits(rival, "fcm.campaign", "ready", 900, 7)
    late, fresh = fragment("queues", anna, "shop")["lanes"]
    assert (late.provider, late.kind, late.due, late.later, late.tone) == ("Apple", "Campaigns", 5, 2, "warn")
    assert 295 < late.late < 400
    assert (fresh.provider, fresh.due, fresh.tone) == ("Google", 3, "good")


def test_numbers_are_those_of_the_chosen_app(
    anna: User, shop: Tenant, rival: Tenant, make_campaign: Make, make_device: Any
) -> None:
    make_device(shop, "ada")
    make_device(rival, "bob", platform="android")
    make_campaign(name="Ours")
    make_campaign(name="Theirs", tenant=rival)
    assert fragment("audience", anna, "shop")["platforms"] == [("iPhone and iPad", 1)]
    assert fragment("audience", anna)["total"] == 2
    assert [str(row[0]) for row in seen(anna, "shop")["recent"]] == ["Ours"]
    assert len(seen(anna, "nonsense")["recent"]) == 2


def test_the_first_paint_costs_the_same_for_many_campaigns(
    anna: User, shop: Tenant, make_campaign: Make, django_assert_num_queries: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def add() -> None:
        services.launch(make_campaign(schedule={"kind": "at", "starts": in_days(2)}), by="staff:anna")
        make_campaign()

    add()
    with CaptureQueriesContext(connection) as few:
        seen(anna)
    for _ in range(3):
        add()
    with django_assert_num_queries(len(few)):
        seen(anna)
    assert len(few) <= 16


def test_who_may_see_no_app_sees_nothing(db: None) -> None:
    vera = User.objects.create_user("vera")
    vera.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    assert not seen(vera)["sending"]
    assert {name: any(fragment(name, vera).values()) for name in board.FRAGMENTS} == {
        **dict.fromkeys(board.FRAGMENTS, False),
        "coming": True,  # it says which day it is
    }
