"""How each credential is: what sends met, then what the last live check found. For pages, and for the preflight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from notifications import reasons
from notifications.models import Incident
from tenants.models import Credential

Cause = Incident.Cause
Result = Credential.CheckResult


class State(StrEnum):
    """From the worst to the best."""

    REFUSED = "refused"  # the provider does not let it in
    TROUBLE = "trouble"  # its lanes stand still, and not for the credential's sake
    UNKNOWN = "unknown"  # not checked, or the check could not run
    OK = "ok"


SEVERITY = tuple(State)

IN_TROUBLE = {
    Cause.CIRCUIT: "The provider does not take messages at the moment.",
    Cause.QUOTA: "The provider's quota is used up.",
    Cause.RETIREMENTS: "Campaigns wait until somebody has decided about many devices that are said to be gone.",
}


@dataclass(frozen=True, slots=True)
class CredentialState:
    """words: one or two sentences. todo: "" for nothing. reason: of the catalogue, "" for none.

    since: when it became so, where that is known. incident_id: what stops its lanes, if anything does.
    """

    credential_id: int
    provider: str
    label: str
    state: State
    words: str
    todo: str
    reason: str
    checked_at: datetime | None
    since: datetime | None
    incident_id: int | None


def of_application(application_id: int) -> list[CredentialState]:
    """Of its active credentials, the worst first."""
    return of(Credential.objects.filter(application_id=application_id, is_active=True).order_by("id"))


def of(credentials: Iterable[Credential]) -> list[CredentialState]:
    """The worst first. Two queries, however many there are."""
    found = list(credentials)
    open_ones = Incident.objects.filter(
        application_id__in={one.application_id for one in found}, closed_at__isnull=True, stops_lanes=True
    ).order_by("-id")
    stopping = {(one.application_id, one.provider): one for one in open_ones}  # the oldest stays
    states = [_state(one, stopping.get((one.application_id, one.provider))) for one in found]
    return sorted(states, key=lambda one: SEVERITY.index(one.state))


def _state(credential: Credential, incident: Incident | None) -> CredentialState:
    provider = reasons.PROVIDERS.get(credential.provider, credential.provider)
    state, said, since, words = State.UNKNOWN, "", credential.check_since, "Not checked yet."
    if credential.blocked_at:
        state, said, since = State.REFUSED, credential.blocked_reason, credential.blocked_at
    elif credential.check_result == Result.REFUSED:
        state, said = State.REFUSED, credential.check_detail
    elif incident and incident.cause in IN_TROUBLE:
        state, said, since = State.TROUBLE, incident.words, incident.opened_at
        words = IN_TROUBLE[Cause(incident.cause)]
    elif credential.check_result == Result.UNABLE:
        said = credential.check_detail
        words = f"The check could not run, which says nothing about the key. {_place(said)}"
    elif credential.check_result == Result.OK:
        state = State.OK
        words = f"{provider} accepts it."
        if credential.provider == Credential.Provider.WEBPUSH:
            words = "Signed and verified here; each browser's push service decides for itself."
        if credential.check_detail:
            said = credential.check_detail
            words = f"{words} Not everywhere, though: {_place(said)}"
    known = reasons.explained(said) if said else None
    if state is State.REFUSED:
        words = known.means if known else f"{provider} refuses it."
    return CredentialState(
        credential_id=credential.pk,
        provider=credential.provider,
        label=str(credential),
        state=state,
        words=words,
        todo=_todo(state, credential, known),
        reason=next((word for word in said.split(": ") if word in reasons.CATALOGUE), ""),
        checked_at=credential.checked_at,
        since=since,
        incident_id=incident.pk if incident else None,
    )


def _place(said: str) -> str:
    """A check's detail, with titles for reasons: "No connection: api.push.apple.com:443: connection refused." """
    words = [
        reasons.CATALOGUE[word].title if word in reasons.CATALOGUE else word for word in said.split(": ")
    ]
    return ": ".join(words).rstrip(".") + "."


def _todo(state: State, credential: Credential, known: reasons.Words | None) -> str:
    if state is State.UNKNOWN and credential.check_result == Result.UNABLE:
        if "clocks differ" in credential.check_detail:
            return known.todo if known else ""
        return "If it lasts, let those who run this installation open the way to that host and port."
    if state is State.TROUBLE:
        return "The incident says when it goes on, and what can be done."
    return known.todo if known and state is not State.OK else ""
