"""Categories, caps and quiet hours as a marketer sets them: forms in plain words, errors beside their field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from devices.models import Cap, Category
from tests.conftest import Tenant

ADD = "/admin/devices/category/add/"


def category(shop: Tenant, slug: str = "marketing") -> Category:
    return Category.objects.get(application=shop.application, slug=slug)


def caps(*rows: dict[str, Any], initial: int = 0) -> dict[str, Any]:
    """A filled-in table of caps; the first `initial` of them were there before."""
    data: dict[str, Any] = {"caps-TOTAL_FORMS": len(rows), "caps-INITIAL_FORMS": initial}
    data |= {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    for number, row in enumerate(rows):
        data |= {f"caps-{number}-{name}": value for name, value in row.items()}
    return data


def fields(**changes: Any) -> dict[str, Any]:
    usual = {
        "name": "Offers",
        "kind": "marketing",
        "default": "off",
        "channels": ["push"],
        "quiet_rule": "hold",
        "ttl_seconds": "",
        "crash_rule": "leave",
        "_save": "1",
    }
    return {**usual, **caps(), **changes}


def change(admin: Client, shop: Tenant, slug: str = "marketing", **changes: Any) -> Any:
    return admin.post(
        f"/admin/devices/category/{category(shop, slug).pk}/change/", fields(**changes), follow=True
    )


def errors(answer: Any) -> dict[str, list[str]]:
    return answer.context["adminform"].form.errors if "adminform" in answer.context else {}


def test_a_new_category_starts_as_usual_for_marketing(admin: Client, shop: Tenant) -> None:
    form = admin.get(ADD).context["adminform"].form
    assert {name: form[name].value() for name in ("kind", "default", "channels", "quiet_rule")} == {
        "kind": "marketing",
        "default": "off",
        "channels": ["push"],
        "quiet_rule": "hold",
    }


def test_a_category_is_added_with_its_caps(admin: Client, shop: Tenant) -> None:
    answer = admin.post(
        ADD,
        {
            **fields(application=shop.id, slug="offers", ttl_seconds="3600"),
            **caps({"most": 2, "period": "day", "channel": ""}),
        },
        follow=True,
    )
    assert errors(answer) == {}
    made = category(shop, "offers")
    assert (made.name, made.ttl_seconds, made.channels) == ("Offers", 3600, ["push"])
    cap = Cap.objects.get()
    assert (cap.category, cap.application_id, cap.most, cap.period) == (made, shop.id, 2, "day")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"default": "forced"}, "default"),
        ({"kind": "critical", "default": "on"}, "quiet_rule"),
        ({"channels": []}, "channels"),
        ({"name": ""}, "name"),
        ({"ttl_seconds": "7"}, "ttl_seconds"),
    ],
)
def test_what_cannot_be_is_said_beside_its_field(
    admin: Client, shop: Tenant, changes: dict[str, Any], field: str
) -> None:
    assert list(errors(change(admin, shop, **changes))) == [field]
    assert category(shop).name == "Marketing"


def test_a_short_name_that_stands_for_something_else(admin: Client, shop: Tenant) -> None:
    answer = admin.post(ADD, fields(application=shop.id, slug="unsubscribed"))
    assert list(errors(answer)) == ["slug"]


def test_an_odd_lifetime_set_by_api_stays(admin: Client, shop: Tenant) -> None:
    shop.server.patch("categories/marketing", {"ttl_seconds": 4321})
    assert errors(change(admin, shop, ttl_seconds="4321")) == {}
    assert category(shop).ttl_seconds == 4321


def test_caps_are_changed_swapped_removed_and_not_said_twice(admin: Client, shop: Tenant) -> None:
    shop.server.patch(
        "categories/marketing", {"caps": [{"most": 2, "period": "day"}, {"most": 5, "period": "week"}]}
    )
    first, second = (str(cap.pk) for cap in Cap.objects.order_by("id"))
    twice = caps(
        {"id": first, "most": 1, "period": "day", "channel": ""},
        {"id": second, "most": 5, "period": "day", "channel": ""},
        initial=2,
    )
    answer = change(admin, shop, **twice)
    assert "There is a cap for the same messages and period above." in answer.content.decode()
    swapped = {**twice, "caps-0-period": "week"}
    change(admin, shop, **swapped)
    assert set(Cap.objects.values_list("most", "period")) == {(1, "week"), (5, "day")}
    first, second = (str(cap.pk) for cap in Cap.objects.order_by("id"))
    change(admin, shop, **{**swapped, "caps-0-id": first, "caps-1-id": second, "caps-0-DELETE": "on"})
    assert set(Cap.objects.values_list("most", "period")) == {(5, "day")}


def test_an_unused_category_can_be_deleted_and_a_used_one_cannot(
    admin: Client, shop: Tenant, make_campaign: Callable[..., Any]
) -> None:
    make_campaign()
    answer = admin.post(f"/admin/devices/category/{category(shop).pk}/remove/", follow=True)
    assert "a campaign uses it" in answer.content.decode()
    admin.post(f"/admin/devices/category/{category(shop, 'critical').pk}/remove/")
    assert set(Category.objects.values_list("slug", flat=True)) == {"marketing", "transactional"}
    assert LogEntry.objects.count() == 1


def test_deleting_takes_the_right_to(admin: Client, viewer: Client, client: Client, shop: Tenant) -> None:
    url = f"/admin/devices/category/{category(shop, 'critical').pk}/remove/"
    assert viewer.post(url).status_code == 403
    assert client.post(url).status_code == 302
    assert admin.get(url).status_code == 405
    assert Category.objects.count() == 3


# --- An application's own ----------------------------------------------------------------------


def line(number: int, days: list[int], start: str, end: str) -> dict[str, Any]:
    name = f"quiet_hours-{number}"
    return {f"{name}-day": [str(day) for day in days], f"{name}-start": start, f"{name}-end": end}


def save(admin: Client, shop: Tenant, **changes: Any) -> Any:
    application = shop.application
    kept = {
        "name": application.name,
        "default_locale": "en",
        "default_time_zone": "UTC",
        "messages_per_second": "",
        "retirement_percent": "10",
        "holdout_percent": "0",
    }
    answer = admin.post(
        f"/admin/tenants/application/{application.pk}/change/",
        {**kept, **caps(), **changes, "_save": "1"},
        follow=True,
    )
    application.refresh_from_db()
    return answer


def test_quiet_hours_are_lines_of_days_and_times(admin: Client, shop: Tenant) -> None:
    nights, weekend = line(0, [1, 2, 3, 4, 5], "22:00", "07:30"), line(1, [6, 7], "20:00:00", "10:00")
    assert errors(save(admin, shop, **nights, **weekend, **line(2, [1, 2], "", ""))) == {}
    assert shop.application.quiet_hours == [
        {"days": [1, 2, 3, 4, 5], "start": "22:00", "end": "07:30"},
        {"days": [6, 7], "start": "20:00", "end": "10:00"},
    ]
    page = admin.get(f"/admin/tenants/application/{shop.id}/change/").content.decode()
    assert 'name="quiet_hours-0-start" value="22:00"' in page
    assert page.count('-start"') == 4  # two lines, and two for more
    save(admin, shop, **line(0, [1], "", ""), **weekend)
    assert len(shop.application.quiet_hours) == 1


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (line(0, [1], "22:00", ""), "Line 1: expected a time of day, such as 22:00."),
        (line(0, [1], "25:00", "08:00"), "Line 1: expected a time of day, such as 22:00."),
        (
            {**line(0, [1], "22:00", "08:00"), **line(1, [], "12:00", "13:00")},
            "Line 2: tick at least one day.",
        ),
        (line(0, [1, 2, 3, 4, 5, 6, 7], "00:00", "00:00"), "They leave no time at all."),
    ],
)
def test_quiet_hours_that_cannot_be(admin: Client, shop: Tenant, lines: dict[str, Any], words: str) -> None:
    assert errors(save(admin, shop, **lines)) == {"quiet_hours": [words]}
    assert shop.application.quiet_hours == []


def test_caps_over_all_categories(admin: Client, shop: Tenant) -> None:
    shop.server.patch("categories/marketing", {"caps": [{"most": 9, "period": "day"}]})
    save(admin, shop, **caps({"most": 3, "period": "day", "kind": "marketing", "channel": ""}))
    assert shop.server.get("caps").json() == {
        "caps": [{"kind": "marketing", "most": 3, "period": "day", "channel": None}]
    }
    assert shop.server.get("categories/marketing").json()["caps"][0]["most"] == 9
    page = admin.get(f"/admin/tenants/application/{shop.id}/change/").content.decode()
    assert 'name="caps-INITIAL_FORMS" value="1"' in page


def test_viewers_read_quiet_hours_in_words(viewer: Client, shop: Tenant) -> None:
    shop.application.quiet_hours = [{"days": [1, 2, 3, 4, 5], "start": "22:00", "end": "07:30"}]
    shop.application.save()
    page = viewer.get(f"/admin/tenants/application/{shop.id}/change/").content.decode()
    assert "Mon-Fri 22:00-07:30" in page
    assert "&quot;days&quot;" not in page
