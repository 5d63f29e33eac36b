"""The set-based statements of an import. Rows travel as one JSON parameter: cheaper than an array per column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from django.db import connection

from devices import quiet_rows
from devices.registering import REPLACED
from devices.registrations import Address

# --- People -----------------------------------------------------------------------------------

_PERSON = """jsonb_to_recordset(%(rows)s::jsonb) AS g (external_id text, attributes jsonb, locale text,
    time_zone text, country text, email text, phone text, says_quiet_hours boolean, quiet_hours_id bigint)"""
_TEXTS = ("locale", "time_zone", "country", "email", "phone")

# Sorted, so that two imports of the same people wait for each other instead of deadlocking.
INSERT_PEOPLE = f"""
    INSERT INTO devices_subscriber (application_id, external_id, attributes, locale, time_zone, country, email,
        phone, quiet_hours_id, created_at, updated_at)
    SELECT %(application)s, external_id, coalesce(attributes, '{{}}'),
        {", ".join(f"coalesce({name}, '')" for name in _TEXTS)}, quiet_hours_id, now(), now()
    FROM {_PERSON} ORDER BY external_id
    ON CONFLICT (application_id, external_id) DO NOTHING
"""
_OLD_PERSON = f"s.attributes, s.quiet_hours_id, {', '.join(f's.{name}' for name in _TEXTS)}"
_NEW_PERSON = f"""
    coalesce(g.attributes, s.attributes),
    CASE WHEN g.says_quiet_hours THEN g.quiet_hours_id ELSE s.quiet_hours_id END,
    {", ".join(f"coalesce(g.{name}, s.{name})" for name in _TEXTS)}
"""
UPDATE_PEOPLE = f"""
    UPDATE devices_subscriber s SET updated_at = now(), ({_OLD_PERSON.replace("s.", "")}) = ROW ({_NEW_PERSON})
    FROM {_PERSON}
    WHERE s.application_id = %(application)s AND s.external_id = g.external_id
        AND ({_OLD_PERSON}) IS DISTINCT FROM ({_NEW_PERSON})
"""
IDS = """
    SELECT external_id, id FROM devices_subscriber
    WHERE application_id = %s AND external_id = ANY (%s)
"""


def people(application_id: int, rows: list[dict[str, Any]]) -> tuple[dict[str, int], int]:
    """Create or update people (a column absent from a row stays as it is); their ids, and how many are new."""
    if not rows:
        return {}, 0
    rows = _with_quiet_hours(application_id, rows)
    parameters: dict[str, Any] = {"application": application_id, "rows": _json(rows)}
    with connection.cursor() as cursor:
        cursor.execute(INSERT_PEOPLE, parameters)
        created = cursor.rowcount
        if created < len(rows):
            cursor.execute(UPDATE_PEOPLE, parameters)
        cursor.execute(IDS, [application_id, [row["external_id"] for row in rows]])
        return dict(cursor.fetchall()), created


def _with_quiet_hours(application_id: int, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, with the id of the windows in place of the windows."""
    said = {
        orjson.dumps(row["quiet_hours"]): row["quiet_hours"]
        for row in rows
        if row.get("quiet_hours") is not None
    }
    ids = dict(zip(said, quiet_rows.ids(application_id, list(said.values())), strict=True))
    return [
        {**row, "says_quiet_hours": True, "quiet_hours_id": ids.get(orjson.dumps(row["quiet_hours"]))}
        if "quiet_hours" in row
        else row
        for row in rows
    ]


# --- Devices ----------------------------------------------------------------------------------


@dataclass(slots=True)
class DeviceRow:
    """details: column → new value, of those that were given."""

    platform: str
    installation_id: str | None
    address: Address
    vapid_key: str
    details: dict[str, str]
    subscriber: str | None = None
    keeps_subscriber: bool = False


@dataclass(slots=True)
class DeviceRows:
    """Of two rows with one token or one installation, the later one counts."""

    _rows: dict[int, DeviceRow] = field(default_factory=dict)
    _by_key: dict[tuple[str, ...], int] = field(default_factory=dict)
    _count: int = 0

    def add(self, row: DeviceRow) -> None:
        keys: list[tuple[str, ...]] = [(row.platform, row.address.token)]
        if row.installation_id:
            keys.append((row.installation_id,))
        for key in keys:
            if key in self._by_key:
                self._rows.pop(self._by_key[key], None)
            self._by_key[key] = self._count
        self._rows[self._count] = row
        self._count += 1

    def rows(self) -> list[DeviceRow]:
        return list(self._rows.values())


