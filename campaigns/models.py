"""A planned notification to an audience."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from devices.models import Category
from notifications.models import Notification
from tenants.models import Application


class Campaign(models.Model):
    """What a marketer composes. Launching it makes one Notification, which holds the outcome."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        LAUNCHED = "launched", "Launched"
        RECURRING = "recurring", "Recurring"  # makes a run of its own each time
        ENDED = "ended", "Ended"  # a recurring one, by hand or with its rule

    class Audience(models.TextChoices):
        EVERYONE = "everyone", "Everyone"
        PLATFORM = "platform", "One platform"
        ATTRIBUTE = "attribute", "People with an attribute"

    class Schedule(models.TextChoices):
        NOW = "now", "Now"
        AT = "at", "At a moment"
        LOCAL = "local", "At each person's local time"
        RECURRING = "recurring", "Again and again"

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="campaigns")
    name = models.CharField(max_length=120, help_text="For you and your team; nobody else sees it.")
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="+")
    title = models.CharField(max_length=200)
    body = models.TextField(max_length=2000)
    image = models.URLField(blank=True)
    url = models.CharField(
        "opens", max_length=2000, blank=True, help_text="A link or deep link, e.g. shop://sale"
    )
    audience = models.CharField(max_length=10, choices=Audience, default=Audience.EVERYONE)
    platform = models.CharField(max_length=8, blank=True)
    attribute_name = models.CharField(max_length=80, blank=True)
    attribute_value = models.CharField(max_length=200, blank=True)
    throttle_per_second = models.PositiveIntegerField(
        "send at most, per second",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1_000_000)],
        help_text="Empty: as fast as it goes. Spreads what your own servers get when people tap.",
    )
    schedule = models.CharField("when", max_length=9, choices=Schedule, default=Schedule.NOW)
    # On a wall clock: that of `time_zone`, or of each recipient where the schedule is local.
    starts = models.CharField("date and time", max_length=16, blank=True)  # 2026-11-25T09:00
    time_zone = models.CharField(max_length=64, blank=True, help_text="Empty: the app's.")
    rule = models.CharField(
        "repeats",
        max_length=500,
        blank=True,
        help_text="As in calendars (RFC 5545), e.g. FREQ=WEEKLY;BYDAY=MO,TH or FREQ=MONTHLY;BYMONTHDAY=1;COUNT=12",
    )
    is_local = models.BooleanField("at each person's local time", default=False)
    window_start = models.TimeField("send only from", null=True, blank=True)
    window_end = models.TimeField("until", null=True, blank=True)
    lifetime_hours = models.PositiveSmallIntegerField(
        "worth sending for, in hours",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(28 * 24)],
        help_text="What could not be delivered by then is dropped. Empty: three days.",
    )
    next_run_at = models.DateTimeField(null=True, editable=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT, editable=False)
    notification = models.OneToOneField(
        Notification, on_delete=models.PROTECT, null=True, editable=False, related_name="campaign"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    launched_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    launched_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=("next_run_at",), name="coming_runs", condition=Q(status="recurring"))]
        permissions = (("launch_campaign", "Can launch and cancel campaigns"),)

    def __str__(self) -> str:
        return self.name


class Run(models.Model):
    """One launch of a campaign: frozen, with a notification of its own."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()
    due_at = models.DateTimeField()
    notification = models.OneToOneField(Notification, on_delete=models.PROTECT, related_name="run")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-number",)
        constraints = [models.UniqueConstraint(fields=("campaign", "number"), name="one_run_per_number")]
