"""`manage.py simulate_devices APPLICATION COUNT --origin URL`: virtual devices as rows, for rehearsals."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from simulator.management import seed
from tenants.models import Application


class Command(BaseCommand):
    help = "Give an application simulated devices, each with a subscriber who mostly opted in to marketing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("application", help="slug")
        parser.add_argument("count", type=int)
        parser.add_argument("--origin", required=True, help="`webpush` of the simulator's simulator.json")
        parser.add_argument("--start", type=int, default=0, help="index of the first device")

    def handle(self, *, application: str, count: int, origin: str, start: int, **options: Any) -> None:
        known = Application.objects.filter(slug=application).first()
        if known is None:
            raise CommandError(f"APPLICATION: there is no application {application!r}.")
        made = seed.devices(known.id, count, web_origin=origin, start=start)
        self.stdout.write(f"{made} devices\n")
