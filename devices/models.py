"""Who can be reached, where, and whether they want it."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import MD5, Cast, Lower, Now, Right

from tenants.models import Application


def push_only() -> list[str]:
    return ["push"]


class UUID7(Func):
    """PostgreSQL 18's time-ordered UUID."""

    function = "uuidv7"
    output_field = models.UUIDField()


class QuietHours(models.Model):
    """When somebody is left alone, in their own time zone. One row per distinct set of windows (devices/quiet.py), so
    that a million recipients are decided by a few hundred pairs of zone and row."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="+")
    windows = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("application", "windows"), name="one_row_per_windows")]


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
    quiet_hours = models.ForeignKey(
        QuietHours,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty: the application's.",
    )
    unsubscribed_at = models.DateTimeField(null=True, blank=True, help_text="From all marketing.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("application", "external_id"), name="one_subscriber_per_external_id"
            )
        ]
        indexes = [
            models.Index(
                fields=("application", "id"), name="unsubscribed", condition=Q(unsubscribed_at__isnull=False)
            ),
            # How staff find somebody (lookup.py).
            models.Index("application", Lower("email"), name="subscribers_by_email", condition=~Q(email="")),
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
            # How staff find the one of which they see these (lookup.py).
            models.Index(
                "application",
                Right("token", 6),
                name="devices_by_token_tail",
                condition=Q(retired_at__isnull=True),
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

    class QuietRule(models.TextChoices):
        HOLD = "hold", "Hold until they end"
        DROP = "drop", "Do not send"
        INBOX = "inbox", "Inbox only"
        IGNORE = "ignore", "Send all the same"

    # The slug of the one that test messages are sent under: nobody chooses it, no page of choices shows it.
    TESTS = "test-sends"

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="categories")
    slug = models.SlugField(max_length=64)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=14, choices=Kind)
    default = models.CharField(max_length=6, choices=Default)
    crash_rule = models.CharField(max_length=6, choices=CrashRule)
    quiet_rule = models.CharField(
        "in quiet hours", max_length=6, choices=QuietRule, db_default=QuietRule.IGNORE
    )
    channels = ArrayField(
        models.CharField(max_length=8), default=push_only, help_text="Those it may be sent through."
    )
    ttl_seconds = models.PositiveIntegerField(
        "lifetime in seconds",
        null=True,
        blank=True,
        help_text="Of messages that say none. Empty: three days.",
    )

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


class ConsentChange(models.Model):
    """What a person, or somebody for them, has said about being sent to. Append-only."""

    class Source(models.TextChoices):
        API = "api", "API"
        IMPORT = "import", "Import"
        ADMIN = "admin", "Admin"
        CENTRE = "centre", "Preference centre"
        ONE_CLICK = "one_click", "One-click unsubscribe"

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="+", db_index=False)
    subscriber = models.ForeignKey(Subscriber, on_delete=models.CASCADE, related_name="consent_changes")
    # NULL: of all marketing.
    category = models.ForeignKey(
        Category, on_delete=models.CASCADE, null=True, related_name="+", db_index=False
    )
    channel = models.CharField(max_length=8, blank=True)  # "": all
    is_allowed = models.BooleanField(null=True)  # NULL: the word was taken back, the category's default holds
    source = models.CharField(max_length=10, choices=Source)
    actor = models.CharField(max_length=150)  # a key's prefix, a staff user, or "subscriber"
    address = models.GenericIPAddressField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-id",)


class Cap(models.Model):
    """At most so many messages to one person. Neither category nor kind: all but critical ones."""

    class Period(models.TextChoices):
        DAY = "day", "a day"
        WEEK = "week", "a week (Monday to Sunday)"

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="caps")
    category = models.ForeignKey(
        Category, on_delete=models.CASCADE, null=True, blank=True, related_name="caps"
    )
    kind = models.CharField(max_length=14, choices=Category.Kind, blank=True)
    channel = models.CharField(max_length=8, blank=True, choices=Preference.Channel, help_text="Empty: all.")
    most = models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(1000)])
    period = models.CharField(max_length=4, choices=Period)

    class Meta:
        constraints = [
            models.CheckConstraint(name="cap_of_category_or_kind", condition=Q(category=None) | Q(kind="")),
            models.UniqueConstraint(
                fields=("application", "category", "kind", "channel", "period"),
                name="one_cap_per_period",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.most} {self.get_period_display()}"


class Segment(models.Model):
    """A part of the audience under a name: by rules (devices/segments.py), or a fixed list."""

    class Kind(models.TextChoices):
        RULES = "rules", "By rules"
        LIST = "list", "A list"

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="segments")
    slug = models.SlugField(max_length=64)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=5, choices=Kind, default=Kind.RULES)
    rules = models.JSONField(default=dict, blank=True)
    refresh_minutes = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(5)],
        help_text="Its members are found anew this often. Empty: whenever it is used.",
    )
    refreshed_at = models.DateTimeField(null=True, editable=False)
    size = models.PositiveBigIntegerField(null=True, editable=False)  # people, when counted last
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("application_id", "slug")
        constraints = [models.UniqueConstraint(fields=("application", "slug"), name="one_segment_per_slug")]

    def __str__(self) -> str:
        return self.name


class SegmentMember(models.Model):
    """Of a list, or of rules that are refreshed on a schedule. Without foreign keys: written by the million."""

    pk = models.CompositePrimaryKey("segment_id", "subscriber_id")
    segment_id = models.BigIntegerField()
    subscriber_id = models.BigIntegerField()


class SegmentSnapshot(models.Model):
    """Who a segment's devices were at a launch (devices/segment_snapshots.py). It outlives the segment."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="+")
    segment_id = models.BigIntegerField()
    rules = models.JSONField()  # as they were
    version = models.BinaryField()  # digest of them, and of all the segments they name
    as_of = models.DateTimeField()  # what "days ago" counts from
    range_size = models.PositiveIntegerField()  # device ids to a part

    class Meta:
        indexes = [models.Index(fields=("segment_id", "-as_of"), name="snapshots_newest_first")]


class SnapshotPart(models.Model):
    """The members among the device ids from number x range_size on; written once, by whoever needs it first."""

    pk = models.CompositePrimaryKey("snapshot_id", "number")
    snapshot = models.ForeignKey(
        SegmentSnapshot, on_delete=models.CASCADE, related_name="parts", db_index=False
    )
    number = models.BigIntegerField()
    device_ids = ArrayField(models.BigIntegerField())


class SegmentSize(models.Model):
    """What a segment's size was."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="sizes")
    size = models.PositiveBigIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-id",)


class Event(models.Model):
    """What a subscriber did, as the application's own systems tell it. Append-only, partitioned by month of `at`."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    application_id = models.BigIntegerField()
    subscriber_id = models.BigIntegerField()
    name = models.CharField(max_length=64)
    properties = models.JSONField()
    uid = models.UUIDField(null=True)  # the sender's own: the same event twice is one

    class Meta:
        managed = False
        db_table = "devices_event"
