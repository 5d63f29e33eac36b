"""Dead letters in the admin: found, looked into, replayed after a page that says what will happen; by those who may."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Device
from notifications import dead_letters, replays
from notifications.models import Batch, Delivery, Notification, Replay, Tally
from notifications.pipeline import replay
from tests.conftest import Tenant

PAGE = "/admin/notifications/replay/dead-letters/"
CONFIRM, START = f"{PAGE}confirm/", f"{PAGE}replay/"
Fail = Callable[..., Delivery]


@pytest.fixture
def fail(shop: Tenant, make_device: Any) -> Fail:
    """A notification of one recipient, given up unless told otherwise; its ledger line."""

    def make(
        title: str = "Hello", *, tenant: Tenant = shop, of: Notification | None = None, **line: Any
    ) -> Delivery:
        notification = of or Notification.objects.create(
            application=tenant.application,
            category=tenant.application.categories.get(slug="marketing"),
            status="done",
            content={"title": title, "body": "there"},
            audience={},
            recipient_count=1,
        )
        device = make_device(tenant, f"user-{Device.objects.count()}")
        values = {
            "at": timezone.now(),
            "lane": "apns.campaign",
            "outcome": "failed",
            "reason": "unavailable",
            "attempt": 5,
            "provider_id": "",
            "detail": "",
            **line,
        }
        Tally.objects.create(
            notification_id=notification.pk,
            slot=Tally.objects.count(),
            outcome=values["outcome"],
            reason=values["reason"],
            count=1,
        )
        return Delivery.objects.create(
            application_id=tenant.id,
            notification_id=notification.pk,
            device_id=device.pk,
            subscriber_id=device.subscriber_id,
            **values,
        )

    return make


def text(answer: Any) -> str:
    """What a person reads of a page's own part."""
    body = html.unescape(answer.content.decode())
    return " ".join(re.sub(r"<[^>]+>", " ", body[body.index("<main") :]).split())


def key(line: Delivery) -> str:
    return f"{line.notification_id}:{line.device_id}"


def hidden(answer: Any) -> list[tuple[str, str]]:
    """What the form of a confirmation would post."""
    body = answer.content.decode()
    form = body[body.index(f'action="{START}"') :].split("</form>")[0]
    return [
        (name, html.unescape(value))
        for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
        if name != "csrfmiddlewaretoken"
    ]


def confirmed(admin: Client, query: Any) -> Any:
    """Look at the confirmation, then click; the page after it."""
    given: dict[str, list[str]] = {}
    for name, value in hidden(admin.get(CONFIRM, query)):
        given.setdefault(name, []).append(value)
    return admin.post(START, given, follow=True)


def replayed() -> set[int]:
    return {id for batch in Batch.objects.all() for id in batch.device_ids}


# --- looking ----------------------------------------------------------------------------------


def test_the_list_names_the_message_the_person_the_reason_and_the_providers_words(
    admin: Client, fail: Fail
) -> None:
    fail("The sale is on", detail="Service busy, come back")
    said = text(admin.get(PAGE))
    for word in (
        "1 dead letter",
        "The sale is on",
        "user-0",
        "Apple (APNs)",
        "Provider not available unavailable",
        "Gave up after 5 attempts: “Service busy, come back”",
    ):
        assert word in said


def test_it_is_narrowed_by_app_provider_reason_time_and_notification(
    admin: Client, fail: Fail, rival: Tenant
) -> None:
    hour = timedelta(hours=1)
    old = fail("Old one", at=timezone.now() - 2 * hour)
    fail("Droid", lane="fcm.campaign", reason="internal")
    fail("Theirs", tenant=rival)
    titles = ("Old one", "Droid", "Theirs")

    def shown(**query: Any) -> list[str]:
        said = text(admin.get(PAGE, query))
        return [title for title in titles if title in said]

    shop = old.application_id
    ago = f"{timezone.now() - hour:%Y-%m-%dT%H:%M}"
    assert shown(application=shop) == ["Old one", "Droid"]
    assert shown(application=rival.id) == ["Theirs"]
    assert shown(application=shop, provider="fcm") == ["Droid"]
    assert shown(application=shop, reason="unavailable") == ["Old one"]
    assert shown(application=shop, since=ago) == ["Droid"]
    assert shown(application=shop, until=ago) == ["Old one"]
    assert shown(notification=old.notification_id) == ["Old one"]
    assert shown(application=rival.id, notification=old.notification_id) == ["Old one"]
    for nonsense in (
        {"since": "soon"},
        {"provider": "pigeon"},
        {"application": "x"},
        {"notification": UNKNOWN},
    ):
        assert shown(**{"application": shop, **nonsense}) == []


UNKNOWN = "01a1fce2-e0ad-7927-9c71-b2ddaa6d8428"


