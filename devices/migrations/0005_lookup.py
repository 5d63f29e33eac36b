import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0004_audience"),
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="device",
            index=models.Index(
                models.F("application"),
                django.db.models.functions.text.Right("token", 6),
                condition=models.Q(("retired_at__isnull", True)),
                name="devices_by_token_tail",
            ),
        ),
        migrations.AddIndex(
            model_name="subscriber",
            index=models.Index(
                models.F("application"),
                django.db.models.functions.text.Lower("email"),
                condition=models.Q(("email", ""), _negated=True),
                name="subscribers_by_email",
            ),
        ),
        migrations.CreateModel(
            name="SegmentSnapshot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("segment_id", models.BigIntegerField()),
                ("rules", models.JSONField()),
                ("version", models.BinaryField()),
                ("as_of", models.DateTimeField()),
                ("range_size", models.PositiveIntegerField()),
                (
                    "application",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.application",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["segment_id", "-as_of"], name="snapshots_newest_first")],
            },
        ),
        migrations.CreateModel(
            name="SnapshotPart",
            fields=[
                (
                    "snapshot",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="devices.segmentsnapshot",
                    ),
                ),
                ("number", models.BigIntegerField()),
                (
                    "device_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "snapshot_id",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
        ),
    ]
