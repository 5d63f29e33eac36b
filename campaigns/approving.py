"""A second person's yes to what a campaign says, and to how many it reaches: asked for, taken back, given, refused."""

from __future__ import annotations

import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from campaigns import checking, drift, history, mails, runs, selectors, timetable, transitions
from campaigns.models import Approval, Campaign
from campaigns.transitions import NotAllowed

log = structlog.get_logger(__name__)

Status = Campaign.Status


def is_needed(campaign: Campaign, devices: int, margin: int = 0) -> bool:
    """margin: of an estimate, which shall not take a yes back; the launch counts."""
    above = campaign.application.approval_above
    return above is not None and devices > above and not _is_approved_for(campaign, devices - margin)


def _is_approved_for(campaign: Campaign, devices: int) -> bool:
    """The yes was to a number too: a segment that somebody widens since needs another one."""
    if campaign.status not in (Status.APPROVED, Status.RECURRING):
        return False
    granted = covered(campaign)
    return granted is not None and (devices <= granted or not drift.is_large(devices, granted))


def covered(campaign: Campaign) -> int | None:
    """How many devices the last yes to this version was for; None: nobody has said it."""
    granted = campaign.approvals.filter(is_granted=True, version=campaign.version)
    return granted.values_list("devices", flat=True).first()


def may_decide(campaign: Campaign, user: User) -> bool:
    """Nobody approves their own: not who made it, wrote any version since the last yes, or asked."""
    return user.pk not in selectors.authors(campaign)


def ask(campaign: Campaign, *, by: User, devices: int, note: str = "") -> Approval:
    """Freeze it until a second person has said yes or no. Raises NotAllowed, NotReady."""
    checking.check(campaign)
    with transaction.atomic():
        transitions.check_shown(campaign)
        transitions.move(campaign, "ask", Status.WAITING)
        history.keep(campaign, "approval")
        approval = Approval.objects.create(
            campaign=campaign, version=campaign.version, devices=devices, note=note[:500], requested_by=by
        )
        transaction.on_commit(selectors.forget_waiting)
        transaction.on_commit(lambda: mails.nudge(approval.id))
    return approval


def withdraw(campaign: Campaign) -> Campaign:
    """Back to a draft. A yes is gone with it."""
    with transaction.atomic():
        transitions.move(campaign, "withdraw", Status.DRAFT)
        drop(campaign)
    return campaign


def decide(campaign: Campaign, *, by: User, is_granted: bool, answer: str = "") -> Campaign:
    """Raises NotAllowed, PermissionError for who wrote it."""
    with transaction.atomic():
        # Nobody asks anew between the look at who asked and the answer.
        locked = (
            Campaign.objects.select_for_update(of=("self",)).select_related("application").get(id=campaign.id)
        )
        if not may_decide(campaign, by):
            raise PermissionError("Nobody approves what they wrote or asked for themselves.")
        approval = campaign.approvals.filter(is_granted=None).first()
        if approval is None and locked.status == Status.RECURRING:
            raise NotAllowed("No run of it waits for approval.")
        _move(campaign, locked, is_granted=is_granted)
        assert approval
        approval.is_granted, approval.answer = is_granted, answer[:500]
        approval.decided_by, approval.decided_at = by, timezone.now()
        approval.save(update_fields=["is_granted", "answer", "decided_by", "decided_at"])
        transaction.on_commit(selectors.forget_waiting)
        transaction.on_commit(lambda: mails.nudge(approval.id))
    return campaign


def _move(campaign: Campaign, locked: Campaign, *, is_granted: bool) -> None:
    deed = "approve" if is_granted else "refuse"
    if locked.status != Status.RECURRING:
        transitions.move(campaign, deed, Status.APPROVED if is_granted else Status.DRAFT)
        return
    transitions.move(campaign, deed, Status.RECURRING)
    if not is_granted:
        runs.skip(locked, timezone.now())
        return
    # The clock makes it; of those that were due meanwhile only the last.
    due = timetable.newest_due(locked, timezone.now())
    Campaign.objects.filter(id=campaign.id).update(next_run_at=due)


def check_still_given(campaign: Campaign) -> None:
    """A yes that was taken back since it was looked at counts no more: the version is the same. Raises NotAllowed."""
    if Campaign.objects.filter(id=campaign.id, status=Status.DRAFT).exists():
        campaign.refresh_from_db()
        raise NotAllowed("Its approval was taken back meanwhile.")


# --- a run that has outgrown it ---------------------------------------------------------------


def ask_for_run(campaign: Campaign, *, devices: int) -> Approval:
    """For a recurring campaign's run that is due: it waits, whatever is under way goes on. In the caller's transaction,
    which holds the campaign's row."""
    approval = Approval.objects.create(campaign=campaign, version=campaign.version, devices=devices)
    transaction.on_commit(selectors.forget_waiting)
    transaction.on_commit(lambda: mails.nudge(approval.id))
    log.info("run_waits", action="campaigns.run_waits", campaign=campaign.id, devices=devices)
    return approval


def drop(campaign: Campaign) -> None:
    """What was asked for a run is asked no more: the run will not be made."""
    campaign.approvals.filter(is_granted=None).delete()
    transaction.on_commit(selectors.forget_waiting)
