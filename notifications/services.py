"""Writes to notifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from django.db import connection, transaction
from django.utils import timezone

from config.problems import InvalidField
from devices.models import Subscriber
from notifications import engagement, lanes, reach, selectors
from notifications.credential_states import of_application as credential_states
from notifications.models import Notification, Recent
from notifications.pipeline import cancel as cancel_step
from notifications.pipeline import incidents, render, sessions, wake
from notifications.pipeline import pause as pause_step
from notifications.pipeline.accept import Accepted, Draft, IdempotencyConflict
from notifications.pipeline.accept import notifications as accept
from notifications.pipeline.build import providers
from notifications.providers.base import PayloadTooLarge
from tenants import services as tenants
from tenants.models import Application, Credential

__all__ = [
    "Accepted",
    "Checked",
    "Draft",
    "IdempotencyConflict",
    "accept",
    "accept_each",
    "cancel",
    "check_credential",
    "check_draft",
    "check_payload",
    "check_web_subscription",
    "credential_states",
    "dry_run",
    "forget",
    "pause",
    "resume",
    "store_credential",
]


def accept_each(
    drafts: Sequence[Draft], *, application_id: int, requested_by: str
) -> list[Accepted | IdempotencyConflict]:
    """Like `accept`, but a key that was used for another body costs only its own draft."""
    try:
        return [*accept(drafts, application_id=application_id, requested_by=requested_by)] if drafts else []
    except IdempotencyConflict:
        used = selectors.fingerprints(
            application_id, [draft.idempotency_key for draft in drafts if draft.idempotency_key]
        )
    refused = {
        draft.id
        for draft in drafts
        if draft.idempotency_key in used and used[draft.idempotency_key] != draft.fingerprint
    }
    kept = [draft for draft in drafts if draft.id not in refused]
    answers = iter(accept_each(kept, application_id=application_id, requested_by=requested_by))
    return [
        IdempotencyConflict(draft.idempotency_key) if draft.id in refused else next(answers)
        for draft in drafts
    ]


def dry_run(draft: Draft, *, application_id: int) -> dict[str, Any]:
    """Who would get it, and when, by the rules and what people were sent so far; writes nothing."""
    found = reach.of(
        draft.audience,
        application_id=application_id,
        category_id=draft.category.id,
        send_at=draft.send_at,
        local_time=draft.local_time,
        send_window=draft.send_window,
        deadline=draft.deadline,
        ttl_seconds=draft.lifetime,
    )
    by_provider: dict[str, int] = {}
    for platform, count in found.platforms.items():
        provider = lanes.PROVIDER_OF_PLATFORM[platform]
        by_provider[provider] = by_provider.get(provider, 0) + count
    return {
        "dry_run": True,
        "recipients": found.devices,
        "reachable": found.reachable,
        "held": found.later,
        "suppressed": dict(found.held_back),
        "providers": by_provider,
    }


# --- Payloads ---------------------------------------------------------------------------------

# What a provider's payload has besides the content: its frame, our ids, the category, the collapse key.
FRAME_BYTES = 900


class Checked(set[bytes]):
    """Sets of data keys and overrides found good in one call; the rest of a payload is only a matter of size."""


def check_draft(draft: Draft, checked: Checked | None = None) -> None:
    """Raises InvalidField if a platform would not take it.

    Rendering for every platform costs 100 µs. Content that is small even with every character escaped
    is let through unrendered, once its data keys and overrides have been seen to be good.
    """
    content, overrides = draft.content, draft.overrides
    about = orjson.dumps([sorted(content.get("data", ())), overrides])
    is_small = 2 * len(orjson.dumps(content)) + len(about) + FRAME_BYTES <= SMALLEST_LIMIT
    if is_small and (about == NOTHING_TO_CHECK or (checked is not None and about in checked)):
        return
    try:
        check_payload(
            content=content, overrides=overrides, priority=draft.priority, collapse_key=draft.collapse_key
        )
    except PayloadTooLarge as error:
        raise InvalidField("/content", str(error)) from error
    except ValueError as error:
        field, _, detail = str(error).partition(": ")
        parent = "/content" if field.startswith("data.") else "/overrides"
        raise InvalidField(f"{parent}/{field.replace('.', '/')}", detail) from error
    if checked is not None:
        checked.add(about)


NOTHING_TO_CHECK = orjson.dumps([[], {}])
SMALLEST_LIMIT = min(providers()[name].limit for name in lanes.PROVIDER_OF_PLATFORM.values())


def check_payload(
    *,
    content: Mapping[str, Any],
    overrides: Mapping[str, Any],
    priority: str = "normal",
    collapse_key: str = "",
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


def check_web_subscription(endpoint: str, p256dh: str, auth: str) -> None:
    """Raises ValueError naming token, keys/p256dh or keys/auth."""
    webpush = providers()["webpush"]
    try:
        webpush.check_endpoint(endpoint)  # type: ignore[attr-defined]
    except ValueError as error:
        raise ValueError(f"token: {error}") from error
    try:
        webpush.check_keys(p256dh, auth)  # type: ignore[attr-defined]
    except ValueError as error:
        raise ValueError(f"keys/{error}") from error


def forget(subscriber: Subscriber) -> None:
    """Take an erased person out of the ledger and what they did: the lines still count, for nobody."""
    engagement.forget(subscriber)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE notifications_delivery SET subscriber_id = NULL, device_id = NULL, provider_id = '',"
            # That of a replay names the outcome it takes back: without it the sum would not hold.
            " detail = CASE outcome WHEN 'replayed' THEN detail ELSE '' END"
            " WHERE application_id = %s AND subscriber_id = %s",
            [subscriber.application_id, subscriber.id],
        )
    Recent.objects.filter(application_id=subscriber.application_id, recipient=subscriber.id).delete()


def check_credential(provider: str, public: Mapping[str, Any], secret: str) -> tuple[dict[str, Any], str]:
    """What to store, completed. Raises InvalidCredential naming the setting."""
    return providers()[provider].check_credential(public, secret)


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
    """Save a checked credential, new or in place of `credential`, and let what waited for it go on."""
    with transaction.atomic():
        stored = tenants.store_credential(
            application,
            provider=provider,
            public=public,
            secret=secret,
            name=name,
            messages_per_second=messages_per_second,
            credential=credential,
        )
        with connection.cursor() as cursor:
            mended = incidents.closing(
                application_id=application.id, provider=provider, causes=("credential",)
            )
            cursor.execute(incidents.CLOSE, mended)
        transaction.on_commit(lambda: let_go(application.id, provider))
        transaction.on_commit(wake.checks)
    return stored


def let_go(application_id: int, provider: str) -> None:
    """What waits for its first attempt goes on now."""
    names = [f"{provider}.{kind}" for kind in (lanes.TRANSACTIONAL, lanes.CAMPAIGN)]
    with connection.cursor() as cursor:
        cursor.execute(sessions.LET_GO, {"application": application_id, "lanes": names})
    wake.lanes(names)


def pause(notification: Notification) -> Notification:
    """Hold what no sender has claimed yet; a finished notification stays finished."""
    with transaction.atomic():
        changed = Notification.objects.filter(
            id=notification.id, status__in=Notification.OPEN, paused_at=None
        ).update(paused_at=timezone.now())
        if changed:
            pause_step.hold(notification.id)
    notification.refresh_from_db()
    return notification


def resume(notification: Notification) -> Notification:
    """Let a paused one go on where it was."""
    with transaction.atomic():
        changed = Notification.objects.filter(id=notification.id, paused_at__isnull=False).update(
            paused_at=None
        )
        if changed:
            held = pause_step.let_go(notification.id)
            transaction.on_commit(lambda: wake.lanes(held))
    notification.refresh_from_db()
    return notification


def cancel(notification: Notification) -> Notification:
    """Stop it. What is with a provider already cannot be recalled; a finished notification stays finished.
    Recipients of a large one count as pending until a sweep has settled them."""
    with transaction.atomic():
        changed = Notification.objects.filter(id=notification.id, status__in=Notification.OPEN).update(
            status=Notification.Status.CANCELLED, finished_at=timezone.now(), paused_at=None
        )
        if changed:
            cancel_step.stop(notification)
    notification.refresh_from_db()
    return notification
