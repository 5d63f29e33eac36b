"""Writes to subscribers, devices and their preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from django.db import connection, transaction

from config.problems import InvalidField
from devices import consent, events, links, people, quiet_rows, segment_lists, selectors
from devices.categories import USUAL
from devices.consent import Origin, Wish
from devices.models import Category, Device, Subscriber
from devices.people import Person
from devices.registering import change, register, unregister
from tenants.models import Application

__all__ = [
    "change",
    "create_standard_categories",
    "erase",
    "merge",
    "preference_link",
    "register",
    "save_subscriber",
    "set_preferences",
    "unregister",
]

# What the apps above do when a person is erased, in that transaction: given the subscriber.
WHEN_ERASED: list[Callable[[Subscriber], None]] = []


def create_standard_categories(application: Application) -> None:
    """Every application starts with one category of each kind; marketing only to those who opted in."""
    Category.objects.bulk_create(
        Category(application=application, slug=kind.value, name=kind.label, kind=kind, **USUAL[kind])
        for kind in Category.Kind
    )


# --- Subscribers ------------------------------------------------------------------------------


def save_subscriber(application_id: int, external_id: str, person: Person) -> tuple[Subscriber, bool]:
    """Create the subscriber, or replace what is given; and whether it is new."""
    given = _given(application_id, person)
    columns = {
        "attributes": {},
        "locale": "",
        "time_zone": "",
        "country": "",
        "email": "",
        "phone": "",
        "quiet_hours_id": None,
        **given,
    }
    columns["attributes"] = orjson.dumps(columns["attributes"]).decode()
    values = ", ".join("%s::jsonb" if name == "attributes" else "%s" for name in columns)
    replaced = "".join(f"{name} = excluded.{name}, " for name in given)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO devices_subscriber
                (application_id, external_id, {", ".join(columns)}, created_at, updated_at)
            VALUES (%s, %s, {values}, now(), now())
            ON CONFLICT (application_id, external_id) DO UPDATE SET {replaced} updated_at = now()
            RETURNING id, xmax = 0
            """,
            [application_id, external_id, *columns.values()],
        )
        id, is_new = cursor.fetchone()
    return selectors.subscribers(application_id).get(id=id), is_new


def _given(application_id: int, person: Person) -> dict[str, Any]:
    """Column → new value, of what was given."""
    given = person.given()
    if "quiet_hours" in given:
        windows = given.pop("quiet_hours")
        given["quiet_hours_id"] = None if windows is None else quiet_rows.ids(application_id, [windows])[0]
    return given


def merge(subscriber: Subscriber, person: Person) -> Subscriber:
    """Change what is given. Attributes are merged, a null removes one (RFC 7396, for the first level)."""
    given = _given(subscriber.application_id, person)
    with transaction.atomic():
        subscriber = (
            selectors.subscribers(subscriber.application_id)
            .select_for_update(of=("self",))
            .get(id=subscriber.pk)
        )
        for name, value in given.items():
            setattr(
                subscriber, name, _merged(subscriber.attributes, value) if name == "attributes" else value
            )
        subscriber.save(update_fields=[*given, "updated_at"])
    return subscriber


def _merged(attributes: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {name: value for name, value in {**attributes, **changes}.items() if value is not None}
    try:
        people.check(merged)
    except ValueError as error:
        raise InvalidField("/attributes", str(error)) from error
    return merged


def erase(subscriber: Subscriber) -> None:
    """The person, their devices, preferences and consent log are gone; of what they were sent, counts remain (R75)."""
    with transaction.atomic():
        for step in WHEN_ERASED:
            step(subscriber)
        events.forget(subscriber)
        segment_lists.forget(subscriber)
        Device.objects.filter(application_id=subscriber.application_id, subscriber_id=subscriber.id).delete()
        subscriber.delete()


# --- Preferences ------------------------------------------------------------------------------


def set_preferences(subscriber: Subscriber, wishes: Mapping[str, Wish], *, origin: Origin) -> None:
    """By category, as a whole or by channel; None takes the word back, so that the category's default holds again.
    And `unsubscribed`: from all marketing. All of it, or nothing and InvalidField (consent.understood)."""
    categories = {category.slug: category for category in selectors.categories(subscriber.application_id)}
    said = consent.understood(categories, wishes)
    consent.write(
        subscriber.application_id,
        {(subscriber.pk, *about): is_allowed for about, is_allowed in said.by_channel.items()},
        {} if said.unsubscribed is None else {subscriber.pk: said.unsubscribed},
        origin=origin,
    )


def preference_link(subscriber: Subscriber) -> str:
    """The address of this person's preference centre. With `/unsubscribe` after it: RFC 8058's one click."""
    return links.url(subscriber)
