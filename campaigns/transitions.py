"""The states of a campaign and what leads from one to another: one table for services, buttons, the API and tests."""

from __future__ import annotations

from dataclasses import dataclass

from campaigns.models import Campaign

Status = Campaign.Status


class NotAllowed(Exception):
    """The campaign is not in a state in which this can be done. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Transition:
    """permission: "" for the clock's own. by_hand: whether people (and programs) may ask for it."""

    sources: tuple[Status, ...]
    targets: tuple[Status, ...]
    permission: str
    words: str

    @property
    def by_hand(self) -> bool:
        return bool(self.permission)


EDIT, LAUNCH, STOP, APPROVE = (
    "campaigns.change_campaign",
    "campaigns.launch_campaign",
    "campaigns.stop_campaign",
    "campaigns.approve_campaign",
)

TRANSITIONS = {
    "ask": Transition((Status.DRAFT,), (Status.WAITING,), EDIT, "Ask for approval"),
    "withdraw": Transition((Status.WAITING, Status.APPROVED), (Status.DRAFT,), EDIT, "Take back to edit"),
    # Of a recurring one: the run that waits for it.
    "approve": Transition(
        (Status.WAITING, Status.RECURRING), (Status.APPROVED, Status.RECURRING), APPROVE, "Approve"
    ),
    "refuse": Transition(
        (Status.WAITING, Status.RECURRING), (Status.DRAFT, Status.RECURRING), APPROVE, "Send back"
    ),
    "launch": Transition(
        (Status.DRAFT, Status.APPROVED),
        (Status.SCHEDULED, Status.SENDING, Status.RECURRING),
        LAUNCH,
        "Launch",
    ),
    "unschedule": Transition(
        (Status.SCHEDULED, Status.RECURRING), (Status.DRAFT,), STOP, "Take back to edit"
    ),
    "pause": Transition(
        (Status.SCHEDULED, Status.SENDING, Status.RECURRING), (Status.PAUSED,), STOP, "Pause"
    ),
    "resume": Transition(
        (Status.PAUSED,), (Status.SCHEDULED, Status.SENDING, Status.RECURRING), STOP, "Resume"
    ),
    "cancel": Transition(Campaign.LIVE, (Status.CANCELLED,), STOP, "Cancel"),
    "decide": Transition(
        (Status.SENDING, Status.PAUSED), (Status.SENDING, Status.PAUSED), LAUNCH, "Send the winner"
    ),
    # The clock's.
    "begin": Transition((Status.SCHEDULED,), (Status.SENDING,), "", ""),
    "hold": Transition((Status.SENDING,), (Status.PAUSED,), "", ""),
    "finish": Transition((Status.SENDING, Status.RECURRING), (Status.FINISHED, Status.RECURRING), "", ""),
}


def possible(campaign: Campaign) -> dict[str, Transition]:
    """What people may ask for in its state."""
    return {
        deed: transition
        for deed, transition in TRANSITIONS.items()
        if transition.by_hand and campaign.status in transition.sources
    }


def check(campaign: Campaign, deed: str) -> None:
    """Raises NotAllowed."""
    if campaign.status not in TRANSITIONS[deed].sources:
        state = campaign.get_status_display().lower()
        raise NotAllowed(f"This campaign is {state}: {deed} is not possible.")


def move(campaign: Campaign, deed: str, to: Status, **fields: object) -> None:
    """The guarded update, in the caller's transaction; whoever comes second raises NotAllowed."""
    transition = TRANSITIONS[deed]
    assert to in transition.targets, (deed, to)
    changed = Campaign.objects.filter(
        id=campaign.id, status__in=transition.sources, version=campaign.version
    ).update(status=to, **fields)
    if not changed:
        campaign.refresh_from_db()
        raise NotAllowed(f"This campaign is {campaign.get_status_display().lower()} by now, or was edited.")
    campaign.status = to
    for name, value in fields.items():
        setattr(campaign, name, value)


def check_shown(campaign: Campaign) -> None:
    """Out of the archive nothing is sent. Locks its row. Raises NotAllowed."""
    if Campaign.objects.select_for_update().get(id=campaign.id).archived_at:
        raise NotAllowed("It is in the archive. Take it out first.")
