"""Explain: find somebody, choose a message, read in one sentence why they got it or not, and where to change that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from structlog.testing import capture_logs

from devices import lookup, services
from devices.models import Cap, Category, Device, Segment, Subscriber
from notifications import services as sending
from notifications.explain_admin import rows
from notifications.models import Delivery, Notification
from tests.conftest import Tenant, forget

PAGE = "/admin/explain/"


@pytest.fixture
def mia(shop: Tenant, make_device: Callable[..., Device]) -> Subscriber:
    subscriber = make_device(shop, "mia", permission="granted", model="iPhone 15").subscriber
    assert subscriber
    Subscriber.objects.filter(pk=subscriber.pk).update(email="Mia@Example.com")
    return subscriber


def accepted(shop: Tenant, *, category: str = "transactional", **fields: Any) -> Notification:
    draft = sending.Draft(
        category=Category.objects.get(application=shop.application, slug=category),
        content={"title": "Black Friday", "body": "now"},
        **{"audience": {"subscribers": ["mia"]}, **fields},
    )
    (one,) = sending.accept([draft], application_id=shop.id, requested_by="test")
    return Notification.objects.get(id=one.id)


def told(notification: Notification, device: Device, outcome: str, reason: str = "", **fields: Any) -> None:
    """As the sender writes it."""
    line = {
        "at": datetime.now(UTC).replace(hour=14, minute=3, second=22),
        "application_id": notification.application_id,
        "notification_id": notification.id,
        "device_id": device.id,
        "subscriber_id": device.subscriber_id,
        "lane": "apns.transactional",
        "attempt": 1,
        "provider_id": "",
        "detail": "",
        **fields,
    }
    Delivery.objects.bulk_create([Delivery(outcome=outcome, reason=reason, **line)])


def shown(client: Client, **asked: Any) -> str:
    answer = client.get(PAGE, asked)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


# --- finding somebody -------------------------------------------------------------------------


def test_somebody_is_found_by_whatever_is_at_hand(admin: Client, shop: Tenant, mia: Subscriber) -> None:
    device = mia.devices.get()
    for words in (
        "mia",
        " mia ",
        "mia@example.COM",
        str(device.public_id),
        f"#{device.id}",
        device.token[-6:],
    ):
        html = shown(admin, person=words)
        assert "Now choose the message" in html, words
    assert f"/admin/devices/subscriber/{mia.pk}/change/" in html
    assert device.token not in html


@pytest.mark.parametrize(
    ("words", "index"),
    [
        ("mia", "one_subscriber_per_external_id"),
        ("mia@example.com", "subscribers_by_email"),
        ("abcdef", "devices_by_token_tail"),
    ],
)
def test_every_way_is_an_index(shop: Tenant, mia: Subscriber, words: str, index: str) -> None:
    now = timezone.now()
    mia.devices.update(token="0123456789abcdef")
    people = Subscriber.objects.bulk_create(
        Subscriber(application=shop.application, external_id=f"user-{number}", email=f"{number}@example.com")
        for number in range(3_000)
    )
    Device.objects.bulk_create(
        Device(
            application=shop.application,
            subscriber=one,
            platform="ios",
            token=f"{one.pk:032}",
            registered_at=now,
        )
        for one in people
    )
    plans: list[str] = []

    def explained(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.cursor.execute(f"EXPLAIN {sql}", params)
            plans.append("\n".join(line for (line,) in cursor.cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_subscriber, devices_device")
    with connection.execute_wrapper(explained):
        assert [one.subscriber for one in lookup.people(words, [shop.id])] == [mia]
    assert index in plans[-1], plans[-1]


def test_several_who_fit_are_offered(admin: Client, shop: Tenant, mia: Subscriber) -> None:
    Subscriber.objects.create(application=shop.application, external_id="mia-2", email="mia@example.com")
    html = shown(admin, person="mia@example.com")
    assert "Which of them?" in html
    assert "mia-2" in html


def test_who_is_not_known_or_was_erased(admin: Client, shop: Tenant, mia: Subscriber) -> None:
    assert "Nobody is known by that" in shown(admin, person="nobody")
    number = mia.pk
    services.erase(mia)
    assert "This person was erased" in shown(admin, subscriber=number)
    assert "only counts remain" in shown(admin, person="mia")
    for odd in ("0", "x", "9" * 40, "\x00"):
        assert admin.get(PAGE, {"subscriber": odd, "person": odd}).status_code == 200


def test_a_device_nobody_is_signed_in_on(admin: Client, shop: Tenant, make_device: Any) -> None:
    device = make_device(shop)
    assert "Nobody is signed in on this device" in shown(admin, person=str(device.public_id))


# --- the sentence -----------------------------------------------------------------------------


def verdict(client: Client, mia: Subscriber, notification: Notification) -> tuple[str, str]:
    """The sentence and where its button leads."""
    answer = client.get(PAGE, {"person": "mia", "notification": str(notification.id)})
    link = answer.context["link"]
    return answer.context["verdict"].words, link.url if link else ""


def test_what_was_accepted(admin: Client, shop: Tenant, mia: Subscriber) -> None:
    notification = accepted(shop)
    told(notification, mia.devices.get(), "accepted", provider_id="id-1")
    words, link = verdict(admin, mia, notification)
    assert words.startswith("Reached: accepted by Apple 14:03:22 UTC")
    assert link == ""
    html = shown(admin, person="mia", notification=notification.id)
    assert "On record" in html
    assert "Simulation" not in html
    assert "Raw record (JSON)" in html


def test_a_full_cap(admin: Client, shop: Tenant, mia: Subscriber) -> None:
    category = Category.objects.get(application=shop.application, slug="transactional")
    Cap.objects.create(application=shop.application, category=category, most=3, period="week")
    forget()
    notification = [accepted(shop) for _ in range(4)][-1]
    words, link = verdict(admin, mia, notification)
    assert words == "Not sent: weekly cap reached (3 of 3)."
    assert link == reverse("admin:devices_category_change", args=[category.pk])
    answer = admin.get(PAGE, {"person": "mia", "notification": str(notification.id)})
    marks = {row.title: row.mark for row in answer.context["rows"]}
    assert marks["Consent"] == "yes"
    assert marks["Cap"] == "no"
    assert marks["Throttle"] == marks["Sending"] == "open"


@pytest.mark.parametrize(
    ("outcome", "reason", "words", "link"),
    [
        (
            "unregistered",
            "unregistered",
            "Not reached: app removed from the device (Apple, 14:03:22 UTC).",
            "device",
        ),
        ("failed", "expired", "Not reached: given up 14:03:22 UTC, past its deadline.", "notification"),
        (
            "blocked",
            "invalid_provider_token",
            "Not yet: key refused; it is tried again.",
            "credentials/health",
        ),
        ("suppressed", "opted_out", "Not sent: opted out.", "subscriber"),
        ("suppressed", "global_holdout", "Not sent: ", "application"),
        (
            "uncertain",
            "no_answer",
            "Not known: sent to Apple 14:03:22 UTC, and no answer. It may have",
            "notification",
        ),
        ("cancelled", "", "Not sent: it was cancelled 14:03:22 UTC.", ""),
    ],
)
def test_each_outcome_has_its_sentence_and_its_link(
    admin: Client, shop: Tenant, mia: Subscriber, outcome: str, reason: str, words: str, link: str
) -> None:
    notification = accepted(shop)
    told(notification, mia.devices.get(), outcome, reason)
    said, url = verdict(admin, mia, notification)
    assert said.startswith(words)
    assert link in url
    assert bool(link) == bool(url)


def test_of_several_devices_the_one_that_was_reached_speaks(
    admin: Client, shop: Tenant, mia: Subscriber, make_device: Any
) -> None:
    other = make_device(shop, "mia")
    notification = accepted(shop)
    told(notification, mia.devices.exclude(pk=other.pk).get(), "unregistered", "unregistered")
    assert verdict(admin, mia, notification)[0].startswith("Not yet: it waits")
    told(notification, other, "accepted")
    assert verdict(admin, mia, notification)[0].startswith("Reached")


def test_what_has_not_run_is_a_simulation(admin: Client, shop: Tenant, mia: Subscriber) -> None:
    segment = Segment.objects.create(
        application=shop.application,
        slug="germans",
        name="Germans",
        rules={"field": "subscriber.country", "is": "equal", "value": "DE"},
    )
    later = timezone.now() + timedelta(hours=1)
    notification = accepted(shop, audience={"segment": "germans"}, send_at=later)
    words, link = verdict(admin, mia, notification)
    assert words == "Would not be sent: not in the audience."
    assert link == reverse("admin:devices_segment_change", args=[segment.pk])
    assert "Simulation" in shown(admin, person="mia", notification=notification.id)
    Subscriber.objects.update(country="DE")
    assert verdict(admin, mia, notification) == (
        f"Would be sent at {later.astimezone(UTC):%H:%M} UTC on {later:%-d %B}: no rule stands against it.",
        "",
    )
    segment.delete()
    assert verdict(admin, mia, notification)[0] == "Would not be sent: not in the audience."


def test_who_was_not_in_the_audience_of_one_that_is_done(
    admin: Client, shop: Tenant, mia: Subscriber
) -> None:
    notification = accepted(shop, audience={"subscribers": ["tom"]})
    Notification.objects.update(status="done")
    assert (
        verdict(admin, mia, notification)[0]
        == "Not sent: they were not in the audience when it was resolved."
    )


# --- around it --------------------------------------------------------------------------------


def test_it_says_so_where_a_rule_decides_otherwise_today(
    admin: Client, shop: Tenant, mia: Subscriber
) -> None:
    notification = accepted(shop)
    told(notification, mia.devices.get(), "suppressed", "opted_out")
    assert "Today it would let it pass." in shown(admin, person="mia", notification=notification.id)


def test_another_apps_message_is_not_there(
    admin: Client, shop: Tenant, mia: Subscriber, make_tenant: Callable[[str], Tenant]
) -> None:
    other = make_tenant("Other")
    notification = accepted(other)
    assert "There is no such message in" in shown(admin, person="mia", notification=notification.id)
    assert "Nobody is known by that" in shown(admin, person="mia", application=other.id)
    assert "There is no such message in" in shown(admin, person="mia", notification="nonsense")


def test_the_text_is_escaped_and_a_token_is_nowhere(admin: Client, shop: Tenant, make_device: Any) -> None:
    name = "<script>x</script>"
    device = make_device(shop, name)
    notification = accepted(shop, audience={"subscribers": [name]})
    told(notification, device, "rejected", "bad_device_token", detail=f"said {device.token}")
    html = admin.get(PAGE, {"person": name, "notification": str(notification.id)}).content.decode()
    assert name not in html
    assert "&lt;script&gt;x" in html
    assert device.token not in html
    assert f"…{device.token[-6:]}" in html


def test_only_who_may_see_people_sees_it_and_it_is_logged(
    viewer: Client, vera: User, shop: Tenant, mia: Subscriber
) -> None:
    notification = accepted(shop)
    with capture_logs() as logs:
        shown(viewer, person="mia", notification=notification.id)
    (line,) = [one for one in logs if one.get("action") == "explain.viewed"]
    assert (line["by"], line["subscriber"], line["notification"]) == ("vera", mia.pk, str(notification.id))
    assert "mia" not in str(line)
    vera.user_permissions.remove(Permission.objects.get(codename="view_subscriber"))
    assert viewer.get(PAGE, {"person": "mia"}).status_code == 403
    assert Client().get(PAGE, {"person": "mia"}).status_code in (302, 403)
    assert viewer.post(PAGE).status_code in (403, 405)


def test_it_is_one_click_from_the_person_and_the_ledger(admin: Client, shop: Tenant, mia: Subscriber) -> None:
    notification = accepted(shop)
    told(notification, mia.devices.get(), "accepted")
    assert f"{PAGE}?subscriber={mia.pk}" in shown_at(admin, f"/admin/devices/subscriber/{mia.pk}/change/")
    ledger = shown_at(admin, f"/admin/notifications/delivery/?notification_id={notification.id}")
    assert f"{PAGE}?subscriber={mia.pk}&notification={notification.id}" in ledger


def shown_at(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def test_it_asks_as_little_of_the_database_for_many_lines(
    admin: Client, shop: Tenant, mia: Subscriber, django_assert_max_num_queries: Any
) -> None:
    for _ in range(25):
        told(accepted(shop), mia.devices.get(), "accepted")
    notification = accepted(shop)
    told(notification, mia.devices.get(), "accepted")
    shown(admin, person="mia", notification=notification.id)
    with django_assert_max_num_queries(40):
        shown(admin, person="mia", notification=notification.id)


def test_rows_stop_at_the_rule_that_stopped_it() -> None:
    from notifications.explain_verdict import Verdict

    def step(rule: str, decides: str = "passes") -> dict[str, Any]:
        return {"rule": rule, "sees": "", "decides": decides, "reason": "", "until": None}

    steps = [step("consent"), step("cap"), step("cap", "stops"), step("time")]
    marks = [row.mark for row in rows(Verdict("warn", "", "capped", "cap", is_stored=True), steps)]
    assert marks == ["yes", "yes", "no", "open", "open"]
