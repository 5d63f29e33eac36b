"""`manage.py verify_ledger [--application SLUG] [--notification ID] [--since 2h|ISO] [--json]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from notifications.management.moments import moment
from notifications.pipeline import verify
from tenants.models import Application


class Command(BaseCommand):
    help = (
        "Count notifications again from the ledger: recipients = final outcomes + open, tallies = ledger lines,"
        " one final outcome each. Only reads; may run at any time. Exits 1 when something does not add up."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--application", metavar="SLUG", help="only of this application")
        parser.add_argument("--notification", metavar="ID", type=UUID, help="only this one")
        parser.add_argument(
            "--since", metavar="WHEN", help="only created since: 90s, 30m, 2h, 7d or ISO 8601"
        )
        parser.add_argument("--json", action="store_true", dest="is_json", help="a JSON object per line")

    def handle(
        self,
        *,
        application: str | None,
        notification: UUID | None,
        since: str | None,
        is_json: bool,
        **_: Any,
    ) -> None:
        checked = recipients = violations = uncounted = 0
        application_id = _application(application) if application else None
        for found in _found(application_id, notification, moment("--since", since) if since else None):
            checked += 1
            recipients += found.recipients
            violations += len(found.violations)
            uncounted += not found.is_recounted
            for violation in found.violations:
                self.stdout.write(_line(found.id, violation, is_json))
        if notification and not checked:
            raise CommandError(f"There is no notification {notification}.")
        summary = {
            "checked": checked,
            "recipients": recipients,
            "violations": violations,
            "not_recounted": uncounted,
        }
        self.stdout.write(json.dumps(summary) if is_json else _summary(**summary))
        if violations:
            sys.exit(1)


def _found(
    application_id: int | None, notification: UUID | None, since: datetime | None
) -> Iterator[verify.Checked]:
    after = _before(since) if since else verify.FIRST
    while batch := verify.matching(after=after, id=notification, application_id=application_id, since=since):
        yield from batch
        after = batch[-1].id


def _before(moment: datetime) -> UUID:
    """Less than the id of anything created since: ids are ordered by time. An hour for clocks that differ."""
    milliseconds = int((moment - timedelta(hours=1)).timestamp() * 1000)
    return UUID(int=max(0, milliseconds) << 80)


def _line(id: UUID, violation: verify.Violation, is_json: bool) -> str:
    if is_json:
        return json.dumps({"notification": str(id), **asdict(violation)})
    about = f" {violation.about}" if violation.about else ""
    devices = f", devices {', '.join(map(str, violation.devices))}" if violation.devices else ""
    return f"{id} {violation.kind}{about}: expected {violation.expected}, found {violation.found}{devices}"


def _summary(*, checked: int, recipients: int, violations: int, not_recounted: int) -> str:
    summary = f"checked {checked} notifications, {recipients} recipients, {violations} violations"
    # Their sums were checked all the same.
    return f"{summary}; {not_recounted} not recounted: their ledger is gone" if not_recounted else summary


def _application(slug: str) -> int:
    id: int | None = Application.objects.filter(slug=slug).values_list("id", flat=True).first()
    if id is None:
        raise CommandError(f"There is no application {slug!r}.")
    return id
