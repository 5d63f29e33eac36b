"""A variant's texts, as the notification says them: literally, or through a template of its own where they are
personal. Reading and previewing go through the pipeline's own code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from campaigns.document import Plan, Variant
from config.json import converted
from config.problems import InvalidField, Problem
from notifications import content as contents
from notifications import services as notifications
from notifications import template_preview, template_sends, template_versions, templating
from notifications import template_wording as wordings
from notifications.content import Content
from notifications.pipeline.accept import Draft
from notifications.requests import Overrides
from notifications.sizes import LABELS
from notifications.template_versions import LiquidContent, Said
from notifications.template_wording import LENIENT, Wording


class Fault(NamedTuple):
    """pointer: into the plan (RFC 6901)."""

    pointer: str
    detail: str


def said(variant: Variant) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Its content, empty fields left out, and what differs by locale."""
    content: dict[str, Any] = msgspec.to_builtins(variant.content)
    locales = content.pop("locales", {})
    found = {name: value for name, value in content.items() if value}
    return {"title": "", "body": "", **found}, locales


def is_literal(variant: Variant) -> bool:
    """Whether everybody of a locale gets the same."""
    content, locales = said(variant)
    sources: list[str] = []
    for texts in (content, *locales.values()):
        contents.mapped(texts, lambda _, source: sources.append(source))
    return all(templating.is_literal(source) for source in sources)


# The option of each platform that says what a tap opens there, instead of the content's link.
OWN_LINKS = {"apns": "url", "fcm": "url", "webpush": "navigate"}


def own_links(variant: Variant) -> Iterator[tuple[str, str]]:
    """Pointer in the variant, and URL."""
    for provider, option in OWN_LINKS.items():
        url = variant.overrides.get(provider, {}).get(option)
        if isinstance(url, str) and url:
            yield f"/overrides/{provider}/{option}", url


def wording(plan: Plan, variant: Variant, *, missing: str | None = None) -> Wording:
    """Raises InvalidField, naming the field, the line and what is wrong."""
    content, locales = said(variant)
    return wordings.read(content, locales, plan.defaults, missing or plan.missing)


def preview(plan: Plan, variant: Variant, **person: Any) -> template_preview.Preview:
    """As the one person of template_preview.of would get it, holes left open. Raises InvalidField."""
    return template_preview.of(wording(plan, variant, missing=LENIENT), **person)


def drafted(plan: Plan, variant: Variant, draft: Draft, *, application_id: int, slug: str, by: str) -> Draft:
    """The draft, saying what the variant says. Where that is personal, a template under `slug` is stored.

    Raises InvalidField.
    """
    content, locales = said(variant)
    draft = dataclasses.replace(draft, overrides=dict(variant.overrides))
    if not is_literal(variant):
        wanted = Said(
            content=converted(content, LiquidContent),
            name=slug,
            locales=converted(locales, template_versions.Locales),
            defaults=plan.defaults,
            missing=plan.missing,
        )
        template_versions.create(application_id, slug, wanted, by=by, is_listed=False)
        return template_sends.drafted(draft, slug, application_id=application_id)
    literal = dataclasses.replace(draft, content={**content, "locales": locales} if locales else content)
    notifications.check_draft(dataclasses.replace(literal, content=content))
    if locales:
        template_sends.check_locales(literal)
    return literal


# --- what keeps it from being sent ------------------------------------------------------------


def faults(plan: Plan, draft: Draft) -> list[Fault]:
    """Of all variants; draft: of the campaign, without a content."""
    return [
        Fault(f"/variants/{number}{fault.pointer}", fault.detail)
        for number, variant in enumerate(plan.variants)
        for fault in _faults(plan, variant, draft)
    ]


def _faults(plan: Plan, variant: Variant, draft: Draft) -> Iterator[Fault]:
    content, locales = said(variant)
    if not (content["title"] or content["body"]):
        yield Fault("/content/title", "write a title or a text")
        return
    try:
        check_overrides(variant)
        if is_literal(variant):
            converted({**content, "locales": locales}, Content, at="/content")
        read = wording(plan, variant)
        for name, texts in read.variants.items():
            _check_size(read, texts, dataclasses.replace(draft, overrides=dict(variant.overrides)), name)
    except Problem as error:
        yield from (Fault(one["pointer"], _plainly(**one)) for one in error.errors)
    except InvalidField as error:
        place = error.pointer if error.pointer.startswith(("/overrides", "/defaults")) else ""
        yield Fault(place or in_content(error.pointer), error.detail)


def check_overrides(variant: Variant) -> None:
    """Raises InvalidField, naming the option."""
    try:
        converted(variant.overrides, Overrides, at="/overrides")
    except Problem as error:
        first = error.errors[0]
        raise InvalidField(first["pointer"], _plainly(**first)) from error
    for pointer, url in own_links(variant):
        if not templating.is_literal(url):
            words = "is the same for everybody: take the personal field out, or use the link above"
            raise InvalidField(pointer, words)


def _plainly(pointer: str, detail: str) -> str:
    """A pattern is for developers."""
    expected = contents.EXPECTED.get(pointer.rpartition("/")[2])
    return expected if expected and "matching regex" in detail else detail


def in_content(pointer: str) -> str:
    """The place in a variant of what reading its content names."""
    return pointer if pointer.startswith("/content") else f"/content{pointer}"


def _check_size(read: Wording, texts: wordings.Variant, draft: Draft, locale: str) -> None:
    """With stand-ins for what differs between people."""
    try:
        content = read.rendered(texts, template_sends.sample(read, texts, {}))
    except templating.NotRenderable:
        content = template_sends.as_written(texts)
    try:
        notifications.check_draft(dataclasses.replace(draft, content=content))
    except InvalidField as error:
        place = f"/locales/{locale}" if locale else error.pointer
        raise InvalidField(place, error.detail) from error


def worst_sizes(plan: Plan, people: list[Mapping[str, Any]]) -> dict[str, tuple[int, int, str]]:
    """Provider → bytes, limit and what it is of (variant and locale): the largest payload for these people."""
    worst: dict[str, tuple[int, int, str]] = {}
    for variant in plan.variants:
        read = wording(plan, variant, missing=LENIENT)
        for name, texts in read.variants.items():
            for person in people or [{}]:
                try:
                    content = read.rendered(texts, read.values({}, person))
                except templating.NotRenderable:
                    continue
                for provider, size in template_preview.measured(content, variant.overrides).items():
                    if size.bytes > worst.get(provider, (0, 0, ""))[0]:
                        worst[provider] = (size.bytes, size.limit, f"{variant.key} {name}".strip())
    return {name: worst[name] for name in LABELS if name in worst}
