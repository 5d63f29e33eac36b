"""Importing subscribers and devices by the hundred thousand: streamed, in chunks, one transaction each.

A bad line is reported and costs no other. Importing the same file again changes nothing. A list is no sign
of life: a device that was retired stays so until it registers itself, or is listed with another token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec
from django.db import IntegrityError, OperationalError, transaction

from config import json, problems
from config.problems import InvalidField, Problem
from config.types import ExternalId, Slug
from devices import consent, importing_rows, registrations, selectors
from devices.consent import Origin
from devices.importing_rows import DeviceRow
from devices.people import Person
from devices.registrations import Registration

CHUNK_LINES = 5_000
CHUNK_BYTES = 8_000_000  # of lines waiting to be decoded
SMALL_LINE = 500  # what a line of a table, decoded already, is taken for
ERRORS_LISTED = 100
ATTEMPTS = 5

BY_COMMAND = Origin(consent.Source.IMPORT, "import_subscribers")

T = TypeVar("T")
Source = Iterable[tuple[int, Any]]  # (line number, bytes of JSON | the JSON value itself | InvalidField)


class Line(Person, forbid_unknown_fields=True, kw_only=True):
    """One person, as an NDJSON line."""

    external_id: ExternalId
    preferences: dict[Slug, bool] = {}  # by category; and `unsubscribed`, from all marketing
    devices: Annotated[list[Registration], msgspec.Meta(max_length=100)] = []


@dataclass(slots=True)
class Imported:
    """What an import came to."""

    lines: int = 0
    subscribers_created: int = 0
    subscribers_updated: int = 0
    devices_created: int = 0
    devices_updated: int = 0
    error_count: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, line: int, pointer: str, reason: str) -> None:
        self.error_count += 1
        if len(self.errors) < ERRORS_LISTED:
            self.errors.append(
                {"line": line, "field": pointer.strip("/").replace("/", "."), "reason": reason}
            )

    def shown(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "subscribers": {"created": self.subscribers_created, "updated": self.subscribers_updated},
            "devices": {"created": self.devices_created, "updated": self.devices_updated},
            "error_count": self.error_count,
            "errors": self.errors,
        }


@dataclass(slots=True)
class Chunk:
    """Good lines, keyed so that of several about the same thing the last one holds."""

    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    words: dict[tuple[str, tuple[int, str]], bool | None] = field(default_factory=dict)
    unsubscribed: dict[str, bool] = field(default_factory=dict)
    devices: importing_rows.DeviceRows = field(default_factory=importing_rows.DeviceRows)


def subscribers(
    source: Source, *, application_id: int, vapid_key: str = "", origin: Origin = BY_COMMAND
) -> Imported:
    """Import people with their preferences and devices."""
    categories = {category.slug: category for category in selectors.categories(application_id)}

    def add(chunk: Chunk, line: Line) -> None:
        said = consent.understood(categories, line.preferences, at="/preferences")
        rows = [_device_row(device, vapid_key, f"/devices/{at}") for at, device in enumerate(line.devices)]
        for at, device in enumerate(line.devices):
            if device.subscriber is not msgspec.UNSET:
                raise InvalidField(f"/devices/{at}/subscriber", "the line itself says whose device it is")
        chunk.people.setdefault(line.external_id, {"external_id": line.external_id}).update(line.given())
        for about, is_allowed in said.by_channel.items():
            chunk.words[line.external_id, about] = is_allowed
        if said.unsubscribed is not None:
            chunk.unsubscribed[line.external_id] = said.unsubscribed
        for row in rows:
            row.subscriber = line.external_id
            chunk.devices.add(row)

    return _imported(source, Line, add, application_id, origin)


def devices(source: Source, *, application_id: int, vapid_key: str = "") -> Imported:
    """Import devices, of a subscriber or anonymous; a line is what `PUT /v1/devices` takes."""

    def add(chunk: Chunk, line: Registration) -> None:
        row = _device_row(line, vapid_key, "")
        if isinstance(line.subscriber, str):
            chunk.people.setdefault(line.subscriber, {"external_id": line.subscriber})
            row.subscriber = line.subscriber
        row.keeps_subscriber = line.subscriber is msgspec.UNSET
        chunk.devices.add(row)

    return _imported(source, Registration, add, application_id, BY_COMMAND)


def _imported(
    source: Source, shape: type[T], add: Callable[[Chunk, T], None], application_id: int, origin: Origin
) -> Imported:
    imported = Imported()
    for lines in _chunks(source):
        chunk = Chunk()
        for number, value in lines:
            imported.lines += 1
            try:
                add(chunk, _read(value, shape))
            except (Problem, InvalidField) as error:
                _report(imported, number, error)
        _store(chunk, application_id, imported, origin)
    return imported


def _chunks(source: Source) -> Iterator[list[tuple[int, Any]]]:
    """As many lines as one round of statements takes, or as much as may lie in memory, whichever is less."""
    chunk: list[tuple[int, Any]] = []
    size = 0
    for number, value in source:
        chunk.append((number, value))
        size += len(value) if isinstance(value, bytes) else SMALL_LINE
        if len(chunk) >= CHUNK_LINES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read(value: Any, shape: type[T]) -> T:
    if isinstance(value, InvalidField):
        raise value
    return json.decoded(value, shape) if isinstance(value, bytes) else json.converted(value, shape)


def _report(imported: Imported, number: int, error: Exception) -> None:
    problem = problems.of(error)
    assert problem
    first = problem.errors[0] if problem.errors else {"pointer": "", "detail": problem.detail}
    imported.refuse(number, first["pointer"], first["detail"])


def _device_row(registration: Registration, vapid_key: str, at: str) -> DeviceRow:
    try:
        address = registrations.address(registration)
    except InvalidField as error:
        raise InvalidField(f"{at}{error.pointer}", error.detail) from error
    return DeviceRow(
        platform=registration.platform,
        installation_id=registration.installation_id,
        address=address,
        vapid_key=vapid_key if registration.platform == "web" else "",
        details=registration.given(),
    )


def _store(chunk: Chunk, application_id: int, imported: Imported, origin: Origin) -> None:
    """All of a chunk or nothing of it; once more if a device registered itself in between."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                ids, created = importing_rows.people(application_id, list(chunk.people.values()))
                consent.write(
                    application_id,
                    {(ids[name], *about): word for (name, about), word in chunk.words.items()},
                    {ids[name]: is_off for name, is_off in chunk.unsubscribed.items()},
                    origin=origin,
                )
                devices_created, devices_updated = importing_rows.devices(
                    application_id, chunk.devices.rows(), ids
                )
        except (IntegrityError, OperationalError):
            if attempt == ATTEMPTS:
                raise
        else:
            imported.subscribers_created += created
            imported.subscribers_updated += len(ids) - created
            imported.devices_created += devices_created
            imported.devices_updated += devices_updated
            return
