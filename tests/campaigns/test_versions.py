"""What a campaign said before, side by side, and going back to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from campaigns import changes, services
from campaigns.models import Campaign, Version
from tests.conftest import Tenant

Make = Callable[..., Campaign]


@pytest.fixture
def browser(anna: User) -> Client:
    return signed_in(anna)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def written(anna: User, make_campaign: Make) -> Campaign:
    """Three versions: Anna's, an hour later Bert's, an hour later Anna's."""
    bert = User.objects.create_user("bert")
    campaign = make_campaign(by=anna)
    for title, by in (("The sale is over", bert), ("The sale is <b>back</b>", anna)):
        Version.objects.update(updated_at=timezone.now() - timedelta(hours=1))
        said = {"variants": [{"content": {"title": title, "body": "Until Sunday."}}]}
        campaign = services.save(campaign, said, version=campaign.version, by=by)
    return campaign


def history(client: Client, campaign: Campaign, query: str = "") -> str:
    answer = client.get(f"/admin/campaigns/campaign/{campaign.pk}/history/{query}")
    assert answer.status_code == 200
    return str(answer.content.decode())


def title(campaign: Campaign) -> str:
    campaign.refresh_from_db()
    return str(campaign.plan["variants"][0]["content"]["title"])


def test_a_platforms_own_link_has_a_line_of_its_own(anna: User, make_campaign: Make) -> None:
    campaign = make_campaign(by=anna)
    overrides = {"apns": {"url": "shop://sale", "badge": 1}, "webpush": {"navigate": "https://example.com"}}
    said = {"variants": [{"content": campaign.plan["variants"][0]["content"], "overrides": overrides}]}
    Version.objects.update(updated_at=timezone.now() - timedelta(hours=1))
    campaign = services.save(campaign, said, version=campaign.version, by=anna)
    new, old = campaign.versions.all()
    found = {change.label: change.pieces[-1].text for change in changes.between(campaign, old, new)}
    assert found == {
        "Link on iPhone": "shop://sale",
        "Link in browsers": "https://example.com",
        "For one platform only": '{"apns":{"badge":1}}',
    }


def test_it_says_who_changed_what(browser: Client, written: Campaign) -> None:
    said = history(browser, written)
    assert [said.count(f'id="v{number}"') for number in (1, 2, 3)] == [1, 1, 1]
    assert "UTC, bert" in said
    assert "<del>on</del><ins>over</ins>" in said
    assert "&lt;" in said
    assert "<b>back" not in said
    assert "The first version." in said


def test_any_two_are_compared_whichever_way_round(browser: Client, written: Campaign) -> None:
    for query in ("?old=1&new=2", "?old=2&new=1"):
        said = history(browser, written, query)
        assert "From version 1 to 2" in said
        assert said.count("<del>on</del><ins>over</ins>") == 2  # there, and in the list below
    for query in ("?old=1", "?old=1&new=1", "?old=1&new=99", "?old=x&new=-1", "?before=x"):
        assert 'id="h-compared"' not in history(browser, written, query)


def test_going_back_makes_a_new_version_and_loses_none(browser: Client, written: Campaign) -> None:
    url = f"/admin/campaigns/campaign/{written.pk}/restore/"
    asked = {"number": 1, "version": written.version}
    assert "Nothing is lost" in browser.post(url, asked, follow=True).content.decode()
    assert title(written) == "The sale is on"
    assert list(written.versions.values_list("number", flat=True)) == [4, 3, 2, 1]
    assert "Went back to version 1." in history(browser, written)

    # The page they had open is older by now.
    assert "changed it meanwhile" in browser.post(url, {**asked, "number": 2}, follow=True).content.decode()
    assert title(written) == "The sale is on"
    assert "says that already" in browser.post(url, {"number": 4, "version": 4}, follow=True).content.decode()
    assert "no such version" in browser.post(url, {"number": 9, "version": 4}, follow=True).content.decode()


def test_what_is_launched_is_not_changed(browser: Client, written: Campaign) -> None:
    services.launch(written, by="staff:anna")
    said = history(browser, written)
    assert "Say this again" not in said
    assert "take it back to edit or duplicate it" in said
    url = f"/admin/campaigns/campaign/{written.pk}/restore/"
    browser.post(url, {"number": 1, "version": written.version})
    assert title(written) == "The sale is <b>back</b>"


def test_only_by_post_and_only_with_the_permission(browser: Client, written: Campaign) -> None:
    vera = User.objects.create_user("vera", is_staff=True)
    vera.user_permissions.set(Permission.objects.filter(codename="view_campaign"))
    viewer = signed_in(vera)
    url = f"/admin/campaigns/campaign/{written.pk}/restore/"
    asked = {"number": 1, "version": written.version}
    assert "Say this again" not in history(viewer, written)
    assert viewer.post(url, asked).status_code == 403
    assert browser.get(url, asked).status_code == 405
    guarded = Client(enforce_csrf_checks=True)
    guarded.force_login(User.objects.get(username="anna"))
    assert guarded.post(url, asked).status_code == 403
    assert title(written) == "The sale is <b>back</b>"
    nobody = signed_in(User.objects.create_user("noel", is_staff=True))
    assert nobody.get(f"/admin/campaigns/campaign/{written.pk}/history/").status_code == 403


def test_a_long_history_has_pages(browser: Client, anna: User, written: Campaign) -> None:
    Version.objects.bulk_create(
        Version(
            campaign=written,
            number=number,
            name="Autumn",
            category=written.category,
            plan=written.plan,
            created_by=anna,
        )
        for number in range(4, 30)
    )
    said = history(browser, written)
    assert 'id="v29"' in said
    assert 'id="v14"' not in said
    older = history(browser, written, "?before=15")
    assert 'id="v14"' in older
    assert 'id="v1"' in older


def test_a_duplicate_is_called_a_copy(browser: Client, written: Campaign, shop: Tenant) -> None:
    browser.post(f"/admin/campaigns/campaign/{written.pk}/duplicate/")
    copy = Campaign.objects.first()
    assert copy
    assert (copy.name, copy.version, copy.status) == ("Copy of Autumn", 1, "draft")
    assert copy.plan == written.plan


@pytest.mark.parametrize("number", [1, 10])
def test_a_version_costs_no_query_of_its_own(
    browser: Client, written: Campaign, number: int, django_assert_max_num_queries: Any
) -> None:
    Version.objects.bulk_create(
        Version(campaign=written, number=4 + one, name="Autumn", category=written.category, plan=written.plan)
        for one in range(number)
    )
    with django_assert_max_num_queries(14):
        history(browser, written)
