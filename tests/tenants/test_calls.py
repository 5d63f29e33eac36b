"""Calls that were done are known for a month by their Idempotency-Key."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from notifications import tasks
from tenants import calls
from tenants.models import Call
from tests.conftest import Tenant


def test_a_call_is_known_for_a_month(shop: Tenant) -> None:
    for key in ("old", "new"):
        calls.note(shop.id, key, calls.fingerprint(key))
    Call.objects.filter(key="old").update(created_at=timezone.now() - calls.KEPT - timedelta(minutes=1))
    Call.objects.filter(key="new").update(created_at=timezone.now() - calls.KEPT + timedelta(minutes=1))
    tasks.make_partitions()
    assert calls.known(shop.id, "old") is None
    assert calls.known(shop.id, "new") is not None
