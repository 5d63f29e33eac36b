"""`manage.py create_application NAME [--slug SLUG] [--json]`."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import services


class Command(BaseCommand):
    help = "Create an application with its first server key and client key. The keys are shown only here."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--slug", default="", help="short name for URLs and commands; made from NAME if absent"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *, name: str, slug: str, json: bool, **options: Any) -> None:
        try:
            application, server_key, client_key = services.create_application(name, slug=slug)
        except ValidationError as error:
            words = (f"{field}: {' '.join(said)}" for field, said in error.message_dict.items())
            raise CommandError("; ".join(words)) from error
        answer = {"application": application.slug, "server_key": server_key, "client_key": client_key}
        self.stdout.write(
            _dumped(answer) if json else "\n".join(f"{key}: {value}" for key, value in answer.items())
        )


def _dumped(answer: dict[str, str]) -> str:
    return json.dumps(answer)
