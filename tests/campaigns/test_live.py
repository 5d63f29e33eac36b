"""The page of a run: what it shows while it moves and afterwards, and what may be done from it."""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns import goals, recipients, services
from campaigns.models import Campaign, Run, Stage
from devices.models import Device, Segment, SegmentMember, Subscriber
from notifications.models import Delivery, EngagementTally, Notification, Rollup, Tally
from tests.conftest import Tenant

Make = Callable[..., Campaign]

OPENS_APART = {"A": 840, "B": 1001}


@pytest.fixture
def admin(anna: User) -> Client:
    return signed_in(anna)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def staff(name: str, *permissions: str) -> User:
    user = User.objects.create_user(name, f"{name}@example.com", "pw", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def address(campaign: Campaign, page: str = "live", query: str = "") -> str:
    return f"/admin/campaigns/campaign/{campaign.pk}/{page}/{query}"


def text(answer: Any) -> str:
    """What a person reads of an answer."""
    body = re.sub(r"(?s)<(script|style|head)\b.*?</\1>", " ", answer.content.decode())
    body = html.unescape(body)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def stage(campaign: Campaign, kind: str = "send", variant: str = "A") -> Stage:
    return Stage.objects.select_related("notification").get(
        run__campaign=campaign, kind=kind, variant=variant
    )


def book(stage: Stage, outcome: str, count: int, reason: str = "", provider: str = "") -> None:
    """As the senders count."""
    Tally.objects.create(
        notification_id=stage.notification_id,
        slot=0,
        outcome=outcome,
        reason=reason,
        provider=provider,
        count=count,
    )


def hear(stage: Stage, kind: str, count: int) -> None:
    EngagementTally.objects.create(
        notification_id=stage.notification_id, slot=0, kind=kind, name="", count=count, value=0
    )


def reach(stage: Stage, recipients: int, *, is_over: bool = False) -> None:
    """So many it is for; over: the senders have been there."""
    assert stage.notification
    state: dict[str, Any] = {"status": "sending", "finished_at": None}
    if is_over:
        state = {"status": "done", "finished_at": timezone.now()}
    Notification.objects.filter(id=stage.notification.id).update(recipient_count=recipients, **state)


@pytest.fixture
def sending(make_campaign: Make) -> Campaign:
    campaign = services.launch(make_campaign(), by="staff:anna")
    reach(stage(campaign), 1000)
    return campaign


# --- the sum --------------------------------------------------------------------------------------


def test_the_numbers_add_up_and_the_polling_ends(admin: Client, sending: Campaign) -> None:
    one = stage(sending)
    for outcome, reason, count in (
        ("accepted", "", 700),
        ("unregistered", "unregistered", 20),
        ("rejected", "payload_too_large", 5),
        ("suppressed", "opted_out", 100),
        ("suppressed", "capped", 25),
        ("uncertain", "no_answer", 2),
    ):
        book(one, outcome, count, reason)
    answer = admin.get(address(sending, "live-status"))
    seen = answer.context["sum"]
    assert answer.status_code == 200
    assert sum(part.count for part in seen.parts) == seen.recipients == 1000
    said = text(answer)
    for words in ("Sending", "852 of 1,000", "Accepted 700", "Held back 125", "Uncertain 2", "Waiting 148"):
        assert words in said
    assert "App removed from the device" in said
    assert 'aria-valuenow="85"' in answer.content.decode()

    Tally.objects.filter(outcome="accepted").update(count=848)
    reach(one, 1000, is_over=True)
    answer = admin.get(address(sending, "live-status"))
    assert answer.status_code == 286
    assert answer["HX-Trigger"] == "run-ended"
    assert "hx-trigger" not in answer.content.decode()


def test_the_page_asks_for_no_row_of_the_ledger_to_count(admin: Client, sending: Campaign) -> None:
    book(stage(sending), "accepted", 990)
    book(stage(sending), "rejected", 10, "payload_too_large", "apns")
    for page in ("live", "live-status", "live-details"):
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert admin.get(address(sending, page)).status_code in (200, 286)
        assert not [one["sql"] for one in asked if "notifications_delivery" in one["sql"]]


def test_widths_have_a_point_in_every_language(admin: Client, sending: Campaign, settings: Any) -> None:
    settings.LANGUAGE_CODE = "de"
    reach(stage(sending), 3)
    book(stage(sending), "accepted", 1)
    assert "width:33.33%" in admin.get(address(sending, "live-status")).content.decode()


def test_the_bar_of_deeds_is_left_alone_until_it_changes(admin: Client, sending: Campaign) -> None:
    page = admin.get(address(sending))
    same = admin.get(address(sending, "live-status", f"?deeds={page.context['deeds']}"))
    assert 'id="live-deeds"' not in same.content.decode()
    services.pause(sending)
    other = admin.get(address(sending, "live-status", f"?deeds={page.context['deeds']}"))
    assert 'id="live-deeds" hx-swap-oob="true"' in other.content.decode()
    assert "Resume" in text(other)


def test_what_devices_told_is_in_the_funnel(admin: Client, sending: Campaign) -> None:
    one = stage(sending)
    reach(one, 1000, is_over=True)
    book(one, "accepted", 800)
    book(one, "suppressed", 200, "not_opted_in")
    for kind, count in (("received", 600), ("opened", 40), ("clicked", 12)):
        hear(one, kind, count)
    answer = admin.get(address(sending, "live-details"))
    shown = {part["word"]: (part["count"], part["share"]) for part in answer.context["funnel"]}
    assert shown["Targeted"] == (1000, "")
    assert shown["Received"] == (600, "75.0")
    assert shown["Opened"] == (40, "5.0")
    assert answer.status_code == 200  # devices go on telling
    Notification.objects.filter(id=one.notification_id).update(finished_at=timezone.now() - timedelta(days=2))
    assert admin.get(address(sending, "live-details")).status_code == 286


def test_charts_and_splits_come_from_counts_by_the_minute(
    admin: Client, sending: Campaign, shop: Tenant
) -> None:
    one = stage(sending)
    began = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=30)
    for minute, platform, language, outcome, count in (
        (0, "ios", "de", "accepted", 60),
        (0, "ios", "de", "unregistered", 5),
        (2, "android", "", "accepted", 40),
        (3, "ios", "de", "opened", 6),
    ):
        Rollup.objects.create(
            notification_id=one.notification_id,
            application_id=shop.id,
            at=began + timedelta(minutes=minute),
            platform=platform,
            language=language,
            outcome=outcome,
            count=count,
        )
    answer = admin.get(address(sending, "live-details"))
    sent, told = answer.context["charts"]
    assert [(series.key, series.total) for series in sent.series] == [("accepted", 100), ("failed", 5)]
    assert [numbers for _, numbers in sent.rows] == [(60, 5), (40, 0)]
    assert [(series.key, series.total) for series in told.series] == [("opened", 6)]
    assert "Accepted 100, Failed 5." in sent.says
    body = answer.content.decode()
    assert body.count('<svg viewBox="0 0 720 160"') == 2
    assert body.count('role="img" aria-labelledby="chart-') == 2
    said = text(answer)
    assert "iPhone and iPad 65 60 5 0 6 10.0 %" in said
    assert "Not known 40 40 0 0 0" in said


