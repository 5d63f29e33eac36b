"""What those an audience would reach are like, from a sample: where they are, what they read, what they lack.

Everyone where there are few. One statement each, in time or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from config import patience
from notifications import people, sample
from notifications import template_wording as wordings
from notifications.pipeline import audience as audiences
from notifications.pipeline import load, policy

LOOKED_AT = 20_000  # devices
PATIENCE = "800ms"
MOST_PEOPLE = 25

REACHED = f"""
    WITH {{ctes}} reached AS MATERIALIZED (
        SELECT d.device_id, d.subscriber_id FROM ({{audience}}) AS d {policy.JOIN_CONSENT}
        WHERE coalesce(d.unreachable, {policy.SUPPRESSED_BECAUSE}) IS NULL
    ),
    known AS MATERIALIZED (
        SELECT d.platform, d.environment, {load.LOCALE} AS locale, {policy.ZONE} AS zone,
            coalesce(s.quiet_hours_id, 0) AS quiet, s.id, s.external_id, s.locale AS own_locale, s.country,
            s.attributes
        FROM reached JOIN devices_device d ON d.id = reached.device_id {policy.JOIN_PERSON}
    )
"""
# A name of templates (template_wording.name_of) has no value for somebody.
LACKS = """CASE n.name
    WHEN 'subscriber.external_id' THEN k.id IS NULL
    WHEN 'subscriber.locale' THEN coalesce(k.own_locale, '') = ''
    WHEN 'subscriber.country' THEN coalesce(k.country, '') = ''
    ELSE coalesce(k.attributes -> substr(n.name, %(prefix)s), 'null') = 'null'
END"""
COUNTED = f"""{REACHED}
    SELECT 'devices', '', '', count(*) FROM known
    UNION ALL SELECT 'environment', environment, '', count(*) FROM known WHERE platform IN ('ios', 'macos') GROUP BY 2
    UNION ALL SELECT 'locale', locale, '', count(*) FROM known GROUP BY 2
    UNION ALL SELECT 'zone', zone, quiet::text, count(*) FROM known GROUP BY 2, 3
    UNION ALL SELECT 'lack', n.name, '', count(*) FROM known k, unnest(%(names)s::text[]) AS n (name)
        WHERE {LACKS} GROUP BY 2
    UNION ALL SELECT 'lack_any', '', '', count(*) FROM known k
        WHERE EXISTS (SELECT FROM unnest(%(names)s::text[]) AS n (name) WHERE {LACKS})
"""
# Those whose values are the longest, for the largest payload there is.
LONGEST = f"""{REACHED}
    SELECT DISTINCT ON (longest, id) id, external_id, own_locale, country, attributes FROM (
        SELECT *, coalesce((
            SELECT sum(length(k.attributes ->> a.name)) FROM unnest(%(attributes)s::text[]) AS a (name)
        ), 0) AS longest FROM known k WHERE k.id IS NOT NULL
    ) AS measured ORDER BY longest DESC, id LIMIT {MOST_PEOPLE}
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """Devices of the sample by what they are. lacks: by the name they have no value for; lack_any: for any of them.

    zones: by (zone, id of quiet hours of one's own or 0). is_all: the sample is everyone.
    """

    devices: int = 0
    environments: Mapping[str, int] = field(default_factory=dict)
    locales: Mapping[str, int] = field(default_factory=dict)
    zones: Mapping[tuple[str, int], int] = field(default_factory=dict)
    lacks: Mapping[str, int] = field(default_factory=dict)
    lack_any: int = 0
    is_all: bool = True

    def share(self, count: int) -> float:
        return count / self.devices if self.devices else 0.0


def of(
    audience: Mapping[str, Any], *, application_id: int, category_id: int, names: Iterable[str] = ()
) -> Seen | None:
    """names: of variables. None: it took too long. Raises InvalidField."""
    some = sample.of(application_id, LOOKED_AT)
    prefix = len(wordings.ATTRIBUTES) + 2
    rows = _read(COUNTED, audience, application_id, category_id, some, names=sorted(names), prefix=prefix)
    if rows is None:
        return None
    counts: dict[str, Counter[Any]] = {
        kind: Counter() for kind in ("devices", "environment", "locale", "zone", "lack", "lack_any")
    }
    for kind, value, detail, count in rows:
        counts[kind][(value, int(detail)) if kind == "zone" else value] += count
    return Seen(
        devices=counts["devices"].total(),
        environments=counts["environment"],
        locales=counts["locale"],
        zones=counts["zone"],
        lacks=counts["lack"],
        lack_any=counts["lack_any"].total(),
        is_all=not some.cte,
    )


def longest(
    audience: Mapping[str, Any], *, application_id: int, category_id: int, attributes: Iterable[str]
) -> list[dict[str, Any]]:
    """People, as texts may know them (template_wording.person), whose values of these attributes are the longest.

    Nobody where it took too long. Raises InvalidField.
    """
    some = sample.of(application_id, LOOKED_AT)
    rows = _read(LONGEST, audience, application_id, category_id, some, attributes=sorted(attributes))
    return [
        wordings.person(external_id, locale, country, people.mapping(attributes))
        for _, external_id, locale, country, attributes in rows or ()
    ]


def _read(
    statement: str,
    audience: Mapping[str, Any],
    application_id: int,
    category_id: int,
    some: sample.Sample,
    **parameters: Any,
) -> list[Any] | None:
    source, filters = audiences.whole(audience, application_id, sample=some.join)
    scope = {"application": application_id, "category": category_id, **parameters}
    filled = statement.format(ctes=some.cte and f"{some.cte},", audience=source)
    try:
        with patience.within(PATIENCE) as cursor:
            cursor.execute(filled, {**filters, **some.parameters, **scope})
            found: list[Any] = cursor.fetchall()
    except patience.TooSlow:
        return None
    return found
