"""Subscribers, what they say about being sent to, and the links by which they say it: for server keys."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from config import rest
from config.openapi import documented
from config.problems import Problem
from config.types import Slug
from devices import consent, selectors, services
from devices.categories import Channel
from devices.models import ConsentChange, Subscriber
from devices.people import Person
from devices.shapes import ConsentRow, LinkRow, Page, SubscriberRow

READ, WRITE = ("subscribers:read",), ("subscribers:write",)

Wishes = dict[Slug, bool | dict[Channel, bool | None] | None]
Wanted = dict[Slug, dict[Channel, bool] | bool]  # by category; and `unsubscribed`


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

    @documented(
        "What a subscriber wants, by category and channel; and whether they are unsubscribed from all marketing",
        responses={200: Wanted},
    )
    def get(self, request: HttpRequest, external_id: str) -> HttpResponse:
        rest.query(request)
        return rest.answer(_wanted(found(request, external_id)))

    @documented(
        "Opt in and out by category, or by category and channel; null: the category's default. "
        "`unsubscribed`: from all marketing",
        request=Wishes,
        responses={200: Wanted},
    )
    def put(self, request: HttpRequest, external_id: str) -> HttpResponse:
        wishes = rest.body(request, Wishes)
        origin = consent.origin(request, consent.Source.API, rest.key(request).prefix)
        services.set_preferences(found(request, external_id), wishes, origin=origin)
        return rest.answer(_wanted(found(request, external_id)))


def _wanted(subscriber: Subscriber) -> dict[str, Any]:
    is_unsubscribed = subscriber.unsubscribed_at is not None
    return {**selectors.preferences(subscriber), consent.UNSUBSCRIBED: is_unsubscribed}


class Consent(rest.Endpoint):
    scopes = {"GET": READ}

    @documented(
        "Every word on being sent to: who said it, when, from where",
        responses={200: Page[ConsentRow]},
        query=("cursor", "limit"),
    )
    def get(self, request: HttpRequest, external_id: str) -> HttpResponse:
        rows = selectors.consent(found(request, external_id))
        return rest.page(request, rows, represented=lambda found: [_consent(change) for change in found])


def _consent(change: ConsentChange) -> dict[str, Any]:
    return {
        "at": change.at,
        "category": change.category.slug if change.category else None,
        "channel": change.channel or None,
        "allowed": change.is_allowed,
        "source": change.source,
        "actor": change.actor,
        "address": change.address,
    }


class PreferenceLink(rest.Endpoint):
    scopes = {"GET": WRITE}  # whoever has the link may change what is chosen

    @documented("The address of a subscriber's own preference centre", responses={200: LinkRow})
    def get(self, request: HttpRequest, external_id: str) -> HttpResponse:
        rest.query(request)
        url = services.preference_link(found(request, external_id))
        answer = {"url": url, "unsubscribe_url": f"{url}/unsubscribe"}
        return rest.answer(answer, headers={"Cache-Control": "no-store"})


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
        "quiet_hours": subscriber.quiet_hours.windows if subscriber.quiet_hours else None,
        "unsubscribed_at": subscriber.unsubscribed_at,
        "created_at": subscriber.created_at,
        "updated_at": subscriber.updated_at,
    }