# --- deeds ----------------------------------------------------------------------------------------


def test_a_launch_is_undone_in_its_first_minute(admin: Client, make_campaign: Make) -> None:
    campaign = services.launch(make_campaign(schedule={"undo": True}), by="staff:anna")
    page = admin.get(address(campaign))
    assert "Undo send" in text(page)
    assert "Nothing has left yet" in text(page)
    assert 0 < page.context["undo_seconds"] <= 60
    answer = admin.post(address(campaign, "unschedule"))
    assert answer["Location"] == address(campaign, "change")
    campaign.refresh_from_db()
    assert campaign.status == "draft"
    assert not Notification.objects.exclude(status="cancelled").exists()


def test_it_pauses_and_goes_on_without_a_question(admin: Client, sending: Campaign) -> None:
    said = text(admin.post(address(sending, "pause"), follow=True))
    assert "Paused" in said
    assert "Resume" in said
    stopped = stage(sending).notification
    assert stopped
    assert stopped.paused_at
    admin.post(address(sending, "resume"))
    going = stage(sending).notification
    assert going
    assert going.paused_at is None
    assert [entry.get_change_message() for entry in LogEntry.objects.order_by("id")] == [
        "Paused.",
        "Resumed.",
    ]


def test_cancelling_says_in_numbers_what_cannot_be_recalled(admin: Client, sending: Campaign) -> None:
    book(stage(sending), "accepted", 300)
    said = text(admin.get(address(sending)))
    assert "300 are already with Apple, Google or a browser and cannot be recalled" in said
    assert "700 that still wait will not be sent" in said
    admin.post(address(sending, "cancel"))
    sending.refresh_from_db()
    assert sending.status == "cancelled"


