"""One message to many, and the ledger of what became of it. States and edges: docs/architecture.md.

Batch, Delivery and Tally carry no foreign-key constraints: they are written by set-based SQL on the
hot path, where each check would cost more than the row.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import JSONField, Q, Value
from django.db.models.functions import Now

from devices.models import Category
from notifications.engagement_models import Engagement as Engagement  # noqa: PLC0414
from notifications.engagement_models import EngagementTally as EngagementTally  # noqa: PLC0414
from notifications.engagement_models import Rollup as Rollup  # noqa: PLC0414
from notifications.engagement_models import RollupDay as RollupDay  # noqa: PLC0414
from notifications.engagement_models import RollupProgress as RollupProgress  # noqa: PLC0414
from notifications.ids import uuid7
from notifications.providers.base import Outcome as ProviderOutcome
from tenants.fields import EncryptedTextField
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
    throttle_per_second = models.PositiveIntegerField(null=True, help_text="Recipients per second, at most.")
    # Wall-clock time at the recipient's, "2026-11-25T09:00"; "": for all at once.
    local_time = models.CharField(max_length=16, db_default="")
    # {"start": "09:00", "end": "20:00", "days"?: [1…7]}, at the recipient's: outside it is held.
    send_window = models.JSONField(null=True)
    deadline = models.DateTimeField(null=True)  # nothing is sent from then on
    template_version = models.ForeignKey(
        "TemplateVersion", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    variables = models.JSONField(null=True)  # the call's own, for the template
    paused_at = models.DateTimeField(null=True)
    # Σ of what acceptance and fan-out resolved; never counted down.
    recipient_count = models.PositiveBigIntegerField(default=0)
    idempotency_key = models.CharField(max_length=255, null=True)
    fingerprint = models.BinaryField(max_length=16, null=True)
    requested_by = models.CharField(
        max_length=80, blank=True, help_text="The key's prefix or the staff user."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    # Dead letters sent again: how often, and when last; the message's lifetime counts from then.
    replay_count = models.PositiveSmallIntegerField(db_default=0)
    replayed_at = models.DateTimeField(null=True)
    # The sum, recounted from the ledger once everything is settled (pipeline/verify.py).
    verified_at = models.DateTimeField(null=True)
    violations = models.JSONField(db_default=Value([], JSONField()))

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
            models.Index(fields=("id",), name="paused_notifications", condition=Q(paused_at__isnull=False)),
            models.Index(
                fields=("finished_at",),
                name="unverified_notifications",
                condition=Q(status__in=("done", "cancelled"), verified_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.content.get("title") or str(self.id)


class Template(models.Model):
    """A message under a name; what it says is in its versions."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="templates")
    slug = models.SlugField(max_length=64)
    name = models.CharField(max_length=120)
    is_listed = models.BooleanField(db_default=True)  # False: a campaign's own, in no list
    current = models.ForeignKey("TemplateVersion", on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("application_id", "slug")
        constraints = [models.UniqueConstraint(fields=("application", "slug"), name="one_template_per_slug")]

    def __str__(self) -> str:
        return self.name


class TemplateVersion(models.Model):
    """Never changed: what was sent can be shown again."""

    class Missing(models.TextChoices):
        FAIL = "fail", "Refuse the call"
        DEFAULT = "default", "Use the default"
        SKIP = "skip", "Skip the person"

    template = models.ForeignKey(Template, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    content = models.JSONField()  # as in the send API, with Liquid in its texts
    locales = models.JSONField(default=dict)  # locale → the texts that differ
    defaults = models.JSONField(default=dict)  # variable → value
    missing = models.CharField(max_length=7, choices=Missing, default=Missing.FAIL)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=("template", "number"), name="one_template_version_per_number")
        ]


class Recent(models.Model):
    """What a recipient was sent, or is to be sent, in these days: what frequency caps count (pipeline/caps.py).

    One row each, so that reserving is one upsert, exact whoever else reserves at the same time. The arrays
    are parallel.
    """

    # A subscriber's id; of a device without one its own id, negative.
    recipient = models.BigIntegerField(primary_key=True)
    application_id = models.BigIntegerField()
    notification_ids = ArrayField(models.UUIDField())
    category_ids = ArrayField(models.BigIntegerField())
    days = ArrayField(models.DateField())  # at the recipient's


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
        PAUSED = "paused", "Paused"  # with its notification
        SENDING = "sending", "Sending"  # every device in it may have been sent to: unknowable after a crash

    id = models.BigAutoField(primary_key=True)
    application_id = models.BigIntegerField()
    notification_id = models.UUIDField()
    lane = models.CharField(max_length=32)  # "<provider>.<transactional|campaign>"
    status = models.CharField(max_length=8, choices=Status)
    device_ids = ArrayField(models.BigIntegerField())
    attempt = models.PositiveSmallIntegerField(default=1)
    # Which replay of the notification this belongs to; 0: the first sending.
    replay = models.PositiveSmallIntegerField(db_default=0)
    due_at = models.DateTimeField()
    # Order of claiming: due_at plus the batch's place in its notification, so that a small
    # notification overtakes the tail of a large one.
    turn_at = models.DateTimeField()
    # The rate limits have given it this moment; it is not asked of them again when that comes.
    slot_at = models.DateTimeField(null=True)
    claim = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "batches"
        indexes = [
            models.Index(
                fields=("lane", "application_id", "turn_at", "id"),
                name="ready_batches",
                condition=Q(status="ready"),
            ),
            models.Index(fields=("lane", "due_at"), name="waiting_batches", condition=Q(status="waiting")),
            models.Index(fields=("lease_until",), name="leased_batches", condition=Q(status="sending")),
            models.Index(fields=("notification_id",), name="batches_of_notification"),
            models.Index(fields=("notification_id",), name="paused_batches", condition=Q(status="paused")),
        ]


