"""Writes to campaigns: save, restore, launch, pause, cancel, decide. Approval is in approving.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from campaigns import approving, checking, document, drift, history, runs, selectors, timetable, transitions
from campaigns.checking import NotReady
from campaigns.contents import Fault
from campaigns.drift import ReachChanged
from campaigns.models import Campaign, Run, Stage, Version
from campaigns.transitions import NotAllowed
from config.json import converted
from config.problems import InvalidField
from config.types import text
from devices.models import Category
from notifications.models import Notification
from notifications.reach import Reach
from tenants.models import Application

__all__ = ["NotAllowed", "NotReady", "ReachChanged", "Stale"]

Status = Campaign.Status


class Stale(Exception):
    """Somebody else has changed it since. `campaign`: as it is now."""

    def __init__(self, campaign: Campaign) -> None:
        super().__init__("It was changed meanwhile.")
        self.campaign = campaign


# --- writing it -------------------------------------------------------------------------------


def create(application: Application, *, by: User | None, fields: Mapping[str, Any] | None = None) -> Campaign:
    """A draft of what is given (as in `save`). Raises InvalidField, Problem."""
    campaign = drafted(application)
    campaign.created_by = campaign.updated_by = by
    _assign(campaign, fields or {})
    with transaction.atomic():
        campaign.save()
        history.note(campaign, by)
    return campaign


def drafted(application: Application) -> Campaign:
    """A blank draft, unsaved. Raises InvalidField."""
    usual = (
        application.categories.filter(kind=Category.Kind.MARKETING).order_by("id").first()
        or application.categories.order_by("id").first()
    )
    if usual is None:
        raise InvalidField("/category", "the app has no category yet")
    return Campaign(application=application, category=usual)


def sketch(application: Application, fields: Mapping[str, Any]) -> Campaign:
    """A draft of what is given (as in `save`), unsaved: to look at. Raises InvalidField, Problem."""
    campaign = drafted(application)
    _assign(campaign, fields)
    return campaign


def save(campaign: Campaign, fields: Mapping[str, Any], *, version: int, by: User | None) -> Campaign:
    """Change a draft. fields: name, category (slug), and sections of document.Plan, each as a whole.

    version: the one the caller has seen. Raises Stale, NotAllowed, InvalidField, Problem; then nothing is changed.
    """
    with transaction.atomic():
        locked = _locked(campaign)
        if locked.status not in Campaign.EDITABLE:
            raise NotAllowed(
                f"This campaign is {locked.get_status_display().lower()}: take it back to edit it."
            )
        if locked.version != version:
            raise Stale(locked)
        before = (locked.name, locked.category_id, locked.plan)
        _assign(locked, fields)
        if before == (locked.name, locked.category_id, locked.plan):
            return locked
        locked.version += 1
        locked.updated_by = by
        locked.save()
        history.note(locked, by)
    return locked


class Fields(msgspec.Struct, forbid_unknown_fields=True):
    """What `save` takes besides the plan's sections."""

    name: Annotated[str, text(120)] | msgspec.UnsetType = msgspec.UNSET
    category: str | msgspec.UnsetType = msgspec.UNSET


def _assign(campaign: Campaign, fields: Mapping[str, Any]) -> None:
    sections = {name: value for name, value in fields.items() if name in document.SECTIONS}
    own = converted({name: value for name, value in fields.items() if name not in sections}, Fields)
    campaign.plan = document.stored(document.read({**campaign.plan, **sections}))
    if own.name is not msgspec.UNSET:
        campaign.name = own.name
    if own.category is not msgspec.UNSET:
        category = Category.objects.filter(application_id=campaign.application_id, slug=own.category).first()
        if category is None:
            raise InvalidField("/category", "there is no such category")
        campaign.category = category


def _locked(campaign: Campaign) -> Campaign:
    return (
        Campaign.objects.select_for_update(of=("self",))
        .select_related("application", "category", "latest_run", "updated_by")
        .get(id=campaign.id)
    )


