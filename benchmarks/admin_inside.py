"""What `admin_pages` does inside Django: a run of everybody as if it had been sent, and each page asked for."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from benchmarks import report

ROUNDS = 20

# Everybody of the application, half to A and half to B, over the last three quarters of an hour.
LEDGER = """
    INSERT INTO notifications_delivery (at, application_id, notification_id, device_id, subscriber_id, lane, outcome,
        reason, attempt, provider_id, detail)
    SELECT now() - make_interval(secs => 2700 - 2700 * (row_number() OVER ()) / count(*) OVER ()), d.application_id,
        CASE d.id %% 2 WHEN 0 THEN %(a)s ELSE %(b)s END::uuid, d.id, d.subscriber_id,
        CASE d.platform WHEN 'ios' THEN 'apns' WHEN 'android' THEN 'fcm' ELSE 'webpush' END || '.campaign',
        o.outcome, o.reason, 1, '', ''
    FROM devices_device d
    CROSS JOIN LATERAL (
        SELECT CASE WHEN d.id %% 100 < 3 THEN 'unregistered' WHEN d.id %% 100 < 4 THEN 'failed'
            WHEN d.id %% 100 < 9 THEN 'suppressed' ELSE 'accepted' END AS outcome,
            CASE WHEN d.id %% 100 < 3 THEN 'unregistered' WHEN d.id %% 100 < 4 THEN 'expired'
            WHEN d.id %% 100 < 9 THEN 'capped' ELSE '' END AS reason
    ) o
    WHERE d.application_id = %(application)s
"""
TALLIES = """
    INSERT INTO notifications_tally (notification_id, slot, outcome, reason, provider, count)
    SELECT notification_id, 0, outcome, reason, split_part(lane, '.', 1), count(*) FROM notifications_delivery
    WHERE notification_id = ANY (%(ids)s) GROUP BY 1, 3, 4, 5
"""
ROLLUPS = """
    INSERT INTO notifications_rollup (notification_id, application_id, at, platform, language, outcome, count)
    SELECT l.notification_id, l.application_id, date_trunc('minute', l.at), d.platform, left(s.locale, 2), k.outcome,
        count(*)
    FROM notifications_delivery l
    JOIN devices_device d ON d.id = l.device_id JOIN devices_subscriber s ON s.id = l.subscriber_id
    CROSS JOIN LATERAL (
        SELECT l.outcome UNION ALL SELECT 'received' WHERE l.outcome = 'accepted' AND l.device_id %% 3 > 0
        UNION ALL SELECT 'opened' WHERE l.outcome = 'accepted' AND l.device_id %% 20 = 0
        UNION ALL SELECT 'clicked' WHERE l.outcome = 'accepted' AND l.device_id %% 100 = 0
    ) k
    WHERE l.notification_id = ANY (%(ids)s) GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT DO NOTHING
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
    for name, url in _urls(draft, launched, person):
        _measure(client, name, url, recipients)


def _seeded(application: Any) -> tuple[Any, Any, str]:
    """A draft, the campaign with the run, and the id of somebody in it."""
    from django.db import connection
    from django.utils import timezone

    from campaigns import services
    from campaigns.models import Campaign, Run, Stage
    from devices.models import Subscriber
    from notifications.models import Notification

    text = {"title": "Autumn sale", "body": "Up to 40 % off until Sunday."}
    both = [{"key": key, "content": text} for key in "AB"]
    plan = {"name": "Large", "variants": both, "experiment": {"test": 90}}
    draft = services.create(application, by=None, fields={**plan, "name": "Draft"})
    launched = services.create(application, by=None, fields=plan)
    since = timezone.now() - timedelta(minutes=50)
    run = Run.objects.create(campaign=launched, number=1, due_at=since, plan=launched.plan, devices=1)
    Run.objects.filter(id=run.id).update(created_at=since)
    ids = []
    for position, key in enumerate("AB"):
        notification = Notification.objects.create(
            application=application,
            category=launched.category,
            status="done",
            content=text,
            audience={"all": True},
            finished_at=timezone.now(),
        )
        ids.append(notification.id)
        lower = position * 4500
        Stage.objects.create(
            run=run,
            position=position,
            kind="send",
            variant=key,
            lower=lower,
            upper=lower + 4500,
            notification=notification,
        )
    Stage.objects.create(run=run, position=2, kind="rest", lower=9000, upper=10_000)
    Campaign.objects.filter(id=launched.id).update(status="sending", latest_run=run, launched_at=since)
    given = {"a": ids[0], "b": ids[1], "ids": ids, "application": application.pk}
    with connection.cursor() as cursor:
        for statement in (LEDGER, TALLIES, ROLLUPS, TOLD, COUNTED):
            cursor.execute(statement, given)
        cursor.execute("ANALYZE notifications_delivery, notifications_tally, notifications_rollup")
    person = Subscriber.objects.filter(application=application).values_list("external_id", flat=True).first()
    return draft, launched, person or ""


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


def _urls(draft: Any, launched: Any, person: str) -> Iterator[tuple[str, str]]:
    from campaigns import board

    campaigns = "/admin/campaigns/campaign/"
    yield "dashboard", "/admin/"
    for part in board.FRAGMENTS:
        yield f"dashboard_{part}", f"{campaigns}{part}/"
    yield "list", campaigns
    yield "calendar", f"{campaigns}calendar/"
    yield "composer", f"{campaigns}{draft.pk}/change/"
    yield "review", f"{campaigns}{draft.pk}/review/"
    yield "preflight", f"{campaigns}{draft.pk}/preflight/"
    yield "live", f"{campaigns}{launched.pk}/live/"
    yield "live_status", f"{campaigns}{launched.pk}/live-status/"
    yield "results", f"{campaigns}{launched.pk}/live-details/"
    for result, reason in (("failed", "expired"), ("accepted", ""), ("suppressed", "capped")):
        query = f"result={result}&reason={reason}"
        yield f"recipients_{result}", f"{campaigns}{launched.pk}/recipients/?{query}"
    yield "explain", f"/admin/explain/?person={person}&campaign={launched.pk}"


def _measure(client: Any, name: str, url: str, recipients: int) -> None:
    """A page that is not there, or fails, has a status and no times."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = client.get(url)
        taken.append(time.perf_counter() - began)
        if answer.status_code not in (200, 286):
            report.line("admin_pages", page=name, recipients=recipients, status=answer.status_code)
            return
    found = report.percentiles(taken)
    times = {key: found[key] for key in ("p50_ms", "p95_ms", "max_ms")}
    first = round(taken[0] * 1000, 1)
    report.line("admin_pages", page=name, recipients=recipients, first_ms=first, **times)


if __name__ == "__main__":
    main(sys.argv[1])
