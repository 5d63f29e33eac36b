"""The composer's preview: a draft as one real person would get it, by the code that sends, and its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import orjson
from django.core.cache import cache
from django.http import Http404, HttpRequest

from campaigns import audiences, contents
from campaigns.composer_draft import Asked, answers, read
from campaigns.document import Plan, Variant
from campaigns.models import Campaign
from config.problems import InvalidField
from devices import selectors as devices
from notifications import people, template_preview
from notifications import template_wording as wordings
from notifications.people import Person
from tenants.console import ConsoleAdmin

PEOPLE_OFFERED = 8
SAMPLE_REMEMBERED = 60
# Around the name of what a person lacks, in place of its value. Private use: no text has them.
HOLE = "\ue000{}\ue001"


class Previewed(Asked, kw_only=True):
    """person: an external id; "": nobody in particular. locale: instead of the person's."""

    variant: str = "A"
    person: str = ""
    locale: str | None = None


class Search(Asked, kw_only=True):
    query: str = ""


@answers
def preview(admin: ConsoleAdmin, request: HttpRequest) -> dict[str, Any]:
    """POST: the content rendered, holes marked; bytes of it, and of the largest there is. Or its faults."""
    asked, campaign = read(admin, request, Previewed)
    plan = campaign.document
    number = next((n for n, one in enumerate(plan.variants) if one.key == asked.variant), 0)
    subscriber = None
    if asked.person:
        subscriber = template_preview.subscriber(campaign.application_id, asked.person)
        if subscriber is None:
            raise Http404("There is no such person in this app.")
    options = {"application": campaign.application, "subscriber": subscriber, "locale": asked.locale}
    variant = plan.variants[number]
    try:
        contents.check_overrides(variant)
        found = contents.preview(plan, variant, **options)
        sizes = template_preview.measured(found.content, variant.overrides)
    except (InvalidField, ValueError) as error:
        return {"faults": [_fault(number, error)]}
    return {
        "variant": variant.key,
        "locale": found.locale,
        "content": _with_holes(plan, variant, found, options),
        "missing": found.missing,
        "sizes": {name: {"bytes": size.bytes, "limit": size.limit} for name, size in sizes.items()},
        "worst": _worst(plan, campaign),
    }


def _fault(number: int, error: Exception) -> dict[str, str]:
    if not isinstance(error, InvalidField):
        return {"pointer": f"/variants/{number}/overrides", "detail": str(error)}
    if error.pointer.startswith("/defaults"):
        return {"pointer": error.pointer, "detail": error.detail}
    is_option = error.pointer.startswith("/overrides")
    place = error.pointer if is_option else contents.in_content(error.pointer)
    return {"pointer": f"/variants/{number}{place}", "detail": error.detail}


def _with_holes(
    plan: Plan, variant: Variant, found: template_preview.Preview, options: Mapping[str, Any]
) -> dict[str, Any]:
    if not found.missing:
        return found.content
    holes = {name: HOLE.format(name.removeprefix(f"{wordings.ATTRIBUTES}.")) for name in found.missing}
    marked = msgspec.structs.replace(plan, defaults={**plan.defaults, **holes})
    try:
        return contents.preview(marked, variant, **options).content
    except InvalidField:  # a filter wants a number there
        return found.content


def _worst(plan: Plan, campaign: Campaign) -> dict[str, Any]:
    """Over all variants and languages, for people of the audience."""
    try:
        found = contents.worst_sizes(plan, [said(person) for person in sampled(campaign)])
    except (InvalidField, ValueError):  # another variant has a fault, which is said there
        return {}
    return {name: {"bytes": size, "limit": limit, "of": of} for name, (size, limit, of) in found.items()}


def said(person: Person) -> dict[str, Any]:
    return wordings.person(person.external_id, person.locale, person.country, person.attributes)


def sampled(campaign: Campaign, *, afresh: bool = False) -> list[Person]:
    """Some of whom it would reach; the same for a minute, as each key press asks."""
    asked = [campaign.application_id, campaign.category_id, campaign.plan["audience"]]
    key = f"carillon:people:{hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
    found: list[Person] | None = None if afresh else cache.get(key)
    if found is None:
        try:
            found = people.some(
                audiences.of(campaign.document),
                application_id=campaign.application_id,
                category_id=campaign.category_id,
            )
        except InvalidField:  # a segment is gone; `faults` says so
            found = []
        cache.set(key, found, timeout=SAMPLE_REMEMBERED)
    return found


@answers
def search(admin: ConsoleAdmin, request: HttpRequest) -> dict[str, Any]:
    """POST: people to see the draft as: by how their id begins, or some of its audience."""
    asked, campaign = read(admin, request, Search)
    query = asked.query.strip()
    if not query:
        return {"people": listed(sampled(campaign, afresh=True)[:PEOPLE_OFFERED])}
    known = devices.subscribers(campaign.application_id).filter(external_id__startswith=query)
    return {
        "people": listed(
            Person(one.external_id, one.locale, one.country, one.attributes, [])
            for one in known.order_by("external_id")[:PEOPLE_OFFERED]
        )
    }


def listed(found: Iterable[Person]) -> list[dict[str, Any]]:
    return [
        {
            "id": one.external_id,
            "locale": one.locale,
            "country": one.country,
            "attributes": one.attributes,
            "platforms": one.platforms,
        }
        for one in found
    ]
