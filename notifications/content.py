"""What a message says: its shape in the send API, its texts per locale, and what a link may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import msgspec

from config.problems import InvalidField
from config.types import END, Locale, text
from notifications.providers import overrides

LINK, LONGEST_LINK = overrides.LINK, overrides.LONGEST_LINK
# In the open only from one's own machine, to try things out.
IMAGE = (
    rf"^(?:https://[^\s\x00-\x1f/]+|http://(?:localhost|127\.0\.0\.1)(?::[0-9]{{1,5}})?(?=/|{END}))"
    rf"[^\s\x00-\x1f]*{END}"
)
LONGEST_TEXT, MOST_LOCALES = 4096, 100

Link = Annotated[
    str, msgspec.Meta(max_length=LONGEST_LINK, pattern=LINK, examples=["https://example.com/orders/7"])
]
ImageUrl = Annotated[
    str, msgspec.Meta(max_length=LONGEST_LINK, pattern=IMAGE, examples=["https://example.com/a.png"])
]
Words = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]
Data = dict[Annotated[str, text(128, shortest=1)], Words]


class Action(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    id: Annotated[str, text(64, shortest=1)]
    title: Annotated[str, text(120, shortest=1)]
    url: Link | msgspec.UnsetType = msgspec.UNSET


Actions = Annotated[list[Action], msgspec.Meta(max_length=5)]


class Texts(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is said differently in a locale; the rest is as in the content itself."""

    title: Words | msgspec.UnsetType = msgspec.UNSET
    body: Words | msgspec.UnsetType = msgspec.UNSET
    image: ImageUrl | msgspec.UnsetType = msgspec.UNSET
    url: Link | msgspec.UnsetType = msgspec.UNSET
    data: Data | msgspec.UnsetType = msgspec.UNSET
    actions: Actions | msgspec.UnsetType = msgspec.UNSET


class Content(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    title: Words
    body: Words
    image: ImageUrl | msgspec.UnsetType = msgspec.UNSET
    url: Link | msgspec.UnsetType = msgspec.UNSET
    data: Data = {}
    actions: Actions = []
    locales: Annotated[dict[Locale, Texts], msgspec.Meta(max_length=MOST_LOCALES)] = {}


# --- locales ----------------------------------------------------------------------------------


def normal(locale: str) -> str:
    """pt_BR and pt-br are one."""
    return locale.replace("_", "-").lower()


def variants(
    content: Mapping[str, Any], locales: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Normal locale → the whole content; "" → what all others get. What de-AT leaves out is as in de, then as in the
    content. Raises InvalidField, naming a locale that is there twice."""
    base = {name: value for name, value in content.items() if name != "locales"}
    own: dict[str, Mapping[str, Any]] = {}
    for name, texts in locales.items():
        if normal(name) in own:
            raise InvalidField(f"/locales/{name}", "is there twice")
        own[normal(name)] = texts
    whole = {"": base}
    for name in sorted(own, key=len):
        whole[name] = {**whole[fitting(whole, name)], **own[name]}
    return whole


def fitting(known: Iterable[str] | Mapping[str, Any], locale: str) -> str:
    """The nearest of the known: de-AT, de, or "" (RFC 4647, lookup)."""
    name = normal(locale)
    while name and name not in known:
        name = name.rpartition("-")[0]
    return name


# --- the texts in a content -------------------------------------------------------------------

SCALARS = ("title", "body", "image", "url")
CHECKED = {"image": re.compile(IMAGE), "url": re.compile(LINK)}
EXPECTED = {
    "image": "expected an https address",
    "url": "expected a web address or an app's own link",
    "navigate": "expected a web address",
}


def mapped(content: Mapping[str, Any], of: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The content with each of its texts replaced by `of(pointer, text)`."""
    result = {name: of(f"/{name}", content[name]) for name in SCALARS if name in content}
    if content.get("data"):
        result["data"] = {key: of(f"/data/{_escaped(key)}", value) for key, value in content["data"].items()}
    if content.get("actions"):
        result["actions"] = [
            {
                name: value if name == "id" else of(f"/actions/{number}/{name}", value)
                for name, value in action.items()
            }
            for number, action in enumerate(content["actions"])
        ]
    return result


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def fault(pointer: str, value: str) -> str:
    """What is wrong with a link or picture that came about only now, or ""."""
    kind = pointer.rpartition("/")[2] if not pointer.startswith("/data/") else ""
    pattern = CHECKED.get(kind)
    if not value or pattern is None or (len(value) <= LONGEST_LINK and pattern.match(value)):
        return ""
    return EXPECTED[kind]
