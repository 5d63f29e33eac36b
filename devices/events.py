"""Custom events: what subscribers did, in batches, one statement each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
import orjson
from django.db import connection

from config.problems import InvalidField
from config.types import ExternalId, text
from devices.models import Subscriber
from devices.people import Attributes

# Partitions exist of this month and the one before.
OLDEST, AHEAD = timedelta(days=25), timedelta(minutes=5)
# What became of messages: notifications/engagement.py.
RESERVED = frozenset({"received", "opened", "clicked", "converted"})


class Given(msgspec.Struct, forbid_unknown_fields=True):
    """at: absent, now. id: the same id at the same time is the same event, however often it is sent."""

    subscriber: ExternalId
    name: Annotated[str, text(64, shortest=1)]
    at: Annotated[datetime, msgspec.Meta(tz=True)] | msgspec.UnsetType = msgspec.UNSET
    properties: Attributes = Attributes()
    id: UUID | msgspec.UnsetType = msgspec.UNSET


def check(given: Given, now: datetime) -> None:
    """Raises InvalidField."""
    if given.name in RESERVED:
        raise InvalidField("/name", f"“{given.name}” is reserved for what becomes of messages")
    if given.at is msgspec.UNSET:
        if given.id is not msgspec.UNSET:
            raise InvalidField("/at", "missing: an event with an id is known again by both")
    else:
        check_time(given.at, now)


def check_time(at: datetime, now: datetime) -> None:
    """Raises InvalidField."""
    if at > now + AHEAD:
        raise InvalidField("/at", "more than 5 minutes ahead")
    if at < now - OLDEST:
        raise InvalidField("/at", f"more than {OLDEST.days} days ago")


STORE = """
    WITH given AS MATERIALIZED (
        SELECT g.*, s.id AS subscriber_id
        FROM jsonb_to_recordset(%(rows)s::jsonb)
            AS g (n int, subscriber text, name text, at timestamptz, properties jsonb, uid uuid)
        LEFT JOIN devices_subscriber s ON s.application_id = %(application)s AND s.external_id = g.subscriber
    ),
    stored AS (
        INSERT INTO devices_event (at, application_id, subscriber_id, name, properties, uid)
        SELECT at, %(application)s, subscriber_id, name, properties, uid
        FROM given WHERE subscriber_id IS NOT NULL ORDER BY uid, at
        ON CONFLICT DO NOTHING
        RETURNING uid, at
    )
    SELECT g.n, g.subscriber_id IS NULL FROM given g
    WHERE g.subscriber_id IS NULL
        OR g.uid IS NOT NULL AND NOT EXISTS (SELECT FROM stored t WHERE t.uid = g.uid AND t.at = g.at)
"""


def store(events: Sequence[tuple[int, Given]], *, application_id: int, now: datetime) -> dict[int, str]:
    """Store checked events, by number. Of those that were not: "repeated" or "unknown_subscriber"."""
    rows, kept, left = [], set(), {}
    for number, given in events:
        at = now if given.at is msgspec.UNSET else given.at
        uid = None if given.id is msgspec.UNSET else given.id
        if uid and (uid, at) in kept:
            left[number] = "repeated"
            continue
        kept.add((uid, at))
        rows.append(
            {
                "n": number,
                "subscriber": given.subscriber,
                "name": given.name,
                "at": at,
                "properties": given.properties,
                "uid": uid,
            }
        )
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(STORE, {"rows": orjson.dumps(rows).decode(), "application": application_id})
            left |= {
                n: "unknown_subscriber" if is_unknown else "repeated" for n, is_unknown in cursor.fetchall()
            }
    return left


def forget(subscriber: Subscriber) -> None:
    """For the erasure of a person."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM devices_event WHERE application_id = %s AND subscriber_id = %s",
            [subscriber.application_id, subscriber.pk],
        )
