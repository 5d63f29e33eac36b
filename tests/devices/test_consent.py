"""Whoever says whether a person may be sent to: it is written once, and down."""

from __future__ import annotations

import json
import random
import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from devices import consent, selectors
from devices.models import Category, ConsentChange, Preference, Subscriber
from tests.conftest import Tenant

PATH = "subscribers/ada/preferences"


@pytest.fixture
def ada(shop: Tenant) -> Subscriber:
    return Subscriber.objects.create(application=shop.application, external_id="ada")


def log(tenant: Tenant, external_id: str = "ada") -> list[tuple[Any, ...]]:
    """(category, channel, allowed), oldest first."""
    rows = tenant.server.get(f"subscribers/{external_id}/consent").json()["results"]
    return [(row["category"], row["channel"], row["allowed"]) for row in reversed(rows)]


def test_each_change_is_written_down_with_who_when_and_where(shop: Tenant, ada: Subscriber) -> None:
    shop.server.put(PATH, {"marketing": True})
    (row,) = shop.server.get("subscribers/ada/consent").json()["results"]
    assert row.pop("at")
    assert row == {
        "category": "marketing",
        "channel": "push",
        "allowed": True,
        "source": "api",
        "actor": shop.server.key[:16],
        "address": "127.0.0.1",
    }


def test_what_changes_nothing_leaves_no_line(shop: Tenant, ada: Subscriber) -> None:
    for wishes in (
        {"marketing": None, "unsubscribed": False},
        {"marketing": True},
        {"marketing": {"push": True}},
        {"critical": True},
        {"marketing": None},
        {"unsubscribed": True},
        {"unsubscribed": True, "marketing": {}},
        {},
    ):
        assert shop.server.put(PATH, wishes).status_code == 200
    assert log(shop) == [("marketing", "push", True), ("marketing", "push", None), (None, None, False)]


def test_unsubscribing_keeps_what_was_chosen_and_stands_above_it(shop: Tenant, ada: Subscriber) -> None:
    shop.server.put(PATH, {"marketing": True})
    said = shop.server.put(PATH, {"unsubscribed": True}).json()
    assert (said["marketing"], said["unsubscribed"]) == ({"push": True}, True)
    since = shop.server.get("subscribers/ada").json()["unsubscribed_at"]
    assert since
    shop.server.put(PATH, {"unsubscribed": True})
    assert shop.server.get("subscribers/ada").json()["unsubscribed_at"] == since
    back = shop.server.put(PATH, {"unsubscribed": False}).json()
    assert (back["marketing"], back["unsubscribed"]) == ({"push": True}, False)
    assert shop.server.get("subscribers/ada").json()["unsubscribed_at"] is None
    # To take it back is no yes to anything.
    assert log(shop)[1:] == [(None, None, False), (None, None, None)]


def test_a_refused_call_writes_nothing(shop: Tenant, ada: Subscriber) -> None:
    assert shop.server.put(PATH, {"unsubscribed": True, "marketing": True, "nope": True}).status_code == 422
    ada.refresh_from_db()
    assert (ada.unsubscribed_at, log(shop)) == (None, [])


def test_an_import_is_written_down_as_well(shop: Tenant, ada: Subscriber) -> None:
    lines = [
        {"external_id": "ada", "preferences": {"marketing": True, "transactional": False}},
        {"external_id": "bob", "preferences": {"marketing": True, "unsubscribed": True}},
        {"external_id": "bob", "preferences": {"marketing": False}},
    ]
    for _ in range(2):  # the second time changes nothing
        data = "\n".join(map(json.dumps, lines)).encode()
        shop.server.raw("POST", "subscribers/import", data=data, content_type="application/x-ndjson")
        assert sorted(log(shop)) == [("marketing", "push", True), ("transactional", "push", False)]
        assert log(shop, "bob") == [("marketing", "push", False), (None, None, False)]
    sources = set(ConsentChange.objects.values_list("source", "actor", "address"))
    assert sources == {("import", shop.server.key[:16], "127.0.0.1")}
    assert shop.server.get("subscribers/bob").json()["unsubscribed_at"]


def test_a_csv_may_list_those_who_unsubscribed(shop: Tenant, tmp_path: Any) -> None:
    file = tmp_path / "suppressed.csv"
    file.write_text("external_id,pref.unsubscribed\nada,yes\nbob,no\n")
    call_command("import_subscribers", shop.application.slug, str(file), stdout=StringIO())
    assert (log(shop), log(shop, "bob")) == ([(None, None, False)], [])
    change = ConsentChange.objects.get()
    assert (change.actor, change.address) == ("import_subscribers", None)


