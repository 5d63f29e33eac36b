"""The list of campaigns: what is in which tab, what a search finds, and the archive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns import approving, listing, services
from campaigns.models import Campaign
from devices.models import Segment
from notifications.models import Notification, Tally
from tests.campaigns.conftest import notification_of
from tests.conftest import Tenant

Make = Callable[..., Campaign]
IOS = {"field": "device.platform", "is": "equal", "value": "ios"}
URL = "/admin/campaigns/campaign/"


@pytest.fixture
def browser(anna: User) -> Client:
    client = Client()
    client.force_login(anna)
    return client


def names(client: Client, **asked: Any) -> list[str]:
    return [str(row.campaign) for row in client.get(URL, asked).context["rows"]]


def ended(campaign: Campaign, **outcomes: tuple[str, int]) -> Campaign:
    services.launch(campaign, by="staff:anna")
    one = notification_of(campaign)
    for outcome, (reason, count) in outcomes.items():
        Tally.objects.create(notification_id=one.id, slot=0, outcome=outcome, reason=reason, count=count)
    total = sum(count for _, count in outcomes.values())
    Notification.objects.filter(id=one.id).update(recipient_count=total, status="done")
    Campaign.objects.filter(pk=campaign.pk).update(status="finished")
    return campaign


@pytest.fixture
def several(anna: User, make_campaign: Make) -> dict[str, Campaign]:
    bert = User.objects.create_user("bert")
    in_a_while = f"{timezone.now() + timedelta(days=2):%Y-%m-%dT%H:%M}"
    made = {name: make_campaign(name=name) for name in ("draft", "stopped", "held", "going", "gone")}
    for name in ("stopped", "held", "going"):
        services.launch(made[name], by="staff:anna")
        Notification.objects.filter(id=notification_of(made[name]).id).update(
            status="sending", recipient_count=10
        )
    services.pause(made["stopped"], why="canary")
    services.pause(made["held"])
    made["later"] = services.launch(
        make_campaign(name="later", schedule={"kind": "at", "starts": in_a_while}), by="staff:anna"
    )
    made["asked"] = make_campaign(name="asked", by=bert)
    approving.ask(made["asked"], by=bert, devices=1)
    made["good"] = ended(
        make_campaign(name="good"),
        accepted=("", 90),
        unregistered=("unregistered", 10),
        suppressed=("capped", 5),
    )
    made["bad"] = ended(make_campaign(name="bad"), accepted=("", 90), rejected=("bad_topic", 10))
    made["nobody"] = ended(make_campaign(name="nobody"), suppressed=("not_opted_in", 3))
    services.archive(made["gone"])
    return made


def test_each_tab_holds_its_states_and_says_how_many(browser: Client, several: dict[str, Campaign]) -> None:
    holds = {tab.key: names(browser, tab=tab.key) for tab in listing.TABS}
    assert {key: sorted(found) for key, found in holds.items()} == {
        "": sorted(set(several) - {"gone"}),
        "drafts": ["draft"],
        "waiting": ["asked"],
        "scheduled": ["later"],
        "sending": ["going", "held", "stopped"],
        "problems": ["bad", "nobody", "stopped"],
        "finished": ["bad", "good", "nobody"],
        "archived": ["gone"],
    }
    counts = {tab.key: number for tab, number, _ in browser.get(URL).context["tabs"]}
    assert counts == {key: len(found) for key, found in holds.items()}


def test_a_tab_and_its_rows_say_the_same(browser: Client, several: dict[str, Campaign]) -> None:
    """Tabs are counted by the database, states are said by `selectors.state`."""
    said = {str(row.campaign): row.state.word for row in browser.get(URL).context["rows"]}
    assert {name for name, word in said.items() if word in ("Finished with problems", "Reached nobody")} == {
        "bad",
        "nobody",
    }


def test_a_search_finds_names_and_texts(browser: Client, make_campaign: Make) -> None:
    make_campaign(name="Autumn coats")
    make_campaign(name="Shoes", content={"title": "For the autumn"})
    make_campaign(name="Hats", content={"body": "An AUTUMN hat"})
    make_campaign(name="Gloves")
    assert names(browser, q="autumn") == ["Hats", "Shoes", "Autumn coats"]
    said = browser.get(URL, {"q": "<script>", "tab": "drafts"}).content.decode()
    assert "Nothing matches" in said
    assert "Clear filters" in said
    assert "<script>”" not in said
    for nonsense in ("\0", "%", "'"):
        assert browser.get(URL, {"q": nonsense, "page": "-1", "tab": "x", "app": "y"}).status_code == 200


def test_an_app_narrows_the_list(browser: Client, shop: Tenant, rival: Tenant, make_campaign: Make) -> None:
    make_campaign(name="Ours")
    make_campaign(name="Theirs", tenant=rival)
    assert names(browser, app="rival") == ["Theirs"]
    assert names(browser) == ["Theirs", "Ours"]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (
            {"kind": "at", "starts": "2031-03-18T09:00", "time_zone": "Europe/Berlin"},
            "Tue 18 Mar 2031, 09:00 Berlin",
        ),
        ({"kind": "at", "starts": "2031-03-18T09:00"}, "Tue 18 Mar 2031, 09:00 UTC"),
        ({"kind": "local", "starts": "2031-03-18T09:00"}, "Tue 18 Mar 2031, 09:00 local time"),
        (
            {
                "kind": "recurring",
                "starts": "2031-03-18T09:00",
                "rule": "FREQ=DAILY",
                "time_zone": "Asia/Tokyo",
            },
            "next Tue 18 Mar 2031, 09:00 Tokyo",
        ),
    ],
)
def test_times_are_on_the_campaigns_own_clock(
    make_campaign: Make, schedule: dict[str, str], said: str
) -> None:
    campaign = services.launch(make_campaign(schedule=schedule), by="staff:anna")
    assert listing.when(campaign, timezone.now()) == said


def test_pages_follow_each_other(browser: Client, make_campaign: Make) -> None:
    for number in range(listing.ON_A_PAGE + 2):
        make_campaign(name=f"Number {number}")
    first = browser.get(URL, {"tab": "drafts"})
    assert first.context["older"] == "?tab=drafts&page=2"
    assert names(browser, tab="drafts", page=2) == ["Number 1", "Number 0"]
    assert not names(browser, tab="drafts", page=3)


def shelve(client: Client, *campaigns: Campaign, **said: str) -> str:
    rows = [f"{campaign.pk}:{campaign.version}" for campaign in campaigns]
    answer = client.post(f"{URL}archive/", {"row": rows, **said}, follow=True)
    return str(answer.content.decode())


def test_several_are_archived_and_put_back(browser: Client, several: dict[str, Campaign]) -> None:
    said = shelve(
        browser, several["good"], several["draft"], several["going"], several["asked"], back="tab=drafts"
    )
    assert "2 campaigns are archived" in said
    assert "“going” stays: It is under way" in said
    assert "“asked” stays" in said
    assert sorted(names(browser, tab="archived")) == ["draft", "gone", "good"]
    assert "“good” is back in the list" in shelve(browser, several["good"], to="list")
    assert "good" in names(browser)
    answer = browser.post(f"{URL}archive/", {"row": "1:1", "back": "tab=drafts&next=//evil.example"})
    assert answer["Location"] == f"{URL}?tab=drafts"


def test_what_was_changed_meanwhile_is_not_archived(browser: Client, several: dict[str, Campaign]) -> None:
    draft = several["draft"]
    services.save(draft, {"name": "draft 2"}, version=draft.version, by=None)
    assert "changed after this list was shown" in shelve(browser, draft)
    assert "draft 2" in names(browser)
    assert (
        "Nothing was chosen"
        in browser.post(f"{URL}archive/", {"row": ["x", "1", "²:1"]}, follow=True).content.decode()
    )


def test_only_who_may_change_archives(several: dict[str, Campaign], anna: User) -> None:
    vera = User.objects.create_user("vera", is_staff=True)
    vera.user_permissions.set(Permission.objects.filter(codename="view_campaign"))
    viewer = Client()
    viewer.force_login(vera)
    said = viewer.get(URL).content.decode()
    assert 'name="row"' not in said
    assert "Duplicate" not in said
    assert "data-cancels" not in said
    assert viewer.post(f"{URL}archive/", {"row": f"{several['draft'].pk}:1"}).status_code == 403
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(anna)
    assert strict.post(f"{URL}archive/", {"row": f"{several['draft'].pk}:1"}).status_code == 403
    assert strict.get(f"{URL}archive/").status_code == 405
    nobody = Client()
    nobody.force_login(User.objects.create_user("noel", is_staff=True))
    for page in ("", "calendar/", "sending/", "queues/"):
        assert nobody.get(f"{URL}{page}").status_code == 403


def test_a_page_costs_the_same_for_many_rows(browser: Client, shop: Tenant, make_campaign: Make) -> None:
    for slug in ("a", "b"):
        Segment.objects.create(application=shop.application, name=slug, slug=slug, rules=IOS)

    def add(number: int) -> None:
        for _ in range(number):
            ended(make_campaign(audience={"segments": ["a"], "not_segments": ["b"]}), accepted=("", 1))

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(URL).status_code == 200
        return len(captured)

    add(1)
    cost()
    one = cost()
    add(9)
    assert cost() == one <= 10  # three of them are the frame's: session, user, incidents
