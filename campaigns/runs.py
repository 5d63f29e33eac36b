"""One launch: its stages, each a notification. Stages that wait for others exist paused, their audience frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from campaigns import audiences, contents, stages, timetable
from campaigns.models import Campaign, Run, Stage
from notifications import services as notifications
from notifications.models import Notification
from notifications.pipeline import accept
from notifications.pipeline.accept import Draft


def make(
    campaign: Campaign, due: datetime, *, by: str, devices: int, overridden: dict[str, str] | None = None
) -> Run:
    """In the caller's transaction. Raises InvalidField; then nothing is to be kept."""
    latest = campaign.runs.values_list("number", flat=True).first() or 0
    run = Run.objects.create(
        campaign=campaign,
        number=latest + 1,
        due_at=due,
        plan=campaign.plan,
        devices=devices,
        overridden=overridden or {},
    )
    slices = stages.of(campaign.document, devices)
    made = [
        Stage(
            run=run,
            position=position,
            kind=one.kind,
            variant=one.variant,
            lower=one.lower,
            upper=one.upper,
            is_held=one.is_held,
        )
        for position, one in enumerate(slices)
    ]
    for stage in made:
        if stage.kind != Stage.Kind.REST:
            stage.notification = _notify(campaign, run, stage, by=by)
    Stage.objects.bulk_create(made)
    Campaign.objects.filter(id=campaign.id).update(latest_run=run)
    campaign.latest_run = run
    return run


def _notify(campaign: Campaign, run: Run, stage: Stage, *, by: str) -> Notification:
    (accepted,) = notifications.accept(
        [_draft(campaign, run, stage, by=by)], application_id=campaign.application_id, requested_by=by[:80]
    )
    notification = Notification.objects.get(id=accepted.id)
    return notifications.pause(notification) if stage.is_held else notification


def _draft(campaign: Campaign, run: Run, stage: Stage, *, by: str) -> Draft:
    plan, due = campaign.document, run.due_at
    schedule = plan.schedule
    meant = audiences.sliced(
        audiences.of(plan),
        salt=f"campaign-{campaign.id}",
        lower=stage.lower,
        upper=stage.upper,
        held_out=stage.kind == Stage.Kind.HOLDOUT,
    )
    frozen = _frozen(campaign, run)
    draft = Draft(
        category=campaign.category,
        content={},
        audience={**meant, "frozen": frozen} if frozen else meant,
        throttle_per_second=_pace(campaign, stage, run),
        send_at=due if due > timezone.now() else None,
        local_time=timetable.local(campaign, due).isoformat("T", "minutes") if plan.is_local else "",
        send_window=timetable.window(campaign),
        ttl_seconds=schedule.lifetime_hours * 3600 if schedule.lifetime_hours else None,
        idempotency_key=_key(campaign, run, stage.position),
        fingerprint=accept.fingerprint([run.plan, meant, stage.variant]),
    )
    variant = plan.variant(stage.variant or plan.variants[0].key)
    return contents.drafted(
        plan,
        variant,
        draft,
        application_id=campaign.application_id,
        slug=f"campaign-{campaign.id}-{run.number}-{stage.position}",
        by=by,
    )


def _pace(campaign: Campaign, stage: Stage, run: Run) -> int | None:
    """The stage's part of the campaign's: those of its kind go out at the same time."""
    plan = campaign.document
    if plan.schedule.per_second is None:
        return None
    widths = [one.upper - one.lower for one in stages.of(plan, run.devices) if one.kind == stage.kind]
    return stages.pace(plan.schedule.per_second, stage.upper - stage.lower, widths)


def _key(campaign: Campaign, run: Run, position: int) -> str:
    """No key of the API begins with a space."""
    return f" campaign:{campaign.id}:{run.number}:{position}"


def _frozen(campaign: Campaign, run: Run) -> dict[str, int]:
    """The same for all stages, the one that waits for a winner included."""
    first = Notification.objects.filter(
        application_id=campaign.application_id, idempotency_key=_key(campaign, run, 0)
    ).first()
    if first:
        return dict(first.audience.get("frozen", {}))
    plan = campaign.document
    return audiences.frozen(audiences.of(plan), campaign.application_id, at=max(run.due_at, timezone.now()))


def skip(campaign: Campaign, now: datetime) -> None:
    """The next one of a recurring campaign after `next_run_at`; without one it ends with its last run."""
    if campaign.next_run_at is None:
        return
    coming = timetable.next_run(campaign, campaign.next_run_at, now)
    fields: dict[str, Any] = {"next_run_at": coming}
    if coming is None:
        fields["status"] = Campaign.Status.SENDING
    Campaign.objects.filter(id=campaign.id).update(**fields)


# --- what becomes of it -----------------------------------------------------------------------


def notified(run: Run) -> list[Notification]:
    return [
        stage.notification
        for stage in run.stages.select_related("notification__category")
        if stage.notification
    ]


def under_way(campaign: Campaign) -> list[Run]:
    """Those of which something still waits, and the latest. Runs overlap: at local times one takes more than a day."""
    is_open = Q(stages__notification__status__in=Notification.OPEN) | Q(id=campaign.latest_run_id)
    ids = campaign.runs.filter(is_open).values("id")
    return list(Run.objects.filter(id__in=ids).order_by("number"))


def hold(run: Run, *, why: str, detail: str = "") -> None:
    """Everything that has not been claimed waits."""
    for notification in notified(run):
        notifications.pause(notification)
    Run.objects.filter(id=run.id).update(paused_for=why, paused_detail=detail[:300])


def let_go(run: Run) -> None:
    """Go on, but for the stages that wait for others. After a canary's stop that means: go on with everyone."""
    is_after_canary = run.paused_for == "canary"
    for stage in run.stages.select_related("notification"):
        if stage.notification and (is_after_canary or not stage.is_held):
            open_stage(stage)
    waived = sorted({*run.waived, run.paused_for} - {"", "person"})
    Run.objects.filter(id=run.id).update(
        paused_for="", paused_detail="", waived=waived, resumed_at=timezone.now()
    )


def open_stage(stage: Stage) -> None:
    assert stage.notification
    notifications.resume(stage.notification)
    if stage.is_held:
        Stage.objects.filter(id=stage.id).update(is_held=False)


def open_all(held: Iterable[Stage]) -> None:
    for stage in held:
        open_stage(stage)


def cancel(run: Run) -> None:
    for notification in notified(run):
        notifications.cancel(notification)


def send_rest(campaign: Campaign, run: Run, variant: str, *, by: str) -> Stage | None:
    """The remainder gets this variant; None: there is none, or it has got one already. In the caller's transaction."""
    rest: Stage | None = (
        run.stages.select_for_update().filter(kind=Stage.Kind.REST, notification=None).first()
    )
    if rest is None:
        return None
    rest.variant, rest.is_held = variant, False
    as_launched = Campaign(
        id=campaign.id,
        application=campaign.application,
        category=campaign.category,
        plan=run.plan,
        version=campaign.version,
    )
    rest.notification = _notify(as_launched, run, rest, by=by)
    rest.save(update_fields=["variant", "is_held", "notification"])
    return rest


def is_over(statuses: Sequence[str], run: Run) -> bool:
    """Nothing of it is open: no notification, and no remainder that waits for its winner."""
    open_ones: set[Any] = {*Notification.OPEN}
    waits = run.stages.filter(kind=Stage.Kind.REST, notification=None).exists() and not run.decided_at
    return not open_ones.intersection(statuses) and not waits
