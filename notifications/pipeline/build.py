"""A Sender as the settings describe it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from django.conf import settings

from notifications.pipeline.sender import Sender
from notifications.pipeline.tokens import SharedTokens
from notifications.providers import registry
from notifications.providers.base import Provider


@lru_cache(maxsize=1)
def providers() -> dict[str, Provider]:
    """Every provider, pointed at the endpoints of this installation."""
    return registry.load(
        registry.Endpoints(
            apns_url=settings.APNS_URL,
            apns_sandbox_url=settings.APNS_SANDBOX_URL,
            fcm_url=settings.FCM_URL,
            ca_file=str(settings.PROVIDER_CA_FILE or ""),
            webpush_allowed_hosts=tuple(settings.WEBPUSH_ALLOWED_HOSTS),
        )
    )


def sender(lane_names: Sequence[str]) -> Sender:
    """Call inside the running loop."""
    return Sender(
        lane_names,
        conninfo=settings.DATABASE_URL,
        providers=providers(),
        tokens=SharedTokens,
        redis_url=settings.REDIS_URL,
        budget=settings.SENDER_BUDGET,
        share=settings.SENDER_SHARE,
        batch_size=settings.BATCH_SIZE,
        lease_seconds=settings.LEASE_SECONDS,
    )
