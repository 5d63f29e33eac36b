"""Who is in a segment, resolved once for a launch: its stages, and launches just after it, read what the first found.

A snapshot is made at launch with the rules of that moment; its members are found range by range of device ids, by the
first fan-out that comes to a range (so in the workers and side by side), and stay what they were found to be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import connection
from django.utils import timezone

from devices import segments
from devices.models import Segment, SegmentSnapshot
from devices.segment_rules import is_kept

FRESH = timedelta(seconds=60)  # for how long another launch may take it over
KEPT = timedelta(days=15)  # longer than any comparison of variants whose remainder waits for the winner

# The second of two who come to a range at once waits here for the first, and takes what that one found.
WRITE = """
    INSERT INTO devices_snapshotpart (snapshot_id, number, device_ids)
    SELECT %(snapshot)s, %(part)s, coalesce(array_agg(d.id ORDER BY d.id), '{{}}')
    FROM devices_device d LEFT JOIN devices_subscriber s ON s.id = d.subscriber_id
    WHERE d.application_id = %(application)s AND d.retired_at IS NULL
        AND d.id >= %(part_lower)s AND d.id < %(part_upper)s AND {condition}
    ON CONFLICT (snapshot_id, number) DO NOTHING
"""

# IS TRUE keeps it a hashed subplan: joined, PostgreSQL looks up each member by the device's index (133 333 of 200 000
# devices: 0.36 s instead of 0.10).
MEMBERS = """((d.id IN (
    SELECT unnest(p.device_ids) FROM devices_snapshotpart p
    WHERE p.snapshot_id = {snapshot} AND p.number >= {first} AND p.number <= {last}
)) IS TRUE)"""


def freeze(application_id: int, slugs: Iterable[str], *, at: datetime) -> dict[str, int]:
    """Slug → snapshot, of those segments there are. at: of the launch. Raises InvalidField for one that cannot be
    asked any more."""
    found = Segment.objects.filter(application_id=application_id, slug__in=set(slugs)).order_by("slug")
    return {segment.slug: _snapshot(segment, at) for segment in found}


def _snapshot(segment: Segment, at: datetime) -> int:
    # Of a list, and of what is refreshed, the members are written down anyway: cheap to ask, and an upload counts at
    # once.
    rules = {"segment": segment.slug} if is_kept(segment) else segment.rules
    version = _version(rules, segment.application_id)
    if not is_kept(segment) and (fresh := _fresh(segment, version, at)):
        return fresh
    made = SegmentSnapshot.objects.create(
        application_id=segment.application_id,
        segment_id=segment.pk,
        rules=rules,
        version=version,
        as_of=at,
        range_size=settings.SHARD_SIZE,
    )
    return int(made.pk)


def _version(rules: Any, application_id: int) -> bytes:
    """The same for the same rules, those of all named segments included."""
    sql, given = segments.condition(rules, application_id, now=datetime(2000, 1, 1, tzinfo=UTC))
    for number, name in enumerate(given):  # which are never the same twice
        sql = sql.replace(f"%({name})s", f"%({number})s")
    return hashlib.sha256(sql.encode() + orjson.dumps(list(given.values()), default=str)).digest()


def _fresh(segment: Segment, version: bytes, at: datetime) -> int | None:
    return (
        SegmentSnapshot.objects.filter(
            segment_id=segment.pk, version=version, as_of__lte=at, as_of__gte=at - FRESH
        )
        .order_by("-as_of")
        .values_list("pk", flat=True)
        .first()
    )


def condition(snapshot_id: int, lower: int, upper: int) -> tuple[str, dict[str, Any]] | None:
    """Membership of `d` with an id from lower below upper, as SQL with parameters; None if the snapshot is gone.

    Finds the members first where nobody has: call it in the transaction that uses it. Raises InvalidField.
    """
    snapshot = SegmentSnapshot.objects.filter(pk=snapshot_id).first()
    if snapshot is None:
        return None
    numbers = range(lower // snapshot.range_size, (upper - 1) // snapshot.range_size + 1)
    known = set(
        snapshot.parts.filter(number__gte=numbers[0], number__lte=numbers[-1]).values_list(
            "number", flat=True
        )
    )
    for number in numbers:
        if number not in known:
            _write(snapshot, number)
    names = {part: f"snapshot_{snapshot_id}_{part}" for part in ("snapshot", "first", "last")}
    placed = {part: f"%({name})s" for part, name in names.items()}
    values = {"snapshot": snapshot_id, "first": numbers[0], "last": numbers[-1]}
    return MEMBERS.format(**placed), {names[part]: value for part, value in values.items()}


def _write(snapshot: SegmentSnapshot, number: int) -> None:
    found = segments.compiled(snapshot.rules, snapshot.application_id, now=snapshot.as_of)
    lower = number * snapshot.range_size
    given = {
        "snapshot": snapshot.pk,
        "part": number,
        "application": snapshot.application_id,
        "part_lower": lower,
        "part_upper": lower + snapshot.range_size,
    }
    with connection.cursor() as cursor:
        cursor.execute(WRITE.format(condition=found.sql), {**found.parameters, **given})


def drop_old() -> int:
    """Those nobody sends to any more. A stage that was held for longer asks the rules."""
    return SegmentSnapshot.objects.filter(as_of__lt=timezone.now() - KEPT).delete()[0]
