"""Notification → a provider's payload: at acceptance to refuse what is too large, at sending once per process, or once
for all who get the same text.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from notifications import template_wording as wordings
from notifications.pipeline.load import Content, Recipient
from notifications.providers.base import Message, Provider

REMEMBERED = 512  # notifications, and as many texts that differ between people

Sent = tuple[UUID, int]  # a notification and which sending of it


class TemplateGone(ValueError):
    """What it said was deleted after it had been sent; it cannot be said again."""


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


def rendered(content: Content, provider: Provider, said: Mapping[str, Any] | None = None) -> Any:
    """The stored notification in the provider's own prepared form. said: instead of its content."""
    return provider.render(
        message(
            notification_id=str(content.id),
            content=content.content if said is None else said,
            overrides=content.overrides,
            provider=provider.name,
            category=content.category,
            priority=content.priority,
            collapse_key=content.collapse_key,
            expires_at=int(content.expires_at.timestamp()),
        )
    )


class Renderings:
    """What has been rendered, for one provider in one process; the latest are kept.

    Raises what rendering raises: wordings.Missing, wordings.NotRenderable, TemplateGone, and what the provider does.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._same: OrderedDict[Sent, Any] = OrderedDict()
        self._various: OrderedDict[tuple[Sent, str, bytes], Any] = OrderedDict()

    def for_all(self, sent: Sent, content: Content) -> Any:
        """Of a content that is the same for everybody."""
        if sent not in self._same:
            if content.is_template_gone:
                raise TemplateGone
            remember(self._same, sent, rendered(content, self._provider))
        return self._same[sent]

    def for_one(self, sent: Sent, content: Content, recipient: Recipient) -> Any:
        """Of a content with a wording: rendered once for all of one locale whose values are the same."""
        assert content.wording is not None
        variant = content.wording.fitting(recipient.locale)
        values = content.wording.values(content.variables, recipient.person)
        read = [wordings.value(name, values) for name in variant.personal]
        key = sent, variant.locale, orjson.dumps(read, option=orjson.OPT_SORT_KEYS) if read else b""
        if key not in self._various:
            said = content.wording.rendered(variant, values, locale=content.locale)
            remember(self._various, key, rendered(content, self._provider, said))
        return self._various[key]


def remember(cache: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    cache[key] = value
    if len(cache) > REMEMBERED:
        cache.popitem(last=False)
