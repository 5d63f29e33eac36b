"""Lists: segments filled by upload. A list changes as a whole or not at all; until then only ids are kept in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

import msgspec
import orjson
from django.db import connection, transaction

from config import json, problems
from config.problems import InvalidField, Problem
from config.types import ExternalId
from devices.models import Segment, SegmentMember, SegmentSize, Subscriber

CHUNK = 10_000
ERRORS_LISTED = 100
SMALL = 10_000


class Mode(StrEnum):
    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


class Member(msgspec.Struct, forbid_unknown_fields=True):
    external_id: ExternalId


@dataclass(slots=True)
class Filled:
    """What an upload came to."""

    lines: int = 0
    added: int = 0
    removed: int = 0
    size: int = 0
    error_count: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        self.error_count += 1
        if len(self.errors) < ERRORS_LISTED:
            self.errors.append({"line": line, "field": "external_id", "reason": reason})


def fill(segment: Segment, source: Iterable[tuple[int, Any]], mode: Mode) -> Filled:
    """source: (line number, bytes of JSON | a row of a table | InvalidField), as importing_files gives it."""
    if segment.kind != Segment.Kind.LIST:
        raise InvalidField("/kind", "only a list takes members; this segment goes by its rules")
    filled = Filled()
    people = array("q")
    lines = _read(source, filled)
    while chunk := list(islice(lines, CHUNK)):
        people.extend(_found(chunk, segment.application_id, filled))
    _store(segment, people, mode, filled)
    return filled


def _read(source: Iterable[tuple[int, Any]], filled: Filled) -> Iterator[tuple[int, str]]:
    for number, value in source:
        filled.lines += 1
        try:
            yield number, _external_id(value)
        except (Problem, InvalidField) as error:
            problem = problems.of(error)
            assert problem
            filled.refuse(number, problem.errors[0]["detail"] if problem.errors else problem.detail)


def _external_id(value: Any) -> str:
    """{"external_id": …}, or the id alone. Of a table's row the other columns are let be."""
    if isinstance(value, InvalidField):
        raise value
    if isinstance(value, dict):
        return json.converted({"external_id": value.get("external_id")}, Member).external_id
    if value.startswith(b'"'):
        return json.decoded(value, ExternalId)
    return json.decoded(value, Member).external_id


KNOWN = """
    SELECT g.n, s.id
    FROM unnest(ARRAY(SELECT jsonb_array_elements_text(%s::jsonb))) WITH ORDINALITY AS g (external_id, n)
    LEFT JOIN devices_subscriber s ON s.application_id = %s AND s.external_id = g.external_id
"""


def _found(chunk: list[tuple[int, str]], application_id: int, filled: Filled) -> list[int]:
    with connection.cursor() as cursor:
        ids = orjson.dumps([external_id for _, external_id in chunk]).decode()
        cursor.execute(KNOWN, [ids, application_id])
        rows = sorted(cursor.fetchall())
    for n, id in rows:
        if id is None:
            filled.refuse(chunk[n - 1][0], "there is no such subscriber")
    return [id for _, id in rows if id is not None]


GIVEN = "SELECT FROM unnest(%s::text::bigint[]) AS g (id) WHERE g.id = subscriber_id"
REMOVE = f"DELETE FROM devices_segmentmember WHERE segment_id = %s AND EXISTS ({GIVEN})"
KEEP = f"DELETE FROM devices_segmentmember WHERE segment_id = %s AND NOT EXISTS ({GIVEN})"
ADD = """
    INSERT INTO devices_segmentmember (segment_id, subscriber_id)
    SELECT %s, id FROM unnest(%s::text::bigint[]) AS g (id) ON CONFLICT DO NOTHING
"""


def _store(segment: Segment, people: array[int], mode: Mode, filled: Filled) -> None:
    ids = "{" + ",".join(map(str, people)) + "}"  # psycopg takes ten times as long over a list
    with transaction.atomic(), connection.cursor() as cursor:
        # One upload after the other; and if the list is being deleted, none.
        if not Segment.objects.select_for_update(no_key=True).filter(pk=segment.pk).exists():
            raise Problem(404, "Not found", "The list was deleted meanwhile.")
        if mode is not Mode.ADD:
            cursor.execute(KEEP if mode is Mode.REPLACE else REMOVE, [segment.pk, ids])
            filled.removed = cursor.rowcount
        if mode is not Mode.REMOVE:
            cursor.execute(ADD, [segment.pk, ids])
            filled.added = cursor.rowcount
        filled.size = SegmentMember.objects.filter(segment_id=segment.pk).count()
        note_size(segment, filled.size)


def note_size(segment: Segment, size: int) -> None:
    """The size of now, in the segment and in its history."""
    before = segment.size or 0
    Segment.objects.filter(pk=segment.pk).update(size=size)
    if SegmentSize.objects.filter(segment=segment).values_list("size", flat=True).first() != size:
        SegmentSize.objects.create(segment=segment, size=size)
    if abs(size - before) > max(SMALL, before // 10):
        # Else the planner takes a list of a million for one of thousands, and reads all of it in every shard: of
        # 300 000 members 1.4 s instead of 0.35.
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE (SKIP_LOCKED) devices_segmentmember")


def forget(subscriber: Subscriber) -> None:
    """For the erasure of a person."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM devices_segmentmember WHERE subscriber_id = %s"
            " AND segment_id IN (SELECT id FROM devices_segment WHERE application_id = %s)",
            [subscriber.pk, subscriber.application_id],
        )