def test_who_comes_second_is_told(admin: Client, sending: Campaign) -> None:
    ben = signed_in(staff("ben", "view_campaign", "stop_campaign"))
    admin.post(address(sending, "pause"))
    said = text(ben.post(address(sending, "pause"), follow=True))
    assert "This campaign is paused by now" in said
    assert LogEntry.objects.count() == 1
    ben.post(address(sending, "cancel"))
    assert "cancelled by now" in text(admin.post(address(sending, "resume"), follow=True))


def test_a_stop_by_itself_says_why_and_what_now(admin: Client, sending: Campaign) -> None:
    services.pause(sending, why="problems", detail="40 of 100 tried have failed (40.0 %); the limit is 10 %.")
    said = text(admin.get(address(sending)))
    assert "Stopped by itself: too many failures. 40 of 100 tried have failed" in said
    assert "Resume anyway" in said
    viewer = signed_in(staff("vera", "view_campaign"))
    said = text(viewer.get(address(sending)))
    assert "Somebody who may pause and resume campaigns has to let it go on" in said
    assert "Resume anyway" not in said
    admin.post(address(sending, "resume"))
    assert (
        LogEntry.objects.get().get_change_message().startswith("Resumed. It had stopped by itself: 40 of 100")
    )
    assert Run.objects.get().waived == ["problems"]


def test_deeds_are_posts_of_those_who_may(admin: Client, sending: Campaign) -> None:
    viewer = signed_in(staff("vera", "view_campaign"))
    lister = signed_in(staff("lisa", "view_campaign", "view_delivery"))
    assert lister.get(address(sending, "recipients", "?result=accepted")).status_code == 200
    assert lister.post(address(sending, "export")).status_code == 403
    for deed in ("pause", "resume", "cancel", "decide", "unschedule", "duplicate", "resend", "export"):
        assert admin.get(address(sending, deed)).status_code == 405
        assert viewer.post(address(sending, deed)).status_code == 403
        assert Client().post(address(sending, deed)).status_code in (302, 403)
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(User.objects.get(username="anna"))
        assert strict.post(address(sending, deed)).status_code == 403
    assert viewer.get(address(sending, "recipients", "?result=accepted")).status_code == 403
    sending.refresh_from_db()
    assert sending.status == "sending"
    assert not LogEntry.objects.exists()


def test_it_waits_for_its_moment_in_words(admin: Client, make_campaign: Make) -> None:
    starts = (timezone.now() + timedelta(hours=2, minutes=14, seconds=40)).strftime("%Y-%m-%dT%H:%M")
    campaign = services.launch(make_campaign(schedule={"kind": "at", "starts": starts}), by="staff:anna")
    said = text(admin.get(address(campaign)))
    assert re.search(r"Waits for .*\d\d:\d\d UTC, in 2 h 1[34] min", said)
    assert "Take back to edit" in said
    assert "Undo send" not in said


def test_a_local_time_counts_nobody_to_say_when(admin: Client, make_campaign: Make) -> None:
    starts = (timezone.now() + timedelta(days=3)).strftime("%Y-%m-%dT09:00")
    campaign = services.launch(make_campaign(schedule={"kind": "local", "starts": starts}), by="staff:anna")
    with CaptureQueriesContext(connection) as asked:
        said = text(admin.get(address(campaign)))
    assert "Waits for each person’s own time; the first begin at" in said
    assert not [one["sql"] for one in asked if "devices_device" in one["sql"]]


