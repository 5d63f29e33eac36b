"""What `admin_pages` does inside Django: a run of everybody as if it had been sent, and each page asked for."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from benchmarks import report

ROUNDS, LONGEST_SECONDS = 20, 60
LATER = "2035-03-04T09:00"

CHUNK = 500_000  # device ids to a statement: what one of ten million sorts and keeps would spill to disk

# Everybody of the application, half to A and half to B, over the last three quarters of an hour.
LINES = """
    SELECT %(now)s::timestamptz - make_interval(secs => 2700.0 * (%(last)s - d.id) / greatest(%(last)s - %(first)s, 1))
            AS at,
        CASE d.id %% 2 WHEN 0 THEN %(a)s ELSE %(b)s END::uuid AS notification_id, d.id, d.application_id,
        d.subscriber_id, d.platform, d.locale,
        CASE d.platform WHEN 'ios' THEN 'apns' WHEN 'android' THEN 'fcm' ELSE 'webpush' END AS provider,
        CASE WHEN d.id %% 100 < 3 THEN 'unregistered' WHEN d.id %% 100 < 4 THEN 'failed'
            WHEN d.id %% 100 < 9 THEN 'suppressed' ELSE 'accepted' END AS outcome,
        CASE WHEN d.id %% 100 < 3 THEN 'unregistered' WHEN d.id %% 100 < 4 THEN 'expired'
            WHEN d.id %% 100 < 9 THEN 'capped' ELSE '' END AS reason
    FROM devices_device d
    WHERE d.application_id = %(application)s AND d.id >= %(lower)s AND d.id < %(upper)s
"""
LEDGER = f"""
    INSERT INTO notifications_delivery (at, application_id, notification_id, device_id, subscriber_id, lane, outcome,
        reason, attempt, provider_id, detail)
    SELECT l.at, l.application_id, l.notification_id, l.id, l.subscriber_id,
        l.provider || '.campaign', l.outcome, l.reason, 1, '', ''
    FROM ({LINES}) l
"""
TALLIES = f"""
    INSERT INTO notifications_tally (notification_id, slot, outcome, reason, provider, count)
    SELECT l.notification_id, 0, l.outcome, l.reason, l.provider, count(*) FROM ({LINES}) l GROUP BY 1, 3, 4, 5
    ON CONFLICT (notification_id, slot, outcome, reason, provider)
        DO UPDATE SET count = notifications_tally.count + EXCLUDED.count
"""
ROLLUPS = f"""
    INSERT INTO notifications_rollup (notification_id, application_id, at, platform, language, outcome, count)
    SELECT l.notification_id, l.application_id, date_trunc('minute', l.at), l.platform, left(l.locale, 2), k.outcome,
        count(*)
    FROM ({LINES}) l
    CROSS JOIN LATERAL (
        SELECT l.outcome UNION ALL SELECT 'received' WHERE l.outcome = 'accepted' AND l.id %% 3 > 0
        UNION ALL SELECT 'opened' WHERE l.outcome = 'accepted' AND l.id %% 20 = 0
        UNION ALL SELECT 'clicked' WHERE l.outcome = 'accepted' AND l.id %% 100 = 0
    ) k
    GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (notification_id, application_id, at, platform, language, outcome)
        DO UPDATE SET count = notifications_rollup.count + EXCLUDED.count
"""
TOLD = """
    INSERT INTO notifications_engagementtally (notification_id, slot, kind, name, count, value)
    SELECT notification_id, 0, outcome, '', sum(count), 0 FROM notifications_rollup
    WHERE notification_id = ANY (%(ids)s) AND outcome IN ('received', 'opened', 'clicked') GROUP BY 1, 3
"""
COUNTED = """
    UPDATE notifications_notification n SET recipient_count = (
        SELECT sum(count) FROM notifications_tally t WHERE t.notification_id = n.id
    ) WHERE n.id = ANY (%(ids)s)
