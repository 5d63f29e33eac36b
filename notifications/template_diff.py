"""What a version of a template says differently from another, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from notifications.models import TemplateVersion

# What becomes of somebody who lacks something, and what that means.
MISSING = {
    "default": ("Leave the place empty", "They get it all the same."),
    "skip": ("Skip the person", "They do not get it; the report says why."),
    "fail": (
        "Refuse the call",
        "Your systems are told at once. In a campaign to many, such a person is skipped.",
    ),
}
LABELS = {"title": "Title", "body": "Text", "image": "Picture", "url": "Opens"}


class Piece(NamedTuple):
    """kind: same, new or old."""

    kind: str
    text: str


class Change(NamedTuple):
    label: str
    pieces: Sequence[Piece]


def between(old: TemplateVersion | None, new: TemplateVersion) -> list[Change]:
    """Of the fields that differ. old: None, nothing was said."""
    before, after = _fields(old) if old else {}, _fields(new)
    return [
        Change(label, list(pieces(before.get(label, ""), after.get(label, ""))))
        for label in dict.fromkeys([*after, *before])
        if before.get(label, "") != after.get(label, "")
    ]


def _fields(version: TemplateVersion) -> dict[str, str]:
    fields = dict(_texts(version.content))
    for locale, texts in version.locales.items():
        fields |= {f"{label} ({locale})": text for label, text in _texts(texts)}
    fields |= {f"In place of {name}": str(value) for name, value in version.defaults.items()}
    return {**fields, "If something is missing": MISSING[version.missing][0]}


def _texts(texts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, label in LABELS.items():
        if texts.get(name):
            yield label, texts[name]
    for key, value in texts.get("data", {}).items():
        yield f"Data {key}", value
    for action in texts.get("actions", ()):
        yield f"Button {action['id']}", " → ".join(filter(None, (action["title"], action.get("url"))))


def pieces(old: str, new: str) -> Iterator[Piece]:
    """What one says differently from the other, word by word."""
    before, after = re.findall(r"\s+|\w+|[^\w\s]", old), re.findall(r"\s+|\w+|[^\w\s]", new)
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Piece("same", "".join(before[a:b]))
            continue
        if a < b:
            yield Piece("old", "".join(before[a:b]))
        if c < d:
            yield Piece("new", "".join(after[c:d]))