def test_stages_say_what_they_wait_for(
    admin: Client, make_campaign: Make, shop: Tenant, make_device: Any
) -> None:
    for number in range(40):
        make_device(shop, f"p{number}")
    campaign = services.launch(
        make_campaign(
            variants=[{"key": key, "content": {"title": key, "body": "x"}} for key in "AB"],
            experiment={"holdout": 10, "test": 50},
            safety={"canary": 5},
        ),
        by="staff:anna",
    )
    said = text(admin.get(address(campaign, "live-status")))
    assert "Held out block Gets nothing to compare with" in said
    assert "First devices A" in said
    assert "Everyone B hourglass_empty Waits until the first devices went well" in said
    assert "Remainder hourglass_empty Waits until somebody has decided which variant wins" in said


def test_each_run_of_a_recurring_one_has_its_page(admin: Client, make_campaign: Make) -> None:
    campaign = services.launch(
        make_campaign(
            schedule={"kind": "recurring", "starts": "2027-03-22T09:00", "rule": "FREQ=WEEKLY;BYDAY=MO"}
        ),
        by="staff:anna",
    )
    assert "Nothing has been sent yet" in text(admin.get(address(campaign)))
    for _ in range(2):
        campaign.refresh_from_db()
        services.next_run(campaign, timezone.now())
    first, second = Run.objects.order_by("number")
    book(first.stages.get(), "accepted", 7)
    Notification.objects.filter(stage__run=first).update(
        recipient_count=7, status="done", finished_at=timezone.now()
    )
    said = text(admin.get(address(campaign, query="?run=1")))
    assert "Run 1 of 2" in said
    assert "Finished" in said
    assert "7 of 7" in said
    assert "Pause" not in said
    assert "Run 2 of 2" in text(admin.get(address(campaign)))
    for wrong in ("?run=3", "?run=x", "?run=99999999999999999999"):
        assert admin.get(address(campaign, query=wrong)).status_code == 404
    assert second.number == 2


# --- recipients -----------------------------------------------------------------------------------


@pytest.fixture
def write(shop: Tenant, make_device: Any) -> Callable[..., Device]:
    """A ledger line of a person's own device, counted."""

    def make(stage: Stage, person: str, outcome: str, reason: str = "", **more: Any) -> Device:
        device: Device = make_device(shop, person)
        line = {"lane": "apns.campaign", "attempt": 1, "provider_id": "", "detail": "", **more}
        Delivery.objects.create(
            at=timezone.now(),
            application_id=shop.id,
            notification_id=stage.notification_id,
            device_id=device.pk,
            subscriber_id=device.subscriber_id,
            outcome=outcome,
            reason=reason,
            **line,
        )
        tally, _ = Tally.objects.get_or_create(
            notification_id=stage.notification_id,
            slot=0,
            outcome=outcome,
            reason=reason,
            provider=str(line["lane"]).partition(".")[0],
            defaults={"count": 0},
        )
        Tally.objects.filter(pk=tally.pk).update(count=tally.count + 1)
        return device

    return make


def test_who_is_behind_a_number_page_by_page(
    admin: Client, sending: Campaign, write: Callable[..., Device]
) -> None:
    one = stage(sending)
    for number in range(5):
        write(one, f"gone-{number}", "unregistered", "unregistered")
    write(one, "late", "failed", "expired", detail="<b>too late</b>")
    write(one, "fine", "accepted")
    said = text(admin.get(address(sending, "recipients", "?result=failed")))
    assert all(f"gone-{number}" in said for number in range(5))
    assert "late" in said
    assert "fine" not in said
    said = text(admin.get(address(sending, "recipients", "?result=failed&reason=expired")))
    assert "Came too late" in said
    assert "gone-0" not in said

    run, seen = sending.latest_run, []
    assert run
    after: recipients.Place | None = recipients.Place()
    while after is not None:
        lines, after = recipients.page(run, result="failed", after=after, size=2)
        seen += [line.person or "" for line in lines]
    assert sorted(seen) == sorted([*(f"gone-{number}" for number in range(5)), "late"])

    assert admin.get(address(sending, "recipients", "?result=nonsense")).status_code == 404


