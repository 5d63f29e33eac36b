"""The catalogue of reasons as it is read: by who says so, with the provider's own codes beside our words.

The words are in reasons/. The page /admin/reasons/ and GET /v1/reasons show what is here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from notifications import lanes, reasons
from notifications.pipeline.build import providers

# Verdicts a provider comes to outside its table of answers: before it is asked, or while signing in.
BESIDES = {
    "apns": ("provider_token_refused_fresh", "environment_not_covered"),
    "fcm": (
        "invalid_grant",
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "access_denied",
        "disabled_client",
        "token_unavailable",
        "unspecified_error",
    ),
    "webpush": ("endpoint_not_allowed", "bad_subscription_keys"),
}


class Answer(NamedTuple):
    """What a provider answers for a reason to be recorded. code: its own word, "" where the status says it all."""

    provider: str
    status: int
    code: str
    outcome: str


class Entry(NamedTuple):
    reason: str
    words: reasons.Words
    answers: tuple[Answer, ...]


class Group(NamedTuple):
    key: str
    title: str
    about: str
    entries: tuple[Entry, ...]


GROUPS = (
    ("held", "Held back", "Decided here before anything was sent, by the person's own choice or your rules."),
    ("apns", "Apple", "What Apple's push service answers."),
    ("fcm", "Google", "What Firebase Cloud Messaging answers."),
    ("webpush", "Web Push", "What browsers' push services answer."),
    ("several", "Several providers", "Words that more than one provider uses."),
    ("carillon", "Carillon itself", "Nobody was asked, or nobody answered."),
)


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Every reason, in the order of its words."""
    answers: dict[str, list[Answer]] = {}
    for name in dict.fromkeys(lanes.PROVIDER_OF_PLATFORM.values()):
        for (status, code), verdict in providers()[name].OUTCOMES.items():
            # A code is written "WORD:detail" where one word has two meanings (providers/fcm.py).
            told = Answer(name, status, code.partition(":")[0], str(verdict.outcome))
            answers.setdefault(verdict.reason, []).append(told)
    return tuple(
        Entry(reason, words, tuple(dict.fromkeys(answers.get(reason, ()))))
        for reason, words in sorted(reasons.CATALOGUE.items(), key=lambda item: (item[1].title, item[0]))
    )


def grouped(query: str = "") -> list[Group]:
    """Those in which all words of the query are found; groups without any are left out."""
    wanted = query.lower().split()
    found = [entry for entry in entries() if all(word in _searched(entry) for word in wanted)]
    groups = (
        Group(key, title, about, tuple(entry for entry in found if _group(entry) == key))
        for key, title, about in GROUPS
    )
    return [group for group in groups if group.entries]


def _group(entry: Entry) -> str:
    if entry.reason in reasons.HELD:
        return "held"
    named = {answer.provider for answer in entry.answers}
    named |= {name for name, besides in BESIDES.items() if entry.reason in besides}
    return named.pop() if len(named) == 1 else "several" if named else "carillon"


def _searched(entry: Entry) -> str:
    codes = " ".join(f"{answer.status} {answer.code} {answer.provider}" for answer in entry.answers)
    return f"{entry.reason} {' '.join(entry.words)} {codes}".lower()


def table(found: Iterable[Group]) -> str:
    """Markdown, for the API's documentation."""
    rows = (
        f"| `{entry.reason}` | {entry.words.means} | {entry.words.spared} | {entry.words.todo or 'Nothing.'} |"
        for group in found
        for entry in group.entries
    )
    return "\n".join(
        ("| reason | what happened | what it does not affect | what to do |", "|---|---|---|---|", *rows)
    )
