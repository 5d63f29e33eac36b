"""What keeps a campaign from being sent: each fault with the place in its plan. Warnings are `preflight`'s."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.utils import timezone

from campaigns import contents, timetable
from campaigns.contents import Fault
from campaigns.document import KEYS, Plan
from campaigns.models import Campaign
from devices import clocks
from devices.models import Segment
from notifications.pipeline.accept import Draft


class NotReady(ValueError):
    """It cannot be sent as it is. Nothing was."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults))
        self.faults = faults


def faults(campaign: Campaign, now: datetime | None = None) -> list[Fault]:
    plan = campaign.document
    return [
        *([] if campaign.name.strip() else [Fault("/name", "give it a name, for your team")]),
        *contents.faults(plan, Draft(campaign.category, {}, {"all": True})),
        *_variants(plan),
        *_audience(campaign, plan),
        *_schedule(campaign, plan, now or timezone.now()),
        *_experiment(plan),
    ]


def check(campaign: Campaign, now: datetime | None = None) -> None:
    """Raises NotReady."""
    if found := faults(campaign, now):
        raise NotReady(found)


def _variants(plan: Plan) -> Iterator[Fault]:
    if [variant.key for variant in plan.variants] != list(KEYS[: len(plan.variants)]):
        yield Fault("/variants", "name them A, B, C … in this order")


def _audience(campaign: Campaign, plan: Plan) -> Iterator[Fault]:
    named = {*plan.audience.segments, *plan.audience.not_segments}
    there = set(
        Segment.objects.filter(application_id=campaign.application_id, slug__in=named).values_list(
            "slug", flat=True
        )
    )
    for place in ("segments", "not_segments"):
        for number, slug in enumerate(getattr(plan.audience, place)):
            if slug not in there:
                yield Fault(f"/audience/{place}/{number}", f"there is no segment “{slug}” any more")
    if both := {*plan.audience.segments} & {*plan.audience.not_segments}:
        yield Fault("/audience/not_segments", f"“{min(both)}” is both wanted and left out")


def _schedule(campaign: Campaign, plan: Plan, now: datetime) -> Iterator[Fault]:
    schedule = plan.schedule
    if schedule.time_zone and clocks.zone(schedule.time_zone) is None:
        yield Fault("/schedule/time_zone", "there is no such time zone")
        return
    try:
        timetable.due_at(campaign, now)
    except ValueError as error:
        field, _, words = str(error).partition(": ")
        yield Fault(f"/schedule/{field}", words)
    if schedule.window and schedule.window.start == schedule.window.end:
        yield Fault("/schedule/window", "it has to end at another time than it starts")


def _experiment(plan: Plan) -> Iterator[Fault]:
    experiment = plan.experiment
    if (
        experiment.metric == "converted"
        and (plan.is_experiment or experiment.holdout)
        and not experiment.goal
    ):
        yield Fault("/experiment/goal", "name the event that counts")
    if not plan.is_experiment or experiment.test == 100:
        return
    if plan.is_recurring:
        yield Fault(
            "/experiment/test", "each run of a recurring campaign goes to everyone: compare among 100 %"
        )
    elif plan.is_local:
        yield Fault(
            "/experiment/test",
            "a winner is found after the first zones: send at one moment, or compare among 100 %",
        )
