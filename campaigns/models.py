"""A planned notification to an audience."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from devices.models import Category
from notifications.models import Notification
from tenants.models import Application


class Campaign(models.Model):
    """What a marketer composes. Launching it makes one Notification, which holds the outcome."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        LAUNCHED = "launched", "Launched"

    class Audience(models.TextChoices):
        EVERYONE = "everyone", "Everyone"
        PLATFORM = "platform", "One platform"
        ATTRIBUTE = "attribute", "People with an attribute"

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
        permissions = (("launch_campaign", "Can launch and cancel campaigns"),)

    def __str__(self) -> str:
        return self.name