def test_failures_by_provider_lead_to_their_recipients(
    admin: Client, sending: Campaign, write: Callable[..., Device]
) -> None:
    one = stage(sending)
    for person in ("tim", "sue", "kay"):
        write(one, person, "rejected", "payload_too_large")
    write(one, "ann", "rejected", "payload_too_large", lane="fcm.campaign")
    write(one, "eve", "unregistered", "unregistered", lane="fcm.campaign")
    status = admin.get(address(sending, "live-status"))
    shown = {
        row.reason: {by.word: (by.count, by.url) for by in row.providers}
        for row in status.context["sum"].problems
    }
    url = address(sending, "recipients", "?run=1&result=failed&reason={}&provider={}")
    assert shown == {
        "payload_too_large": {
            "Apple": (3, url.format("payload_too_large", "apns")),
            "Google": (1, url.format("payload_too_large", "fcm")),
        },
        "unregistered": {"Google": (1, url.format("unregistered", "fcm"))},
    }
    assert "Apple 3 of" in text(status)

    for provider, people in (("apns", {"tim", "sue", "kay"}), ("fcm", {"ann"})):
        answer = admin.get(url.format("payload_too_large", provider))
        assert {line.person for line, _ in answer.context["rows"]} == people
        assert answer.context["total"] == len(people)
    assert "(Google) 1 device in run 1" in text(answer)
    assert admin.get(url.format("payload_too_large", "pigeon")).status_code == 404

    viewer = signed_in(staff("vera", "view_campaign"))
    status = viewer.get(address(sending, "live-status"))
    assert "Apple 3" in text(status)
    assert "provider=" not in status.content.decode()


def test_counts_from_before_providers_were_told_apart_are_of_none(
    admin: Client, sending: Campaign, write: Callable[..., Device]
) -> None:
    one = stage(sending)
    write(one, "tim", "rejected", "payload_too_large")
    Tally.objects.update(provider="")
    answer = admin.get(address(sending, "live-status"))
    assert [row.providers for row in answer.context["sum"].problems] == [()]
    query = "?result=failed&reason=payload_too_large&provider=apns"
    rows = admin.get(address(sending, "recipients", query)).context["rows"]
    assert [line.person for line, _ in rows] == ["tim"]

    write(one, "sue", "rejected", "payload_too_large")
    answer = admin.get(address(sending, "live-status"))
    (row,) = answer.context["sum"].problems
    assert [(by.word, by.count) for by in row.providers] == [("Apple", 1), ("Not known", 1)]
    said = text(admin.get(address(sending, "recipients", query)))
    assert "tim" in said
    assert "sue" in said
    assert "device in run" not in said  # how many they are is not known


