import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0006_credential_checks"),
    ]

    operations = [
        migrations.AddField(
            model_name="application",
            name="holdout_percent",
            field=models.PositiveSmallIntegerField(
                default=0,
                help_text="Per cent of people who get no marketing at all, always the same ones, to compare with.",
                validators=[django.core.validators.MaxValueValidator(50)],
                verbose_name="held out of marketing, per cent",
            ),
        ),
    ]
