"""For `manage.py shell` in the demo of tests/screenshots.py: campaigns in each state; their ids as JSON, last."""

import json
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User
from django.db import connection

from campaigns import services
from campaigns.models import Campaign, Stage
from devices.models import Segment
from tenants.models import Application

shop = Application.objects.get(slug="acme-shop")
admin = User.objects.get(username="admin")
draft = Campaign.objects.get(name="Autumn sale")
draft.created_by = draft.updated_by = admin
draft.save()

segment = Segment.objects.create(
    application=shop,
    name="German gold members",
    slug="german-gold",
    rules={
        "all": [
            {"field": "attribute.plan", "is": "equal", "value": "gold"},
            {
                "any": [
                    {"field": "subscriber.country", "is": "in", "value": ["DE", "GB"]},
                    {"field": "subscriber.locale", "is": "equal", "value": "de"},
                ]
            },
        ]
    },
)


def made(name: str, **fields):
    return services.create(shop, by=admin, fields={"name": name, **fields})


def texts(title: str, body: str, **more):
    return {"content": {"title": title, "body": body, **more}}


experiment = made(
    "New collection",
    variants=[
        {"key": "A", "share": 1, **texts("The new collection is here", "Forty pieces for cold days.")},
        {
            "key": "B",
            "share": 1,
            **texts("Your winter coat has arrived", "Forty pieces for cold days. See yours."),
        },
    ],
    experiment={"holdout": 5, "test": 40, "metric": "opened", "hours": 24, "decide": "hand"},
    schedule={"undo": False},
)
services.launch(experiment, by="staff:admin", user=admin)

done = made(
    "Weekend voucher",
    variants=[texts("20 % until Sunday", "Your voucher: HELLO20")],
    audience={"segments": ["german-gold"]},
    schedule={"undo": False},
)
services.launch(done, by="staff:admin", user=admin)

tomorrow = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
made(
    "Good morning",
    variants=[texts("Good morning {{ subscriber.attributes.first_name }}", "Three things you may like.")],
    defaults={"subscriber.attributes.first_name": "there"},
    schedule={"kind": "local", "starts": f"{tomorrow:%Y-%m-%d}T09:00"},
)
weekly = made(
    "Weekly digest",
    variants=[texts("Your week at Acme", "What was new, in two minutes.")],
    schedule={"kind": "recurring", "starts": f"{tomorrow:%Y-%m-%d}T18:00", "rule": "FREQ=WEEKLY;BYDAY=FR"},
)
services.launch(weekly, by="staff:admin", user=admin)

running = made(
    "Black Friday",
    variants=[texts("Black Friday starts now", "Everything you saved, up to half price.")],
    schedule={"undo": False, "per_second": 200},
)
services.launch(running, by="staff:admin", user=admin)

PAST = """
    INSERT INTO notifications_rollupday (application_id, day, outcome, count)
    SELECT %s, current_date - ago, outcome,
        (share * (42000 + 9000 * sin(ago / 1.9) + 160 * (30 - ago))
            * CASE WHEN ago %% 7 IN (0, 6) THEN 0.6 ELSE 1 END)::bigint
    FROM generate_series(1, 29) AS ago
    CROSS JOIN (VALUES ('accepted', 0.985), ('suppressed', 0.06), ('unregistered', 0.011), ('rejected', 0.002),
        ('received', 0.71), ('opened', 0.052), ('clicked', 0.018)) AS shares (outcome, share)
    ON CONFLICT DO NOTHING
"""
with connection.cursor() as cursor:
    cursor.execute(PAST, [shop.id])

print(
    json.dumps(
        {
            "draft": draft.pk,
            "running": running.pk,
            "experiment": experiment.pk,
            "segment": segment.pk,
            "notification": str(Stage.objects.get(run=running.latest_run).notification_id),
        }
    )
)