def restore(campaign: Campaign, version: Version, *, seen: int, by: User) -> Campaign:
    """What it said then becomes its newest version. Raises Stale, NotAllowed, InvalidField, Problem."""
    fields = {"name": version.name, "category": version.category.slug, **version.plan}
    with transaction.atomic():
        history.keep(campaign, "restore")  # edits of one person within minutes would replace it
        return save(campaign, fields, version=seen, by=by)


def duplicate(campaign: Campaign, *, by: User) -> Campaign:
    """A new draft that says the same to the same audience."""
    fields = {"name": f"Copy of {campaign}"[:120], "category": campaign.category.slug, **campaign.plan}
    return create(campaign.application, by=by, fields=fields)


def archive(campaign: Campaign) -> None:
    """Out of the list's way; what it has sent stays. Raises NotAllowed while something is under way."""
    # An approval that is open would be waited for by nobody.
    kept_open = (*Campaign.LIVE, Status.WAITING)
    free = Campaign.objects.filter(id=campaign.id, version=campaign.version).exclude(status__in=kept_open)
    if not free.update(archived_at=timezone.now()):
        raise NotAllowed("It is under way. Cancel it first, or take it back to edit.")


def unarchive(campaign: Campaign) -> None:
    Campaign.objects.filter(id=campaign.id).update(archived_at=None)


# --- sending it -------------------------------------------------------------------------------


def launch(
    campaign: Campaign,
    *,
    by: str,
    user: User | None = None,
    reach: Reach | None = None,
    expected: int | None = None,
    margin: int = 0,
    overridden: Mapping[str, str] | None = None,
    once: Callable[[], None] = lambda: None,
) -> Campaign:
    """Send it when its schedule says, exactly as `campaign` holds it.

    by: "staff:anna", "key:ab12". reach: as the caller has just counted it (selectors.counted). expected: how many
    devices the caller was told it reaches; margin: how far off that may be. once: called in the launch's transaction;
    what it raises undoes it.
    Raises NotAllowed, NotReady, ReachChanged; then nothing is sent. Two marketers, a double click, a second try
    after a lost answer: one run.
    """
    transitions.check(campaign, "launch")
    seen, now = campaign.status, timezone.now()
    checking.check(campaign, now)
    reach = reach or selectors.counted(campaign)
    _check_reach(campaign, reach.reachable, expected, margin)
    first = timetable.due_at(campaign, now)
    to = _launched(campaign, first, now)
    with transaction.atomic():
        once()
        transitions.check_shown(campaign)
        if seen == Status.APPROVED:
            approving.check_still_given(campaign)
        next_run_at = first if to == Status.RECURRING else None
        transitions.move(campaign, "launch", to, launched_at=now, launched_by=user, next_run_at=next_run_at)
        history.keep(campaign, "launch")
        if to != Status.RECURRING:
            _run(campaign, first, by=by, devices=reach.devices, overridden=overridden)
    return campaign


def _check_reach(campaign: Campaign, devices: int, expected: int | None, margin: int) -> None:
    if expected is not None and drift.is_large(devices, expected, margin):
        raise ReachChanged(devices)
    if approving.is_needed(campaign, devices):
        raise NotAllowed(f"A launch to {devices:,} devices needs a second person's approval.")


def _launched(campaign: Campaign, first: datetime, now: datetime) -> Status:
    if campaign.document.is_recurring:
        return Status.RECURRING
    return Status.SCHEDULED if first > now else Status.SENDING


def _run(campaign: Campaign, due: datetime, **options: Any) -> Run:
    try:
        return runs.make(campaign, due, **options)
    except InvalidField as error:
        raise NotReady([Fault(error.pointer, error.detail)]) from error


def next_run(campaign: Campaign, now: datetime) -> None:
    """A recurring campaign's run whose moment has come, in the caller's transaction, which holds its row. One that has
    outgrown the yes it had waits for another, and is made when that is given."""
    assert campaign.next_run_at
    reach = selectors.reach_now(campaign)
    if approving.is_needed(campaign, reach.reachable):
        approving.ask_for_run(campaign, devices=reach.reachable)
        return
    runs.make(campaign, campaign.next_run_at, by="schedule", devices=reach.devices)
    runs.skip(campaign, now)


