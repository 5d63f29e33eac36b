"""Tallies tell providers apart. What was counted before stays, under no provider ("").

Workers of the version before cannot count into it: stop them first.
"""

from django.db import migrations, models

# Django cannot change a composite key. Nothing is rewritten; the index takes 1.7 s for a million rows, either way.
TOLD_APART = """
    ALTER TABLE notifications_tally ADD COLUMN provider varchar(16) NOT NULL DEFAULT '';
    ALTER TABLE notifications_tally ALTER COLUMN provider DROP DEFAULT;
    ALTER TABLE notifications_tally DROP CONSTRAINT notifications_tally_pkey,
        ADD CONSTRAINT notifications_tally_pkey PRIMARY KEY (notification_id, slot, outcome, reason, provider);
"""

TOGETHER = """
    WITH apart AS (
        DELETE FROM notifications_tally WHERE provider <> '' RETURNING notification_id, slot, outcome, reason, count
    )
    INSERT INTO notifications_tally AS t (notification_id, slot, outcome, reason, provider, count)
    SELECT notification_id, slot, outcome, reason, '', sum(count) FROM apart GROUP BY 1, 2, 3, 4
    ON CONFLICT (notification_id, slot, outcome, reason, provider) DO UPDATE SET count = t.count + excluded.count;
    ALTER TABLE notifications_tally DROP CONSTRAINT notifications_tally_pkey,
        ADD CONSTRAINT notifications_tally_pkey PRIMARY KEY (notification_id, slot, outcome, reason);
    ALTER TABLE notifications_tally DROP COLUMN provider;
"""


class Migration(migrations.Migration):
    dependencies = [("notifications", "0008_engagement")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(TOLD_APART, TOGETHER)],
            state_operations=[
                migrations.AddField("tally", "provider", models.CharField(default="", max_length=16)),
                migrations.AlterField(
                    "tally",
                    "pk",
                    models.CompositePrimaryKey(
                        "notification_id",
                        "slot",
                        "outcome",
                        "reason",
                        "provider",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
        )
    ]
