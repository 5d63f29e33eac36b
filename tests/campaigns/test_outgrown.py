"""A later run of a recurring campaign that reaches more than its yes was for waits for another; nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client
from django.utils import timezone

from campaigns import approving, mails, periodic, selectors, services
from campaigns.models import Approval, Campaign, Run
from tests.conftest import Tenant

Make = Callable[..., Campaign]
STARTS = datetime(2027, 3, 22, 9, 0, tzinfo=UTC)


@pytest.fixture
def eve(db: None) -> User:
    return User.objects.create_superuser("eve", "eve@example.com", "pw")


class Clock:
    """What time it is for campaigns."""

    now = STARTS - timedelta(days=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(timezone, "now", lambda: found.now)
    return found


@pytest.fixture
def daily(
    clock: Clock, shop: Tenant, make_device: Any, opt_in: Any, anna: User, make_campaign: Make
) -> Campaign:
    """Anna's, every day at nine, to two devices; more than five need a second person."""
    _join(shop, make_device, opt_in, 2)
    shop.application.approval_above = 5
    shop.application.save()
    schedule = {"kind": "recurring", "starts": "2027-03-22T09:00", "rule": "FREQ=DAILY;COUNT=4"}
    return services.launch(make_campaign(by=anna, schedule=schedule), by="staff:anna", user=anna)


def _join(shop: Tenant, make_device: Any, opt_in: Any, count: int) -> None:
    for _ in range(count):
        name = f"person-{shop.application.devices.count()}"
        make_device(shop, name)
        opt_in(shop, name)


def at(clock: Clock, *, days: float) -> None:
    clock.now = STARTS + timedelta(days=days)
    periodic.run_due()


def due(campaign: Campaign) -> datetime | None:
    return Campaign.objects.get(id=campaign.id).next_run_at


@pytest.fixture
def waiting(daily: Campaign, clock: Clock, shop: Tenant, make_device: Any, opt_in: Any) -> Campaign:
    """Its first run went to two; the second would go to thirty."""
    at(clock, days=0)
    _join(shop, make_device, opt_in, 28)
    at(clock, days=1)
    at(clock, days=1)
    return Campaign.objects.get(id=daily.id)


def test_it_waits_and_is_made_when_somebody_says_yes(
    waiting: Campaign, clock: Clock, eve: User, shop: Tenant, make_device: Any, opt_in: Any
) -> None:
    assert (waiting.status, waiting.next_run_at) == ("recurring", STARTS + timedelta(days=1))
    assert Run.objects.count() == 1
    assert (Approval.objects.get().devices, selectors.waiting_count()) == (30, 1)
    approving.decide(waiting, by=eve, is_granted=True)
    at(clock, days=1.1)
    assert [(run.number, run.due_at) for run in Run.objects.order_by("number")] == [
        (1, STARTS),
        (2, STARTS + timedelta(days=1)),
    ]
    # The yes was to thirty: two more are as good as that, ninety are not.
    _join(shop, make_device, opt_in, 2)
    at(clock, days=2)
    assert Run.objects.count() == 3
    _join(shop, make_device, opt_in, 60)
    at(clock, days=3)
    assert Run.objects.count() == 3
    assert Approval.objects.filter(is_granted=None).get().devices == 92


def test_of_those_that_were_due_meanwhile_only_the_last_is_made(
    waiting: Campaign, clock: Clock, eve: User
) -> None:
    at(clock, days=2.5)
    assert Run.objects.count() == 1
    approving.decide(waiting, by=eve, is_granted=True)
    at(clock, days=2.5)
    assert Run.objects.get(number=2).due_at == STARTS + timedelta(days=2)
    assert due(waiting) == STARTS + timedelta(days=3)


def test_left_out_it_is_not_made_and_the_next_asks_again(waiting: Campaign, clock: Clock, eve: User) -> None:
    approving.decide(waiting, by=eve, is_granted=False, answer="Too many.")
    at(clock, days=1.1)
    assert (Run.objects.count(), due(waiting)) == (1, STARTS + timedelta(days=2))
    at(clock, days=2)
    assert Run.objects.count() == 1
    assert selectors.asked().count() == 1


@pytest.mark.parametrize("deed", [services.pause, services.cancel])
def test_what_is_stopped_asks_no_more(
    waiting: Campaign, clock: Clock, eve: User, deed: Callable[[Campaign], Campaign]
) -> None:
    stopped = deed(waiting)
    assert selectors.waiting_count() == 0
    with pytest.raises(services.NotAllowed):
        approving.decide(stopped, by=eve, is_granted=True)
    if deed is services.pause:  # it was missed, as any other while it is paused
        services.resume(stopped)
        assert due(waiting) == STARTS + timedelta(days=2)


def test_nobody_says_yes_twice_or_to_their_own(
    waiting: Campaign, clock: Clock, anna: User, eve: User
) -> None:
    with pytest.raises(PermissionError):
        approving.decide(waiting, by=anna, is_granted=True)
    approving.decide(waiting, by=eve, is_granted=True)
    with pytest.raises(services.NotAllowed, match="No run of it waits"):
        approving.decide(waiting, by=eve, is_granted=True)


def test_its_page_the_dashboard_and_a_mail_say_so(
    waiting: Campaign, clock: Clock, anna: User, eve: User
) -> None:
    address = f"/admin/campaigns/campaign/{waiting.pk}"

    def page(user: User) -> str:
        client = Client()
        client.force_login(user)
        return str(client.get(f"{address}/live/").content.decode())

    assert "30 devices" in page(anna)
    assert "It waits for eve" in page(anna)
    assert "Approve this run" not in page(anna)
    assert "Approve this run" in page(eve)
    mails.tell(Approval.objects.get().id)
    assert mail.outbox[0].to == ["eve@example.com"]
    assert "more devices than were approved" in mail.outbox[0].body
    client = Client()
    client.force_login(eve)
    assert "A run of" in client.get("/admin/campaigns/campaign/needs/").content.decode()
    client.post(f"{address}/approve/", {"version": waiting.version, "note": "Fine."})
    mails.tell(Approval.objects.get().id)
    assert mail.outbox[1].to == ["anna@example.com"]
    assert "It goes out now" in mail.outbox[1].body
    assert "waits for approval" not in page(eve)
