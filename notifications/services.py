"""Writes to notifications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from notifications import lanes
from notifications.models import Notification
from notifications.pipeline import cancel as cancel_step
from notifications.pipeline import render
from notifications.pipeline.accept import Accepted, Draft, IdempotencyConflict
from notifications.pipeline.accept import notifications as accept
from notifications.pipeline.build import providers

__all__ = ["Accepted", "Draft", "IdempotencyConflict", "accept", "cancel", "check_credential", "check_payload"]


def check_payload(
    *, content: Mapping[str, Any], overrides: Mapping[str, Any], priority: str = "normal", collapse_key: str = ""
) -> dict[str, int]:
    """Payload bytes per provider. Raises PayloadTooLarge (with the byte count), or ValueError naming the field."""
    sizes = {}
    for name in dict.fromkeys(lanes.PROVIDER_OF_PLATFORM.values()):
        message = render.message(
            notification_id="00000000-0000-7000-8000-000000000000",
            content=content,
            overrides=overrides,
            provider=name,
            category="",
            priority=priority,
            collapse_key=collapse_key,
            expires_at=0,
        )
        sizes[name] = providers()[name].render(message).size
    return sizes


def check_credential(provider: str, public: Mapping[str, Any], secret: str) -> tuple[dict[str, Any], str]:
    """What to store, completed. Raises InvalidCredential naming the setting."""
    return providers()[provider].check_credential(public, secret)


def cancel(notification: Notification) -> Notification:
    """Stop it. What is with a provider already cannot be recalled; a finished notification stays finished."""
    with transaction.atomic():
        changed = Notification.objects.filter(id=notification.id, status__in=Notification.OPEN).update(
            status=Notification.Status.CANCELLED, finished_at=timezone.now()
        )
        if changed:
            cancel_step.open_batches(notification.id)
    notification.refresh_from_db()
    return notification
