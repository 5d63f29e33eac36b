"""Payload bytes against each platform's limit, as pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from notifications import services
from notifications.pipeline.build import providers

LABELS = {"apns": "Apple", "fcm": "Android", "webpush": "Browser"}


class Size(NamedTuple):
    label: str
    bytes: int
    limit: int

    @property
    def width(self) -> str:
        """Per cent of the limit, for CSS."""
        return f"{min(100.0, self.bytes * 100 / self.limit):.1f}"


def of(content: Mapping[str, Any]) -> list[Size]:
    """The bytes of this content on every platform. Raises PayloadTooLarge, or ValueError naming the field."""
    sizes = services.check_payload(content=content, overrides={})
    return [Size(LABELS.get(name, name), size, providers()[name].limit) for name, size in sizes.items()]
