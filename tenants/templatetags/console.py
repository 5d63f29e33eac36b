"""Filters of the admin's own templates. Numbers look the same in every locale: CSS widths are built from them too."""

from __future__ import annotations

import json
from typing import Any

from django import template

from config import estimates

register = template.Library()


@register.filter
def count(value: int | None) -> str:
    """12345 → "12,345"."""
    return f"{value or 0:,}"


@register.filter
def compact(value: int | None) -> str:
    """1234567 → "1.2M": for tiles where the exact number is one click away."""
    number = float(value or 0)
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            size = number / (1e3 if unit == "k" else limit)
            return f"{size:.1f}".removesuffix(".0") + unit
    return f"{int(number):,}"


@register.filter
def things(value: int | None, noun: str) -> str:
    """1|things:"device" → "1 device", 2 → "2 devices"."""
    return f"{value or 0:,} {noun}{'' if value == 1 else 's'}"


@register.filter
def about(value: int | None, is_estimate: bool) -> str:
    """1237412|about:True → "about 1,240,000"; what was counted stays as it is."""
    return estimates.said(value or 0, is_estimate=is_estimate)


@register.filter
def pretty_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


@register.filter
def initial(value: object) -> str:
    """The letter an app icon shows in a preview."""
    return (str(value).strip() or "A")[0].upper()
