"""Filters of a run's page."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def share(part: int | None, whole: int | None) -> str:
    """Per cent, with a point in every language; "" of nothing."""
    return f"{(part or 0) * 100 / whole:.1f}" if whole and part else ""
