"""Templates: for server keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from django.http import HttpRequest, HttpResponse

from config import rest
from config.openapi import documented
from config.problems import InvalidField, Problem
from config.types import ExternalId, Locale, text
from notifications import template_preview, template_versions
from notifications.models import Template
from notifications.shapes import Page
from notifications.template_versions import New, Said

READ, WRITE = ("notifications:read",), ("notifications:write",)


class TemplateRow(msgspec.Struct):
    slug: str
    name: str
    version: int
    created_at: datetime
    updated_at: datetime


class VersionRow(msgspec.Struct):
    number: int
    created_by: str
    created_at: datetime


class OneTemplateRow(TemplateRow):
    """variables: all it reads; needed: those a call or a person has to have, as nothing stands in for them."""

    content: dict[str, Any]
    locales: dict[str, dict[str, Any]]
    defaults: dict[str, Any]
    missing: str
    variables: list[str]
    needed: list[str]
    versions: list[VersionRow]


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing given: as somebody of whom nothing is known would get it."""

    subscriber: ExternalId | None = None
    variables: dict[Annotated[str, text(128, shortest=1)], Any] = {}
    locale: Locale | None = None


class Fit(msgspec.Struct):
    bytes: int
    limit: int
    fits: bool


class PreviewRow(msgspec.Struct):
    """locale: whose texts these are, "" for the template's own. missing: variables that have no value; what
    becomes of the message then is said by the template's `missing`."""

    locale: str
    content: dict[str, Any]
    missing: list[str]
    sizes: dict[str, Fit]


class Templates(rest.Endpoint):
    scopes = {"GET": READ, "POST": WRITE}

    @documented("List templates, newest first", responses={200: Page[TemplateRow]}, query=("cursor", "limit"))
    def get(self, request: HttpRequest) -> HttpResponse:
        rows = template_versions.templates(rest.key(request).application_id)
        return rest.page(request, rows, represented=lambda found: [_row(template) for template in found])

    @documented(
        "Create a template",
        request=New,
        responses={201: OneTemplateRow},
        statuses={409: "There is a template of this name"},
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        key, new = rest.key(request), rest.body(request, New)
        try:
            template = template_versions.create(key.application_id, new.slug, new, by=key.prefix)
        except template_versions.Taken as error:
            raise Problem(409, "Conflict", "There is a template of this name already.") from error
        return rest.answer(shown(template), 201)


class OneTemplate(rest.Endpoint):
    scopes = {"GET": READ, "PUT": WRITE, "DELETE": WRITE}

    @documented("Show a template and its versions", responses={200: OneTemplateRow})
    def get(self, request: HttpRequest, slug: str) -> HttpResponse:
        rest.query(request)
        return rest.answer(shown(found(request, slug)))

    @documented(
        "Let a template say something else: a new version, unless nothing changed",
        request=Said,
        responses={200: OneTemplateRow},
    )
    def put(self, request: HttpRequest, slug: str) -> HttpResponse:
        said = rest.body(request, Said)
        template = template_versions.change(found(request, slug), said, by=rest.key(request).prefix)
        return rest.answer(shown(template))

    @documented(
        "Delete a template",
        responses={204: None},
        statuses={409: "Messages that use it are still to be sent"},
    )
    def delete(self, request: HttpRequest, slug: str) -> HttpResponse:
        try:
            template_versions.delete(found(request, slug))
        except template_versions.InUse as error:
            raise Problem(409, "In use", f"{error} It cannot be deleted.") from error
        return rest.answer()


class Preview(rest.Endpoint):
    scopes = {"POST": READ}

    @documented("Show what somebody would get, and its size", request=Wish, responses={200: PreviewRow})
    def post(self, request: HttpRequest, slug: str) -> HttpResponse:
        wish = rest.body(request, Wish)
        template = found(request, slug)
        assert template.current
        preview = template_preview.of(
            template_versions.lenient(template.current),
            application=rest.key(request).application,
            subscriber=_subscriber(request, wish.subscriber),
            variables=wish.variables,
            locale=wish.locale,
        )
        return rest.answer(
            {
                "locale": preview.locale,
                "content": preview.content,
                "missing": preview.missing,
                "sizes": {
                    name: {"bytes": size.bytes, "limit": size.limit, "fits": size.bytes <= size.limit}
                    for name, size in preview.sizes.items()
                },
            }
        )


def _subscriber(request: HttpRequest, external_id: str | None) -> Any:
    if external_id is None:
        return None
    subscriber = template_preview.subscriber(rest.key(request).application_id, external_id)
    if subscriber is None:
        raise InvalidField("/subscriber", "there is no such subscriber")
    return subscriber


def found(request: HttpRequest, slug: str) -> Template:
    template = template_versions.template(rest.key(request).application_id, slug)
    if template is None:
        raise Problem(404, "Not found", "There is no such template.")
    return template


def _row(template: Template) -> dict[str, Any]:
    assert template.current
    return {
        "slug": template.slug,
        "name": template.name,
        "version": template.current.number,
        "created_at": template.created_at,
        "updated_at": template.updated_at,
    }


def shown(template: Template) -> dict[str, Any]:
    version = template.current
    assert version
    wording = template_versions.wording(version)
    return {
        **_row(template),
        "content": version.content,
        "locales": version.locales,
        "defaults": version.defaults,
        "missing": version.missing,
        "variables": sorted(wording.names),
        "needed": sorted(wording.needed),
        "versions": list(template.versions.values("number", "created_by", "created_at")),
    }
