"""Reads of subscribers, devices, categories and preferences; always of one application (law 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from devices.models import Cap, Category, ConsentChange, Device, Preference, Subscriber


def subscriber(application_id: int, external_id: str) -> Subscriber | None:
    return subscribers(application_id).filter(external_id=external_id).first()


def subscribers(application_id: int) -> QuerySet[Subscriber]:
    return Subscriber.objects.select_related("quiet_hours").filter(application_id=application_id)


def device(application_id: int, public_id: UUID) -> Device | None:
    return (
        Device.objects.select_related("subscriber")
        .filter(application_id=application_id, public_id=public_id)
        .first()
    )


def devices(application_id: int) -> QuerySet[Device]:
    return Device.objects.select_related("subscriber").filter(application_id=application_id)


def categories(application_id: int) -> list[Category]:
    return list(Category.objects.filter(application_id=application_id).order_by("slug"))


def category(application_id: int, slug: str) -> Category | None:
    return Category.objects.filter(application_id=application_id, slug=slug).first()


def caps(application_id: int, category_ids: Sequence[int] | None = None) -> list[Cap]:
    """Those of these categories, or of the application as a whole."""
    wanted = {"category_id__in": category_ids} if category_ids is not None else {"category": None}
    return list(Cap.objects.filter(application_id=application_id, **wanted).order_by("id"))


# --- What people said -------------------------------------------------------------------------


class Choice(NamedTuple):
    """One category and channel, as one person has it."""

    category: Category
    channel: str
    said: bool | None  # the person's own word

    @property
    def is_forced(self) -> bool:
        return self.category.default == Category.Default.FORCED

    @property
    def is_allowed(self) -> bool:
        """The person's own word, else the category's default."""
        default = self.category.default == Category.Default.ON
        return self.is_forced or (default if self.said is None else self.said)


def choices(subscriber: Subscriber) -> list[Choice]:
    """Of every category, for each channel it is sent through."""
    rows = Preference.objects.filter(
        subscriber=subscriber, category__application_id=subscriber.application_id
    ).values_list("category_id", "channel", "is_allowed")
    said = {(category_id, channel): is_allowed for category_id, channel, is_allowed in rows}
    return [
        Choice(category, channel, said.get((category.pk, channel)))
        for category in categories(subscriber.application_id)
        if category.slug != Category.TESTS
        for channel in category.channels
    ]


def preferences(subscriber: Subscriber) -> dict[str, dict[str, bool]]:
    """Category → channel → whether it may be used. Who is unsubscribed gets no marketing all the same."""
    found: dict[str, dict[str, bool]] = {}
    for choice in choices(subscriber):
        found.setdefault(choice.category.slug, {})[choice.channel] = choice.is_allowed
    return found


def consent(subscriber: Subscriber) -> QuerySet[ConsentChange]:
    """Every word of theirs on being sent to."""
    return ConsentChange.objects.select_related("category").filter(
        application_id=subscriber.application_id, subscriber=subscriber
    )
