from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("tenants", "0003_quiet_hours")]

    operations = [
        migrations.AddField(
            "credential",
            "check_result",
            models.CharField(
                max_length=8,
                choices=[("ok", "Accepted"), ("refused", "Refused"), ("unable", "Could not be checked")],
                blank=True,
                editable=False,
                db_default="",
            ),
        ),
        migrations.AddField(
            "credential",
            "check_detail",
            models.CharField(max_length=300, blank=True, editable=False, db_default=""),
        ),
        migrations.AddField(
            "credential", "check_since", models.DateTimeField(null=True, blank=True, editable=False)
        ),
        migrations.AddField(
            "credential", "check_due_at", models.DateTimeField(editable=False, db_default=Now())
        ),
    ]
