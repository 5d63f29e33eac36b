"""A second person's yes to what a campaign says, and to how many it reaches: asked for, taken back, given, refused."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from campaigns import checking, drift, history, mails, selectors, transitions
from campaigns.models import Approval, Campaign
from campaigns.transitions import NotAllowed

Status = Campaign.Status


def is_needed(campaign: Campaign, devices: int, margin: int = 0) -> bool:
    """margin: of an estimate, which shall not take a yes back; the launch counts."""
    above = campaign.application.approval_above
    return above is not None and devices > above and not _is_approved_for(campaign, devices - margin)


def _is_approved_for(campaign: Campaign, devices: int) -> bool:
    """The yes was to a number too: a segment that somebody widens since needs another one."""
    if campaign.status != Status.APPROVED:
        return False
    granted = campaign.approvals.filter(is_granted=True, version=campaign.version).first()
    return granted is not None and (
        devices <= granted.devices or not drift.is_large(devices, granted.devices)
    )


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
        campaign.approvals.filter(is_granted=None).delete()
        transaction.on_commit(selectors.forget_waiting)
    return campaign


def decide(campaign: Campaign, *, by: User, is_granted: bool, answer: str = "") -> Campaign:
    """Raises NotAllowed, PermissionError for who wrote it."""
    with transaction.atomic():
        # Nobody asks anew between the look at who asked and the answer.
        Campaign.objects.select_for_update().get(id=campaign.id)
        if not may_decide(campaign, by):
            raise PermissionError("Nobody approves what they wrote or asked for themselves.")
        deed, to = ("approve", Status.APPROVED) if is_granted else ("refuse", Status.DRAFT)
        transitions.move(campaign, deed, to)
        approval = campaign.approvals.get(is_granted=None)
        approval.is_granted, approval.answer = is_granted, answer[:500]
        approval.decided_by, approval.decided_at = by, timezone.now()
        approval.save(update_fields=["is_granted", "answer", "decided_by", "decided_at"])
        transaction.on_commit(selectors.forget_waiting)
        transaction.on_commit(lambda: mails.nudge(approval.id))
    return campaign


def check_still_given(campaign: Campaign) -> None:
    """A yes that was taken back since it was looked at counts no more: the version is the same. Raises NotAllowed."""
    if Campaign.objects.filter(id=campaign.id, status=Status.DRAFT).exists():
        campaign.refresh_from_db()
        raise NotAllowed("Its approval was taken back meanwhile.")
