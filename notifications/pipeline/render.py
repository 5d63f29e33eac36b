"""Notification → a provider's payload: at acceptance to refuse what is too large, at sending once per process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notifications.pipeline.load import Content
from notifications.providers.base import Message, Provider


def message(
    *,
    notification_id: str,
    content: Mapping[str, Any],
    overrides: Mapping[str, Any],
    provider: str,
    category: str,
    priority: str,
    collapse_key: str,
    expires_at: int,
) -> Message:
    """The provider-neutral message of a notification, with the overrides meant for this provider."""
    return Message(
        notification_id=notification_id,
        title=content.get("title", ""),
        body=content.get("body", ""),
        category=category,
        image=content.get("image", ""),
        url=content.get("url", ""),
        data=content.get("data", {}),
        actions=tuple(content.get("actions", ())),
        priority=priority,
        expires_at=expires_at,
        collapse_key=collapse_key,
        overrides=overrides.get(provider, {}),
    )


def rendered(content: Content, provider: Provider) -> Any:
    """The stored notification in the provider's own prepared form."""
    return provider.render(
        message(
            notification_id=str(content.id),
            content=content.content,
            overrides=content.overrides,
            provider=provider.name,
            category=content.category,
            priority=content.priority,
            collapse_key=content.collapse_key,
            expires_at=int(content.expires_at.timestamp()),
        )
    )
