"""Whom a run reached and whom not, line by line: in pages that begin where the last one ended, and as CSV.

Only here the ledger's rows are read, and always by its indexes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from campaigns.models import Run, Stage
from config import patience
from devices.models import Device, Subscriber
from notifications import reasons
from notifications import selectors as notifications
from notifications.models import Delivery, Tally

Outcome = Delivery.Outcome

PER_PAGE = 50
PATIENCE = "3s"
CHUNK = 5_000

# What a number of the sum links to → the outcomes it counts. Failed ones each have a stretch of an index.
RESULTS: Mapping[str, tuple[str, ...]] = {
    "accepted": (Outcome.ACCEPTED,),
    "failed": tuple(str(outcome) for outcome in notifications.FAILURES),
    "uncertain": (Outcome.UNCERTAIN,),
    "suppressed": (Outcome.SUPPRESSED,),
    "cancelled": (Outcome.CANCELLED,),
    "pending": tuple(str(outcome) for outcome in Delivery.NOT_FINAL),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the stretch (notification and outcome) and the line's id."""

    stretch: int = 0
    id: int = 0

    def __str__(self) -> str:
        return f"{self.stretch}-{self.id}"

    @classmethod
    def read(cls, text: str) -> Place:
        """Anything that is none is the beginning."""
        stretch, _, id = text.partition("-")
        return cls(int(stretch), int(id)) if stretch.isdecimal() and id.isdecimal() else cls()


@dataclass(frozen=True, slots=True)
class Line:
    """One recipient's. person, device: the names callers know; None: erased, or never known."""

    delivery: Delivery
    stage: Stage
    person: str | None
    device: UUID | None
    platform: str

    @property
    def provider(self) -> str:
        return reasons.PROVIDERS.get(self.delivery.lane.partition(".")[0], "")

    @property
    def words(self) -> str:
        return reasons.words(self.delivery.reason).title if self.delivery.reason else ""

    @property
    def result(self) -> str:
        return str(Outcome(self.delivery.outcome).label)


def page(
    run: Run, *, result: str, reason: str = "", provider: str = "", after: Place, size: int = PER_PAGE
) -> tuple[list[Line], Place | None]:
    """The next lines, and where they end if there are more. Raises TooSlow where there are too many others.
    provider: a key of notifications.reasons.PROVIDERS, "" for any."""
    stages = _stages(run)
    stretches = [(stage, outcome) for stage in stages for outcome in RESULTS.get(result, ())]
    found: list[tuple[Stage, Delivery]] = []
    place = after
    # Of those who wait there is no tally.
    told = _told(stages, reason, provider) if reason and result != "pending" else None
    with patience.within(PATIENCE):
        for number, (stage, outcome) in enumerate(stretches):
            if number < after.stretch or len(found) > size:
                continue
            if told is not None and (stage.notification_id, outcome) not in told:
                continue  # it would read all lines of the outcome to find none
            lines = _lines(run, stage).filter(outcome=outcome)
            lines = lines.filter(reason=reason) if reason else lines
            lines = lines.filter(lane__startswith=f"{provider}.") if provider else lines
            since = after.id if number == after.stretch else 0
            for line in lines.filter(id__gt=since)[: size + 1 - len(found)]:
                found.append((stage, line))
                if len(found) == size:
                    place = Place(number, line.id)
    return _named(run, found[:size]), place if len(found) > size else None


def _told(stages: Sequence[Stage], reason: str, provider: str) -> set[tuple[UUID, str]]:
    """Notifications and outcomes that have lines with this reason, by the tallies; of which provider, old ones
    do not say."""
    ids = [stage.notification_id for stage in stages if stage.notification_id]
    known = Tally.objects.filter(notification_id__in=ids, reason=reason, count__gt=0)
    known = known.filter(provider__in=(provider, "")) if provider else known
    return set(known.values_list("notification_id", "outcome"))


def _stages(run: Run) -> list[Stage]:
    return [stage for stage in run.stages.all() if stage.notification_id]


def _lines(run: Run, stage: Stage) -> Any:
    assert stage.notification_id
    # The time spares the partitions of other months; clocks of senders differ a little.
    since = run.created_at - timedelta(hours=1)
    return Delivery.objects.filter(notification_id=stage.notification_id, at__gte=since).order_by("id")


def _named(run: Run, found: Sequence[tuple[Stage, Delivery]]) -> list[Line]:
    """Two queries, however many they are."""
    application_id = run.campaign.application_id
    devices = {
        id: (public_id, platform)
        for id, public_id, platform in Device.objects.filter(
            application_id=application_id, id__in={line.device_id for _, line in found if line.device_id}
        ).values_list("id", "public_id", "platform")
    }
    people = dict(
        Subscriber.objects.filter(
            application_id=application_id,
            id__in={line.subscriber_id for _, line in found if line.subscriber_id},
        ).values_list("id", "external_id")
    )
    return [
        Line(line, stage, people.get(line.subscriber_id or 0), *devices.get(line.device_id or 0, (None, "")))
        for stage, line in found
    ]


# --- CSV ------------------------------------------------------------------------------------------

COLUMNS = (
    "at",
    "run",
    "stage",
    "variant",
    "person",
    "device",
    "platform",
    "provider",
    "result",
    "reason",
    "reason_words",
    "attempt",
)
# A spreadsheet would take them for formulas.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class _Echo:
    """A file that hands back what is written."""

    def write(self, text: str) -> str:
        return text


def table(run: Run) -> Iterator[str]:
    """CSV, a header first, in pieces; one line per result. Each piece is a query of its own, so that neither memory
    nor a transaction grows with the run."""
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for stage in _stages(run):
        last = 0
        while lines := list(
            _lines(run, stage).exclude(outcome__in=Delivery.NOT_FINAL).filter(id__gt=last)[:CHUNK]
        ):
            last = lines[-1].id
            named = _named(run, [(stage, line) for line in lines])
            yield "".join(writer.writerow(_cells(run, line)) for line in named)


def _cells(run: Run, line: Line) -> list[str]:
    said = line.delivery
    return [
        said.at.isoformat(timespec="seconds"),
        str(run.number),
        line.stage.kind,
        line.stage.variant,
        *map(safe, (line.person or "", str(line.device or ""), line.platform, line.provider, said.outcome)),
        *map(safe, (said.reason, line.words)),
        str(said.attempt),
    ]


def safe(cell: str) -> str:
    """Never a formula: OWASP, "CSV injection"."""
    return f"'{cell}" if cell.startswith(FORMULAS) else cell
