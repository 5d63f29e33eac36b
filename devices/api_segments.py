"""Segments: definitions of parts of the audience, and the members of lists."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from django.http import HttpRequest, HttpResponse

from config import rest
from config.openapi import documented
from config.problems import Problem
from config.types import Slug, text
from devices import api_import, importing_files, segment_lists, segments
from devices.models import Segment
from devices.segment_lists import Mode
from devices.shapes import LineError, Page

READ, WRITE = ("subscribers:read",), ("subscribers:write",)

Name = Annotated[str, text(120, shortest=1)]


class Definition(msgspec.Struct, forbid_unknown_fields=True):
    """rules: docs/segments.md. refresh_minutes: members are found anew this often; absent: at every use."""

    name: Name
    kind: Literal["rules", "list"] = "rules"
    rules: dict[str, Any] = {}
    refresh_minutes: Annotated[int, msgspec.Meta(ge=5, le=527_040)] | None = None


class NewDefinition(Definition, forbid_unknown_fields=True, kw_only=True):
    slug: Slug


class SegmentRow(msgspec.Struct):
    slug: str
    name: str
    kind: str
    rules: dict[str, Any]
    refresh_minutes: int | None
    refreshed_at: datetime | None
    size: int | None  # people, when counted last; null for rules that are asked at every use
    created_at: datetime
    updated_at: datetime


class SizeRow(msgspec.Struct):
    at: datetime
    size: int


class SegmentWithSizes(SegmentRow, kw_only=True):
    sizes: list[SizeRow]  # newest first, of changes only, the last hundred


class FillResult(msgspec.Struct):
    lines: int
    added: int
    removed: int
    size: int
    error_count: int
    errors: list[LineError]  # the first hundred


class Segments(rest.Endpoint):
    scopes = {"GET": READ, "POST": WRITE}

    @documented("List segments", responses={200: Page[SegmentRow]}, query=("cursor", "limit"))
    def get(self, request: HttpRequest) -> HttpResponse:
        rows = segments.segments(rest.key(request).application_id)
        return rest.page(request, rows, represented=lambda found: [shown(segment) for segment in found])

    @documented(
        "Create a segment",
        request=NewDefinition,
        responses={201: SegmentRow},
        statuses={409: "There is a segment of that slug"},
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        given = rest.body(request, NewDefinition)
        return rest.answer(shown(_saved(request, given, Segment(slug=given.slug))), 201)


class OneSegment(rest.Endpoint):
    scopes = {"GET": READ, "PUT": WRITE, "DELETE": WRITE}

    @documented("Show a segment and what its size was", responses={200: SegmentWithSizes})
    def get(self, request: HttpRequest, slug: str) -> HttpResponse:
        rest.query(request)
        segment = found(request, slug)
        sizes = [{"at": row.at, "size": row.size} for row in segment.sizes.all()[:100]]
        return rest.answer({**shown(segment), "sizes": sizes})

    @documented(
        "Create a segment, or replace its definition",
        request=Definition,
        responses={201: SegmentRow, 200: SegmentRow},
    )
    def put(self, request: HttpRequest, slug: str) -> HttpResponse:
        given = rest.body(request, Definition)
        known = segments.of(rest.key(request).application_id, slug)
        if known and known.kind != given.kind:
            raise Problem.of_field("/kind", "a segment stays what it is: rules or a list")
        if not known and len(slug) > 64:
            raise Problem.of_field("/slug", "Expected `str` of length <= 64")
        return rest.answer(shown(_saved(request, given, known or Segment(slug=slug))), 200 if known else 201)

    @documented(
        "Delete a segment",
        responses={204: None},
        statuses={409: "The rules of other segments name it"},
    )
    def delete(self, request: HttpRequest, slug: str) -> HttpResponse:
        try:
            segments.delete(found(request, slug))
        except segments.InUse as error:
            raise Problem(409, "In use", f"These segments name it: {error}.") from error
        return rest.answer()


class Members(rest.Endpoint):
    scopes = {"POST": WRITE}

    @documented(
        "Fill a list: add its members, remove them, or replace all (`?mode=`)",
        request={
            "application/x-ndjson": segment_lists.Member,
            "text/csv": {"type": "string"},
            "multipart/form-data": api_import.FILE,
        },
        responses={200: FillResult},
        statuses={411: "The length of the body has to be announced"},
    )
    def post(self, request: HttpRequest, slug: str) -> HttpResponse:
        mode = rest.query(request, "mode").get("mode", Mode.ADD)
        if mode not in list(Mode):
            raise rest.invalid_parameter("mode", f"expected one of {', '.join(Mode)}")
        segment = found(request, slug)
        stream, kind = api_import.upload(request, importing_files.NDJSON, importing_files.CSV)
        source: Any = importing_files.ndjson if kind == importing_files.NDJSON else importing_files.csv_people
        return rest.answer(msgspec.to_builtins(segment_lists.fill(segment, source(stream), Mode(mode))))


def _saved(request: HttpRequest, given: Definition, segment: Segment) -> Segment:
    segment.application_id = rest.key(request).application_id
    segment.name, segment.kind = given.name, given.kind
    segment.rules, segment.refresh_minutes = given.rules, given.refresh_minutes
    try:
        segments.save(segment)
    except segments.Taken as error:
        raise Problem(409, "Taken", "There is a segment of that slug.") from error
    return segment


def found(request: HttpRequest, slug: str) -> Segment:
    segment = segments.of(rest.key(request).application_id, slug)
    if segment is None:
        raise Problem(404, "Not found", "There is no such segment.")
    return segment


def shown(segment: Segment) -> dict[str, Any]:
    return {name: getattr(segment, name) for name in SegmentRow.__struct_fields__}
