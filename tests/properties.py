"""How many examples a property is tried on: few in `make test`, many with HYPOTHESIS_PROFILE=long (`make chaos`)."""

from __future__ import annotations

import os

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def examples(short: int, *, long: int) -> int:
    return long if IS_LONG else short
