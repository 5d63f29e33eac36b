"""The one place where a word on being sent to is written: on a category and channel, or on all marketing.

Each change leaves its line of `ConsentChange` in the statement that makes it; what changes nothing leaves none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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

Wish = bool | None | Mapping[Any, bool | None]  # by channel


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
    SELECT s.id FROM unnest(%s::bigint[]) AS g (id)
    JOIN devices_subscriber s ON s.id = g.id AND s.application_id = %s
    ORDER BY s.id FOR NO KEY UPDATE OF s
"""

_LOG = """
    INSERT INTO devices_consentchange
        (application_id, subscriber_id, category_id, channel, is_allowed, source, actor, address, at)
    SELECT %(application)s, subscriber_id, category_id, channel, is_allowed,
        %(source)s, %(actor)s, %(address)s::inet, clock_timestamp()
    FROM changed ORDER BY subscriber_id, category_id, channel
"""
_WORDS = """unnest(%(subscribers)s::bigint[], %(categories)s::bigint[], %(channels)s::text[],
    %(allowed)s::boolean[]) AS g (subscriber_id, category_id, channel, is_allowed)"""
WRITE = f"""
    WITH changed AS (
        INSERT INTO devices_preference AS p (subscriber_id, category_id, channel, is_allowed, updated_at)
        SELECT subscriber_id, category_id, channel, is_allowed, now() FROM {_WORDS}
        ON CONFLICT (subscriber_id, category_id, channel) DO UPDATE
            SET is_allowed = excluded.is_allowed, updated_at = excluded.updated_at
            WHERE p.is_allowed <> excluded.is_allowed
        RETURNING subscriber_id, category_id, channel, is_allowed
    )
    {_LOG}
"""
TAKE_BACK = f"""
    WITH changed AS (
        DELETE FROM devices_preference p USING {_WORDS}
        WHERE p.subscriber_id = g.subscriber_id AND p.category_id = g.category_id AND p.channel = g.channel
        RETURNING p.subscriber_id, p.category_id, p.channel, g.is_allowed
    )
    {_LOG}
"""
# To be unsubscribed is a no. To be so no longer is a word taken back, not a yes to every category.
UNSUBSCRIBE = f"""
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
    people = list({subscriber_id for subscriber_id, _, _ in words} | unsubscribed.keys())
    if not people:
        return 0
    common: dict[str, Any] = {"application": application_id, **asdict(origin)}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK, [people, application_id])
        known = {id for (id,) in cursor.fetchall()}
        said = {about: word for about, word in words.items() if about[0] in known}
        statements: tuple[tuple[str, dict[str, list[Any]]], ...] = (
            (WRITE, _columns({about: word for about, word in said.items() if word is not None})),
            (TAKE_BACK, _columns({about: word for about, word in said.items() if word is None})),
            (UNSUBSCRIBE, {"subscribers": list(unsubscribed), "unsubscribed": list(unsubscribed.values())}),
        )
        changed = 0
        for statement, rows in statements:
            if rows["subscribers"]:
                cursor.execute(statement, common | rows)
                changed += cursor.rowcount
    return changed


def _columns(words: Mapping[tuple[int, int, str], bool | None]) -> dict[str, list[Any]]:
    subscribers, categories, channels = zip(*words, strict=True) if words else ((), (), ())
    return {
        "subscribers": list(subscribers),
        "categories": list(categories),
        "channels": list(channels),
        "allowed": list(words.values()),
    }


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
