"""Reads of subscribers, devices, categories and preferences; always of one application (law 7)."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from devices.models import Category, Device, Preference, Subscriber


def subscriber(application_id: int, external_id: str) -> Subscriber | None:
    return Subscriber.objects.filter(application_id=application_id, external_id=external_id).first()


def subscribers(application_id: int) -> QuerySet[Subscriber]:
    return Subscriber.objects.filter(application_id=application_id)


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


def preferences(subscriber: Subscriber) -> dict[str, dict[str, bool]]:
    """Category → channel → whether it may be used: the subscriber's own word, else the category's default."""
    said = {
        (category_id, channel): is_allowed
        for category_id, channel, is_allowed in Preference.objects.filter(subscriber=subscriber).values_list(
            "category_id", "channel", "is_allowed"
        )
    }
    return {
        category.slug: {
            channel: _is_allowed(category, said.get((category.id, channel)))
            for channel in Preference.Channel.values
        }
        for category in categories(subscriber.application_id)
    }


def _is_allowed(category: Category, said: bool | None) -> bool:
    if category.default == Category.Default.FORCED:
        return True
    return category.default == Category.Default.ON if said is None else said
