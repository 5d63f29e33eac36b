"""Registering devices: one row per installation, one active row per token, whoever calls how often at once."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import msgspec
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import F, QuerySet, UUIDField
from django.db.models.functions import MD5, Cast
from django.utils import timezone

from config.problems import InvalidField
from devices import registrations
from devices.models import Device
from devices.registrations import Address, Details, Registration

REPLACED = "replaced"  # its token now belongs to another installation
UNREGISTERED_BY_APP = "unregistered_by_app"

ATTEMPTS = 3


def register(registration: Registration, *, application_id: int, vapid_key: str = "") -> tuple[Device, bool]:
    """The device, and whether it is new. Raises InvalidField.

    Known is a device by its installation id, else by its token. vapid_key: the public key web pages of
    this application subscribe with.
    """
    address = registrations.address(registration)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                return _register(registration, address, application_id, vapid_key)
        except (IntegrityError, OperationalError):
            # An import took the token or the installation in between, or the two waited for each other.
            if attempt == ATTEMPTS or transaction.get_connection().in_atomic_block:
                raise
    raise AssertionError


def change(device: Device, details: Details) -> Device:
    """New details for a known device. Raises InvalidField."""
    if details.environment and device.platform not in (Device.Platform.IOS, Device.Platform.MACOS):
        raise InvalidField("/environment", "only Apple's platforms have environments")
    with transaction.atomic():
        _apply(device, details)
        device.last_seen_at = timezone.now()
        device.save(update_fields=[*details.given(), *_subscriber_column(details), "last_seen_at"])
    return device


def unregister(device: Device) -> None:
    """Retired by its own app: nothing is sent to it until it registers again."""
    Device.objects.filter(application_id=device.application_id, id=device.id, retired_at__isnull=True).update(
        retired_at=timezone.now(), retired_reason=UNREGISTERED_BY_APP
    )


def subscriber_id(application_id: int, external_id: str) -> int:
    """The subscriber's id; an unknown one is created. In the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH known AS (
                SELECT id FROM devices_subscriber WHERE application_id = %(application)s AND external_id = %(id)s
            ), made AS (
                INSERT INTO devices_subscriber
                    (application_id, external_id, attributes, locale, time_zone, country, email, phone,
                     created_at, updated_at)
                SELECT %(application)s, %(id)s, '{}', '', '', '', '', '', now(), now()
                WHERE NOT EXISTS (SELECT FROM known)
                ON CONFLICT (application_id, external_id) DO UPDATE SET external_id = excluded.external_id
                RETURNING id
            )
            SELECT id FROM known UNION ALL SELECT id FROM made
            """,
            {"application": application_id, "id": external_id},
        )
        return cursor.fetchone()[0]


def _register(
    registration: Registration, address: Address, application_id: int, vapid_key: str
) -> tuple[Device, bool]:
    _lock(application_id, registration, address)
    device, others = _known(registration, address, application_id)
    now = timezone.now()
    if others:
        Device.objects.filter(id__in=others, retired_at__isnull=True).update(
            retired_at=now, retired_reason=REPLACED
        )
    is_new = device is None
    device = device or Device(application_id=application_id, token="")
    if device.token != address.token or device.retired_at:
        device.registered_at = now
    if registration.installation_id:
        device.installation_id = registration.installation_id
    device.platform = registration.platform
    device.token, device.p256dh, device.auth = address.token, address.p256dh, address.auth
    device.fid = address.fid or (device.fid if registration.platform == "android" else "")
    device.vapid_key = vapid_key if registration.platform == "web" else ""
    device.last_seen_at, device.retired_at, device.retired_reason = now, None, ""
    _apply(device, registration)
    device.save(force_insert=is_new)
    return device, is_new


def _apply(device: Device, details: Details) -> None:
    for name, value in details.given().items():
        setattr(device, name, value)
    if details.subscriber is None:
        device.subscriber_id = None
    elif details.subscriber is not msgspec.UNSET:
        device.subscriber_id = subscriber_id(device.application_id, details.subscriber)


def _subscriber_column(details: Details) -> tuple[str, ...]:
    return () if details.subscriber is msgspec.UNSET else ("subscriber",)


def _lock(application_id: int, registration: Registration, address: Address) -> None:
    """Calls about the same installation or token go one after the other, also while there is no row to lock."""
    about = {f"token {application_id} {registration.platform} {word}" for word in _tokens(address)}
    if registration.installation_id:
        about.add(f"installation {application_id} {registration.installation_id}")
    with connection.cursor() as cursor:
        # One statement per lock, in one order: two calls never wait for each other.
        for name in sorted(about):
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def _known(
    registration: Registration, address: Address, application_id: int
) -> tuple[Device | None, list[int]]:
    """The row this registration is about, and other active rows that hold its token."""
    holders = list(
        _with_token(application_id, registration.platform, _tokens(address)).select_for_update(of=("self",))
    )
    device: Device | None
    if registration.installation_id:
        installed = Device.objects.filter(
            application_id=application_id, installation_id=registration.installation_id
        )
        device = installed.select_for_update(of=("self",)).first()
        device = device or next((holder for holder in holders if holder.installation_id is None), None)
    elif holders:
        device = holders[0]
    else:
        device = _retired_with_token(application_id, registration.platform, address.token)
    return device, [holder.id for holder in holders if device is None or holder.id != device.id]


def _with_token(application_id: int, platform: str, tokens: list[str]) -> QuerySet[Device]:
    return _by_digest(application_id, platform, tokens).filter(retired_at__isnull=True).order_by("id")


def _retired_with_token(application_id: int, platform: str, token: str) -> Device | None:
    rows = _by_digest(application_id, platform, [token]).filter(retired_at__isnull=False)
    return rows.order_by(F("retired_at").desc(), "-id").select_for_update(of=("self",)).first()


def _by_digest(application_id: int, platform: str, tokens: list[str]) -> QuerySet[Device]:
    """As the indexes have it: by the digest of the token."""
    digests = [uuid.UUID(hashlib.md5(token.encode(), usedforsecurity=False).hexdigest()) for token in tokens]
    digest: Any = Cast(MD5("token"), UUIDField())
    return Device.objects.alias(digest=digest).filter(
        application_id=application_id, platform=platform, digest__in=digests
    )


def _tokens(address: Address) -> list[str]:
    """Under which tokens the device may be known: a fid stands in for a token that was not given."""
    return [address.token] if address.fid in ("", address.token) else [address.token, address.fid]
