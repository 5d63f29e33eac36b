"""What those an audience would reach are like, from a sample: where they are, what they read, what they lack, and who
has the most to say.

Everyone where there are few. In time or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from config import patience
from notifications import people, sample
from notifications import template_wording as wordings
from notifications.pipeline import audience as audiences
from notifications.pipeline import load, policy
from notifications.sample import EVERYONE, Sample

LOOKED_AT = 6_000  # devices: a share of 1 % is met sixty times
PATIENCE = "800ms"
# Where a sample meets fewer it says little; those of a small segment are found by its members in no time.
FEW, FEW_PATIENCE = 200, "100ms"
MOST_PEOPLE = 25

REACHED = f"""
    WITH {{ctes}} reached AS MATERIALIZED (
        SELECT d.device_id, d.subscriber_id FROM ({{audience}}) AS d {policy.JOIN_CONSENT}
        WHERE coalesce(d.unreachable, {policy.SUPPRESSED_BECAUSE}) IS NULL LIMIT %(limit)s
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
    UNION ALL SELECT 'person', jsonb_build_array(external_id, own_locale, country, attributes)::text, '', 1 FROM (
        SELECT DISTINCT ON (longest, id) * FROM (
            SELECT *, coalesce((
                SELECT sum(length(k.attributes ->> a.name)) FROM unnest(%(attributes)s::text[]) AS a (name)
            ), 0) AS longest FROM known k WHERE k.id IS NOT NULL AND %(is_personal)s
        ) AS measured ORDER BY longest DESC, id LIMIT {MOST_PEOPLE}
    ) AS longest
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """Devices of the sample by what they are. lacks: by the name they have no value for; lack_any: for any of them.

    zones: by (zone, id of quiet hours of one's own or 0). longest: people as texts may know them
    (template_wording.person) whose values are the longest, for the largest payload there is. is_all: the sample is
    everyone.
    """

    devices: int = 0
    environments: Mapping[str, int] = field(default_factory=dict)
    locales: Mapping[str, int] = field(default_factory=dict)
    zones: Mapping[tuple[str, int], int] = field(default_factory=dict)
    lacks: Mapping[str, int] = field(default_factory=dict)
    lack_any: int = 0
    longest: Sequence[Mapping[str, Any]] = ()
    is_all: bool = True

    def share(self, count: int) -> float:
        return count / self.devices if self.devices else 0.0


def of(
    audience: Mapping[str, Any],
    *,
    application_id: int,
    category_id: int,
    needed: Iterable[str] = (),
    names: Iterable[str] = (),
) -> Seen | None:
    """names: of all variables of its texts; needed: of those for which some text has no other words. None: it took too
    long. Raises InvalidField."""
    prefix = f"{wordings.ATTRIBUTES}."
    asked = {
        "application": application_id,
        "category": category_id,
        "names": sorted(needed),
        "prefix": len(prefix) + 1,
        "attributes": sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix)),
        "is_personal": any(map(wordings.is_personal, names)),
    }
    some = sample.of(application_id, LOOKED_AT)
    found = _seen(audience, some, asked, PATIENCE)
    if some.cte and found is not None and found.devices < FEW:
        found = _seen(audience, EVERYONE, asked, FEW_PATIENCE) or found
    return found


def _seen(audience: Mapping[str, Any], some: Sample, asked: Mapping[str, Any], time: str) -> Seen | None:
    rows = _read(audience, some, asked, time)
    if rows is None:
        return None
    counts: dict[str, Counter[Any]] = {
        kind: Counter() for kind in ("devices", "environment", "locale", "zone", "lack", "lack_any", "person")
    }
    for kind, value, detail, count in rows:
        counts[kind][(value, int(detail)) if kind == "zone" else value] += count
    met = counts["devices"].total()
    return Seen(
        devices=met,
        environments=counts["environment"],
        locales=counts["locale"],
        zones=counts["zone"],
        lacks=counts["lack"],
        lack_any=counts["lack_any"].total(),
        longest=[_person(text) for text in counts["person"]],
        is_all=not some.cte and met < LOOKED_AT,
    )


def _person(text: str) -> dict[str, Any]:
    external_id, locale, country, attributes = orjson.loads(text)
    return wordings.person(external_id, locale, country, people.mapping(attributes))


def _read(audience: Mapping[str, Any], some: Sample, asked: Mapping[str, Any], time: str) -> list[Any] | None:
    source, filters = audiences.whole(audience, asked["application"], sample=some.join)
    statement = COUNTED.format(ctes=some.cte and f"{some.cte},", audience=source)
    most = LOOKED_AT * 4 if some.cte else LOOKED_AT
    try:
        with some.looked_up(), patience.within(time) as cursor:
            cursor.execute(statement, {**filters, **some.parameters, **asked, "limit": most})
            found: list[Any] = cursor.fetchall()
    except patience.TooSlow:
        return None
    return found
