"""The providers there are. Adding one is a file and a line here."""

from __future__ import annotations

from .apns import Apns
from .base import Endpoints, Provider
from .console import Console
from .fcm import Fcm
from .memory import Memory
from .webpush import WebPush

__all__ = ["Endpoints", "load"]


def load(endpoints: Endpoints) -> dict[str, Provider]:
    """Every provider by name, pointed at `endpoints`. Cheap: nothing is connected."""
    providers: tuple[Provider, ...] = (
        Apns(endpoints),
        Fcm(endpoints),
        WebPush(endpoints),
        Console(),
        Memory(),
    )
    return {provider.name: provider for provider in providers}
