from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0007_holdout"),
    ]

    operations = [
        migrations.AddField(
            model_name="application",
            name="approval_above",
            field=models.PositiveIntegerField(
                blank=True,
                default=100000,
                help_text="A campaign that reaches more has to be approved by somebody who did not write it. Empty: never.",
                null=True,
                verbose_name="campaigns need a second person above, devices",
            ),
        ),
    ]
