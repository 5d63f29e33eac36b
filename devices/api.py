"""Devices register themselves here. What a client key is shown tells nothing about other people."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from config import rest
from config.openapi import documented
from config.problems import Problem
from devices import selectors, services
from devices.models import Device
from devices.registrations import Details, Registration
from devices.shapes import DeviceRow, Page
from tenants import keys
from tenants import selectors as tenants
from tenants.models import ApiKey

READ = ("devices:register", "devices:read")
WRITE = ("devices:register", "devices:write")


class Devices(rest.Endpoint):
    scopes = {"PUT": WRITE, "GET": ("devices:read",)}

    @documented(
        "Register a device",
        request=Registration,
        responses={201: DeviceRow, 200: DeviceRow},
        headers={
            "X-Subscriber-Signature": "Hexadecimal HMAC-SHA256 of the subscriber's id, under the application's"
            " identity secret. Needed with a client key that names a subscriber."
        },
    )
    def put(self, request: HttpRequest) -> HttpResponse:
        registration = rest.body(request, Registration)
        key = rest.key(request)
        check_identity(request, registration)
        is_web = registration.platform == "web"
        device, is_new = services.register(
            registration,
            application_id=key.application_id,
            vapid_key=tenants.public_vapid_key(key.application_id) if is_web else "",
        )
        return rest.answer(shown(device, key), 201 if is_new else 200)

    @documented("List devices", responses={200: Page[DeviceRow]}, query=("cursor", "limit", "subscriber"))
    def get(self, request: HttpRequest) -> HttpResponse:
        key = rest.key(request)
        rows = selectors.devices(key.application_id)
        if wanted := rest.query(request, "cursor", "limit", "subscriber").get("subscriber"):
            rows = rows.filter(subscriber__external_id=wanted, subscriber__application_id=key.application_id)
        return rest.page(
            request,
            rows,
            "subscriber",
            represented=lambda devices: [shown(device, key) for device in devices],
        )


class OneDevice(rest.Endpoint):
    scopes = {"GET": READ, "PATCH": WRITE, "DELETE": WRITE}

    @documented("Show a device", responses={200: DeviceRow})
    def get(self, request: HttpRequest, public_id: UUID) -> HttpResponse:
        rest.query(request)
        return rest.answer(shown(found(request, public_id), rest.key(request)))

    @documented(
        "Change a device's details",
        request=Details,
        responses={200: DeviceRow},
        headers={"X-Subscriber-Signature": "As in registering."},
    )
    def patch(self, request: HttpRequest, public_id: UUID) -> HttpResponse:
        details = rest.body(request, Details)
        device = found(request, public_id)
        check_identity(request, details)
        return rest.answer(shown(services.change(device, details), rest.key(request)))

    @documented("Unregister a device", responses={204: None})
    def delete(self, request: HttpRequest, public_id: UUID) -> HttpResponse:
        services.unregister(found(request, public_id))
        return rest.answer()


class VapidKey(rest.Endpoint):
    scopes = {"GET": READ}

    @documented("The key for PushManager.subscribe()", responses={200: dict[str, str]})
    def get(self, request: HttpRequest) -> HttpResponse:
        rest.query(request)
        public_key = tenants.public_vapid_key(rest.key(request).application_id)
        if not public_key:
            raise Problem(404, "Not found", "This application has no Web Push credential.")
        return rest.answer({"public_key": public_key})


def found(request: HttpRequest, public_id: UUID) -> Device:
    device = selectors.device(rest.key(request).application_id, public_id)
    if device is None:
        raise Problem(404, "Not found", "There is no such device.")
    return device


def check_identity(request: HttpRequest, details: Details) -> None:
    """A client may act for a subscriber only with the word of the application's own backend (R72)."""
    key = rest.key(request)
    if key.kind == ApiKey.Kind.SERVER or not isinstance(details.subscriber, str):
        return
    given = request.headers.get("X-Subscriber-Signature", "")
    if not keys.is_signed(key.application.identity_secret, details.subscriber, given):
        raise Problem(
            403,
            "Forbidden",
            "Naming a subscriber with a client key takes the header X-Subscriber-Signature:"
            " hex HMAC-SHA256(identity secret, subscriber).",
        )


def shown(device: Device, key: ApiKey) -> dict[str, Any]:
    """A device as its caller may see it. Never the token; the subscriber to server keys only."""
    row = {
        "id": device.public_id,
        "platform": device.platform,
        "installation_id": device.installation_id,
        "environment": device.environment or None,
        "locale": device.locale or None,
        "time_zone": device.time_zone or None,
        "app_version": device.app_version or None,
        "os_version": device.os_version or None,
        "model": device.model or None,
        "permission": device.permission or None,
        "is_active": device.retired_at is None,
        "registered_at": device.registered_at,
        "last_seen_at": device.last_seen_at,
        "retired_at": device.retired_at,
        "retired_reason": device.retired_reason or None,
    }
    if key.kind == ApiKey.Kind.SERVER:
        row["subscriber"] = device.subscriber.external_id if device.subscriber else None
    return row
