"""Imports by upload. The body is read as it comes; neither its size nor its length in lines is limited."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, ClassVar, cast

from django.http import HttpRequest, HttpResponse

from config import rest
from config.openapi import documented
from config.problems import Problem
from devices import consent, importing, importing_files
from devices.importing import Line
from devices.registrations import Registration
from devices.shapes import ImportResult
from tenants import selectors as tenants

FILE = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}


class ImportSubscribers(rest.Endpoint):
    scopes = {"POST": ("subscribers:write",)}

    @documented(
        "Import people with their preferences and devices",
        request={"application/x-ndjson": Line, "text/csv": {"type": "string"}, "multipart/form-data": FILE},
        responses={200: ImportResult},
        statuses={411: "The length of the body has to be announced"},
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        stream, kind = upload(request, importing_files.NDJSON, importing_files.CSV)
        source: Any = importing_files.ndjson if kind == importing_files.NDJSON else importing_files.csv_people
        origin = consent.origin(request, consent.Source.IMPORT, rest.key(request).prefix)
        return _imported(request, partial(importing.subscribers, origin=origin), source(stream))


class ImportDevices(rest.Endpoint):
    scopes = {"POST": ("devices:write",)}

    @documented(
        "Import devices, of a subscriber or anonymous",
        request={"application/x-ndjson": Registration, "multipart/form-data": FILE},
        responses={200: ImportResult},
        statuses={411: "The length of the body has to be announced"},
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        stream, _ = upload(request, importing_files.NDJSON)
        return _imported(request, importing.devices, importing_files.ndjson(stream))


def _imported(request: HttpRequest, step: Callable[..., importing.Imported], source: Any) -> HttpResponse:
    application_id = rest.key(request).application_id
    imported = step(source, application_id=application_id, vapid_key=tenants.public_vapid_key(application_id))
    return rest.answer(imported.shown())


class Body(io.RawIOBase):
    """The request's body as a stream that io can buffer."""

    BUFFER: ClassVar[int] = 1 << 18

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._request.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def upload(request: HttpRequest, *formats: str) -> tuple[BinaryIO, str]:
    """The stream to read and its format: the body itself, or its one part `file`."""
    if not request.META.get("CONTENT_LENGTH"):
        raise Problem(411, "Length required", "Send the header Content-Length.")
    if request.content_type == "multipart/form-data":
        return _part(request, formats)
    kind = importing_files.format_of(request.content_type or "")
    if kind not in formats:
        raise _unsupported(formats)
    return cast(BinaryIO, io.BufferedReader(Body(request), Body.BUFFER)), kind


def _part(request: HttpRequest, formats: tuple[str, ...]) -> tuple[BinaryIO, str]:
    for name in (*request.POST, *request.FILES):
        if name != "file":
            raise Problem.of_field(f"/{name}", "unknown part")
    file = request.FILES.get("file")
    if file is None:
        raise Problem.of_field("/file", "missing")
    kind = importing_files.format_of(file.content_type or "", file.name or "")
    if kind not in formats:
        raise _unsupported(formats)
    return cast(BinaryIO, file.file), kind


def _unsupported(formats: tuple[str, ...]) -> Problem:
    words = " or ".join({"ndjson": "application/x-ndjson", "csv": "text/csv"}[name] for name in formats)
    return Problem(
        415, "Unsupported media type", f"Send {words}, as the body or as the part `file` of a form."
    )
