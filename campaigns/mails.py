"""Telling people of approvals by e-mail: those who may decide when somebody asks, the author when it is decided.

Best effort: the console shows the same. Sent by a worker, after the commit; nobody waits for a mail server.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.urls import reverse

from campaigns import selectors, words
from campaigns.models import Approval, Campaign

log = structlog.get_logger(__name__)


def nudge(approval_id: int) -> None:
    """Have it told. Call after commit; never raises."""
    from campaigns import tasks

    try:
        tasks.tell_approval.apply_async((approval_id,), queue="periodic")
    except Exception as error:  # the broker is away: the badge in the sidebar tells too
        log.warning("nudge_failed", action="approvals.nudge_failed", error=type(error).__name__)


def tell(approval_id: int) -> None:
    """What the worker does. An approval that was withdrawn meanwhile is not told."""
    approval = (
        Approval.objects.select_related(
            "campaign__application",
            "campaign__category",
            "campaign__launched_by",
            "requested_by",
            "decided_by",
        )
        .filter(id=approval_id)
        .first()
    )
    if approval is None:
        return
    try:
        _asked(approval) if approval.is_granted is None else _decided(approval)
    except Exception as error:  # whatever it is: a mail is no reason to fail
        log.error("mail_failed", action="approvals.mail_failed", error=type(error).__name__)


def _asked(approval: Approval) -> None:
    campaign = approval.campaign
    title = words.title(campaign)
    if _is_run(campaign):
        asks = f"A run of “{campaign}” of {campaign.application} is due and reaches more devices than were approved."
        would = f"“{title}” would go to {approval.devices:,} devices. Other runs go on as before."
    else:
        by = approval.requested_by or "Somebody"
        asks = f"{by} asks for your approval of “{campaign}” of {campaign.application}."
        would = f"“{title}” would go to {approval.devices:,} devices, {words.when(campaign)}."
    lines = [
        asks,
        would,
        f"Their note: {approval.note}" if approval.note else "",
        "Nothing is sent before somebody has approved it.",
        _url(approval),
    ]
    people = selectors.approvers(campaign)
    _send(f"“{campaign}” waits for your approval", lines, people)


def _decided(approval: Approval) -> None:
    campaign = approval.campaign
    is_run = _is_run(campaign)
    done = "approved" if approval.is_granted else "left out" if is_run else "sent back"
    what = f"{'a run of ' if is_run else ''}“{campaign}”"
    lines = [
        f"{approval.decided_by or 'Somebody'} has {done} {what} of {campaign.application}.",
        f"Their note: {approval.answer}" if approval.answer else "",
        FOLLOWS[is_run, bool(approval.is_granted)],
        _url(approval),
    ]
    told = approval.requested_by or (campaign.launched_by if is_run else None)
    _send(f"{what[:1].upper()}{what[1:]} was {done}", lines, [told] if told else [])


def _is_run(campaign: Campaign) -> bool:
    """Whether it is about a later run: the campaign itself is on its way already."""
    return campaign.launched_at is not None and campaign.document.is_recurring


# Of a run or not, approved or not.
FOLLOWS = {
    (False, True): "It is not sent yet: launch it when you are ready.",
    (False, False): "It is a draft again: edit it, then ask once more.",
    (True, True): "It goes out now.",
    (True, False): "The next run comes when it is due, and asks again if it reaches as many.",
}


def _send(subject: str, lines: Sequence[str], people: Sequence[User]) -> None:
    """Each gets a mail of their own: addresses are nobody else's business."""
    text = "\n\n".join(filter(None, lines)) + "\n"
    for address in dict.fromkeys(person.email for person in people if person.email):
        EmailMessage(
            " ".join(f"[Carillon] {subject}".split()), text, settings.DEFAULT_FROM_EMAIL, [address]
        ).send()


def _url(approval: Approval) -> str:
    path = reverse("admin:campaigns_campaign_review", args=[approval.campaign_id])
    return f"{settings.BASE_URL}{path}"
