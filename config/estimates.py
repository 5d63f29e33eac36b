"""How a number from a sample is said: in three digits, and as what it is."""

from __future__ import annotations


def rounded(count: int) -> int:
    """1 237 412 → 1 240 000."""
    unit = 10 ** max(0, len(str(count)) - 3)
    return round(count / unit) * unit


def said(count: int, *, is_estimate: bool) -> str:
    """ "about 1,240,000"; "1,237,412" where it was counted."""
    return f"about {rounded(count):,}" if is_estimate else f"{count:,}"