def test_the_history_comes_in_pages_newest_first(shop: Tenant, ada: Subscriber) -> None:
    for number in range(5):
        shop.server.put(PATH, {"marketing": number % 2 == 0})
    first = shop.server.get("subscribers/ada/consent?limit=3").json()
    rest = shop.server.get(f"subscribers/ada/consent?limit=3&cursor={first['next']}").json()
    assert [row["allowed"] for row in first["results"] + rest["results"]] == [True, False, True, False, True]
    assert rest["next"] is None


def test_erasure_takes_the_history_along(shop: Tenant, ada: Subscriber) -> None:
    shop.server.put(PATH, {"marketing": True, "unsubscribed": True})
    shop.server.delete("subscribers/ada")
    assert not ConsentChange.objects.exists()


def test_nobody_else_reads_or_writes_it(shop: Tenant, rival: Tenant, ada: Subscriber) -> None:
    shop.server.put(PATH, {"marketing": True})
    for path in ("consent", "preferences", "preference-link"):
        assert rival.server.get(f"subscribers/ada/{path}").status_code == 404
        assert shop.client.get(f"subscribers/ada/{path}").status_code == 403
    # By ids that are not the application's, nothing is written.
    category = Category.objects.get(application=shop.application, slug="marketing")
    words, origin = {(ada.pk, category.pk, "push"): False}, consent.Origin("api", "x")
    assert consent.write(rival.id, words, {ada.pk: True}, origin=origin) == 0
    assert ConsentChange.objects.count() == 1


@pytest.mark.parametrize(
    ("proxy", "forwarded", "address"),
    [
        (None, "203.0.113.9", "127.0.0.1"),
        (("HTTP_X_FORWARDED_PROTO", "https"), "8.8.8.8, 203.0.113.9", "203.0.113.9"),
        (("HTTP_X_FORWARDED_PROTO", "https"), "2001:db8::1", "2001:db8::1"),
        (("HTTP_X_FORWARDED_PROTO", "https"), "", "127.0.0.1"),
        (("HTTP_X_FORWARDED_PROTO", "https"), "no address", None),
    ],
)
def test_the_callers_address_is_what_a_trusted_proxy_says(
    shop: Tenant, ada: Subscriber, proxy: Any, forwarded: str, address: str | None
) -> None:
    with override_settings(SECURE_PROXY_SSL_HEADER=proxy):
        shop.server.put(PATH, {"marketing": True}, X_Forwarded_For=forwarded)
    assert ConsentChange.objects.get().address == address


@pytest.mark.django_db(transaction=True)
def test_the_log_of_eight_writers_at_once_tells_how_it_came_to_this(shop: Tenant) -> None:
    """Each line is a change from the one before, and the last is what holds: nothing lost, nothing said twice."""
    people = [Subscriber.objects.create(application=shop.application, external_id=f"p{n}") for n in range(3)]
    slugs = {category.slug: category for category in selectors.categories(shop.id)}
    failures: list[Exception] = []

    def writer(seed: int) -> None:
        dice = random.Random(seed)
        try:
            for _ in range(25):
                words = {
                    (person.pk, slugs[slug].pk, "push"): dice.choice((True, False, None))
                    for person in dice.sample(people, 2)
                    for slug in dice.sample(("marketing", "transactional"), dice.randint(1, 2))
                }
                unsubscribed = {dice.choice(people).pk: dice.random() < 0.5}
                consent.write(shop.id, words, unsubscribed, origin=consent.Origin("api", str(seed)))
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=writer, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for person in people:
        person.refresh_from_db()
        held = dict(Preference.objects.filter(subscriber=person).values_list("category_id", "is_allowed"))
        for category in (slugs["marketing"].pk, slugs["transactional"].pk):
            told = _told(person, category)
            assert all(before != after for before, after in zip([None, *told], told, strict=False))
            assert (told or [None])[-1] == held.get(category)
        told = _told(person, None)
        assert told == [(False, None)[n % 2] for n in range(len(told))]
        assert len(told) % 2 == (person.unsubscribed_at is not None)


def _told(person: Subscriber, category: int | None) -> list[bool | None]:
    rows = ConsentChange.objects.filter(subscriber=person, category=category).order_by("id")
    return list(rows.values_list("is_allowed", flat=True))
