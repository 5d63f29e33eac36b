"""Who owns the data: applications, the keys that may call for them, the credentials they send with."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tenants.fields import EncryptedTextField
from tenants.roles import Role


def new_identity_secret() -> str:
    """The secret with which an application's own backend signs `X-Subscriber-Signature`."""
    import secrets

    return secrets.token_hex(32)


class Application(models.Model):
    """A tenant: one app (iOS, Android, web together) whose data nobody else sees."""

    slug = models.SlugField(unique=True, max_length=64)
    name = models.CharField(max_length=120)
    default_locale = models.CharField(max_length=35, default="en")
    default_time_zone = models.CharField(max_length=64, default="UTC")
    quiet_hours = models.JSONField(
        default=list,
        blank=True,
        help_text='When people who set none of their own are left alone, as [{"days": [1, …, 7], "start": "22:00", '
        '"end": "08:00"}], in their own time zone. Monday is 1.',
    )
    is_sandbox = models.BooleanField(
        "rehearsal",
        default=False,
        help_text="Everything happens but the call to the provider.",
    )
    messages_per_second = models.PositiveIntegerField(
        null=True, blank=True, help_text="At most, over all providers. Empty: as fast as it goes."
    )
    retirement_percent = models.PositiveSmallIntegerField(
        "devices gone per hour, per cent",
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="If a provider declares more of the application's devices gone within an hour, a person is asked "
        "before they are switched off.",
    )
    holdout_percent = models.PositiveSmallIntegerField(
        "held out of marketing, per cent",
        default=0,
        validators=[MaxValueValidator(50)],
        help_text="Per cent of people who get no marketing at all, always the same ones, to compare with.",
    )
    approval_above = models.PositiveIntegerField(
        "campaigns need a second person above, devices",
        null=True,
        blank=True,
        default=100_000,
        help_text="A campaign that reaches more has to be approved by somebody who did not write it. Empty: never.",
    )
    identity_secret = EncryptedTextField(default=new_identity_secret, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A role of a person in an application; one may have several. What a role may do: tenants/roles.py."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "role"
        ordering = ("application__name", "user__username", "role")
        constraints = [
            models.UniqueConstraint(
                fields=("user", "application", "role"),
                name="one_membership_per_role",
                violation_error_message="They have this role already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.role} of {self.application}"


class ApiKey(models.Model):
    """A bearer key. Only its hash is kept; the prefix tells keys apart in lists and logs."""

    class Kind(models.TextChoices):
        SERVER = "server", "Server"  # producers: sends, reads, manages
        CLIENT = "client", "Client"  # ships inside apps and pages: registers its own device only

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="api_keys")
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=120, blank=True)
    prefix = models.CharField(max_length=16, editable=False)
    secret_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=40), default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.prefix}…"


class Call(models.Model):
    """A call with an Idempotency-Key that did something. fingerprint: of what was asked."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("application", "key"), name="one_call_per_idempotency_key")
        ]


class Credential(models.Model):
    """What a provider wants from us: public parts in the open, the secret encrypted and write-only."""

    class CheckResult(models.TextChoices):
        OK = "ok", "Accepted"
        REFUSED = "refused", "Refused"
        UNABLE = "unable", "Could not be checked"

    class Provider(models.TextChoices):
        APNS = "apns", "Apple (APNs)"
        FCM = "fcm", "Google (FCM)"
        WEBPUSH = "webpush", "Web Push (VAPID)"
        CONSOLE = "console", "Console"
        MEMORY = "memory", "Memory"

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="credentials")
    provider = models.CharField(max_length=16, choices=Provider)
    name = models.CharField(max_length=120, blank=True)
    public = models.JSONField(
        default=dict, help_text="Settings that are no secret: key id, team, bundle, project."
    )
    secret = EncryptedTextField(blank=True)
    messages_per_second = models.PositiveIntegerField(
        null=True, blank=True, help_text="At most, with this credential. Empty: the provider's own limit."
    )
    is_active = models.BooleanField(default=True)
    blocked_at = models.DateTimeField(null=True, blank=True, editable=False)
    blocked_reason = models.CharField(max_length=300, blank=True, editable=False)
    # The last live check (notifications/checks.py), what came of it, since when that is so, and when the next is due.
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    check_result = models.CharField(
        max_length=8, choices=CheckResult, blank=True, editable=False, db_default=""
    )
    check_detail = models.CharField(max_length=300, blank=True, editable=False, db_default="")
    check_since = models.DateTimeField(null=True, blank=True, editable=False)
    check_due_at = models.DateTimeField(editable=False, db_default=Now())
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("application_id", "provider", "id")
        permissions = (("check_credential", "Can have credentials checked"),)
        indexes = [
            models.Index(
                fields=("application", "provider"), name="active_credentials", condition=Q(is_active=True)
            )
        ]

    def __str__(self) -> str:
        return self.name or f"{self.get_provider_display()} #{self.pk}"
