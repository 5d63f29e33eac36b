"""The one place where a word on being sent to is written: on a category and channel, or on all marketing.

Each change leaves its line of `ConsentChange` in the statement that makes it; what changes nothing leaves none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.http import HttpRequest

from config.problems import InvalidField
from devices.models import Category, ConsentChange

Source = ConsentChange.Source

# What "off, all marketing" is called among a person's preferences, whose other names are categories.
UNSUBSCRIBED = "unsubscribed"
SUBSCRIBER = "subscriber"  # the actor, when it is the person

Wish = bool | None | Mapping[str, bool | None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who said it, and from where. actor: a key's prefix, a staff user, a command, or SUBSCRIBER."""

    source: str
    actor: str
    address: str | None = None


class Words(NamedTuple):
    """(category, channel) → allowed, None: taken back; and whether all marketing is off, None: not said."""

    by_channel: dict[tuple[int, str], bool | None]
    unsubscribed: bool | None


def understood(categories: Mapping[str, Category], wishes: Mapping[str, Wish], *, at: str = "") -> Words:
    """Wishes by the slug of a category, each for all its channels or by channel; and UNSUBSCRIBED.

    at: the pointer to the wishes. Raises InvalidField for an unknown category, for a channel it is not sent
    through, and for a no to one that is always on. A yes to such a one is no word: nobody was asked.
    """
    by_channel: dict[tuple[int, str], bool | None] = {}
    unsubscribed = None
    for slug, wish in wishes.items():
        pointer = f"{at}/{slug}"
        if slug == UNSUBSCRIBED:
            if not isinstance(wish, bool):
                raise InvalidField(pointer, "expected true or false")
            unsubscribed = wish
        elif slug in categories:
            by_channel |= _by_channel(categories[slug], wish, pointer)
        else:
            raise InvalidField(pointer, "there is no such category")
    return Words(by_channel, unsubscribed)


def _by_channel(category: Category, wish: Wish, pointer: str) -> dict[tuple[int, str], bool | None]:
    is_each = isinstance(wish, Mapping)
    words: dict[str, bool | None] = (
        dict(wish) if isinstance(wish, Mapping) else dict.fromkeys(category.channels, wish)
    )
    is_forced = category.default == Category.Default.FORCED
    for channel, is_allowed in words.items():
        spot = f"{pointer}/{channel}" if is_each else pointer
        if channel not in category.channels:
            raise InvalidField(spot, f"this category is not sent through {channel}")
        if is_forced and is_allowed is False:
            raise InvalidField(spot, "this category is always on")
    return {(category.pk, channel): word for channel, word in words.items() if not (is_forced and word)}


# --- Writing ----------------------------------------------------------------------------------

# Whoever writes about the same people waits here, in one order.
LOCK = """
    SELECT id FROM devices_subscriber WHERE application_id = %s AND id = ANY (%s) ORDER BY id FOR NO KEY UPDATE
"""

_LOG = """
    INSERT INTO devices_consentchange
        (application_id, subscriber_id, category_id, channel, is_allowed, source, actor, address, at)
    SELECT %(application)s, subscriber_id, category_id, channel, is_allowed,
        %(source)s, %(actor)s, %(address)s::inet, clock_timestamp()
    FROM changed ORDER BY subscriber_id, category_id, channel
"""
WRITE_WORDS = f"""
    WITH changed AS (
        MERGE INTO devices_preference p
        USING (
            SELECT g.* FROM unnest(%(subscribers)s::bigint[], %(categories)s::bigint[], %(channels)s::text[],
                %(allowed)s::boolean[]) AS g (subscriber_id, category_id, channel, is_allowed)
            JOIN devices_subscriber s ON s.id = g.subscriber_id AND s.application_id = %(application)s
            JOIN devices_category c ON c.id = g.category_id AND c.application_id = %(application)s
        ) AS g
        ON p.subscriber_id = g.subscriber_id AND p.category_id = g.category_id AND p.channel = g.channel
        WHEN MATCHED AND g.is_allowed IS NULL THEN DELETE
        WHEN MATCHED AND p.is_allowed <> g.is_allowed THEN
            UPDATE SET is_allowed = g.is_allowed, updated_at = now()
        WHEN NOT MATCHED AND g.is_allowed IS NOT NULL THEN
            INSERT (subscriber_id, category_id, channel, is_allowed, updated_at)
            VALUES (g.subscriber_id, g.category_id, g.channel, g.is_allowed, now())
        RETURNING g.subscriber_id, g.category_id, g.channel, g.is_allowed
    )
    {_LOG}
"""
# To be unsubscribed is a no. To be so no longer is a word taken back, not a yes to every category.
WRITE_UNSUBSCRIBED = f"""
    WITH changed AS (
        UPDATE devices_subscriber s
        SET unsubscribed_at = CASE WHEN g.is_unsubscribed THEN now() END, updated_at = now()
        FROM unnest(%(subscribers)s::bigint[], %(unsubscribed)s::boolean[]) AS g (id, is_unsubscribed)
        WHERE s.application_id = %(application)s AND s.id = g.id
            AND (s.unsubscribed_at IS NOT NULL) <> g.is_unsubscribed
        RETURNING s.id AS subscriber_id, NULL::bigint AS category_id, '' AS channel,
            CASE WHEN g.is_unsubscribed THEN false END AS is_allowed
    )
    {_LOG}
"""


def write(
    application_id: int,
    words: Mapping[tuple[int, int, str], bool | None],
    unsubscribed: Mapping[int, bool],
    *,
    origin: Origin,
) -> int:
    """Of any number of people at once; those who are not (or no longer) there are passed over. How much changed.

    words: (subscriber, category, channel) → allowed, None: taken back. unsubscribed: subscriber → from all marketing.
    """
    people = sorted({subscriber_id for subscriber_id, _, _ in words} | unsubscribed.keys())
    if not people:
        return 0
    common = {
        "application": application_id,
        "source": str(origin.source),
        "actor": origin.actor,
        "address": origin.address,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK, [application_id, people])
        changed = 0
        if words:
            cursor.execute(WRITE_WORDS, common | _columns(words))
            changed += cursor.rowcount
        if unsubscribed:
            said = {"subscribers": list(unsubscribed), "unsubscribed": list(unsubscribed.values())}
            cursor.execute(WRITE_UNSUBSCRIBED, common | said)
            changed += cursor.rowcount
    return changed


def _columns(words: Mapping[tuple[int, int, str], bool | None]) -> dict[str, list[Any]]:
    names = ("subscribers", "categories", "channels")
    keys = {name: list(column) for name, column in zip(names, zip(*words, strict=True), strict=True)}
    return {**keys, "allowed": list(words.values())}


# --- Where a word came from -------------------------------------------------------------------


def origin(request: HttpRequest, source: str, actor: str) -> Origin:
    return Origin(source, actor, _address(request))


def _address(request: HttpRequest) -> str | None:
    """The caller's. Where a proxy is trusted to say that a call came by TLS, its word on from whom is taken too:
    the last one, for the others are the caller's own."""
    given = request.META.get("REMOTE_ADDR", "")
    if settings.SECURE_PROXY_SSL_HEADER:
        given = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip() or given
    try:
        return str(ipaddress.ip_address(given))
    except ValueError:
        return None
