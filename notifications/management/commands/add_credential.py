"""`manage.py add_credential APPLICATION PROVIDER [--secret-file F] [--set k=v …]`."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from notifications import services
from notifications.providers.base import InvalidCredential
from tenants.models import Application, Credential


class Command(BaseCommand):
    help = "Store a provider's credential, checked and encrypted. The secret is never shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("application", help="its slug")
        parser.add_argument("provider", choices=Credential.Provider.values)
        parser.add_argument(
            "--secret-file", help="apns: the .p8; fcm: the service account's JSON; - for stdin"
        )
        parser.add_argument(
            "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", dest="pairs"
        )
        parser.add_argument(
            "--messages-per-second",
            type=_rate,
            help="at most, with this credential; without it the provider's own limit",
        )
        parser.add_argument("--name", default="", help="what it is called in the admin")

    def handle(
        self,
        *,
        application: str,
        provider: str,
        secret_file: str | None,
        pairs: list[str],
        name: str,
        messages_per_second: int | None,
        **_: Any,
    ) -> None:
        owner = Application.objects.filter(slug=application).first()
        if owner is None:
            raise CommandError(f"There is no application {application!r}.")
        try:
            public, secret = services.check_credential(provider, _settings(pairs), _secret(secret_file))
        except InvalidCredential as error:
            raise CommandError(f"{provider}: {error}") from error
        credential = services.store_credential(
            owner,
            provider=provider,
            public=public,
            secret=secret,
            name=name,
            messages_per_second=messages_per_second,
        )
        self.stdout.write(f"Credential {credential.pk} of {owner.slug}: {provider}")
        for setting, value in sorted(credential.public.items()):
            self.stdout.write(f"  {setting}: {value}")


def _rate(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ArgumentTypeError("a whole number from 1 on")
    return int(value)


def _settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        setting, separator, value = pair.partition("=")
        if not (setting and separator):
            raise CommandError(f"--set takes name=value, not {pair!r}.")
        settings[setting] = value
    return settings


def _secret(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # The text of a decoding error may quote the file.
        words = error.strerror if isinstance(error, OSError) else "not a text file"
        raise CommandError(f"--secret-file {path}: {words}.") from error
