"""One run as its page shows it: how far it has come, each stage by itself, what may still be done about it.

Counts come from tallies; nothing here reads the ledger.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from campaigns import selectors, timetable
from campaigns.models import Campaign, Run, Stage
from campaigns.results import COMPARED
from campaigns.selectors import Progress, State
from devices import clocks
from notifications import reasons, sums
from notifications import selectors as notifications
from notifications.models import Notification

Status = Campaign.Status
Counts = Mapping[UUID, dict[str, Any]]

# After its end devices go on telling what became of it; for so long the page looks.
TOLD_FOR = timedelta(hours=24)

KINDS = {
    Stage.Kind.HOLDOUT: "Held out",
    Stage.Kind.CANARY: "First devices",
    Stage.Kind.SEND: "Everyone",
    Stage.Kind.REST: "Remainder",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A stage. says: what it waits for or what comes next, "" for nothing to say."""

    name: str
    variant: str
    state: State
    says: str
    recipients: int
    settled: int


@dataclass(frozen=True, slots=True)
class Watched:
    """campaign: with this run as its latest; its status is the run's own."""

    campaign: Campaign
    run: Run
    is_latest: bool
    progress: Progress
    counts: Counts
    stages: list[Stage]
    steps: list[Step]
    now: datetime

    @property
    def ids(self) -> list[UUID]:
        return [stage.notification_id for stage in self.stages if stage.notification_id]

    @property
    def by_variant(self) -> dict[str, list[UUID]]:
        """Of the stages that are compared; empty where there is one variant only."""
        found: dict[str, list[UUID]] = {}
        for stage in sorted(self.stages, key=lambda one: one.variant):
            if stage.notification_id and stage.kind in COMPARED:
                found.setdefault(stage.variant, []).append(stage.notification_id)
        return found if len(found) > 1 else {}

    @property
    def is_open(self) -> bool:
        return self.progress.is_open

    @property
    def undo_until(self) -> datetime | None:
        """Until then nothing leaves, and the launch can be taken back."""
        is_now = self.run.plan["schedule"]["kind"] == "now"
        return self.run.due_at if is_now and self.waits_until else None

    @property
    def waits_until(self) -> datetime | None:
        is_waiting = self.is_latest and self.campaign.status == Status.SCHEDULED
        return self.run.due_at if is_waiting and self.run.due_at > self.now else None

    @property
    def finished_at(self) -> datetime | None:
        """None: it is still open."""
        if self.is_open:
            return None
        ends = [one.finished_at for stage in self.stages if (one := stage.notification) and one.finished_at]
        return max(ends, default=self.now)

    @property
    def is_told_of(self) -> bool:
        """Whether its numbers may still change."""
        return self.finished_at is None or self.now - self.finished_at < TOLD_FOR

    @property
    def poll_seconds(self) -> int:
        return 15 if self.waits_until and self.waits_until - self.now > timedelta(minutes=2) else 2

    @property
    def not_reached(self) -> int:
        """Devices it failed to reach for a reason that may have passed."""
        return sum(count for _, count in self.worth_another_try)

    @property
    def worth_another_try(self) -> list[tuple[str, int]]:
        """Reason and devices, the most frequent first."""
        found: dict[str, int] = {}
        for kind in ("failed", "suppressed"):
            for reason, count in self.progress.counts[kind].items():
                if reason in reasons.WORTH_ANOTHER_TRY:
                    found[reason] = found.get(reason, 0) + count
        return sorted(found.items(), key=lambda one: -one[1])

    @property
    def held(self) -> int:
        """About how many devices the remainder has that waits for a winner."""
        return sum(
            round(self.run.devices * (stage.upper - stage.lower) / 10_000)
            for stage in self.stages
            if stage.notification_id is None and not self.run.decided_at
        )

    @property
    def behind(self) -> int:
        """About how many devices wait for the first ones; they are in no sum yet."""
        return sum(
            round(self.run.devices * (stage.upper - stage.lower) / 10_000)
            for stage in self.stages
            if stage.is_held and stage.notification and not stage.notification.recipient_count
        )


def look(campaign: Campaign, run: Run) -> Watched:
    """Three queries."""
    stages = list(run.stages.select_related("notification__category"))
    launched = [stage.notification for stage in stages if stage.notification]
    counts = notifications.counts(launched) if launched else {}
    viewed = _viewed(campaign, run, launched)
    return Watched(
        campaign=viewed,
        run=run,
        is_latest=run.id == campaign.latest_run_id,
        progress=selectors.measured(viewed, launched, counts),
        counts=counts,
        stages=stages,
        steps=[_step(viewed, run, stage, counts) for stage in stages],
        now=timezone.now(),
    )


