"""What devices report of a message, and counts rolled up by time; a part of `notifications.models`.

No foreign keys, as with the ledger: all of it is written by set-based SQL.
"""

from __future__ import annotations

from django.db import models


class Engagement(models.Model):
    """A device or person did something with a message: one line, however often it is told. Append-only.

    Partitioned by month of the notification's id (config/partitions.py), so that a unique index can hold over
    all of it; the primary key exists for Django only.
    """

    class Kind(models.TextChoices):
        RECEIVED = "received", "Received"
        OPENED = "opened", "Opened"
        CLICKED = "clicked", "Clicked"
        CONVERTED = "converted", "Converted"

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()  # by the device's clock, not before the notification
    told_at = models.DateTimeField()  # by ours
    application_id = models.BigIntegerField()
    notification_id = models.UUIDField()
    device_id = models.BigIntegerField(null=True)
    subscriber_id = models.BigIntegerField(null=True)
    kind = models.CharField(max_length=9, choices=Kind)
    # Of whom it counts once: the device, negative; a conversion's person, if there is one. NULL: erased.
    counted_for = models.BigIntegerField(null=True)
    name = models.CharField(max_length=64)  # a conversion's goal
    action = models.CharField(max_length=64)  # the button that was clicked
    url = models.TextField()  # or the link
    value = models.DecimalField(max_digits=18, decimal_places=4, null=True)  # of a conversion

    class Meta:
        managed = False
        db_table = "notifications_engagement"


class EngagementTally(models.Model):
    """Counts of Engagement, incremented with the lines they count; slots as in Tally."""

    pk = models.CompositePrimaryKey("notification_id", "slot", "kind", "name")
    notification_id = models.UUIDField()
    slot = models.SmallIntegerField()
    kind = models.CharField(max_length=9, choices=Engagement.Kind)
    name = models.CharField(max_length=64)
    count = models.BigIntegerField()
    value = models.DecimalField(max_digits=24, decimal_places=4)


class Rollup(models.Model):
    """Lines of the ledger and of Engagement, counted by minute (rollups.py); what charts read.

    Only notifications to a mass audience have rows of their own. Of all others, each of which has few lines,
    an application has one row for a minute and outcome: under the nil notification, without platform and language.
    """

    pk = models.CompositePrimaryKey(
        "notification_id", "application_id", "at", "platform", "language", "outcome"
    )
    notification_id = models.UUIDField()
    application_id = models.BigIntegerField()
    at = models.DateTimeField()  # the minute's beginning; of late engagement, the hour's
    platform = models.CharField(max_length=8)
    language = models.CharField(max_length=8)
    outcome = models.CharField(max_length=12)  # or the kind of engagement
    # What a replay took back is taken off, so that a minute may be below zero; their sum is not.
    count = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=("at",), name="rollups_by_time")]


class RollupDay(models.Model):
    """The same by day (UTC) of each application: what dashboards read. Kept when the ledger's months are dropped."""

    pk = models.CompositePrimaryKey("application_id", "day", "outcome")
    application_id = models.BigIntegerField()
    day = models.DateField()
    outcome = models.CharField(max_length=12)
    count = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=("day",), name="rollup_days_by_day")]


class RollupProgress(models.Model):
    """How far a table has been rolled up; its row moves on in the transaction that writes the counts."""

    source = models.CharField(primary_key=True, max_length=32)
    until = models.DateTimeField()
