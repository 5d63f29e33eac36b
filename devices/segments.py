"""Segments: parts of the audience under a name, by rules or as lists. Writes, and rules turned into SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from config.problems import InvalidField, Problem
from devices import segment_rules
from devices.models import Segment, SegmentMember
from devices.segment_operators import Parameters
from devices.segment_rules import Fault, is_kept
from devices.segment_sql import Writer
from tenants.models import Application

__all__ = [
    "Condition",
    "Fault",
    "InUse",
    "Taken",
    "check",
    "compiled",
    "condition",
    "delete",
    "is_kept",
    "of",
    "refused",
    "save",
    "segments",
]


@dataclass(frozen=True, slots=True)
class Condition:
    """A boolean expression over `d` (devices_device) and `s` (devices_subscriber, left joined), never NULL."""

    sql: str
    parameters: dict[str, Any]
    is_about_devices: bool


def check(rules: Any, application_id: int, *, slug: str = "") -> list[Fault]:
    """(JSON pointer, what is wrong) of every fault. slug: of the segment that has these rules, if it has one."""
    return segment_rules.read(rules, application_id, slug=slug)[1]


def condition(rules: Any, application_id: int, *, now: datetime | None = None) -> tuple[str, dict[str, Any]]:
    """The rules as SQL, with parameters whose names are never the same twice. Of a stored segment:
    `condition({"segment": slug}, …)`. now: what "days ago" counts from. Raises InvalidField."""
    found = compiled(rules, application_id, now=now)
    return found.sql, found.parameters


def compiled(rules: Any, application_id: int, *, now: datetime | None = None) -> Condition:
    """Raises InvalidField, naming the first fault."""
    tree, faults = segment_rules.read(rules, application_id)
    if faults:
        raise InvalidField(*faults[0])
    writer = Writer(application_id, Parameters(now or timezone.now()))
    sql = writer.sql(tree)
    return Condition(sql, writer.put.given, writer.is_about_devices)


def segments(application_id: int) -> QuerySet[Segment]:
    return Segment.objects.filter(application_id=application_id)


def of(application_id: int, slug: str) -> Segment | None:
    return segments(application_id).filter(slug=slug).first()


class InUse(Exception):
    """Other segments name it; `slugs` are theirs."""

    def __init__(self, slugs: list[str]) -> None:
        super().__init__(", ".join(slugs))
        self.slugs = slugs


class Taken(Exception):
    """There is a segment of that slug already."""


def save(segment: Segment) -> None:
    """Store a new or changed segment. Raises InvalidField, Taken, or Problem with all the faults of its rules.

    Members found by other rules than these are forgotten: until the next refresh the rules themselves are asked.
    """
    with transaction.atomic():
        _lock(segment.application_id)
        if segment.kind == Segment.Kind.RULES:
            if faults := check(segment.rules, segment.application_id, slug=segment.slug):
                raise refused(faults)
        elif segment.rules or segment.refresh_minutes is not None:
            raise InvalidField("/rules" if segment.rules else "/refresh_minutes", "a list has none")
        before = Segment.objects.filter(pk=segment.pk).first() if segment.pk else None
        is_other = before is not None and (
            before.rules != segment.rules
            or (before.refresh_minutes is None) != (segment.refresh_minutes is None)
        )
        if is_other and segment.kind == Segment.Kind.RULES:
            segment.size = segment.refreshed_at = None
            SegmentMember.objects.filter(segment_id=segment.pk).delete()
        try:
            with transaction.atomic():
                segment.save()
        except IntegrityError as error:
            raise Taken from error


def refused(faults: list[Fault], prefix: str = "/rules") -> Problem:
    errors = [{"pointer": f"{prefix}{at.rstrip('/')}", "detail": message} for at, message in faults]
    first = errors[0]
    return Problem(422, "Invalid request", f"{first['pointer']}: {first['detail']}", errors=errors)


def delete(segment: Segment) -> None:
    """Raises InUse while another segment's rules name it."""
    with transaction.atomic():
        _lock(segment.application_id)
        if users := _users(segment):
            raise InUse(users)
        SegmentMember.objects.filter(segment_id=segment.pk).delete()
        segment.delete()


def _users(segment: Segment) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT slug FROM devices_segment WHERE application_id = %s"
            " AND jsonb_path_exists(rules, '$.**.segment ? (@ == $slug)', jsonb_build_object('slug', %s::text))"
            " ORDER BY slug",
            [segment.application_id, segment.slug],
        )
        return [slug for (slug,) in cursor.fetchall()]


def _lock(application_id: int) -> None:
    """One at a time: two who write at once could close a circle, or name what the other deletes."""
    Application.objects.select_for_update(no_key=True).get(pk=application_id)
