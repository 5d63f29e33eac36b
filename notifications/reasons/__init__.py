"""Every reason a ledger line may carry and every cause of an incident, in a marketer's words: what happened, what it
does not affect, and what to do about it. The one place: pages, mails and the API's documentation show these.

A reason nobody foresaw is shown by its own name; its line then asks for the provider's words in the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .addresses import ADDRESSES
from .entry import GONE, Words
from .held import HELD
from .incidents import INCIDENTS, PROVIDERS, IncidentWords
from .messages import MESSAGES
from .ours import OURS
from .passing import PASSING

__all__ = [
    "CATALOGUE",
    "HELD",
    "INCIDENTS",
    "ORDINARY",
    "PROVIDERS",
    "WORTH_ANOTHER_TRY",
    "IncidentWords",
    "Words",
    "explained",
    "repeatable",
    "words",
]

CATALOGUE: Mapping[str, Words] = {**HELD, **ADDRESSES, **MESSAGES, **OURS, **PASSING}

# Failures every large audience has: they leave a campaign "Finished", not "Finished with problems".
ORDINARY = frozenset(reason for reason, words in CATALOGUE.items() if words.todo == GONE)

# Why somebody did not get a message that may reach them at another time; never where it may have arrived already.
WORTH_ANOTHER_TRY = (
    frozenset(PASSING) - {"no_answer", "sender_died", "internal_error"}
    | frozenset(OURS)
    | {
        "expired",
        "quiet_hours",
        "quiet_hours_inbox_only",
        "held_past_deadline",
        "local_time_past_deadline",
        "capped",
    }
)

# An answer no table names (providers/verdict.py): "http_418", "token_http_400".
_STATUS = re.compile(r"(?:token_)?http_(\d{3})")


def words(reason: str) -> Words:
    """Of a reason, or of a provider's words that begin with one: "bad_topic: BadTopic"."""
    if known := explained(reason):
        return known
    todo = "Open the list to see the provider's answers."
    if status := _STATUS.fullmatch(reason):
        return Words(f"Answer {status[1]}", f"The provider answered with HTTP status {status[1]}.", todo)
    title = reason.replace("_", " ").capitalize() or "No reason given"
    return Words(title, "The provider's own word for it.", todo)


def explained(said: str) -> Words | None:
    return next((CATALOGUE[word] for word in said.split(": ") if word in CATALOGUE), None)


# Tokens, keys, subscriptions: nothing a provider says about us in words is that long in one piece.
_UNSPEAKABLE = re.compile(r"[\w:=+-]{40,}")


def repeatable(said: str) -> str:
    """A provider's words, fit for a page or a mail: one line, and whatever looks like a token taken out (law 9)."""
    return _UNSPEAKABLE.sub("…", " ".join(said.split()))
