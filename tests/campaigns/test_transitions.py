"""The table of states is what services do: each deed in each state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from campaigns import approving, preflight, services, transitions
from campaigns.models import Campaign
from campaigns.transitions import TRANSITIONS

Make = Callable[..., Campaign]
Status = Campaign.Status


def deeds(anna: User) -> dict[str, Callable[[Campaign], Any]]:
    return {
        "ask": lambda campaign: approving.ask(campaign, by=anna, devices=1),
        "withdraw": approving.withdraw,
        "approve": lambda campaign: approving.decide(campaign, by=anna, is_granted=True),
        "refuse": lambda campaign: approving.decide(campaign, by=anna, is_granted=False),
        "launch": lambda campaign: services.launch(campaign, by="staff:anna"),
        "unschedule": services.unschedule,
        "pause": services.pause,
        "resume": services.resume,
        "cancel": services.cancel,
        "decide": lambda campaign: services.decide(campaign, "", by="anna"),
    }


def test_every_deed_is_possible_where_the_table_says_and_nowhere_else(
    anna: User, make_campaign: Make
) -> None:
    named = deeds(anna)
    assert named.keys() == {deed for deed, transition in TRANSITIONS.items() if transition.by_hand}
    campaign = make_campaign()
    for deed, do in named.items():
        for status in Status:
            Campaign.objects.filter(id=campaign.id).update(status=status)
            if status in TRANSITIONS["approve"].sources:  # of a recurring one, for a run
                campaign.approvals.create(version=campaign.version, devices=1)
            seen = Campaign.objects.select_related("latest_run").get(id=campaign.id)
            is_possible = status in TRANSITIONS[deed].sources
            assert (deed in transitions.possible(seen)) == is_possible
            if is_possible and deed not in ("decide", "launch"):
                do(seen)
                assert Campaign.objects.get(id=campaign.id).status in TRANSITIONS[deed].targets, (
                    deed,
                    status,
                )
            elif not is_possible:
                with pytest.raises(services.NotAllowed):
                    do(seen)
                assert Campaign.objects.get(id=campaign.id).status == status
            campaign.approvals.all().delete()


def test_an_edit_says_which_version_it_has_seen(anna: User, make_campaign: Make) -> None:
    bob = User.objects.create_user("bob")
    campaign = make_campaign(by=anna)
    first = services.save(campaign, {"name": "One"}, version=1, by=anna)
    assert first.version == 2
    with pytest.raises(services.Stale) as stale:
        services.save(campaign, {"name": "Two"}, version=1, by=bob)
    assert (stale.value.campaign.name, stale.value.campaign.updated_by) == ("One", anna)
    assert services.save(first, {"name": "One"}, version=2, by=bob).version == 2  # nothing has changed
    second = services.save(first, {"name": "Two"}, version=2, by=bob)
    # Anna's two edits are one version, Bob's another.
    assert [(one.number, one.name) for one in second.versions.all()] == [(3, "Two"), (2, "One")]
    restored = services.restore(second, second.versions.get(number=2), seen=3, by=bob)
    assert (restored.name, restored.version) == ("One", 4)


def test_nobody_approves_what_they_wrote(anna: User, make_campaign: Make) -> None:
    bob, eve = User.objects.create_user("bob"), User.objects.create_user("eve")
    campaign = make_campaign(by=anna)
    campaign = services.save(campaign, {"name": "One"}, version=1, by=bob)
    approving.ask(campaign, by=bob, devices=10)
    for author in (anna, bob):
        with pytest.raises(PermissionError):
            approving.decide(campaign, by=author, is_granted=True)
    approving.decide(campaign, by=eve, is_granted=True)
    assert campaign.status == Status.APPROVED
    with pytest.raises(services.NotAllowed):
        services.save(campaign, {"name": "Else"}, version=2, by=bob)


def test_a_large_launch_needs_a_second_person(
    anna: User, make_campaign: Make, shop: Any, make_device: Any, opt_in: Any
) -> None:
    for name in ("ada", "bob"):
        make_device(shop, name)
        opt_in(shop, name)
    shop.application.approval_above = 1
    shop.application.save()
    campaign = make_campaign(by=anna)
    with pytest.raises(services.NotAllowed, match="approval"):
        services.launch(campaign, by="staff:anna")
    approving.ask(campaign, by=anna, devices=2)
    approving.decide(campaign, by=User.objects.create_user("eve"), is_granted=True)
    assert services.launch(campaign, by="staff:anna", expected=2).status == Status.SENDING


def test_a_reach_that_has_changed_is_said_first(make_campaign: Make) -> None:
    campaign = make_campaign()
    with pytest.raises(services.ReachChanged):
        services.launch(campaign, by="staff:anna", expected=100)
    assert Campaign.objects.get().status == Status.DRAFT


@pytest.fixture
def approved(anna: User, make_campaign: Make, shop: Any, make_device: Any, opt_in: Any) -> Campaign:
    """Anna's, to two devices, where one is allowed without asking; Eve has said yes."""
    for name in ("ada", "bob"):
        make_device(shop, name)
        opt_in(shop, name)
    shop.application.approval_above = 1
    shop.application.save()
    campaign = make_campaign(by=anna)
    approving.ask(campaign, by=anna, devices=2)
    return approving.decide(campaign, by=User.objects.create_user("eve"), is_granted=True)


def test_a_yes_to_few_is_none_to_many(approved: Campaign, shop: Any, make_device: Any, opt_in: Any) -> None:
    """Its segments may be widened after the approval, and by those who may not approve."""
    for number in range(20):
        make_device(shop, f"more-{number}")
        opt_in(shop, f"more-{number}")
    with pytest.raises(services.NotAllowed, match="approval"):
        services.launch(approved, by="staff:anna", expected=22)
    blocks = {check.key: check.words for check in preflight.report(approved, timezone.now()).blocks}
    assert "for 2 devices; it reaches 22 now" in blocks["approval"]


def test_a_yes_that_was_taken_back_while_somebody_launches_is_none(approved: Campaign) -> None:
    seen_before = Campaign.objects.get(id=approved.id)
    approving.withdraw(approved)
    with pytest.raises(services.NotAllowed, match="taken back"):
        services.launch(seen_before, by="staff:anna")
    assert Campaign.objects.get().status == Status.DRAFT


def test_nothing_leaves_the_archive(anna: User, make_campaign: Make) -> None:
    campaign = make_campaign(by=anna)
    seen_before = Campaign.objects.get(id=campaign.id)
    services.archive(campaign)
    with pytest.raises(services.NotAllowed, match="archive"):
        services.launch(seen_before, by="staff:anna")
    with pytest.raises(services.NotAllowed, match="archive"):
        approving.ask(seen_before, by=anna, devices=1)
    services.unarchive(campaign)
    services.launch(seen_before, by="staff:anna")
