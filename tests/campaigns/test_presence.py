"""Who else has a draft open: told to who may write it, forgotten soon after the last call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from campaigns import presence
from campaigns.models import Campaign
from tenants.models import Membership
from tests.conftest import Tenant

Make = Callable[..., Campaign]


@pytest.fixture
def mia(shop: Tenant) -> User:
    return member("mia", shop)


def member(name: str, tenant: Tenant, role: str = "marketer") -> User:
    user = User.objects.create_user(name, is_staff=True)
    Membership.objects.create(user=user, application=tenant.application, role=role)
    return user


def call(user: User, campaign: Campaign) -> Any:
    client = Client()
    client.force_login(user)
    return client.post(
        f"/admin/campaigns/campaign/{campaign.pk}/presence/", "{}", content_type="application/json"
    )


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200
    return [one["name"] for one in answer.json()["others"]]


def test_two_who_have_it_open_see_each_other_by_name_only(anna: User, mia: User, make_campaign: Make) -> None:
    campaign, other = make_campaign(), make_campaign()
    assert names(call(mia, campaign)) == []
    assert names(call(mia, campaign)) == [], "oneself in another tab is nobody else"
    answer = call(anna, campaign)
    assert names(answer) == ["mia"]
    assert set(answer.json()["others"][0]) == {"name", "since"}
    assert names(call(mia, campaign)) == ["anna"]
    assert names(call(anna, other)) == [], "each campaign has its own"


def test_who_is_not_heard_of_has_left(make_campaign: Make) -> None:
    campaign, begun = make_campaign(), 1_800_000_000.0
    presence.others_of(campaign, "mia", begun)
    presence.others_of(campaign, "mia", begun + presence.BEAT)
    heard = begun + presence.BEAT
    (mia,) = presence.others_of(campaign, "anna", heard + presence.GONE - 1)
    assert (mia.name, mia.since.timestamp()) == ("mia", begun)
    assert presence.others_of(campaign, "anna", heard + presence.GONE) == []
    presence.others_of(campaign, "mia", heard + presence.GONE + 5)
    (mia,) = presence.others_of(campaign, "anna", heard + presence.GONE + 6)
    assert mia.since.timestamp() == heard + presence.GONE + 5, "who comes back has come anew"


def test_nothing_is_kept_longer_than_that(make_campaign: Make) -> None:
    campaign = make_campaign()
    presence.others_of(campaign, "mia")
    (key,) = presence._redis().keys("carillon:open:*")
    assert key == f"carillon:open:{campaign.application_id}:{campaign.pk}"
    assert 0 < presence._redis().ttl(key) <= presence.GONE


def test_who_may_not_write_it_is_told_nothing(
    mia: User, shop: Tenant, rival: Tenant, make_campaign: Make
) -> None:
    campaign = make_campaign()
    call(mia, campaign)
    for user, status in ((member("vera", shop, "viewer"), 403), (member("rita", rival), 404)):
        answer = call(user, campaign)
        assert answer.status_code == status
        assert b"mia" not in answer.content
    assert names(call(mia, campaign)) == [], "nor is anybody told of them"
    url = f"/admin/campaigns/campaign/{campaign.pk}/presence/"
    assert Client().post(url).status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(mia)
    assert strict.post(url).status_code == 403
    assert strict.get(url).status_code == 405


def test_what_is_no_draft_any_more_ends_the_calls(anna: User, mia: User, make_campaign: Make) -> None:
    campaign = make_campaign()
    call(mia, campaign)
    Campaign.objects.update(status="waiting")
    assert call(anna, campaign).json() == {"is_draft": False, "others": []}


def test_without_redis_nobody_else_is_there(mia: User, make_campaign: Make, settings: Any) -> None:
    campaign = make_campaign()
    presence._redis.cache_clear()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    try:
        assert names(call(mia, campaign)) == []
    finally:
        presence._redis.cache_clear()


def test_the_page_says_where_to_call(anna: User, make_campaign: Make) -> None:
    campaign = make_campaign()
    client = Client()
    client.force_login(anna)
    data = client.get(f"/admin/campaigns/campaign/{campaign.pk}/change/").context["data"]
    assert data["urls"]["presence"] == f"/admin/campaigns/campaign/{campaign.pk}/presence/"
    assert data["beat_seconds"] == presence.BEAT < presence.GONE / 2
