"""Writes to applications, keys and credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from tenants import keys
from tenants.models import ApiKey, Application, Credential

# What the apps above do for a new application (devices: its categories), in its transaction.
WHEN_CREATED: list[Callable[[Application], None]] = []


def create_application(name: str, *, slug: str = "") -> tuple[Application, str, str]:
    """A new application with its first server and client key, which are shown here and never again."""
    with transaction.atomic():
        application = Application(name=name, slug=slug or free_slug(name))
        application.full_clean()
        application.save()
        set_up(application)
        _, server_key = create_key(application, kind=ApiKey.Kind.SERVER, name="First server key")
        _, client_key = create_key(application, kind=ApiKey.Kind.CLIENT, name="First client key")
    return application, server_key, client_key


def set_up(application: Application) -> None:
    """Give a freshly saved application what every application has."""
    for step in WHEN_CREATED:
        step(application)


def free_slug(name: str) -> str:
    """The name as a slug, with a number where it is taken."""
    base = slugify(name)[:56] or "app"
    taken = set(Application.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    candidates = (base, *(f"{base}-{number}" for number in range(2, len(taken) + 3)))
    return next(slug for slug in candidates if slug not in taken)


def create_key(
    application: Application,
    *,
    kind: str,
    name: str = "",
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A key and its secret, which is not kept."""
    secret = keys.new(kind)
    key = ApiKey.objects.create(
        application=application,
        kind=kind,
        name=name,
        prefix=secret[: keys.PREFIX_LENGTH],
        secret_hash=keys.hashed(secret),
        scopes=keys.SCOPES[ApiKey.Kind(kind)] if scopes is None else scopes,
        expires_at=expires_at,
    )
    return key, secret


def revoke_key(key: ApiKey) -> None:
    """Refused from now on; processes that have just seen it may take it for a few seconds more."""
    ApiKey.objects.filter(id=key.id, revoked_at__isnull=True).update(revoked_at=timezone.now())


def store_credential(
    application: Application,
    *,
    provider: str,
    public: Mapping[str, Any],
    secret: str,
    name: str = "",
    messages_per_second: int | None = None,
    credential: Credential | None = None,
) -> Credential:
    """Save a checked credential (`notifications.services.check_credential`), new or in place of `credential`.

    What it blocked goes on by itself.
    """
    credential = credential or Credential(application=application, provider=provider)
    credential.public, credential.secret = dict(public), secret
    credential.name = name or credential.name
    credential.messages_per_second = messages_per_second or credential.messages_per_second
    credential.blocked_at, credential.blocked_reason = None, ""
    credential.check_result, credential.check_detail, credential.checked_at = "", "", None
    credential.check_since, credential.check_due_at = None, timezone.now()
    credential.save()
    return credential
