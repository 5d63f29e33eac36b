"""A planned notification to an audience: what is composed, its versions and approvals, its runs and their stages."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from campaigns import document
from devices.models import Category, Subscriber
from notifications.models import Notification
from tenants.models import Application


def _user() -> models.ForeignKey:
    return models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )


class Campaign(models.Model):
    """What a marketer composes. Each launch of it is a Run."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        WAITING = "waiting", "Waiting for approval"
        APPROVED = "approved", "Approved"
        SCHEDULED = "scheduled", "Scheduled"  # launched; nothing has begun
        SENDING = "sending", "Sending"
        PAUSED = "paused", "Paused"
        RECURRING = "recurring", "Recurring"  # makes a run of its own each time
        FINISHED = "finished", "Finished"
        CANCELLED = "cancelled", "Cancelled"

    EDITABLE = (Status.DRAFT,)
    LIVE = (Status.SCHEDULED, Status.SENDING, Status.PAUSED, Status.RECURRING)

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="campaigns")
    name = models.CharField(max_length=120, blank=True)
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="+")
    plan = models.JSONField(default=document.blank)  # a document.Plan
    # Counts the edits: who saves or launches names the version they have seen.
    version = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT, editable=False)
    next_run_at = models.DateTimeField(null=True, editable=False)
    latest_run = models.OneToOneField(
        "Run", on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_by = _user()
    updated_by = _user()
    launched_by = _user()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    launched_at = models.DateTimeField(null=True, editable=False)
    archived_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=("next_run_at",), name="coming_runs", condition=Q(status="recurring")),
            models.Index(
                fields=("status",),
                name="live_campaigns",
                condition=Q(status__in=("scheduled", "sending", "paused")),
            ),
        ]
        permissions = (
            ("launch_campaign", "Can launch campaigns"),
            ("stop_campaign", "Can pause, resume and cancel campaigns"),
            ("approve_campaign", "Can approve campaigns of others"),
            ("export_campaign", "Can export the recipients of campaigns"),
        )

    def __str__(self) -> str:
        return self.name or "(untitled)"

    @property
    def document(self) -> document.Plan:
        """The plan, read. Each call reads anew: it may have been assigned to."""
        return document.read(self.plan)


class Version(models.Model):
    """What a campaign said at some time; edits by one person within minutes are one version."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()  # Campaign.version of the last edit in it
    name = models.CharField(max_length=120)
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="+")
    plan = models.JSONField()
    created_by = _user()
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)
    # Tested, approved or launched: kept as it is, and why.
    kept_for = models.CharField(max_length=20, blank=True)

    class Meta:
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=("campaign", "number"), name="one_campaign_version_per_number")
        ]


class Approval(models.Model):
    """Somebody asked for a second person's yes to one version, and what that person said."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="approvals")
    version = models.PositiveIntegerField()
    devices = models.PositiveBigIntegerField()  # how many it reached when asked
    note = models.CharField(max_length=500, blank=True)
    requested_by = _user()
    requested_at = models.DateTimeField(auto_now_add=True)
    is_granted = models.BooleanField(null=True)  # NULL: not decided
    answer = models.CharField(max_length=500, blank=True)
    decided_by = _user()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("campaign",), name="one_open_approval", condition=Q(is_granted__isnull=True)
            )
        ]


class Run(models.Model):
    """One launch of a campaign: frozen, in stages."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()
    due_at = models.DateTimeField()
    plan = models.JSONField(default=document.blank)
    # Devices it reached at launch; what shares and the size of a canary were made of.
    devices = models.PositiveBigIntegerField(default=0)
    # Warnings that were launched over, and the reason given.
    overridden = models.JSONField(default=dict)
    # Who stopped it: "" nobody, "person", or what the guard saw: "problems", "credential", "canary".
    paused_for = models.CharField(max_length=12, blank=True)
    paused_detail = models.CharField(max_length=300, blank=True)
    # When a person let it go on: what the guard had stopped it for does not stop it again.
    resumed_at = models.DateTimeField(null=True)
    waived = models.JSONField(default=list)
    winner = models.CharField(max_length=1, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)  # a username, or "rule"
    decided_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    goal_counted_at = models.DateTimeField(null=True)  # goals.py

    class Meta:
        ordering = ("-number",)
        constraints = [models.UniqueConstraint(fields=("campaign", "number"), name="one_run_per_number")]

    @property
    def document(self) -> document.Plan:
        return document.read(self.plan)


class Stage(models.Model):
    """A slice of a run's audience that gets one variant: a notification of its own, with its own ledger.

    Buckets lower … upper − 1 of 10 000 (notifications/pipeline/audience.py).
    """

    class Kind(models.TextChoices):
        HOLDOUT = "holdout", "Held out"  # gets nothing, to compare with
        CANARY = "canary", "First devices"
        SEND = "send", "Everyone else"
        REST = "rest", "Remainder"  # waits for the winner

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="stages")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=7, choices=Kind)
    variant = models.CharField(max_length=1, blank=True)  # "": not decided, or none
    lower = models.PositiveSmallIntegerField()
    upper = models.PositiveSmallIntegerField()
    # NULL: not made yet. It exists paused while its stage is held.
    notification = models.OneToOneField(
        Notification, on_delete=models.PROTECT, null=True, related_name="stage"
    )
    is_held = models.BooleanField(default=False)  # until the stage before it has gone well
    # People it was sent to, or who were held out, and of them those who reached the goal; NULL: not counted.
    goal_people = models.PositiveBigIntegerField(null=True)
    goal_count = models.PositiveBigIntegerField(null=True)

    class Meta:
        ordering = ("position",)
        constraints = [models.UniqueConstraint(fields=("run", "position"), name="one_stage_per_position")]


class Tester(models.Model):
    """Somebody test messages may be sent to, whatever they have agreed to."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="testers")
    subscriber = models.ForeignKey(Subscriber, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=120)
    # Whose own phone it is, for "send to me".
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(fields=("application", "subscriber"), name="one_tester_per_person")
        ]

    def __str__(self) -> str:
        return self.name


class TestSend(models.Model):
    """One version of a campaign sent to testers; it counts in no report."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="tests")
    version = models.PositiveIntegerField()
    variant = models.CharField(max_length=1)
    notification = models.OneToOneField(Notification, on_delete=models.PROTECT, related_name="test_send")
    sent_by = _user()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)


class Picture(models.Model):
    """An uploaded image, served by the app under its digest."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="pictures")
    digest = models.CharField(max_length=64)  # SHA-256 of the bytes, in hexadecimal
    content_type = models.CharField(max_length=20)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    data = models.BinaryField()
    uploaded_by = _user()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("application", "digest"), name="one_picture_per_digest")
        ]
