from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0007_drop_flat_fields"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="campaign",
            options={
                "ordering": ("-id",),
                "permissions": (
                    ("launch_campaign", "Can launch campaigns"),
                    ("stop_campaign", "Can pause, resume and cancel campaigns"),
                    ("approve_campaign", "Can approve campaigns of others"),
                    ("export_campaign", "Can export the recipients of campaigns"),
                ),
            },
        ),
        migrations.AddField(
            model_name="run",
            name="goal_counted_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="stage",
            name="goal_count",
            field=models.PositiveBigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="stage",
            name="goal_people",
            field=models.PositiveBigIntegerField(null=True),
        ),
    ]
