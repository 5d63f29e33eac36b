"""Writing frequency caps: those of a category, or of the application as a whole, are set together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction

from config.problems import InvalidField
from devices.models import Cap, Category
from tenants.models import Application


def put(
    application_id: int, wanted: Iterable[Mapping[str, Any]], *, category: Category | None = None
) -> None:
    """In place of those there are. wanted: most, period, channel and, for the application's, kind.

    Raises InvalidField where two are about the same.
    """
    caps = [Cap(application_id=application_id, category=category, **cap) for cap in wanted]
    seen = set()
    for index, cap in enumerate(caps):
        about = (cap.kind, cap.channel, cap.period)
        if about in seen:
            raise InvalidField(f"/caps/{index}", "there is a cap for the same messages and period before it")
        seen.add(about)
    with transaction.atomic():
        Application.objects.select_for_update(no_key=True).get(id=application_id)  # one at a time
        Cap.objects.filter(application_id=application_id, category=category).delete()
        Cap.objects.bulk_create(caps)