def unschedule(campaign: Campaign) -> Campaign:
    """Take back a launch of which nothing has begun, to edit it. Raises NotAllowed when it has."""
    with transaction.atomic():
        locked = _locked(campaign)
        transitions.check(locked, "unschedule")
        if locked.latest_run and locked.status == Status.SCHEDULED:
            waiting = [notification.id for notification in runs.notified(locked.latest_run)]
            stopped = Notification.objects.filter(
                id__in=waiting, status=Notification.Status.SCHEDULED
            ).update(status=Notification.Status.CANCELLED, finished_at=timezone.now(), paused_at=None)
            if stopped != len(waiting):
                raise NotAllowed("It has begun. Pause or cancel it instead.")
        if locked.runs.filter(stages__notification__status__in=Notification.OPEN).exists():
            raise NotAllowed("A run of it is under way. Pause or cancel it instead.")
        approving.drop(locked)
        transitions.move(
            locked, "unschedule", Status.DRAFT, launched_at=None, next_run_at=None, latest_run=_sent(locked)
        )
    return locked


def _sent(campaign: Campaign) -> Run | None:
    """Its latest run that was not taken back."""
    taken_back = Q(stages__notification__status=Notification.Status.CANCELLED)
    return campaign.runs.exclude(taken_back).order_by("-number").first()


def pause(campaign: Campaign, *, why: str = "person", detail: str = "") -> Campaign:
    """Hold what has not been sent; a recurring one makes no new run meanwhile. Raises NotAllowed."""
    with transaction.atomic():
        locked = _locked(campaign)
        transitions.move(locked, "pause", Status.PAUSED)
        approving.drop(locked)
        for run in runs.under_way(locked):
            runs.hold(run, why=why, detail=detail)
    return locked


def resume(campaign: Campaign) -> Campaign:
    """Go on where it was. Raises NotAllowed."""
    now = timezone.now()
    with transaction.atomic():
        locked = _locked(campaign)
        transitions.move(locked, "resume", _resumed(locked, now))
        for run in runs.under_way(locked):
            runs.let_go(run)
        if locked.next_run_at and locked.next_run_at <= now:
            runs.skip(locked, now)
    return locked


def _resumed(campaign: Campaign, now: datetime) -> Status:
    if campaign.next_run_at:
        return Status.RECURRING
    begins = campaign.latest_run.due_at if campaign.latest_run else now
    return Status.SCHEDULED if begins > now else Status.SENDING


def cancel(campaign: Campaign) -> Campaign:
    """Stop what is still waiting, and all further runs. Raises NotAllowed."""
    with transaction.atomic():
        locked = _locked(campaign)
        transitions.move(locked, "cancel", Status.CANCELLED, next_run_at=None)
        approving.drop(locked)
        for run in runs.under_way(locked):
            runs.cancel(run)
            Run.objects.filter(id=run.id, decided_at=None).update(decided_at=timezone.now())
    return locked


def decide(campaign: Campaign, variant: str, *, by: str) -> Campaign:
    """The remainder of its experiment gets this variant; "": nobody gets anything any more. Raises NotAllowed."""
    with transaction.atomic():
        locked = _locked(campaign)
        transitions.check(locked, "decide")
        run = locked.latest_run
        if run is None or run.decided_at or not run.stages.filter(kind=Stage.Kind.REST).exists():
            raise NotAllowed("There is no remainder that waits for a decision.")
        if variant and variant not in {one.key for one in run.document.variants}:
            raise NotAllowed("There is no such variant.")
        if variant:
            stage = runs.send_rest(locked, run, variant, by=by)
            if stage and stage.notification and locked.status == Status.PAUSED:
                runs.hold(run, why=run.paused_for, detail=run.paused_detail)
        Run.objects.filter(id=run.id).update(winner=variant, decided_by=by[:150], decided_at=timezone.now())
    return locked


def as_launched(campaign: Campaign, run: Run) -> Campaign:
    """The campaign as it was when this run was launched, unsaved."""
    fields = {field.attname: getattr(campaign, field.attname) for field in Campaign._meta.concrete_fields}
    return Campaign(**{**fields, "plan": run.plan})
