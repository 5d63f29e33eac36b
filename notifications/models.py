"""One message to many, and the ledger of what became of it. States and edges: docs/architecture.md.

Batch, Delivery and Tally carry no foreign-key constraints: they are written by set-based SQL on the
hot path, where each check would cost more than the row.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from devices.models import Category
from notifications.ids import uuid7
from notifications.providers.base import Outcome as ProviderOutcome
from tenants.models import Application


class Notification(models.Model):
    """A producer's wish: this content, to this audience, at this time."""

    class Status(models.TextChoices):
        SCHEDULED = "scheduled", "Scheduled"  # waits for send_at
        FANNING_OUT = "fanning_out", "Resolving audience"  # shards are being turned into batches
        SENDING = "sending", "Sending"  # every recipient is known
        DONE = "done", "Done"  # every recipient has its final outcome
        CANCELLED = "cancelled", "Cancelled"

    OPEN = (Status.SCHEDULED, Status.FANNING_OUT, Status.SENDING)

    class Priority(models.TextChoices):
        HIGH = "high", "High"
        NORMAL = "normal", "Normal"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    application = models.ForeignKey(
        Application, on_delete=models.CASCADE, related_name="notifications", db_index=False
    )
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="+", db_index=False)
    status = models.CharField(max_length=12, choices=Status, default=Status.SENDING)
    content = models.JSONField()
    audience = models.JSONField()
    overrides = models.JSONField(default=dict)
    priority = models.CharField(max_length=6, choices=Priority, default=Priority.NORMAL)
    collapse_key = models.CharField(max_length=64, blank=True)
    ttl_seconds = models.PositiveIntegerField(null=True)
    send_at = models.DateTimeField(null=True)
    # Σ of what acceptance and fan-out resolved; never counted down.
    recipient_count = models.PositiveBigIntegerField(default=0)
    idempotency_key = models.CharField(max_length=255, null=True)
    fingerprint = models.BinaryField(max_length=16, null=True)
    requested_by = models.CharField(
        max_length=80, blank=True, help_text="The key's prefix or the staff user."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("application", "idempotency_key"),
                name="one_notification_per_idempotency_key",
                condition=Q(idempotency_key__isnull=False),
            )
        ]
        indexes = [
            models.Index(fields=("application", "-id"), name="notifications_newest_first"),
            models.Index(
                fields=("send_at",), name="scheduled_notifications", condition=Q(status="scheduled")
            ),
            models.Index(
                fields=("finished_at",), name="cancelled_notifications", condition=Q(status="cancelled")
            ),
            models.Index(
                fields=("id",),
                name="unfinished_notifications",
                condition=Q(status__in=("fanning_out", "sending")),
            ),
        ]

    def __str__(self) -> str:
        return self.content.get("title") or str(self.id)


class Shard(models.Model):
    """A range of device ids of one fan-out. Its batches and its completion commit together."""

    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="shards")
    number = models.PositiveIntegerField()
    lower = models.BigIntegerField()  # device ids, inclusive
    upper = models.BigIntegerField()  # exclusive
    recipient_count = models.PositiveIntegerField(default=0)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("notification", "number"), name="one_shard_per_number")
        ]
        indexes = [
            models.Index(
                fields=("notification", "number"), name="open_shards", condition=Q(done_at__isnull=True)
            )
        ]


class Batch(models.Model):
    """Recipients of one notification on one lane that have no final outcome yet.

    A batch shrinks as outcomes are recorded and is deleted with its last one, so that
    Σ cardinality(device_ids) is exactly what is still open (law 2).
    """

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"  # for due_at
        READY = "ready", "Ready"
        SENDING = "sending", "Sending"  # every device in it may have been sent to: unknowable after a crash

    id = models.BigAutoField(primary_key=True)
    application_id = models.BigIntegerField()
    notification_id = models.UUIDField()
    lane = models.CharField(max_length=32)  # "<provider>.<transactional|campaign>"
    status = models.CharField(max_length=8, choices=Status)
    device_ids = ArrayField(models.BigIntegerField())
    attempt = models.PositiveSmallIntegerField(default=1)
    due_at = models.DateTimeField()
    # Order of claiming: due_at plus the batch's place in its notification, so that a small
    # notification overtakes the tail of a large one.
    turn_at = models.DateTimeField()
    claim = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "batches"
        indexes = [
            models.Index(fields=("lane", "turn_at", "id"), name="ready_batches", condition=Q(status="ready")),
            models.Index(fields=("lane", "due_at"), name="waiting_batches", condition=Q(status="waiting")),
            models.Index(fields=("lease_until",), name="leased_batches", condition=Q(status="sending")),
            models.Index(fields=("notification_id",), name="batches_of_notification"),
        ]


class Delivery(models.Model):
    """One line of the ledger: what an attempt, or the decision not to attempt, came to. Append-only.

    Partitioned by month of `at` (pipeline/partitions.py); the primary key exists for Django only.
    """

    class Outcome(models.TextChoices):
        ACCEPTED = ProviderOutcome.ACCEPTED, "Accepted"
        UNREGISTERED = ProviderOutcome.UNREGISTERED, "Device gone"
        REJECTED = ProviderOutcome.REJECTED, "Rejected"
        RETRY = ProviderOutcome.RETRY, "Will be retried"
        BLOCKED = ProviderOutcome.BLOCKED, "Held: credential"
        UNCERTAIN = ProviderOutcome.UNCERTAIN, "Uncertain"
        FAILED = "failed", "Gave up"
        SUPPRESSED = "suppressed", "Suppressed"
        CANCELLED = "cancelled", "Cancelled"
        RESENT = "resent", "Unknown, sent again"

    # Attempts that leave the recipient open; every other outcome is final.
    NOT_FINAL = (Outcome.RETRY, Outcome.BLOCKED, Outcome.RESENT)

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    application_id = models.BigIntegerField()
    notification_id = models.UUIDField()
    device_id = models.BigIntegerField(null=True)
    subscriber_id = models.BigIntegerField(null=True)
    lane = models.CharField(max_length=32)
    outcome = models.CharField(max_length=12, choices=Outcome)
    reason = models.CharField(max_length=60)
    attempt = models.PositiveSmallIntegerField()
    provider_id = models.TextField()
    detail = models.TextField()

    class Meta:
        managed = False
        db_table = "notifications_delivery"
        verbose_name_plural = "deliveries"
        ordering = ("-id",)


class Tally(models.Model):
    """Counts of final outcomes, incremented with the Delivery rows they count; what pages and the API read.

    `slot` spreads the increments of concurrent senders over rows; readers sum.
    """

    pk = models.CompositePrimaryKey("notification_id", "slot", "outcome", "reason")
    notification_id = models.UUIDField()
    slot = models.SmallIntegerField()
    outcome = models.CharField(max_length=12, choices=Delivery.Outcome)
    reason = models.CharField(max_length=60)
    count = models.PositiveBigIntegerField()

    class Meta:
        verbose_name_plural = "tallies"