class Delivery(models.Model):
    """One line of the ledger: what an attempt, or the decision not to attempt, came to. Append-only.

    Partitioned by month of `at` (config/partitions.py); the primary key exists for Django only.
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
        REPLAYED = "replayed", "Replayed"  # takes the recipient's final outcome back: `detail` names it

    # Lines that leave the recipient open; every other outcome is final.
    NOT_FINAL = (Outcome.RETRY, Outcome.BLOCKED, Outcome.RESENT, Outcome.REPLAYED)

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
    `slot` spreads the increments of concurrent senders over rows; readers sum. `provider`: that of the rows' lane;
    "": they have none, or were counted before migration 0009."""

    pk = models.CompositePrimaryKey("notification_id", "slot", "outcome", "reason", "provider")
    notification_id = models.UUIDField()
    slot = models.SmallIntegerField()
    outcome = models.CharField(max_length=12, choices=Delivery.Outcome)
    reason = models.CharField(max_length=60)
    provider = models.CharField(max_length=16, default="")
    # One slot may fall below zero (a replay takes back what another slot counted); their sum does not.
    count = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "tallies"


class Replay(models.Model):
    """Dead letters of one notification, sent again: who asked, for which, how many."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="+", db_index=False)
    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="replays")
    number = models.PositiveSmallIntegerField()  # Batch.replay of what it sends
    requested_by = models.CharField(max_length=150)
    criteria = models.JSONField(default=dict)
    recipient_count = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=("notification", "number"), name="one_replay_per_number")
        ]
        indexes = [models.Index(fields=("application", "-id"), name="replays_newest_first")]


class Incident(models.Model):
    """Trouble that stops lanes of one application and provider, or wants a human. The rows without
    `closed_at` are what is wrong now: claims look at them (pipeline/claim.py), the admin shows them.
    """

    class Cause(models.TextChoices):
        CREDENTIAL = "credential", "Credential refused"
        CIRCUIT = "circuit", "Provider in trouble"  # failures or silence: the circuit is open
        QUOTA = "quota", "Quota used up"
        RETIREMENTS = "retirements", "Too many devices gone"
        LEDGER = "ledger", "The sum does not hold"

    application = models.ForeignKey(
        Application, on_delete=models.CASCADE, related_name="incidents", db_index=False
    )
    provider = models.CharField(max_length=16, db_default="")
    cause = models.CharField(max_length=12, choices=Cause)
    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, null=True, related_name="+")
    stops_lanes = models.BooleanField(db_default=True)
    lane_kind = models.CharField(max_length=16, db_default="")  # "": transactional and campaign
    # When one recipient may be tried; null: only a human ends it.
    trial_at = models.DateTimeField(null=True)
    trial_count = models.PositiveIntegerField(db_default=0)
    words = models.TextField(db_default="")  # the provider's, or ours
    opened_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True)
    closed_by = models.CharField(max_length=150, db_default="")  # "": by itself
    told_at = models.DateTimeField(null=True)  # by e-mail and webhook

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("application", "provider", "cause", "notification"),
                name="one_open_incident_per_cause",
                condition=Q(closed_at__isnull=True),
                nulls_distinct=False,
            )
        ]
        indexes = [models.Index(fields=("application", "-id"), name="incidents_newest_first")]

    def __str__(self) -> str:
        return self.get_cause_display()


class RetirementCount(models.Model):
    """How many devices of an application a provider has declared gone in an hour; slots as in Tally."""

    pk = models.CompositePrimaryKey("application_id", "provider", "hour", "slot")
    application_id = models.BigIntegerField()
    provider = models.CharField(max_length=16)
    hour = models.DateTimeField()
    slot = models.SmallIntegerField()
    count = models.PositiveIntegerField()


class SuspendedRetirement(models.Model):
    """A verdict above the guard's share: the device stays until a human has decided (law 5)."""

    device_id = models.BigIntegerField(primary_key=True)
    application_id = models.BigIntegerField()
    provider = models.CharField(max_length=16)
    reason = models.CharField(max_length=60)
    before = models.DateTimeField()  # retire only if not heard of since
    suspended_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=("application_id", "provider"), name="suspended_retirements")]


class BearerToken(models.Model):
    """What opens a provider for an hour: an APNs provider token, a Google access token (pipeline/tokens.py).

    Times are unix seconds, as in providers.base.Token.
    """

    key = models.CharField(primary_key=True, max_length=300)
    value = EncryptedTextField(db_default="")
    minted_at = models.FloatField(db_default=0)
    expires_at = models.FloatField(db_default=0)
    minting_until = models.FloatField(db_default=0)  # one process is at it
