"""Some of the people an audience would reach now: to look at, and to see a message as they would get it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from config import patience
from notifications import sample
from notifications.pipeline import audience as audiences
from notifications.pipeline import policy
from notifications.sample import EVERYONE, Sample

LOOKED_AT = 4_000  # devices, among which those shown are drawn
PATIENCE = "2s"

SOME = f"""
    WITH {{ctes}} reached AS MATERIALIZED (
        SELECT d.subscriber_id, d.platform FROM ({{audience}}) AS d {policy.JOIN_CONSENT}
        WHERE d.subscriber_id IS NOT NULL AND coalesce(d.unreachable, {policy.SUPPRESSED_BECAUSE}) IS NULL
        LIMIT {LOOKED_AT}
    )
    SELECT s.external_id, s.locale, s.country, s.attributes, own.platforms
    FROM (
        SELECT subscriber_id, array_agg(DISTINCT platform ORDER BY platform) AS platforms
        FROM reached GROUP BY 1 ORDER BY random() LIMIT %(most)s
    ) AS own
    JOIN devices_subscriber s ON s.id = own.subscriber_id
    ORDER BY s.external_id
"""


class Person(NamedTuple):
    external_id: str
    locale: str
    country: str
    attributes: dict[str, Any]
    platforms: list[str]


def some(
    audience: Mapping[str, Any], *, application_id: int, category_id: int, most: int = 10
) -> list[Person]:
    """At random. Fewer, or none, where they are too rare to be found while somebody waits. Raises InvalidField."""
    scope = {"application": application_id, "category": category_id, "most": most}
    sampled = sample.of(application_id, LOOKED_AT * 5)
    found = _found(audience, sampled, scope)
    if sampled.cte and len(found) < most:
        found = _found(audience, EVERYONE, scope) or found
    return found


def _found(audience: Mapping[str, Any], among: Sample, scope: Mapping[str, Any]) -> list[Person]:
    source, filters = audiences.whole(audience, int(scope["application"]), sample=among.join)
    statement = SOME.format(ctes=among.cte and f"{among.cte},", audience=source)
    try:
        with among.looked_up(), patience.within(PATIENCE) as cursor:
            cursor.execute(statement, {**filters, **among.parameters, **scope})
            rows = cursor.fetchall()
    except patience.TooSlow:
        return []
    return [
        Person(external_id, locale, country, mapping(attributes), platforms)
        for external_id, locale, country, attributes, platforms in rows
    ]


def mapping(attributes: Any) -> dict[str, Any]:
    """As PostgreSQL gives them, read."""
    read = orjson.loads(attributes) if isinstance(attributes, str | bytes) else attributes
    return read if isinstance(read, dict) else {}