"""


def main(slug: str) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from tenants.models import Application

    application = Application.objects.get(slug=slug)
    began = time.monotonic()
    draft, launched, person = _seeded(application)
    recipients = _recipients(launched)
    report.line("admin_seed", recipients=recipients, seconds=round(time.monotonic() - began, 1))
    client = _signed_in()
    for page in _pages(draft, launched, person):
        _measure(client, page, recipients)


def _seeded(application: Any) -> tuple[Any, Any, str]:
    """A draft, the campaign with the run, and the id of somebody in it."""
    from django.utils import timezone

    from campaigns import services
    from campaigns.models import Campaign, Run, Stage
    from devices.models import Subscriber

    text = {"title": "Autumn sale", "body": "Up to 40 % off until Sunday."}
    both = [{"key": key, "content": text} for key in "AB"]
    plan = {"name": "Large", "variants": both, "experiment": {"test": 90}}
    draft = services.create(application, by=None, fields={**plan, "name": "Draft"})
    launched = services.create(application, by=None, fields=plan)
    since = timezone.now() - timedelta(minutes=50)
    run = Run.objects.create(campaign=launched, number=1, due_at=since, plan=launched.plan, devices=1)
    Run.objects.filter(id=run.id).update(created_at=since)
    ids = [_sent(run, position, key, text) for position, key in enumerate("AB")]
    Stage.objects.create(run=run, position=2, kind="rest", lower=9000, upper=10_000)
    Campaign.objects.filter(id=launched.id).update(status="sending", latest_run=run, launched_at=since)
    _recorded(application.pk, ids)
    person = Subscriber.objects.filter(application=application).values_list("external_id", flat=True).first()
    return draft, launched, person or ""


def _sent(run: Any, position: int, key: str, text: dict[str, str]) -> Any:
    """The id of the message to one half of those in the test."""
    from django.utils import timezone

    from campaigns.models import Stage
    from notifications.models import Notification

    notification = Notification.objects.create(
        application=run.campaign.application,
        category=run.campaign.category,
        status="done",
        content=text,
        audience={"all": True},
        finished_at=timezone.now(),
    )
    Stage.objects.create(
        run=run,
        position=position,
        kind="send",
        variant=key,
        lower=position * 4500,
        upper=position * 4500 + 4500,
        notification=notification,
    )
    return notification.id


def _recorded(application_id: int, ids: list[Any]) -> None:
    """The lines of both, and what is counted of them, in chunks."""
    from django.db import connection
    from django.utils import timezone

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM devices_device WHERE application_id = %s",
            [application_id],
        )
        first, last = cursor.fetchone()
        given = {"a": ids[0], "b": ids[1], "ids": ids, "application": application_id, "now": timezone.now()}
        for lower in range(first, last + 1, CHUNK):
            chunk = {**given, "first": first, "last": last, "lower": lower, "upper": lower + CHUNK}
            for statement in (LEDGER, TALLIES, ROLLUPS):
                cursor.execute(statement, chunk)
        for statement in (TOLD, COUNTED):
            cursor.execute(statement, given)
        cursor.execute("ANALYZE notifications_delivery, notifications_tally, notifications_rollup")


def _recipients(campaign: Any) -> int:
    from notifications.models import Notification

    found = Notification.objects.filter(stage__run__campaign=campaign)
    return sum(found.values_list("recipient_count", flat=True))


def _signed_in() -> Any:
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client

    settings.ALLOWED_HOSTS = ["*"]
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    logging.disable()  # a page that fails says so in its line
    user = User.objects.create_superuser("bench", "bench@example.com", "bench")
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


class Page(NamedTuple):
    """body: what is posted, if it is not fetched."""

    name: str
    url: str
    body: dict[str, Any] | None = None
    is_json: bool = True


def _pages(draft: Any, launched: Any, person: str) -> Iterator[Page]:
    from campaigns import board

    campaigns = "/admin/campaigns/campaign/"
    yield Page("dashboard", "/admin/")
    for part in board.FRAGMENTS:
        yield Page(f"dashboard_{part}", f"{campaigns}{part}/")
    yield Page("list", campaigns)
    yield Page("calendar", f"{campaigns}calendar/")
    yield Page("composer", f"{campaigns}{draft.pk}/change/")
    yield from _panels(draft, campaigns)
    yield from _reviews(draft, f"{campaigns}{draft.pk}")
    yield Page("live", f"{campaigns}{launched.pk}/live/")
    yield Page("live_status", f"{campaigns}{launched.pk}/live-status/")
    yield Page("results", f"{campaigns}{launched.pk}/live-details/")
    for result, reason in (("failed", "expired"), ("accepted", ""), ("suppressed", "capped")):
        query = f"result={result}&reason={reason}"
        yield Page(f"recipients_{result}", f"{campaigns}{launched.pk}/recipients/?{query}")
    yield Page("explain", f"/admin/explain/?person={person}&campaign={launched.pk}")


def _panels(draft: Any, campaigns: str) -> Iterator[Page]:
    """What the composer asks while somebody writes."""
    asked = {"application": draft.application.slug, "plan": draft.plan}
    for zoned in ("now", "local"):
        schedule = {**draft.plan["schedule"], "kind": zoned, "starts": LATER}
        body = {**asked, "plan": {**draft.plan, "schedule": schedule}}
        yield Page(f"composer_audience_{zoned}", f"{campaigns}compose/estimate/", body)
        yield Page(f"composer_schedule_{zoned}", f"{campaigns}compose/moments/", body)
    yield Page("composer_people", f"{campaigns}compose/people-sample/", asked)


def _reviews(draft: Any, campaign: str) -> Iterator[Page]:
    """The page as it comes, with what is counted, its checklist alone, the drawer of tests, and a launch refused
    once its audience has been counted: what somebody waits for before it is sent."""
    yield Page("review", f"{campaign}/review/")
    yield Page("review_counted", f"{campaign}/review/?counted=1")
    yield Page("preflight", f"{campaign}/preflight/")
    yield Page("preflight_again", f"{campaign}/preflight/?again=1")
    yield Page("test_drawer", f"{campaign}/test/")
    refused = {"version": draft.version, "devices": 1, "warnings": "", "reason": "Benchmark"}
    yield Page("launch_refused", f"{campaign}/launch/", refused, is_json=False)


def _measure(client: Any, page: Page, recipients: int) -> None:
    """Each time as if nobody had asked before; a page that is not there, or fails, has a status and no times."""
    from django.core.cache import cache

    name, taken = page.name, []
    for _ in range(ROUNDS):
        cache.clear()
        began = time.perf_counter()
        answer = _asked(client, page)
        taken.append(time.perf_counter() - began)
        if answer.status_code not in (200, 286):
            report.line("admin_pages", page=name, recipients=recipients, status=answer.status_code)
            return
        if sum(taken) > LONGEST_SECONDS:
            break
    found = report.percentiles(taken)
    times = {key: found[key] for key in ("p50_ms", "p95_ms", "max_ms")}
    first = round(taken[0] * 1000, 1)
    report.line("admin_pages", page=name, recipients=recipients, rounds=len(taken), first_ms=first, **times)


def _asked(client: Any, page: Page) -> Any:
    if page.body is None:
        return client.get(page.url)
    if page.is_json:
        return client.post(page.url, page.body, content_type="application/json")
    return client.post(page.url, page.body)


if __name__ == "__main__":
    main(sys.argv[1])
