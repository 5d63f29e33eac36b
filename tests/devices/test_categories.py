"""Categories and caps, as server keys make and change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from devices.models import Cap, Category, Preference, Subscriber
from notifications import services
from tests.conftest import Api, Tenant

DAILY = {"most": 2, "period": "day", "channel": None}
NEWS = {"slug": "news", "name": "News", "kind": "marketing"}


def test_every_application_starts_with_one_of_each_kind(shop: Tenant) -> None:
    rows = shop.server.get("categories").json()["results"]
    assert [(row["slug"], row["default"], row["crash_rule"], row["quiet_rule"]) for row in rows] == [
        ("critical", "forced", "resend", "ignore"),
        ("marketing", "off", "leave", "hold"),
        ("transactional", "on", "resend", "ignore"),
    ]


def test_a_category_is_made_shown_changed_and_deleted(shop: Tenant) -> None:
    made = shop.server.post("categories", {**NEWS, "caps": [DAILY]})
    assert made.status_code == 201
    assert made.json() == {
        **NEWS,
        "default": "off",
        "crash_rule": "leave",
        "quiet_rule": "hold",
        "channels": ["push"],
        "ttl_seconds": None,
        "caps": [DAILY],
    }
    assert shop.server.get("categories/news").json() == made.json()
    changed = shop.server.patch("categories/news", {"name": "The news", "ttl_seconds": 3600, "default": "on"})
    assert changed.json() == {**made.json(), "name": "The news", "ttl_seconds": 3600, "default": "on"}
    assert shop.server.patch("categories/news", {"ttl_seconds": None}).json()["ttl_seconds"] is None
    assert shop.server.delete("categories/news").status_code == 204
    assert shop.server.get("categories/news").status_code == 404


def test_caps_are_replaced_together(shop: Tenant) -> None:
    weekly = {"most": 5, "period": "week", "channel": "push"}
    caps = [DAILY, weekly, {**DAILY, "channel": "push"}]
    assert shop.server.patch("categories/marketing", {"caps": caps}).json()["caps"] == caps
    assert shop.server.patch("categories/marketing", {"name": "Offers"}).json()["caps"] == caps
    assert shop.server.patch("categories/marketing", {"caps": [weekly]}).json()["caps"] == [weekly]
    assert shop.server.patch("categories/marketing", {"caps": []}).json()["caps"] == []


def test_caps_over_all_categories(shop: Tenant, rival: Tenant) -> None:
    caps = [{**DAILY, "kind": None}, {**DAILY, "kind": "marketing", "most": 1}]
    shop.server.patch("categories/marketing", {"caps": [DAILY]})
    assert shop.server.get("caps").json() == {"caps": []}
    assert shop.server.put("caps", {"caps": caps}).json() == {"caps": caps}
    assert shop.server.get("caps").json() == {"caps": caps}
    assert rival.server.get("caps").json() == {"caps": []}
    assert shop.server.get("categories/marketing").json()["caps"] == [DAILY]
    assert shop.server.put("caps", {"caps": []}).json() == {"caps": []}
    assert Cap.objects.get().category


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"default": "forced"}, "/default"),
        ({"default": "maybe"}, "/default"),
        ({"kind": "critical"}, "/quiet_rule"),
        ({"kind": "spam"}, "/kind"),
        ({"channels": []}, "/channels"),
        ({"channels": ["pigeon"]}, "/channels/0"),
        ({"ttl_seconds": -1}, "/ttl_seconds"),
        ({"ttl_seconds": 28 * 86_400 + 1}, "/ttl_seconds"),
        ({"name": ""}, "/name"),
        ({"slug": "other"}, "/slug"),
        ({"name": "Other", "caps": [{**DAILY, "most": 0}]}, "/caps/0/most"),
        ({"name": "Other", "caps": [{**DAILY, "kind": "marketing"}]}, "/caps/0/kind"),
        ({"name": "Other", "caps": [DAILY, DAILY]}, "/caps/1"),
    ],
)
def test_what_cannot_be_is_named_and_changes_nothing(
    shop: Tenant, changes: dict[str, Any], pointer: str
) -> None:
    shop.server.patch("categories/marketing", {"caps": [DAILY]})
    before = shop.server.get("categories").json()
    answer = shop.server.patch("categories/marketing", changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    if pointer != "/slug":
        assert shop.server.post("categories", {**NEWS, "quiet_rule": "hold", **changes}).status_code == 422
    assert shop.server.get("categories").json() == before


@pytest.mark.parametrize("slug", ["marketing", "unsubscribed", "a b", "x" * 65])
def test_slugs_that_cannot_be(shop: Tenant, slug: str) -> None:
    answer = shop.server.post("categories", {**NEWS, "slug": slug})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/slug"
    assert Category.objects.count() == 3


def test_a_category_people_chose_stays(shop: Tenant) -> None:
    shop.server.put("subscribers/ada", {})
    shop.server.put("subscribers/ada/preferences", {"marketing": True})
    shop.server.put("subscribers/ada/preferences", {"marketing": None})
    answer = shop.server.delete("categories/marketing")
    assert (answer.status_code, answer.json()["title"]) == (409, "In use")
    assert "People have said" in answer.json()["detail"]


def test_a_category_something_was_sent_in_stays(shop: Tenant, make_device: Callable[..., Any]) -> None:
    category = Category.objects.get(application=shop.application, slug="transactional")
    device = make_device(shop, "ada")
    draft = services.Draft(
        category=category, content={"title": "Hi"}, audience={"devices": [str(device.public_id)]}
    )
    services.accept([draft], application_id=shop.id, requested_by="test")
    answer = shop.server.delete("categories/transactional")
    assert answer.status_code == 409
    assert "Messages were sent in it" in answer.json()["detail"]
    assert shop.server.get("categories/transactional").status_code == 200


def test_who_may_call(shop: Tenant, rival: Tenant, stranger: Api) -> None:
    for call, path, body in (
        ("POST", "categories", NEWS),
        ("PATCH", "categories/marketing", {"name": "Mine"}),
        ("DELETE", "categories/marketing", None),
        ("PUT", "caps", {"caps": []}),
    ):
        assert stranger.call(call, path, body).status_code == 401
        assert shop.client.call(call, path, body).status_code == 403
    rival.server.post("categories", NEWS)
    for call in ("GET", "DELETE"):
        assert shop.server.call(call, "categories/news").status_code == 404
    assert shop.server.patch("categories/news", {"name": "Mine"}).status_code == 404
    assert Category.objects.get(slug="news").name == "News"


def test_only_channels_of_the_category_are_chosen(shop: Tenant) -> None:
    Category.objects.filter(slug="marketing").update(channels=[])
    shop.server.put("subscribers/ada", {})
    path = "subscribers/ada/preferences"
    assert "marketing" not in shop.server.get(path).json()
    answer = shop.server.put(path, {"marketing": {"push": True}})
    assert answer.json()["errors"][0]["pointer"] == "/marketing/push"
    assert not Preference.objects.exists()
    assert Subscriber.objects.count() == 1


def test_a_list_costs_the_same_for_many(shop: Tenant, django_assert_max_num_queries: Any) -> None:
    shop.server.get("categories")
    for number in range(10):
        shop.server.post("categories", {**NEWS, "slug": f"news-{number}", "caps": [DAILY]})
    with django_assert_max_num_queries(2):
        assert len(shop.server.get("categories").json()["results"]) == 13
