"""Writing categories: what the API takes for one, the rules it has to keep, and when it may go."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from config.problems import InvalidField
from config.types import Slug, text
from devices import caps
from devices.consent import UNSUBSCRIBED
from devices.models import Category, ConsentChange, Preference

LONGEST_TTL = 28 * 24 * 3600  # seconds: what the most patient platform (FCM) keeps a message for

Channel = Literal["push"]
Kind = Literal["marketing", "transactional", "critical"]


class CapRule(msgspec.Struct, forbid_unknown_fields=True):
    """At most so many messages to one person in their own day, or week from Monday to Sunday."""

    most: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    period: Literal["day", "week"]
    channel: Channel | None = None  # null: all together


class OwnCapRule(CapRule, forbid_unknown_fields=True):
    """Of the application as a whole: of one kind of category, or (null) of all but critical ones."""

    kind: Kind | None = None


class Caps(msgspec.Struct, forbid_unknown_fields=True):
    caps: Annotated[list[OwnCapRule], msgspec.Meta(max_length=20)]


class Changes(msgspec.Struct, forbid_unknown_fields=True):
    """Of a category; absent: as it was."""

    name: Annotated[str, text(120, shortest=1)] | msgspec.UnsetType = msgspec.UNSET
    kind: Kind | msgspec.UnsetType = msgspec.UNSET
    default: Literal["on", "off", "forced"] | msgspec.UnsetType = msgspec.UNSET
    crash_rule: Literal["resend", "leave"] | msgspec.UnsetType = msgspec.UNSET
    quiet_rule: Literal["hold", "drop", "inbox", "ignore"] | msgspec.UnsetType = msgspec.UNSET
    channels: Annotated[list[Channel], msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_TTL)] | msgspec.UnsetType | None = msgspec.UNSET
    caps: Annotated[list[CapRule], msgspec.Meta(max_length=20)] | msgspec.UnsetType = msgspec.UNSET

    def given(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in Changes.__struct_fields__}
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}


class New(Changes, forbid_unknown_fields=True, kw_only=True):
    """A category; what is absent is as usual for its kind."""

    slug: Slug
    name: Annotated[str, text(120, shortest=1)]
    kind: Kind


# What a category of each kind is like unless somebody says otherwise.
USUAL: dict[str, dict[str, str]] = {
    "marketing": {"default": "off", "crash_rule": "leave", "quiet_rule": "hold"},
    "transactional": {"default": "on", "crash_rule": "resend", "quiet_rule": "ignore"},
    "critical": {"default": "forced", "crash_rule": "resend", "quiet_rule": "ignore"},
}


class InUse(Exception):
    """A category that cannot be deleted; the words say why."""


def check(category: Category) -> None:
    """The rules between a category's fields. Raises InvalidField."""
    if category.slug == UNSUBSCRIBED:
        raise InvalidField("/slug", "this word stands for all marketing among a person's preferences")
    if category.kind == Category.Kind.MARKETING and category.default == Category.Default.FORCED:
        raise InvalidField("/default", "marketing is never always on: people may say no to it")
    if category.kind == Category.Kind.CRITICAL and category.quiet_rule != Category.QuietRule.IGNORE:
        raise InvalidField("/quiet_rule", "critical messages are sent in quiet hours all the same")


def create(application_id: int, new: New) -> Category:
    """Raises InvalidField."""
    values = {**USUAL[new.kind], **new.given(), "slug": new.slug}
    wanted = values.pop("caps", [])
    category = Category(application_id=application_id, **_clean(values))
    check(category)
    try:
        with transaction.atomic():
            category.save()
            caps.put(application_id, map(cap_fields, wanted), category=category)
    except IntegrityError as error:
        raise InvalidField("/slug", "there is a category with this slug") from error
    return category


def change(category: Category, changes: Changes) -> Category:
    """Raises InvalidField."""
    values = changes.given()
    wanted = values.pop("caps", None)
    with transaction.atomic():
        category = Category.objects.select_for_update(no_key=True).get(
            application_id=category.application_id, id=category.pk
        )
        for name, value in _clean(values).items():
            setattr(category, name, value)
        check(category)
        category.save(update_fields=[*values])
        if wanted is not None:
            caps.put(category.application_id, map(cap_fields, wanted), category=category)
    return category


def _clean(values: dict[str, Any]) -> dict[str, Any]:
    if "channels" in values:
        values["channels"] = list(dict.fromkeys(values["channels"]))
    return values


def cap_fields(cap: CapRule) -> dict[str, Any]:
    return {name: value or "" for name, value in msgspec.structs.asdict(cap).items()}


def delete(category: Category) -> None:
    """Only one that nothing refers to. Raises InUse.

    What people said about it is evidence and would go along; what was sent in it could no longer be explained.
    """
    for model in (Preference, ConsentChange):
        if model.objects.filter(category=category).exists():
            raise InUse("People have said whether they want it.")
    try:
        with transaction.atomic():
            category.delete()
    except (ProtectedError, IntegrityError) as error:
        raise InUse("Messages were sent in it, or a campaign uses it.") from error
