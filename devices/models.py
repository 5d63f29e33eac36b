"""Who can be reached, where, and whether they want it."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import MD5, Cast

from tenants.models import Application


class UUID7(Func):
    """PostgreSQL 18's time-ordered UUID."""

    function = "uuidv7"
    output_field = models.UUIDField()


class Subscriber(models.Model):
    """A person as the application's own backend knows them."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="subscribers")
    external_id = models.CharField(max_length=255)
    attributes = models.JSONField(default=dict, blank=True)
    locale = models.CharField(max_length=35, blank=True)
    time_zone = models.CharField(max_length=64, blank=True)
    country = models.CharField(max_length=2, blank=True)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=20, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("application", "external_id"), name="one_subscriber_per_external_id"
            )
        ]

    def __str__(self) -> str:
        return self.external_id


class Device(models.Model):
    """One address on one platform. Retired, never deleted, when the address is gone; registering again revives it.

    Apps know it by `public_id` only: `id` is a counter and would let one client guess another's device.
    """

    class Platform(models.TextChoices):
        IOS = "ios", "iOS"
        ANDROID = "android", "Android"
        WEB = "web", "Web"
        MACOS = "macos", "macOS"

    class Environment(models.TextChoices):
        PRODUCTION = "production", "Production"
        SANDBOX = "sandbox", "Sandbox"

    class Permission(models.TextChoices):
        GRANTED = "granted", "Granted"
        PROVISIONAL = "provisional", "Provisional"
        DENIED = "denied", "Denied"

    id = models.BigAutoField(primary_key=True)
    public_id = models.UUIDField(unique=True, editable=False, default=uuid.uuid4, db_default=UUID7())
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="devices")
    subscriber = models.ForeignKey(
        Subscriber, on_delete=models.SET_NULL, null=True, blank=True, related_name="devices"
    )
    platform = models.CharField(max_length=8, choices=Platform)
    installation_id = models.CharField(max_length=128, null=True, blank=True)
    token = models.TextField()
    fid = models.CharField("Firebase installation id", max_length=64, blank=True)
    environment = models.CharField(max_length=10, choices=Environment, blank=True)
    p256dh = models.CharField(max_length=90, blank=True)
    auth = models.CharField(max_length=30, blank=True)
    vapid_key = models.CharField(max_length=90, blank=True, help_text="The public key it subscribed with.")
    locale = models.CharField(max_length=35, blank=True)
    time_zone = models.CharField(max_length=64, blank=True)
    app_version = models.CharField(max_length=40, blank=True)
    os_version = models.CharField(max_length=40, blank=True)
    model = models.CharField(max_length=80, blank=True)
    permission = models.CharField(max_length=12, choices=Permission, blank=True)
    registered_at = models.DateTimeField(help_text="When this token was first seen on this device.")
    # By its app; NULL: only ever imported, and a list is no sign of life.
    last_seen_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_reason = models.CharField(max_length=40, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("application", "installation_id"), name="one_device_per_installation"
            ),
            # 16 bytes of digest instead of the token: web endpoints run to 500 characters, and the
            # index has to stay in memory at 100 M devices.
            models.UniqueConstraint(
                F("application"),
                F("platform"),
                Cast(MD5("token"), models.UUIDField()),
                name="one_active_device_per_token",
                condition=Q(retired_at__isnull=True),
            ),
        ]
        indexes = [
            models.Index(
                fields=("subscriber",), name="devices_of_subscriber", condition=Q(retired_at__isnull=True)
            ),
            models.Index(
                fields=("application", "id"), name="active_devices", condition=Q(retired_at__isnull=True)
            ),
            # What a device that has no installation id is known by when it comes back.
            models.Index(
                F("application"),
                F("platform"),
                Cast(MD5("token"), models.UUIDField()),
                name="retired_devices_by_token",
                condition=Q(retired_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_platform_display()} {self.public_id}"


class Category(models.Model):
    """What a message is about, and with it the rules it is sent under."""

    class Kind(models.TextChoices):
        MARKETING = "marketing", "Marketing"
        TRANSACTIONAL = "transactional", "Transactional"
        CRITICAL = "critical", "Critical"

    class Default(models.TextChoices):
        ON = "on", "On unless opted out"
        OFF = "off", "Off unless opted in"
        FORCED = "forced", "Always on"

    class CrashRule(models.TextChoices):
        RESEND = "resend", "Send again (may arrive twice)"
        LEAVE = "leave", "Leave (may not arrive)"

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="categories")
    slug = models.SlugField(max_length=64)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=14, choices=Kind)
    default = models.CharField(max_length=6, choices=Default)
    crash_rule = models.CharField(max_length=6, choices=CrashRule)

    class Meta:
        verbose_name_plural = "categories"
        ordering = ("application_id", "slug")
        constraints = [
            models.UniqueConstraint(fields=("application", "slug"), name="one_category_per_slug"),
            models.CheckConstraint(
                name="marketing_is_never_forced", condition=~Q(kind="marketing", default="forced")
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Preference(models.Model):
    """A subscriber's own word on one category and channel; without a row the category's default holds."""

    class Channel(models.TextChoices):
        PUSH = "push", "Push"

    pk = models.CompositePrimaryKey("subscriber_id", "category_id", "channel")
    subscriber = models.ForeignKey(Subscriber, on_delete=models.CASCADE, related_name="preferences")
    category = models.ForeignKey(Category, on_delete=models.CASCADE, related_name="+", db_index=False)
    channel = models.CharField(max_length=8, choices=Channel, default=Channel.PUSH)
    is_allowed = models.BooleanField()
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.category_id}/{self.channel}: {'yes' if self.is_allowed else 'no'}"