def test_long_lists_go_on_and_cost_what_short_ones_cost(
    admin: Client, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "PER_PAGE", 4)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(PAGE).status_code == 200
        return len(captured)

    first = fail()
    queries()
    few = queries()
    for _ in range(3):
        fail()
    assert queries() == few <= 14
    fail()
    page = admin.get(PAGE)
    assert "5 dead letters" in text(page)
    assert key(first) not in page.content.decode()
    (older,) = re.findall(r'href="(\?[^"]*before=[^"]*)"', page.content.decode())
    assert key(first) in admin.get(PAGE + html.unescape(older)).content.decode()


def test_behind_a_large_replay_one_looks_further(
    admin: Client, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "LOOK", 1)
    old = fail(at=timezone.now() - timedelta(hours=1))
    confirmed(admin, {"application": old.application_id, "letter": key(fail())})
    page = admin.get(PAGE)
    assert "None of the 1 latest failures here is a dead letter any more" in text(page)
    (older,) = re.findall(r'href="(\?[^"]*before=[^"]*)"', page.content.decode())
    assert key(old) in admin.get(PAGE + html.unescape(older)).content.decode()


def test_where_there_is_none_it_says_what_would_be_here(admin: Client, shop: Tenant) -> None:
    assert "No dead letter When a provider refuses" in text(admin.get(PAGE))
    assert "No dead letter matches" in text(admin.get(PAGE, {"reason": "unavailable"}))


def test_an_empty_installation_has_the_page(admin: Client, db: None) -> None:
    assert "No application yet" in text(admin.get(PAGE))


def test_one_recipients_whole_story_is_told_in_order(admin: Client, fail: Fail) -> None:
    line = fail(detail="Busy", provider_id="apns-id-1")
    story = [("retry", "unavailable", "Wait a second"), ("replayed", "unavailable", "failed")]
    for minutes, (outcome, reason, detail) in zip((-5, 5), story, strict=True):
        Delivery.objects.create(
            **{
                **{field.attname: getattr(line, field.attname) for field in Delivery._meta.fields},
                "id": None,
                "provider_id": "",
                "at": line.at + timedelta(minutes=minutes),
                "outcome": outcome,
                "reason": reason,
                "detail": detail,
            }
        )
    said = text(admin.get(f"{PAGE}{line.notification_id}/{line.device_id}/"))
    order = [said.index(word) for word in ("Wait a second", "Gave up", "apns-id-1", "takes back: failed")]
    assert order == sorted(order)
    assert "Not to be replayed" in said


def test_a_dead_letter_says_what_to_do_and_leads_to_its_replay(admin: Client, fail: Fail) -> None:
    line = fail()
    page = admin.get(f"{PAGE}{line.notification_id}/{line.device_id}/")
    assert "Once the cause is over, replay it." in text(page)
    (url,) = re.findall(r'href="([^"]*confirm[^"]*)"', page.content.decode())
    assert "1 recipient of 1 notification" in text(admin.get(html.unescape(url)))
    assert admin.get(f"{PAGE}{UNKNOWN}/{line.device_id}/").status_code == 404
    assert admin.get(f"{PAGE}{line.notification_id}/999999/").status_code == 404


# --- replaying ----------------------------------------------------------------------------------


def test_the_confirmation_says_exactly_what_will_happen_and_does_nothing(admin: Client, fail: Fail) -> None:
    first = fail("The sale is on")
    of = Notification.objects.get()
    fail(of=of)
    gone, accepted = fail("Another"), fail(of=of, outcome="accepted", reason="")
    Device.objects.filter(id=gone.device_id).update(retired_at=timezone.now())
    said = text(admin.get(CONFIRM, {"application": first.application_id, "which": "all"}))
    assert "2 recipients of 1 notification of Shop are sent the same message again" in said
    assert "2 The sale is on" in said
    assert "1 stays as it is: the device is gone" in said
    assert "Nobody gets it twice" in said
    assert "lifetime counts anew" in said
    assert not (Batch.objects.exists() or Replay.objects.exists() or LogEntry.objects.exists())
    assert accepted.device_id not in replayed()


def test_all_that_match_are_replayed_and_it_is_written_down(admin: Client, fail: Fail, anna: User) -> None:
    line, other = fail("The sale is on"), fail(reason="internal")
    answer = confirmed(admin, {"application": line.application_id, "reason": "unavailable", "which": "all"})
    assert "1 dead letter on the way again." in answer.content.decode()
    assert answer.redirect_chain[-1][0].endswith(
        f"/notifications/notification/{line.notification_id}/change/"
    )
    assert replayed() == {line.device_id}
    made = Replay.objects.get()
    assert (made.requested_by, made.recipient_count, made.criteria["reason"]) == (
        "staff:anna",
        1,
        "unavailable",
    )
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.get_change_message()) == (
        anna,
        str(line.notification_id),
        "Replayed 1 dead letter.",
    )
    history = admin.get("/admin/notifications/replay/").content.decode()
    assert "staff:anna" in history
    assert "Provider not available" in history
    assert key(other) in admin.get(PAGE).content.decode()


