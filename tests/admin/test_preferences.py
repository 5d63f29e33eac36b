"""A person's page: what they want, what they said when, and the address of their own preference page."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from devices import links, selectors
from devices.models import ConsentChange, Subscriber
from tests.conftest import Tenant


@pytest.fixture
def ada(shop: Tenant) -> Subscriber:
    return Subscriber.objects.create(application=shop.application, external_id="ada")


def page(ada: Subscriber, name: str = "change") -> str:
    return f"/admin/devices/subscriber/{ada.pk}/{name}/"


def test_staff_write_down_what_a_person_told_them(admin: Client, ada: Subscriber) -> None:
    said = {"marketing/push": "yes", "transactional/push": "default", "unsubscribed": "no"}
    answer = admin.post(page(ada, "choose"), said, follow=True)
    assert "written down in the history" in answer.content.decode()
    assert selectors.preferences(ada)["marketing"] == {"push": True}
    change = ConsentChange.objects.get()
    assert (change.source, change.actor, change.address) == ("admin", "anna", "127.0.0.1")
    assert "Nothing was changed" in admin.post(page(ada, "choose"), said, follow=True).content.decode()
    assert (ConsentChange.objects.count(), LogEntry.objects.count()) == (1, 1)

    admin.post(
        page(ada, "choose"), {"marketing/push": "default", "critical/push": "no", "unsubscribed": "yes"}
    )
    ada.refresh_from_db()
    assert ada.unsubscribed_at
    assert selectors.preferences(ada)["marketing"] == {"push": False}
    admin.post(page(ada, "choose"), {"unsubscribed": "no"})
    ada.refresh_from_db()
    assert ada.unsubscribed_at is None


def test_the_history_is_told_in_words(admin: Client, shop: Tenant, ada: Subscriber) -> None:
    assert "Nothing so far" in admin.get(page(ada)).content.decode()
    shop.server.put("subscribers/ada/preferences", {"marketing": True, "unsubscribed": True})
    shop.server.put("subscribers/ada/preferences", {"marketing": None, "unsubscribed": False})
    told = admin.get(page(ada)).content.decode()
    for words in ("Marketing, Push", "Taken back", "Unsubscribed", "No longer unsubscribed", "127.0.0.1"):
        assert words in told


def test_the_link_is_for_those_who_may_change_it(admin: Client, viewer: Client, ada: Subscriber) -> None:
    assert links.url(ada) in admin.get(page(ada)).content.decode()
    told = viewer.get(page(ada)).content.decode()
    assert "/p/" not in told
    assert "Not said: off" in told


def test_who_may_not(viewer: Client, client: Client, anna: User, ada: Subscriber) -> None:
    said = {"unsubscribed": "yes"}
    assert viewer.post(page(ada, "choose"), said).status_code == 403
    assert client.post(page(ada, "choose"), said).status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(anna)
    assert strict.post(page(ada, "choose"), said).status_code == 403
    assert strict.get(page(ada, "choose")).status_code == 405
    assert not ConsentChange.objects.exists()


def test_quiet_hours_in_words(admin: Client, shop: Tenant, ada: Subscriber) -> None:
    assert "The application&#x27;s" in admin.get(page(ada)).content.decode()
    shop.server.patch("subscribers/ada", {"quiet_hours": [{"start": "22:00", "end": "08:00"}]})
    assert "22:00-08:00" in admin.get(page(ada)).content.decode()
    shop.server.patch("subscribers/ada", {"quiet_hours": []})
    assert "None: at any hour" in admin.get(page(ada)).content.decode()