def test_the_csv_holds_everybody_and_no_formula(
    admin: Client, sending: Campaign, write: Callable[..., Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipients, "CHUNK", 2)
    one = stage(sending)
    device = write(one, "ada", "accepted")
    for person in ("=1+1", "+49", "-x", "@sum", "plain, with comma"):
        write(one, person, "suppressed", "opted_out", lane="")
    write(one, "eve", "retry", "unavailable")
    answer = admin.post(address(sending, "export"))
    rows = list(csv.DictReader(b"".join(answer.streaming_content).decode().splitlines()))
    assert list(rows[0]) == list(recipients.COLUMNS)
    assert [row["person"] for row in rows] == ["ada", "'=1+1", "'+49", "'-x", "'@sum", "plain, with comma"]
    assert rows[0] | {"at": ""} == {
        "at": "",
        "run": "1",
        "stage": "send",
        "variant": "A",
        "person": "ada",
        "device": str(device.public_id),
        "platform": "ios",
        "provider": "Apple",
        "result": "accepted",
        "reason": "",
        "reason_words": "",
        "attempt": "1",
    }
    assert rows[1]["reason_words"] == "Opted out"
    assert "attachment" in answer["Content-Disposition"]
    assert LogEntry.objects.get().get_change_message() == "Recipients of run 1 exported."


def test_those_not_reached_become_the_audience_of_a_draft(
    admin: Client, sending: Campaign, write: Callable[..., Device]
) -> None:
    one = stage(sending)
    write(one, "late", "failed", "expired")
    write(one, "capped", "suppressed", "capped")
    write(one, "two-phones", "failed", "unavailable")
    write(one, "two-phones", "accepted")
    write(one, "gone", "unregistered", "unregistered")
    write(one, "left", "suppressed", "opted_out")
    write(one, "maybe", "uncertain", "no_answer")
    reach(one, 8)
    assert "Wait until it has ended" in text(admin.post(address(sending, "resend"), {"run": 1}, follow=True))
    reach(one, 7, is_over=True)
    assert "Send to the 3 not reached" in text(admin.get(address(sending)))
    answer = admin.post(address(sending, "resend"), {"run": 1})
    made = Campaign.objects.latest("id")
    assert answer["Location"] == address(made, "change")
    assert (made.status, made.name) == ("draft", "Autumn (not reached)")
    segment = Segment.objects.get()
    assert made.plan["audience"]["segments"] == [segment.slug]
    assert made.plan["variants"] == sending.plan["variants"]
    members = SegmentMember.objects.filter(segment_id=segment.pk).values_list("subscriber_id", flat=True)
    people = set(Subscriber.objects.filter(id__in=members).values_list("external_id", flat=True))
    assert people == {"late", "capped"}
    assert segment.size == 2

    admin.post(address(sending, "resend"), {"run": 1})
    assert Segment.objects.count() == 2


def test_without_anybody_left_nothing_is_made(
    admin: Client, sending: Campaign, write: Callable[..., Device]
) -> None:
    write(stage(sending), "gone", "unregistered", "unregistered")
    reach(stage(sending), 1, is_over=True)
    assert "Nobody is left" in text(admin.post(address(sending, "resend"), {"run": 1}, follow=True))
    assert not Segment.objects.exists()
    assert Campaign.objects.count() == 1


# --- experiments ----------------------------------------------------------------------------------


@pytest.fixture
def compared(make_campaign: Make) -> Campaign:
    """A and B to 20,000 each, who have all been sent it; the remainder waits."""
    campaign = services.launch(
        make_campaign(
            variants=[{"key": key, "content": {"title": key, "body": "x"}} for key in "AB"],
            experiment={"test": 50, "hours": 24},
        ),
        by="staff:anna",
    )
    for key in "AB":
        one = stage(campaign, "send", key)
        reach(one, 20_000, is_over=True)
        book(one, "accepted", 20_000)
        hear(one, "opened", OPENS_APART[key])
    return campaign


def ripen(campaign: Campaign) -> None:
    """As if the time of the comparison was over."""
    Run.objects.filter(campaign=campaign).update(due_at=timezone.now() - timedelta(hours=25))


def test_results_begin_with_a_sentence(admin: Client, compared: Campaign) -> None:
    ripen(compared)
    said = text(admin.get(address(compared, "live-details")))
    assert "B opens more: 5.0 % against 4.2 %. Difference +0.8 points, likely between +0.4 and +1.2." in said
    assert "Send B to the rest" in said
    assert "Split as planned: 20,000 / 20,000." in said
    assert re.search(r"20,000 per variant can show a difference of \d+ % or more", said)


def test_nobody_sees_a_difference_before_its_time_but_who_looks_early(
    admin: Client, compared: Campaign
) -> None:
    answer = admin.get(address(compared, "live-details"))
    said = text(answer)
    assert "No result yet: 20,000 devices per variant so far. The comparison runs until" in said
    assert "+0.8 points" not in said.split("Look early")[0]
    assert "do not decide by this" in said
    assert re.search(r'id="send-winner" disabled', answer.content.decode())
    assert "Decide anyway" in said


def test_the_variants_are_drawn_on_one_scale_of_time(admin: Client, compared: Campaign, shop: Tenant) -> None:
    began = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=30)
    for key, minutes in (("A", (0, 1, 10)), ("B", (1, 2))):
        for minute in minutes:
            Rollup.objects.create(
                notification_id=stage(compared, "send", key).notification_id,
                application_id=shop.id,
                at=began + timedelta(minutes=minute),
                platform="ios",
                language="",
                outcome="opened",
                count=10 + minute,
            )
    chart = admin.get(address(compared, "live-details")).context["charts"][-1]
    assert chart.title == "Opened over time, by variant"
    assert [(series.word, series.total) for series in chart.series] == [("A", 41), ("B", 23)]
    assert [numbers for _, numbers in chart.rows] == [(10, 0), (11, 11), (0, 12), (20, 0)]