def _viewed(campaign: Campaign, run: Run, launched: list[Notification]) -> Campaign:
    """A recurring campaign is open for ever, and may be a draft again; each of its runs is not."""
    viewed = copy.copy(campaign)
    viewed.latest_run = run
    of_run = (Status.SCHEDULED, Status.SENDING, Status.PAUSED, Status.FINISHED, Status.CANCELLED)
    if campaign.status not in of_run or run.id != campaign.latest_run_id:
        is_open = any(one.status in Notification.OPEN for one in launched)
        viewed.status = Status.SENDING if is_open else Status.FINISHED
    return viewed


# --- stages -----------------------------------------------------------------------------------

HELD_OUT = State("Gets nothing", "block", "off")
WAITS = State("Waits", "hourglass_empty", "off")
NOT_SENT = State("Not sent", "block", "off")
STATES = {
    Notification.Status.SCHEDULED: selectors.SCHEDULED,
    Notification.Status.FANNING_OUT: selectors.PREPARING,
    Notification.Status.SENDING: selectors.SENDING,
    Notification.Status.DONE: State("Done", "check_circle", "good"),
    Notification.Status.CANCELLED: selectors.CANCELLED,
    notifications.PAUSED: selectors.PAUSED,
}


def _step(campaign: Campaign, run: Run, stage: Stage, counts: Counts) -> Step:
    name = KINDS[Stage.Kind(stage.kind)]
    variant = stage.variant if run.document.is_experiment else ""
    one = stage.notification
    if one is None:
        state, says = _remainder(campaign, run)
        return Step(name, variant, state, says, 0, 0)
    row = counts[one.id]
    settled = row["recipients"] - row["pending"]
    state, says = STATES[notifications.status(one, row)], ""
    if stage.kind == Stage.Kind.HOLDOUT:
        state, says = HELD_OUT, "to compare with"
    elif stage.is_held and state is selectors.PAUSED:
        state, says = WAITS, "until the first devices went well"
    return Step(name, variant, state, says, row["recipients"], settled)


def _remainder(campaign: Campaign, run: Run) -> tuple[State, str]:
    if run.decided_at:
        return NOT_SENT, ""
    if run.document.experiment.decide == "hand":
        return WAITS, "until somebody has decided which variant wins"
    return WAITS, f"for the winner, {moment(campaign, decision_at(run))}"


def decision_at(run: Run) -> datetime:
    """When the experiment has run as long as was planned."""
    return run.due_at + timedelta(hours=run.document.experiment.hours)


# --- times in words -----------------------------------------------------------------------------


def zone(campaign: Campaign) -> Any:
    """The one its times are shown in."""
    return clocks.zone(timetable.zone_name(campaign)) or timezone.get_default_timezone()


def zone_word(campaign: Campaign) -> str:
    """ "Berlin"."""
    return str(zone(campaign)).rpartition("/")[2].replace("_", " ")


def moment(campaign: Campaign, at: datetime) -> str:
    """ "Fri 18:00 Berlin", with the date where it is not within days."""
    local = at.astimezone(zone(campaign))
    now = timezone.now().astimezone(zone(campaign))
    if local.date() == now.date():
        shown = f"{local:%H:%M}"
    else:
        shown = f"{local:%a %H:%M}" if abs(local - now) < timedelta(days=6) else f"{local:%-d %b %Y, %H:%M}"
    return f"{shown} {zone_word(campaign)}"


def span(seconds: float) -> str:
    """ "2 h 14 min", "3 days 4 h", "47 s"."""
    left = max(0, round(seconds))
    days, hours, minutes = left // 86_400, left // 3600 % 24, left // 60 % 60
    if days:
        return f"{days} day{'s' if days > 1 else ''}" + (f" {hours} h" if hours else "")
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min" if minutes > 1 else f"{left} s"


# --- the sum, each part with its list of recipients ----------------------------------------------


def linked(found: sums.Sum, url: Any) -> sums.Sum:
    """url: of (result, reason, provider)."""
    return replace(
        found,
        parts=tuple(replace(part, url=url(part.key, "")) for part in found.parts),
        problems=tuple(
            replace(row, url=url(row.kind, row.reason), providers=_linked_providers(row, url))
            for row in found.problems
        ),
        held_back=tuple(replace(row, url=url(row.kind, row.reason)) for row in found.held_back),
    )


def _linked_providers(row: sums.Row, url: Any) -> tuple[sums.ByProvider, ...]:
    return tuple(
        replace(one, url=url(row.kind, row.reason, one.provider)) if one.provider else one
        for one in row.providers
    )
