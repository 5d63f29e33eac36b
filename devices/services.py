"""Writes to subscribers, devices and their preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from django.db import connection, transaction
from django.utils import timezone

from config.problems import InvalidField
from devices import people, selectors
from devices.models import Category, Device, Preference, Subscriber
from devices.people import Person
from devices.registering import change, register, unregister
from tenants.models import Application

__all__ = [
    "change",
    "create_standard_categories",
    "erase",
    "merge",
    "register",
    "save_subscriber",
    "set_preferences",
    "unregister",
]

STANDARD_CATEGORIES = (
    ("marketing", "Marketing", Category.Kind.MARKETING, Category.Default.OFF, Category.CrashRule.LEAVE),
    (
        "transactional",
        "Transactional",
        Category.Kind.TRANSACTIONAL,
        Category.Default.ON,
        Category.CrashRule.RESEND,
    ),
    ("critical", "Critical", Category.Kind.CRITICAL, Category.Default.FORCED, Category.CrashRule.RESEND),
)

# What the apps above do when a person is erased, in that transaction: given the subscriber.
WHEN_ERASED: list[Callable[[Subscriber], None]] = []


def create_standard_categories(application: Application) -> None:
    """Every application starts with one category of each kind; marketing only to those who opted in."""
    Category.objects.bulk_create(
        Category(
            application=application,
            slug=slug,
            name=name,
            kind=kind,
            default=default,
            crash_rule=crash_rule,
            quiet_rule=Category.QuietRule.HOLD
            if kind == Category.Kind.MARKETING
            else Category.QuietRule.IGNORE,
        )
        for slug, name, kind, default, crash_rule in STANDARD_CATEGORIES
    )


# --- Subscribers ------------------------------------------------------------------------------


def save_subscriber(application_id: int, external_id: str, person: Person) -> tuple[Subscriber, bool]:
    """Create the subscriber, or replace what is given; and whether it is new."""
    given = person.given()
    columns = {
        "attributes": {},
        "locale": "",
        "time_zone": "",
        "country": "",
        "email": "",
        "phone": "",
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
    return Subscriber.objects.get(application_id=application_id, id=id), is_new


def merge(subscriber: Subscriber, person: Person) -> Subscriber:
    """Change what is given. Attributes are merged, a null removes one (RFC 7396, for the first level)."""
    given = person.given()
    with transaction.atomic():
        subscriber = Subscriber.objects.select_for_update().get(
            application_id=subscriber.application_id, id=subscriber.id
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
    """The person, their devices and preferences are gone; of what was sent to them, counts remain (R75)."""
    with transaction.atomic():
        for step in WHEN_ERASED:
            step(subscriber)
        Device.objects.filter(application_id=subscriber.application_id, subscriber_id=subscriber.id).delete()
        subscriber.delete()


# --- Preferences ------------------------------------------------------------------------------


def set_preferences(
    subscriber: Subscriber, wishes: Mapping[str, Mapping[str, bool | None]]
) -> dict[str, dict[str, bool]]:
    """Category → channel → allowed; None takes the word back, so that the category's default holds again.

    Raises InvalidField for an unknown category and for a no to one that is always on.
    """
    categories = {category.slug: category for category in selectors.categories(subscriber.application_id)}
    kept: list[Preference] = []
    dropped: list[tuple[int, str]] = []
    for slug, channels in wishes.items():
        category = categories.get(slug)
        if category is None:
            raise InvalidField(f"/{slug}", "there is no such category")
        for channel, is_allowed in channels.items():
            if is_allowed is False and category.default == Category.Default.FORCED:
                raise InvalidField(f"/{slug}/{channel}", "this category is always on")
            if is_allowed is None:
                dropped.append((category.id, channel))
            else:
                kept.append(_preference(subscriber, category, channel, is_allowed))
    with transaction.atomic():
        for category_id, channel in dropped:
            subscriber.preferences.filter(category_id=category_id, channel=channel).delete()
        Preference.objects.bulk_create(
            kept,
            update_conflicts=True,
            unique_fields=["subscriber", "category", "channel"],
            update_fields=["is_allowed", "updated_at"],
        )
    return selectors.preferences(subscriber)


def _preference(subscriber: Subscriber, category: Category, channel: str, is_allowed: bool) -> Preference:
    return Preference(
        subscriber=subscriber,
        category=category,
        channel=channel,
        is_allowed=is_allowed,
        updated_at=timezone.now(),
    )