def test_a_split_that_is_broken_replaces_the_verdict(admin: Client, compared: Campaign) -> None:
    ripen(compared)
    Tally.objects.filter(notification_id=stage(compared, "send", "B").notification_id).update(count=15_000)
    reach(stage(compared, "send", "B"), 15_000, is_over=True)
    said = text(admin.get(address(compared, "live-details")))
    assert "The split is broken, do not use this" in said
    assert "opens more" not in said
    admin.post(address(compared, "decide"), {"run": 1, "variant": "B"})
    assert Run.objects.get().decided_at is None


def test_the_winner_goes_to_the_remainder_once(admin: Client, compared: Campaign) -> None:
    ripen(compared)
    for variant in ("B", "A"):
        admin.post(address(compared, "decide"), {"run": 1, "variant": variant})
    run = Run.objects.get()
    assert (run.winner, run.decided_by) == ("B", "anna")
    assert stage(compared, "rest", "B").notification
    assert "B goes to the remainder: decided by anna" in text(admin.get(address(compared)))


def test_deciding_before_its_time_takes_a_reason_that_is_kept(admin: Client, compared: Campaign) -> None:
    said = text(admin.post(address(compared, "decide"), {"run": 1, "variant": "A"}, follow=True))
    assert "To decide before, say why. Nothing was decided." in said
    for wrong in ({"run": 2, "variant": "A"}, {"run": 1, "variant": "Z"}, {"run": 1}):
        admin.post(address(compared, "decide"), {"reason": "hurry", **wrong})
    assert Run.objects.get().decided_at is None
    admin.post(address(compared, "decide"), {"run": 1, "variant": "", "reason": "B has a typo"})
    run = Run.objects.get()
    assert run.decided_at
    assert run.overridden == {"decided_early": "B has a typo"}
    assert "B has a typo" in LogEntry.objects.get().get_change_message()
    assert "Before its time, because: “B has a typo”." in text(admin.get(address(compared)))


def test_a_goal_is_compared_with_those_who_were_held_out(
    admin: Client, make_campaign: Make, write: Callable[..., Device], shop: Tenant
) -> None:
    campaign = services.launch(make_campaign(experiment={"holdout": 10, "goal": "order"}), by="staff:anna")
    sent, held = stage(campaign), stage(campaign, "holdout", "")
    buyer = write(sent, "buyer", "accepted")
    write(sent, "reader", "accepted")
    loyal = write(held, "loyal", "suppressed", "holdout", lane="")
    from devices.models import Event

    for device in (buyer, loyal):
        Event.objects.create(
            at=timezone.now() + timedelta(seconds=1),
            application_id=shop.id,
            subscriber_id=device.subscriber_id,
            name="order",
            properties={},
        )
    goals.count_due()
    sent.refresh_from_db()
    held.refresh_from_db()
    assert (sent.goal_people, sent.goal_count) == (2, 1)
    assert (held.goal_people, held.goal_count) == (1, 1)
    said = text(admin.get(address(campaign, "live-details")))
    assert "Too few did it to say what sending changed." in said

    Stage.objects.filter(id=sent.id).update(goal_people=100_000, goal_count=1_100)
    Stage.objects.filter(id=held.id).update(goal_people=20_000, goal_count=160)
    said = text(admin.get(address(campaign, "live-details")))
    assert "Sending it raised it: 1.1 % of those who got it, 0.80 % of those held out." in said
