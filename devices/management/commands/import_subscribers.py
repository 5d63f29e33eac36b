"""`manage.py import_subscribers APPLICATION FILE [--format ndjson|csv]`."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.problems import InvalidField
from devices import importing, importing_files
from tenants import selectors as tenants
from tenants.models import Application


class Command(BaseCommand):
    help = "Import people with their preferences and devices; may be repeated. Prints one JSON object."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("application", help="its slug")
        parser.add_argument("file", help="- for stdin")
        parser.add_argument("--format", choices=(importing_files.NDJSON, importing_files.CSV))

    def handle(self, *, application: str, file: str, format: str | None, **_: Any) -> None:
        owner = Application.objects.filter(slug=application).first()
        if owner is None:
            raise CommandError(f"There is no application {application!r}.")
        kind = format or importing_files.format_of("", file)
        if kind is None:
            raise CommandError(
                "The file's name does not tell its format: give --format ndjson or --format csv."
            )
        source: Any = importing_files.ndjson if kind == importing_files.NDJSON else importing_files.csv_people
        try:
            with sys.stdin.buffer if file == "-" else open(file, "rb") as stream:
                imported = importing.subscribers(
                    source(stream), application_id=owner.pk, vapid_key=tenants.public_vapid_key(owner.pk)
                )
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}.") from error
        except InvalidField as error:
            raise CommandError(f"{file}: {error}") from error
        self.stdout.write(json.dumps(imported.shown()))
