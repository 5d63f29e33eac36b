"""Subscribers, their preferences, and the categories there are: for server keys."""

from __future__ import annotations

from typing import Any, Literal

from django.http import HttpRequest, HttpResponse

from config import rest
from config.openapi import documented
from config.problems import Problem
from config.types import Slug
from devices import selectors, services
from devices.models import Category, Subscriber
from devices.people import Person
from devices.shapes import CategoryRow, Page, SubscriberRow

READ, WRITE = ("subscribers:read",), ("subscribers:write",)

Channel = Literal["push"]
Wishes = dict[Slug, bool | dict[Channel, bool | None] | None]


class Subscribers(rest.Endpoint):
    scopes = {"GET": READ}

    @documented("List subscribers", responses={200: Page[SubscriberRow]}, query=("cursor", "limit"))
    def get(self, request: HttpRequest) -> HttpResponse:
        rows = selectors.subscribers(rest.key(request).application_id)
        return rest.page(request, rows, represented=lambda found: [shown(subscriber) for subscriber in found])


class OneSubscriber(rest.Endpoint):
    scopes = {"GET": READ, "PUT": WRITE, "PATCH": WRITE, "DELETE": WRITE}

    @documented("Show a subscriber", responses={200: SubscriberRow})
    def get(self, request: HttpRequest, external_id: str) -> HttpResponse:
        rest.query(request)
        return rest.answer(shown(found(request, external_id)))

    @documented(
        "Create a subscriber, or replace the given fields",
        request=Person,
        responses={201: SubscriberRow, 200: SubscriberRow},
    )
    def put(self, request: HttpRequest, external_id: str) -> HttpResponse:
        person = rest.body(request, Person)
        if len(external_id) > 255:
            raise Problem.of_field("/external_id", "Expected `str` of length <= 255")
        application_id = rest.key(request).application_id
        subscriber, is_new = services.save_subscriber(application_id, external_id, person)
        return rest.answer(shown(subscriber), 201 if is_new else 200)

    @documented(
        "Change the given fields; attributes are merged", request=Person, responses={200: SubscriberRow}
    )
    def patch(self, request: HttpRequest, external_id: str) -> HttpResponse:
        person = rest.body(request, Person)
        return rest.answer(shown(services.merge(found(request, external_id), person)))

    @documented("Erase a person, their devices and preferences", responses={204: None})
    def delete(self, request: HttpRequest, external_id: str) -> HttpResponse:
        services.erase(found(request, external_id))
        return rest.answer()


class Preferences(rest.Endpoint):
    scopes = {"GET": READ, "PUT": WRITE}

    @documented("What may be sent to a subscriber", responses={200: dict[str, dict[Channel, bool]]})
    def get(self, request: HttpRequest, external_id: str) -> HttpResponse:
        rest.query(request)
        return rest.answer(selectors.preferences(found(request, external_id)))

    @documented(
        "Opt in and out by category, or by category and channel; null: the category's default",
        request=Wishes,
        responses={200: dict[str, dict[Channel, bool]]},
    )
    def put(self, request: HttpRequest, external_id: str) -> HttpResponse:
        wishes: dict[str, dict[str, bool | None]] = {
            slug: {"push": wish.get("push")} if isinstance(wish, dict) else {"push": wish}
            for slug, wish in rest.body(request, Wishes).items()
            if wish != {}
        }
        return rest.answer(services.set_preferences(found(request, external_id), wishes))


class Categories(rest.Endpoint):
    scopes = {"GET": ("subscribers:read", "notifications:read")}

    @documented("List categories", responses={200: dict[Literal["results"], list[CategoryRow]]})
    def get(self, request: HttpRequest) -> HttpResponse:
        rest.query(request)
        categories = selectors.categories(rest.key(request).application_id)
        return rest.answer({"results": [_category(category) for category in categories], "next": None})


def found(request: HttpRequest, external_id: str) -> Subscriber:
    subscriber = selectors.subscriber(rest.key(request).application_id, external_id)
    if subscriber is None:
        raise Problem(404, "Not found", "There is no such subscriber.")
    return subscriber


def shown(subscriber: Subscriber) -> dict[str, Any]:
    return {
        "external_id": subscriber.external_id,
        "attributes": subscriber.attributes,
        "locale": subscriber.locale or None,
        "time_zone": subscriber.time_zone or None,
        "country": subscriber.country or None,
        "email": subscriber.email or None,
        "phone": subscriber.phone or None,
        "created_at": subscriber.created_at,
        "updated_at": subscriber.updated_at,
    }


def _category(category: Category) -> dict[str, str]:
    return {"slug": category.slug, "name": category.name, "kind": category.kind, "default": category.default}
