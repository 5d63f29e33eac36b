"""What campaigns said in columns, they say in one plan; each launch is a run with a stage."""

from django.db import migrations

BLANK = {
    "variants": [],
    "defaults": {},
    "missing": "default",
    "audience": {"segments": [], "not_segments": [], "platforms": [], "attribute": None},
    "schedule": {},
    "experiment": {
        "holdout": 0,
        "test": 100,
        "metric": "opened",
        "goal": "",
        "hours": 24,
        "decide": "hand",
        "fallback": "best",
    },
    "safety": {"canary": None, "stop_percent": 10},
}


def plan(old):
    said = {name: getattr(old, name) for name in ("title", "body", "image", "url") if getattr(old, name)}
    audience = dict(BLANK["audience"])
    if old.audience == "platform":
        audience["platforms"] = [old.platform]
    elif old.audience == "attribute":
        audience["attribute"] = {"name": old.attribute_name, "value": old.attribute_value}
    window = None
    if old.window_start and old.window_end:
        window = {"start": f"{old.window_start:%H:%M}", "end": f"{old.window_end:%H:%M}"}
    return {
        **BLANK,
        "variants": [{"key": "A", "share": 1, "content": said, "overrides": {}}],
        "audience": audience,
        "schedule": {
            "kind": old.schedule,
            "starts": old.starts,
            "time_zone": old.time_zone,
            "rule": old.rule,
            "is_local": old.is_local,
            "window": window,
            "lifetime_hours": old.lifetime_hours,
            "per_second": old.throttle_per_second,
            "undo": True,
        },
    }


STATUS = {
    "scheduled": "scheduled",
    "fanning_out": "sending",
    "sending": "sending",
    "done": "finished",
    "cancelled": "cancelled",
}


def forwards(apps, schema_editor):
    Campaign, Run, Stage, Version = (
        apps.get_model("campaigns", name) for name in ("Campaign", "Run", "Stage", "Version")
    )
    for old in Campaign.objects.select_related("notification").iterator():
        old.plan = plan(old)
        if old.notification and not old.runs.filter(notification=old.notification).exists():
            due = old.notification.send_at or old.launched_at or old.notification.created_at
            number = old.runs.count() + 1
            Run.objects.create(campaign=old, number=number, due_at=due, notification=old.notification)
        for run in old.runs.all():
            run.plan = old.plan
            run.save(update_fields=["plan"])
            Stage.objects.create(
                run=run,
                position=0,
                kind="send",
                variant="A",
                lower=0,
                upper=10_000,
                notification_id=run.notification_id,
            )
        old.latest_run = old.runs.order_by("-number").first()
        if old.status in ("launched", "ended"):
            status = STATUS[old.notification.status] if old.notification else "cancelled"
            old.status = "paused" if old.notification and old.notification.paused_at else status
        old.save()
        Version.objects.create(
            campaign=old,
            number=1,
            name=old.name,
            category_id=old.category_id,
            plan=old.plan,
            created_by_id=old.created_by_id,
        )


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0005_plans")]

    operations = [migrations.RunPython(forwards, migrations.RunPython.noop, elidable=True)]
