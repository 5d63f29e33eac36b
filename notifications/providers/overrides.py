"""Reads what a producer wrote under `overrides.<provider>`, and the types that several providers' `Options` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

Options = TypeVar("Options", bound=msgspec.Struct)

# Opened on tap: a web page or an app's own scheme, never one that runs code. `$` would let a line feed pass.
LINK = (
    r"^(?!(?:[jJ][aA][vV][aA][sS][cC][rR][iI][pP][tT]|[dD][aA][tT][aA]):)"
    r"[a-zA-Z][a-zA-Z0-9+.\-]*:[^\s\x00-\x1f]+$(?!\n)"
)
LONGEST_LINK = 2048
# The same, or a path on the site itself.
PAGE = r"^(?!(?:[jJ][aA][vV][aA][sS][cC][rR][iI][pP][tT]|[dD][aA][tT][aA]):)[^\s\x00-\x1f]*$(?!\n)"

Link = Annotated[
    str,
    msgspec.Meta(
        max_length=LONGEST_LINK,
        pattern=LINK,
        description="Opened on tap, here instead of the content's `url`.",
        examples=["shop://orders/7"],
    ),
]
Page = Annotated[
    str,
    msgspec.Meta(
        max_length=1024,
        pattern=PAGE,
        description="Opened on tap, here instead of the content's `url`.",
        examples=["https://example.com/orders/7"],
    ),
]


def read(values: Mapping[str, Any], options: type[Options]) -> Options:
    """Raises ValueError naming the field, `priority: …` or `sound.volume: …`."""
    try:
        return msgspec.convert(dict(values), options)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        path = path.strip("`.")
        raise ValueError(f"{path}: {text}" if path else text) from None