def test_picked_ones_of_several_notifications_are_replayed(admin: Client, fail: Fail) -> None:
    lines = [fail(title) for title in ("One", "Two", "Three")]
    query = {"application": lines[0].application_id, "letter": [key(line) for line in lines[:2]]}
    answer = confirmed(admin, query)
    assert replayed() == {line.device_id for line in lines[:2]}
    assert "2 dead letters on the way again." in answer.content.decode()
    assert LogEntry.objects.count() == 2


def test_a_second_click_replays_nothing(admin: Client, fail: Fail) -> None:
    query = {"application": fail().application_id, "which": "all"}
    given = dict(hidden(admin.get(CONFIRM, query)))
    admin.post(START, given)
    answer = admin.post(START, given, follow=True)
    assert "nothing left to replay" in answer.content.decode()
    assert "Nothing to replay" in text(admin.get(CONFIRM, query))
    assert Replay.objects.count() == LogEntry.objects.count() == 1


def test_what_fails_while_the_confirmation_is_read_is_not_meant(admin: Client, fail: Fail) -> None:
    seen = fail()
    given = dict(hidden(admin.get(CONFIRM, {"application": seen.application_id, "which": "all"})))
    fail()
    admin.post(START, given)
    assert replayed() == {seen.device_id}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"letter": "nonsense"},
        {"letter": f"{UNKNOWN}:x"},
        {"which": "picked"},
        {"which": "all", "since": "soon"},
        {"which": "all", "application": "999"},
        {"which": "all", "notification": UNKNOWN},
        {"which": "all", "notification": "nonsense"},
    ],
)
def test_an_unclear_question_replays_nothing(admin: Client, fail: Fail, given: dict[str, str]) -> None:
    line = fail()
    for answer in (admin.get(CONFIRM, given), admin.post(START, given)):
        assert answer.status_code == 302
        assert answer["Location"].startswith(PAGE)
    assert not Replay.objects.exists()
    assert key(line) in admin.get(PAGE).content.decode()


def test_another_apps_dead_letter_is_not_replayed_in_the_name_of_this_one(
    admin: Client, fail: Fail, rival: Tenant
) -> None:
    theirs = fail(tenant=rival)
    ours = fail()
    admin.post(START, {"application": ours.application_id, "letter": key(theirs)})
    assert not Replay.objects.exists()


def test_a_cancelled_notification_is_shown_and_refused(admin: Client, fail: Fail) -> None:
    line = fail()
    Notification.objects.update(status="cancelled")
    assert key(line) not in admin.get(PAGE).content.decode()
    assert "Cancelled" in text(admin.get(PAGE))
    answer = admin.post(START, {"which": "all", "notification": str(line.notification_id)}, follow=True)
    assert "That notification was cancelled" in answer.content.decode()
    assert not Replay.objects.exists()


def test_where_it_takes_too_long_it_says_so_and_goes_on_with_the_next_click(
    admin: Client, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MOST_NOTIFICATIONS", 1)
    monkeypatch.setattr(dead_letters, "REPLAY_SECONDS", 0)
    lines = [fail(), fail()]
    query = {"application": lines[0].application_id, "which": "all"}
    answer = confirmed(admin, query)
    assert "1 dead letter sent again so far" in answer.content.decode()
    assert "1 recipient of 1 notification" in text(answer)
    confirmed(admin, query)
    assert replayed() == {line.device_id for line in lines}


# --- by whom ------------------------------------------------------------------------------------


def test_viewers_look_and_do_nothing(viewer: Client, fail: Fail) -> None:
    line = fail()
    one = f"{PAGE}{line.notification_id}/{line.device_id}/"
    for page in (PAGE, one, "/admin/notifications/replay/"):
        answer = viewer.get(page)
        assert answer.status_code == 200
        assert CONFIRM not in answer.content.decode()
    query = {"which": "all", "application": str(line.application_id)}
    assert viewer.get(CONFIRM, query).status_code == 403
    assert viewer.post(START, query).status_code == 403
    assert not Replay.objects.exists()


def test_strangers_see_nothing(client: Client, fail: Fail) -> None:
    line = fail()
    for page in (PAGE, CONFIRM, f"{PAGE}{line.notification_id}/{line.device_id}/"):
        assert client.get(page)["Location"].startswith("/admin/login/")
    assert client.post(START, {"which": "all"}).status_code == 302
    assert not Replay.objects.exists()


def test_staff_without_a_permission_see_nothing(db: None, client: Client, fail: Fail) -> None:
    client.force_login(User.objects.create_user("otto", is_staff=True))
    line = fail()
    for page in (PAGE, CONFIRM, f"{PAGE}{line.notification_id}/{line.device_id}/"):
        assert client.get(page).status_code == 403


def test_nothing_is_replayed_by_get_or_without_a_token(admin: Client, anna: User, fail: Fail) -> None:
    query = {"which": "all", "application": str(fail().application_id)}
    assert admin.get(START, query).status_code == 405
    assert admin.post(CONFIRM, query).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(anna)
    assert strict.post(START, query).status_code == 403
    assert not Replay.objects.exists()
