"""The form of an entry, and what many entries advise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Words(NamedTuple):
    """title: for a table. means: what happened. todo: what to do, "" for nothing. spared: what it does not affect."""

    title: str
    means: str
    todo: str = ""
    spared: str = ""


Entries = Mapping[str, Words]

GONE = "Normal. The device was switched off here and is not tried again."
LATER = "Nothing: it is tried again by itself, and given up only when the message expires."
DEVELOPER = "Show this line to your developer."
CREDENTIAL = "Open the credential, enter a working one, and what waits goes out by itself."


def sparing(spared: str, entries: Entries) -> dict[str, Words]:
    """The entries, with what none of them affects."""
    return {
        reason: words if words.spared else words._replace(spared=spared) for reason, words in entries.items()
    }
