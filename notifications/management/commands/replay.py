"""`manage.py replay --application SLUG […]`: send dead letters again; `--dry-run` only counts them."""

from __future__ import annotations

from itertools import chain
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from devices.models import Device
from notifications import lanes, reasons, replays, selectors
from notifications.management.moments import moment
from notifications.models import Notification
from tenants.models import Application


class Command(BaseCommand):
    help = (
        "Send dead letters again: recipients of the same notification that were given up or refused. Who was"
        " accepted, is uncertain, was held back or cancelled is never touched; running it twice sends nothing twice."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--application", required=True, metavar="SLUG")
        parser.add_argument(
            "--notification",
            metavar="ID",
            help="only of this one; also devices that were gone and are back",
        )
        parser.add_argument("--provider", metavar="NAME", help=", ".join(lanes.PROVIDERS))
        parser.add_argument("--reason", metavar="WORD", help="as in the ledger: unavailable")
        parser.add_argument("--since", metavar="WHEN", help="failed since: 90s, 30m, 2h, 7d or ISO 8601")
        parser.add_argument("--until", metavar="WHEN", help="failed before: 90s, 30m, 2h, 7d or ISO 8601")
        parser.add_argument("--device", metavar="PUBLIC_ID", nargs="+", action="extend", default=[])
        parser.add_argument("--dry-run", action="store_true", help="count, and change nothing")
        parser.add_argument(
            "--by", metavar="NAME", default="manage.py replay", help="who asks, for the record"
        )

    def handle(self, *, dry_run: bool, by: str, **options: Any) -> None:
        criteria = _criteria(**options)
        total = notifications = gone = 0
        lots = replays.find(criteria) if dry_run else replays.start(criteria, requested_by=by)
        for found in chain.from_iterable(lots):
            if found.recipients:
                self.stdout.write(f"{found.notification_id} {found.recipients}")
                notifications += 1
            total += found.recipients
            gone += found.gone
        verb = "would be replayed" if dry_run else "replayed"
        self.stdout.write(f"{total} recipients of {notifications} notifications {verb}")
        if gone:
            self.stdout.write(f"{gone} would stay: their device is gone")


def _criteria(
    *,
    application: str,
    notification: str | None,
    provider: str | None,
    reason: str | None,
    since: str | None,
    until: str | None,
    device: list[str],
    **_: Any,
) -> replays.Criteria:
    application_id = Application.objects.filter(slug=application).values_list("id", flat=True).first()
    if application_id is None:
        raise CommandError(f"--application: there is no application {application!r}.")
    return replays.Criteria(
        application_id,
        notification_id=_notification(application_id, notification) if notification else None,
        provider=_provider(provider) if provider else "",
        reason=_reason(application_id, reason) if reason else "",
        since=moment("--since", since) if since else None,
        until=moment("--until", until) if until else None,
        device_ids=_devices(application_id, device),
    )


def _notification(application_id: int, value: str) -> UUID:
    id = _uuid("--notification", value)
    notification = selectors.notification(application_id, id)
    if notification is None:
        raise CommandError(f"--notification: the application has no notification {value}.")
    if notification.status == Notification.Status.CANCELLED:
        raise CommandError(f"--notification: {value} was cancelled; what was given up stays so.")
    return id


def _provider(value: str) -> str:
    if value not in lanes.PROVIDERS:
        raise CommandError(f"--provider: {value!r} is none of {', '.join(lanes.PROVIDERS)}.")
    return value


def _reason(application_id: int, value: str) -> str:
    if value in reasons.CATALOGUE or value in (seen := replays.reasons(application_id)):
        return value
    raise CommandError(
        f"--reason: no dead letter has the reason {value!r}; there are: {', '.join(seen) or 'none'}."
    )


def _devices(application_id: int, values: list[str]) -> tuple[int, ...]:
    wanted = {_uuid("--device", value) for value in values}
    found = dict(
        Device.objects.filter(application_id=application_id, public_id__in=wanted).values_list(
            "public_id", "id"
        )
    )
    if missing := wanted - found.keys():
        raise CommandError(f"--device: the application has no device {', '.join(sorted(map(str, missing)))}.")
    return tuple(sorted(found.values()))


def _uuid(option: str, value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise CommandError(f"{option}: {value!r} is not an id.") from error