_KNOWN_BY = (
    """jsonb_to_recordset(%(rows)s::jsonb) AS g (n int, platform text, token text, installation_id text)"""
)
MATCH = f"""
    SELECT g.n, i.id, t.id, t.installation_id, r.id
    FROM {_KNOWN_BY}
    LEFT JOIN devices_device i
        ON i.application_id = %(application)s AND i.installation_id = g.installation_id
    LEFT JOIN devices_device t
        ON t.application_id = %(application)s AND t.platform = g.platform AND t.retired_at IS NULL
        AND md5(t.token)::uuid = md5(g.token)::uuid
    LEFT JOIN LATERAL (
        SELECT id FROM devices_device
        WHERE application_id = %(application)s AND platform = g.platform AND retired_at IS NOT NULL
            AND md5(token)::uuid = md5(g.token)::uuid AND g.installation_id IS NULL AND t.id IS NULL
        ORDER BY retired_at DESC LIMIT 1
    ) AS r ON true
    ORDER BY g.n
"""
RETIRE = """
    UPDATE devices_device SET retired_at = now(), retired_reason = %s
    WHERE application_id = %s AND id = ANY (%s) AND retired_at IS NULL
"""

_DETAILS = ("environment", "locale", "time_zone", "app_version", "os_version", "model", "permission")
_ADDRESS = ("platform", "token", "fid", "p256dh", "auth", "vapid_key")
_DEVICE = f"""jsonb_to_recordset(%(rows)s::jsonb) AS g (id bigint, subscriber_id bigint, keeps_subscriber boolean,
    installation_id text, {", ".join(f"{name} text" for name in (*_ADDRESS, *_DETAILS))})"""
_NEW = f"""
    CASE WHEN g.keeps_subscriber THEN d.subscriber_id ELSE g.subscriber_id END,
    coalesce(g.installation_id, d.installation_id),
    {", ".join(f"g.{name}" for name in _ADDRESS)},
    {", ".join(f"coalesce(g.{name}, d.{name})" for name in _DETAILS)}
"""
_OLD = f"""
    d.subscriber_id, d.installation_id,
    {", ".join(f"d.{name}" for name in (*_ADDRESS, *_DETAILS))}
"""
UPDATE_DEVICES = f"""
    UPDATE devices_device d SET
        ({_OLD.replace("d.", "")}) = ROW ({_NEW}),
        registered_at = CASE WHEN d.token = g.token THEN d.registered_at ELSE now() END,
        last_seen_at = CASE WHEN d.token = g.token THEN d.last_seen_at END,
        retired_at = CASE WHEN d.token = g.token THEN d.retired_at END,
        retired_reason = CASE WHEN d.token = g.token THEN d.retired_reason ELSE '' END
    FROM {_DEVICE}
    WHERE d.application_id = %(application)s AND d.id = g.id AND ({_OLD}) IS DISTINCT FROM ({_NEW})
"""
INSERT_DEVICES = f"""
    INSERT INTO devices_device (application_id, subscriber_id, installation_id, {", ".join((*_ADDRESS, *_DETAILS))},
        registered_at, last_seen_at, retired_reason)
    SELECT %(application)s, subscriber_id, installation_id, {", ".join(_ADDRESS)},
        {", ".join(f"coalesce({name}, '')" for name in _DETAILS)}, now(), NULL, ''
    FROM {_DEVICE}
"""


def devices(application_id: int, rows: list[DeviceRow], ids: dict[str, int]) -> tuple[int, int]:
    """Create or update devices by the rules of `registering`; how many are new, and how many were known."""
    if not rows:
        return 0, 0
    with connection.cursor() as cursor:
        cursor.execute(MATCH, {"application": application_id, "rows": _json(_keys(rows))})
        known, replaced = _matched(rows, cursor.fetchall())
        if replaced:
            cursor.execute(RETIRE, [REPLACED, application_id, replaced])
        values = [_values(row, known.get(n), ids) for n, row in enumerate(rows)]
        old = {value["id"]: value for value in values if value["id"]}  # of two about one row, the later
        new = [value for value in values if not value["id"]]
        if old:
            cursor.execute(UPDATE_DEVICES, {"application": application_id, "rows": _json(list(old.values()))})
        if new:
            cursor.execute(INSERT_DEVICES, {"application": application_id, "rows": _json(new)})
    return len(new), len(rows) - len(new)


def _keys(rows: list[DeviceRow]) -> list[dict[str, Any]]:
    return [
        {"n": n, "platform": row.platform, "token": row.address.token, "installation_id": row.installation_id}
        for n, row in enumerate(rows)
    ]


def _matched(rows: list[DeviceRow], found: list[tuple[Any, ...]]) -> tuple[dict[int, int], list[int]]:
    """Number of a row → the device it is about; and other devices that hold a row's token."""
    known, replaced = {}, []
    for n, installed, holder, holders_installation, retired in found:
        if rows[n].installation_id:
            device = installed or (holder if holders_installation is None else None)
        else:
            device = holder or retired
        if device:
            known[n] = device
        if holder and holder != device:
            replaced.append(holder)
    return known, replaced


def _values(row: DeviceRow, id: int | None, ids: dict[str, int]) -> dict[str, Any]:
    return {
        "id": id,
        "subscriber_id": ids[row.subscriber] if row.subscriber is not None else None,
        "keeps_subscriber": row.keeps_subscriber,
        "installation_id": row.installation_id,
        "platform": row.platform,
        "token": row.address.token,
        "fid": row.address.fid,
        "p256dh": row.address.p256dh,
        "auth": row.address.auth,
        "vapid_key": row.vapid_key,
        **row.details,
    }


def _json(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows).decode()
