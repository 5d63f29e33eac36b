"""Reads of applications, keys and credentials. Hot ones are kept in the process for a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.db.models import Q
from django.utils import timezone

from tenants import keys
from tenants.models import ApiKey, Credential

REMEMBERED_SECONDS = 3.0
REMEMBERED_MOST = 10_000

T = TypeVar("T")


def remembered(read: Callable[..., T]) -> Callable[..., T]:
    """Keep a read's answers (but None) in this process for REMEMBERED_SECONDS, by its arguments."""
    kept: dict[tuple[Any, ...], tuple[float, T]] = {}

    @wraps(read)
    def answer(*arguments: Any) -> T:
        found = kept.get(arguments)
        if found and time.monotonic() - found[0] < REMEMBERED_SECONDS:
            return found[1]
        fresh = read(*arguments)
        if len(kept) >= REMEMBERED_MOST:
            kept.clear()
        if fresh is not None:
            kept[arguments] = time.monotonic(), fresh
        return fresh

    answer.forget = kept.clear  # type: ignore[attr-defined]
    return answer


@remembered
def key(secret: str) -> ApiKey | None:
    """The living key with this secret, its application loaded."""
    return (
        ApiKey.objects.select_related("application")
        .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()))
        .filter(secret_hash=keys.hashed(secret), revoked_at__isnull=True)
        .first()
    )


@remembered
def configured_providers(application_id: int) -> set[str]:
    """The providers for which the application has an active credential."""
    return set(
        Credential.objects.filter(application_id=application_id, is_active=True)
        .values_list("provider", flat=True)
        .distinct()
    )


@remembered
def public_vapid_key(application_id: int) -> str:
    """The key web pages subscribe with: the newest active Web Push credential's, or ""."""
    public = (
        Credential.objects.filter(
            application_id=application_id, provider=Credential.Provider.WEBPUSH, is_active=True
        )
        .order_by("-id")
        .values_list("public", flat=True)
        .first()
    )
    return (public or {}).get("public_key", "")
