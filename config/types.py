"""Constrained types that request bodies of several apps are made of."""

from __future__ import annotations

import zoneinfo
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import msgspec

# `$` would let a trailing line feed pass.
END = r"$(?!\n)"
NO_CONTROL_CHARACTERS = rf"^[^\x00-\x1f\x7f]*{END}"


def text(longest: int, *, shortest: int = 0, pattern: str = NO_CONTROL_CHARACTERS) -> msgspec.Meta:
    """One line of text."""
    return msgspec.Meta(min_length=shortest, max_length=longest, pattern=pattern)


ExternalId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=255, pattern=NO_CONTROL_CHARACTERS, examples=["u-42"])
]
Slug = Annotated[
    str, msgspec.Meta(max_length=64, pattern=rf"^[-a-zA-Z0-9_]+{END}", examples=["transactional"])
]
# BCP 47, loosely: "de", "pt-BR", "zh-Hant-TW"; Android's "pt_BR" too.
Locale = Annotated[
    str,
    msgspec.Meta(
        max_length=35, pattern=rf"^[A-Za-z]{{2,3}}([-_][A-Za-z0-9]{{1,8}})*{END}", examples=["pt-BR"]
    ),
]
Platform = Literal["ios", "android", "web", "macos"]


class TimeZone(str):
    """A name of the tz database; decoded by `config.json`."""

    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "string",
        "description": "A time zone of the tz database.",
        "examples": ["Europe/Berlin"],
        "maxLength": 64,
    }

    @classmethod
    def checked(cls, value: Any) -> TimeZone:
        if not isinstance(value, str) or value not in time_zones():
            raise ValueError("Expected a time zone of the tz database, such as Europe/Berlin")
        return cls(value)


@lru_cache(maxsize=1)
def time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) - {"localtime"}
