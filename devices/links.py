"""The signed links to a person's preference centre.

Signed with the application's identity secret: with a new secret all links given out before are void.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.utils import timezone

from devices.models import Subscriber
from tenants.models import Application

# application.subscriber[.expiry].signature; also in text messages, so it is short.
_token = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})(?:\.([0-9]{1,11}))?\.[-_A-Za-z0-9]{43}").fullmatch


def url(subscriber: Subscriber, *, expires_at: datetime | None = None) -> str:
    """Whoever has it may change what this person is sent, and nothing else. It holds until `expires_at`, else on."""
    parts = [subscriber.application_id, subscriber.pk]
    if expires_at:
        parts.append(int(expires_at.timestamp()))
    return f"{settings.BASE_URL}/p/{_signer(subscriber.application).sign('.'.join(map(str, parts)))}"


def subscriber(token: str) -> Subscriber | None:
    """Whose link it is; None if it is not ours, expired, or the person is erased."""
    if not (found := _token(token)):
        return None
    application_id, id, expires_at = found.groups()
    if expires_at and datetime.fromtimestamp(int(expires_at), UTC) <= timezone.now():
        return None
    person = (
        Subscriber.objects.select_related("application").filter(application_id=application_id, id=id).first()
    )
    try:
        return person if person and _signer(person.application).unsign(token) else None
    except BadSignature:
        return None


def _signer(application: Application) -> Signer:
    return Signer(key=application.identity_secret, sep=".", salt="carillon.preferences")
