"""Reads what a producer wrote under `overrides.<provider>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

Options = TypeVar("Options", bound=msgspec.Struct)


def read(values: Mapping[str, Any], options: type[Options]) -> Options:
    """Raises ValueError naming the field, `priority: …` or `sound.volume: …`."""
    try:
        return msgspec.convert(dict(values), options)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        path = path.strip("`.")
        raise ValueError(f"{path}: {text}" if path else text) from None
