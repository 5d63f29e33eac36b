"""One sentence on top of the explanation of a message to a person: from the ledger where it is decided, else from how
the rules stand. Reads nothing but what it is given, and the caps' counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from devices.models import Subscriber
from notifications import explain, lanes, reasons
from notifications.models import Delivery, Notification

Outcome = Delivery.Outcome
Line = Mapping[str, Any]  # of selectors.explanation

# Of several devices, which one speaks for the person: the first of these that one of them has.
STRONGEST = (
    Outcome.ACCEPTED,
    Outcome.UNCERTAIN,
    *Delivery.NOT_FINAL,
    Outcome.FAILED,
    Outcome.REJECTED,
    Outcome.UNREGISTERED,
    Outcome.SUPPRESSED,
    Outcome.CANCELLED,
)

# The ledger's reason → the rule that gave it; what is not here was decided when it was sent.
RULE_OF_REASON = {
    **dict.fromkeys(("holdout", "not_in_audience", "unknown_subscriber", "unknown_device"), "audience"),
    **dict.fromkeys(
        ("no_device", "device_retired", "device_erased", "permission_denied", "channel_not_allowed"),
        "address",
    ),
    **dict.fromkeys(("expired", "held_past_deadline", "local_time_past_deadline"), "deadline"),
    "unsubscribed": "consent",
    **dict.fromkeys(("opted_out", "not_opted_in"), "preference"),
    "global_holdout": "holdout",
    **dict.fromkeys(("quiet_hours", "quiet_hours_inbox_only"), "quiet_hours"),
    "capped": "cap",
    "never_in_send_window": "time",
    **dict.fromkeys(("missing_variable", "template_deleted", "not_renderable"), "template"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """tone: a class of console.css. reason: the ledger's, or the rule's. rule: that stopped it, "" if none did.
    is_stored: on record, not how the rules stand now. device: the public id of whose line it is."""

    tone: str
    words: str
    reason: str = ""
    rule: str = ""
    is_stored: bool = False
    at: datetime | None = None
    device: Any = None


def of(
    notification: Notification,
    subscriber: Subscriber,
    told: Mapping[str, Sequence[Line]],
    steps: Sequence[Line],
) -> Verdict:
    """told: selectors.explanation. steps: explain.rules."""
    if line := _decisive(told["deliveries"], {one["device"] for one in told["pending"]}):
        return _stored(line, notification, subscriber)
    if told["pending"]:
        return _waiting(told["pending"][0])
    if notification.status == Notification.Status.CANCELLED:
        return Verdict("off", "Not sent: it was cancelled before its audience was resolved.", is_stored=True)
    if notification.status not in Notification.OPEN:
        words = "Not sent: they were not in the audience when it was resolved."
        return Verdict("warn", words, reason="not_in_audience", rule="audience", is_stored=True)
    return _foreseen(steps, notification, subscriber)


def _decisive(lines: Sequence[Line], waiting: set[Any]) -> Line | None:
    """The newest line of each device, and of these the strongest; None where a device without a line still waits."""
    newest: dict[Any, Line] = {}
    for line in lines:  # the newest first
        newest.setdefault(line["device"], line)
    is_told = [one for one in newest.values() if one["outcome"] == Outcome.ACCEPTED]
    if waiting - newest.keys() and not is_told:
        return None
    return min(newest.values(), key=lambda one: STRONGEST.index(one["outcome"]), default=None)


def _stored(line: Line, notification: Notification, subscriber: Subscriber) -> Verdict:
    reason, at = line["reason"], line["at"]
    provider = reasons.PROVIDERS.get(lanes.provider_of(line["lane"]), "the provider")
    clock = f"{at:%H:%M:%S}"
    why = _because(reason, notification, subscriber, at)
    tone, words = {
        Outcome.ACCEPTED: ("good", f"Reached: accepted by {provider} {clock} UTC on {at:%-d %B}."),
        Outcome.UNCERTAIN: (
            "warn",
            f"Not known: sent to {provider} {clock} UTC, and {why}. It may have arrived.",
        ),
        Outcome.SUPPRESSED: ("warn", f"Not sent: {why}."),
        Outcome.CANCELLED: ("off", f"Not sent: it was cancelled {clock} UTC."),
        Outcome.FAILED: ("bad", f"Not reached: given up {clock} UTC, {why}."),
        Outcome.REJECTED: ("bad", f"Not reached: refused by {provider} {clock} UTC, {why}."),
        Outcome.UNREGISTERED: ("bad", f"Not reached: {why} ({provider}, {clock} UTC)."),
    }.get(line["outcome"], ("run", f"Not yet: {why}; it is tried again."))
    is_reached = line["outcome"] in (Outcome.ACCEPTED, Outcome.CANCELLED)
    rule = "" if is_reached else RULE_OF_REASON.get(reason, "send")
    return Verdict(tone, words, reason, rule, True, at, line["device"])


def _because(reason: str, notification: Notification, subscriber: Subscriber, at: datetime) -> str:
    if reason == "capped":
        return _cap(notification, subscriber, at)
    if reason == "expired":
        return "past its deadline"
    title = reasons.words(reason).title
    return title[:1].lower() + title[1:]


def _cap(notification: Notification, subscriber: Subscriber, at: datetime) -> str:
    if found := explain.full_cap(notification, subscriber, at):
        taken, limit = found
        return f"{'weekly' if limit.is_weekly else 'daily'} cap reached ({taken} of {limit.most})"
    return "a cap was reached"


def _waiting(batch: Line) -> Verdict:
    if batch["status"] == "sending":
        return Verdict("run", "Not yet: it is being sent just now.", is_stored=True, device=batch["device"])
    due = batch["due_at"]
    words = f"Not yet: it waits in line until {due:%H:%M} UTC on {due:%-d %B}."
    return Verdict("run", words, is_stored=True, at=due, device=batch["device"])


def _foreseen(steps: Sequence[Line], notification: Notification, subscriber: Subscriber) -> Verdict:
    at = max((step["until"] for step in steps if step["until"]), default=None)
    for step in steps:
        if step["decides"] == explain.STOPS:
            moment = at or notification.send_at or notification.created_at
            why = _because(step["reason"], notification, subscriber, moment)
            return Verdict("warn", f"Would not be sent: {why}.", step["reason"], step["rule"])
    if at:
        return Verdict(
            "run", f"Would be sent at {at:%H:%M} UTC on {at:%-d %B}: no rule stands against it.", at=at
        )
    return Verdict("good", "Would be sent: no rule stands against it.")
