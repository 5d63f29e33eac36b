"""Categories, and the caps of the application as a whole: for server keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse

from config import rest
from config.openapi import documented
from config.problems import Problem
from devices import caps as writing
from devices import categories, selectors
from devices.categories import Caps, Changes, New
from devices.models import Cap, Category
from devices.shapes import CategoryRow, OwnCapRow

READ, WRITE = ("subscribers:read", "notifications:read"), ("subscribers:write",)


class Categories(rest.Endpoint):
    scopes = {"GET": READ, "POST": WRITE}

    @documented("List categories", responses={200: dict[Literal["results"], list[CategoryRow]]})
    def get(self, request: HttpRequest) -> HttpResponse:
        rest.query(request)
        found = selectors.categories(rest.key(request).application_id)
        return rest.answer({"results": shown(rest.key(request).application_id, found), "next": None})

    @documented("Create a category", request=New, responses={201: CategoryRow})
    def post(self, request: HttpRequest) -> HttpResponse:
        application_id = rest.key(request).application_id
        category = categories.create(application_id, rest.body(request, New))
        return rest.answer(shown(application_id, [category])[0], 201)


class OneCategory(rest.Endpoint):
    scopes = {"GET": READ, "PATCH": WRITE, "DELETE": WRITE}

    @documented("Show a category", responses={200: CategoryRow})
    def get(self, request: HttpRequest, slug: str) -> HttpResponse:
        rest.query(request)
        category = found(request, slug)
        return rest.answer(shown(category.application_id, [category])[0])

    @documented(
        "Change the given fields of a category; caps are replaced as a whole",
        request=Changes,
        responses={200: CategoryRow},
    )
    def patch(self, request: HttpRequest, slug: str) -> HttpResponse:
        changes = rest.body(request, Changes)
        category = categories.change(found(request, slug), changes)
        return rest.answer(shown(category.application_id, [category])[0])

    @documented(
        "Delete a category that was never used", responses={204: None}, statuses={409: "It is in use"}
    )
    def delete(self, request: HttpRequest, slug: str) -> HttpResponse:
        try:
            categories.delete(found(request, slug))
        except categories.InUse as error:
            raise Problem(409, "In use", f"{error} It cannot be deleted.") from error
        return rest.answer()


class OwnCaps(rest.Endpoint):
    scopes = {"GET": READ, "PUT": WRITE}

    @documented("The caps over all categories", responses={200: dict[Literal["caps"], list[OwnCapRow]]})
    def get(self, request: HttpRequest) -> HttpResponse:
        rest.query(request)
        return _own_caps(request)

    @documented(
        "Replace the caps over all categories",
        request=Caps,
        responses={200: dict[Literal["caps"], list[OwnCapRow]]},
    )
    def put(self, request: HttpRequest) -> HttpResponse:
        wanted = rest.body(request, Caps).caps
        writing.put(rest.key(request).application_id, map(categories.cap_fields, wanted))
        return _own_caps(request)


def _own_caps(request: HttpRequest) -> HttpResponse:
    rows = selectors.caps(rest.key(request).application_id)
    return rest.answer({"caps": [{"kind": cap.kind or None, **_cap(cap)} for cap in rows]})


def found(request: HttpRequest, slug: str) -> Category:
    category = selectors.category(rest.key(request).application_id, slug)
    if category is None:
        raise Problem(404, "Not found", "There is no such category.")
    return category


def shown(application_id: int, rows: list[Category]) -> list[dict[str, Any]]:
    by_category: dict[int | None, list[Cap]] = {}
    for cap in selectors.caps(application_id, [category.pk for category in rows]):
        by_category.setdefault(cap.category_id, []).append(cap)
    return [_category(category, by_category.get(category.pk, ())) for category in rows]


def _category(category: Category, caps: Iterable[Cap]) -> dict[str, Any]:
    plain = ("slug", "name", "kind", "default", "crash_rule", "quiet_rule", "channels", "ttl_seconds")
    return {**{name: getattr(category, name) for name in plain}, "caps": [_cap(cap) for cap in caps]}


def _cap(cap: Cap) -> dict[str, Any]:
    return {"most": cap.most, "period": cap.period, "channel": cap.channel or None}
