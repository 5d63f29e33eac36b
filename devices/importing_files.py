"""Lines of an import, out of a stream of NDJSON or CSV, with flat memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from config.problems import InvalidField

NDJSON, CSV = "ndjson", "csv"
LONGEST_LINE = 1_000_000  # bytes

PERSON_COLUMNS = ("external_id", "email", "phone", "locale", "time_zone", "country")
DEVICE_COLUMNS = ("platform", "token", "installation_id", "environment")
YES, NO = ("true", "1", "yes"), ("false", "0", "no")


def format_of(media_type: str, name: str = "") -> str | None:
    """By media type, else by the file's name."""
    media_type, name = media_type.partition(";")[0].strip().lower(), name.lower()
    if media_type in ("application/x-ndjson", "application/ndjson", "application/jsonl"):
        return NDJSON
    if media_type == "text/csv":
        return CSV
    if name.endswith((".ndjson", ".jsonl")):
        return NDJSON
    return CSV if name.endswith(".csv") else None


def ndjson(stream: BinaryIO) -> Iterator[tuple[int, bytes | InvalidField]]:
    """(line number, JSON). Blank lines are none."""
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(LONGEST_LINE)
            yield number, InvalidField("/", f"the line is longer than {LONGEST_LINE} bytes")
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line := line.strip():
            yield number, line


def csv_people(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | InvalidField]]:
    """(line number, the row as an NDJSON line would have it). Raises InvalidField for the header."""
    # What is not UTF-8 comes through as surrogates and is refused line by line.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _people(csv.reader(text))
    finally:
        text.detach()  # the stream is its owner's to close


def _people(reader: Any) -> Iterator[tuple[int, dict[str, Any] | InvalidField]]:
    columns = _header(reader)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, InvalidField("/", str(error))
            continue
        if row:
            yield reader.line_num, _person(columns, row)


def _header(reader: Any) -> list[str]:
    try:
        columns = [name.strip() for name in next(reader)]
    except StopIteration:
        raise InvalidField("/", "the file is empty: the first line names the columns") from None
    except csv.Error as error:
        raise InvalidField("/", str(error)) from error
    if "external_id" not in columns:
        raise InvalidField("/external_id", "the first line has to name this column")
    for name in columns:
        prefix, _, rest = name.partition(".")
        is_known = name in (*PERSON_COLUMNS, *DEVICE_COLUMNS) or (prefix in ("attr", "pref") and rest)
        if not is_known or columns.count(name) > 1:
            raise InvalidField(f"/{_clean(name)}", "unknown column" if not is_known else "named twice")
    return columns


def _person(columns: list[str], row: list[str]) -> dict[str, Any] | InvalidField:
    if len(row) != len(columns):
        return InvalidField("/", f"{len(row)} values for {len(columns)} columns")
    person: dict[str, Any] = {}
    for name, cell in zip(columns, row, strict=True):
        try:
            if cell:  # an empty one says nothing
                _put(person, name, cell)
        except ValueError as error:
            return InvalidField(f"/{name}", str(error))
    if device := person.pop("device", None):
        person["devices"] = [device]
    return person


def _put(person: dict[str, Any], name: str, cell: str) -> None:
    if not cell.isascii() and any("\ud800" <= character <= "\udfff" for character in cell):
        raise ValueError("not UTF-8")
    if "\x00" in cell:
        raise ValueError("holds the character U+0000, which cannot be stored")
    if name in PERSON_COLUMNS:
        person[name] = cell
    elif name in DEVICE_COLUMNS:
        person.setdefault("device", {})[name] = cell
    elif name.startswith("attr."):
        person.setdefault("attributes", {})[name.removeprefix("attr.")] = cell
    elif cell.lower() in (*YES, *NO):
        person.setdefault("preferences", {})[name.removeprefix("pref.")] = cell.lower() in YES
    else:
        raise ValueError("expected true or false")


def _clean(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:100]
