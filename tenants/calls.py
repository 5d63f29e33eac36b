"""Calls that must not be done twice: the caller's Idempotency-Key, noted in the transaction of what it did."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import orjson
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from tenants.models import Call

# Nobody repeats a call after that long: what it did is over, and says so by its state.
KEPT = timedelta(days=30)


class Known(Exception):
    """This key was used before. Nothing was done a second time."""

    def __init__(self, call: Call) -> None:
        super().__init__("This Idempotency-Key was used before.")
        self.call = call


def fingerprint(*about: Any) -> bytes:
    return hashlib.sha256(orjson.dumps(about, option=orjson.OPT_SORT_KEYS)).digest()


def known(application_id: int, key: str) -> Call | None:
    return Call.objects.filter(application_id=application_id, key=key).first()


def note(application_id: int, key: str, fingerprint: bytes) -> None:
    """In the caller's transaction. Whoever comes second waits for the first one's end, then raises Known."""
    try:
        with transaction.atomic():
            Call.objects.create(application_id=application_id, key=key, fingerprint=fingerprint)
    except IntegrityError:
        if (call := known(application_id, key)) is None:
            raise
        raise Known(call) from None


def forget_old() -> None:
    Call.objects.filter(created_at__lt=Now() - KEPT).delete()
