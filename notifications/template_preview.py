"""What somebody would get: a wording rendered for one person, whatever is missing, and its size on each platform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.problems import InvalidField
from devices import selectors as devices
from devices.models import Subscriber
from notifications import template_sends as sends
from notifications import template_wording as wordings
from notifications.pipeline import render
from notifications.pipeline.build import providers
from notifications.providers.base import PayloadTooLarge
from notifications.sizes import LABELS, Size
from notifications.template_wording import Wording
from notifications.templating import NotRenderable
from tenants.models import Application


@dataclass(frozen=True, slots=True)
class Preview:
    locale: str
    content: dict[str, Any]
    missing: list[str]
    sizes: dict[str, Size]


def subscriber(application_id: int, external_id: str) -> Subscriber | None:
    return devices.subscriber(application_id, external_id)


def of(
    wording: Wording,
    *,
    application: Application,
    subscriber: Subscriber | None = None,
    variables: Mapping[str, Any] | None = None,
    locale: str | None = None,
) -> Preview:
    """Of a lenient wording (template_versions.lenient). locale: instead of the person's. Raises InvalidField."""
    sends.check_variables(variables or {})
    person = None
    if subscriber:
        person = wordings.person(
            subscriber.external_id, subscriber.locale, subscriber.country, subscriber.attributes
        )
    variant = wording.fitting(locale or (subscriber.locale if subscriber else ""))
    values = wording.values(variables or {}, person)
    try:
        content = wording.rendered(variant, values, locale=application.default_locale)
    except NotRenderable as error:
        raise InvalidField("/variables", f"it cannot be rendered with these values: {error}") from error
    return Preview(variant.locale, content, wordings.missing(variant.needed, values), measured(content))


def measured(
    content: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Size]:
    """Provider → bytes, also where they are too many. Raises InvalidField for data a platform does not take."""
    try:
        return {
            name: Size(label, _bytes(name, content, overrides or {}), providers()[name].limit)
            for name, label in LABELS.items()
        }
    except ValueError as error:
        raise InvalidField("/content", str(error)) from error


def _bytes(provider: str, content: Mapping[str, Any], overrides: Mapping[str, Any]) -> int:
    message = render.message(
        notification_id="00000000-0000-7000-8000-000000000000",
        content=content,
        overrides=overrides,
        provider=provider,
        category="",
        priority="normal",
        collapse_key="",
        expires_at=0,
    )
    try:
        return int(providers()[provider].render(message).size)
    except PayloadTooLarge as error:
        return error.size
