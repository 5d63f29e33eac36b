"""Devices a provider has declared gone are retired, within reason.

The guard (law 5): a wrong bundle id or a key of the other environment makes a provider declare every device gone.
Above an application's share per hour the verdicts are suspended, and its campaigns with that provider stopped, until
a human has said which it is (`notifications.incidents`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import structlog
from psycopg import AsyncConnection

from notifications import lanes
from notifications.pipeline import incidents

log = structlog.get_logger(__name__)

SLOTS = 16
# In an hour; whatever share that is, it is no catastrophe.
ALWAYS_ALLOWED = 25
# The devices are counted no further than needed to allow this many times what there is.
LOOK_AHEAD = 4


class Gone(NamedTuple):
    """A provider's verdict. before: it holds only if the device has not been heard of since."""

    device_id: int
    reason: str
    before: datetime


# Slots as with tallies: concurrent senders do not wait for each other's row. The hour before counts by what of it is
# less than an hour ago.
COUNT = """
    WITH counted AS (
        INSERT INTO notifications_retirementcount AS c (application_id, provider, hour, slot, count)
        VALUES (%(application)s, %(provider)s, date_trunc('hour', now()), %(slot)s, %(count)s)
        ON CONFLICT (application_id, provider, hour, slot) DO UPDATE SET count = c.count + excluded.count
        RETURNING count
    )
    SELECT ((SELECT count FROM counted) + coalesce((
            SELECT sum(CASE WHEN hour = date_trunc('hour', now()) THEN count ELSE count
                * (1 - extract(epoch FROM now() - date_trunc('hour', now())) / 3600) END)
            FROM notifications_retirementcount
            WHERE application_id = %(application)s AND provider = %(provider)s
                AND hour >= date_trunc('hour', now()) - interval '1 hour'
                AND (hour, slot) <> (date_trunc('hour', now()), %(slot)s)
        ), 0))::bigint,
        EXISTS (
            SELECT FROM notifications_incident WHERE application_id = %(application)s
                AND provider = %(provider)s AND cause = 'retirements' AND closed_at IS NULL
        ),
        (SELECT retirement_percent FROM tenants_application WHERE id = %(application)s)
"""

ACTIVE = """
    SELECT count(*) FROM (
        SELECT FROM devices_device
        WHERE application_id = %s AND retired_at IS NULL AND platform = ANY (%s) LIMIT %s
    ) AS counted
"""

# Seen since: its app has registered the token again, so the verdict is about the past.
RETIRE = """
    UPDATE devices_device d SET retired_at = now(), retired_reason = g.reason
    FROM unnest(%(ids)s::bigint[], %(reasons)s::text[], %(befores)s::timestamptz[]) AS g (id, reason, before)
    WHERE d.id = g.id AND d.retired_at IS NULL AND coalesce(d.last_seen_at, '-infinity') < g.before
"""

SUSPEND = """
    INSERT INTO notifications_suspendedretirement (device_id, application_id, provider, reason, before)
    SELECT g.id, %(application)s::bigint, %(provider)s::text, g.reason, g.before
    FROM unnest(%(ids)s::bigint[], %(reasons)s::text[], %(befores)s::timestamptz[]) AS g (id, reason, before)
    -- Unless a human has decided in this very moment: then the next verdict counts.
    WHERE EXISTS (
        SELECT FROM notifications_incident
        WHERE application_id = %(application)s::bigint AND provider = %(provider)s::text
            AND cause = 'retirements' AND closed_at IS NULL FOR SHARE
    )
    ON CONFLICT (device_id) DO UPDATE SET before = excluded.before, reason = excluded.reason
"""

# (application, provider, per cent, time) → verdicts per hour that are known to be within the share.
_allowed: dict[tuple[int, str, int, int], int] = {}
KEPT_SECONDS = 300


async def devices(
    connection: AsyncConnection, application_id: int, provider: str, gone: Sequence[Gone]
) -> None:
    """Act on verdicts, in the caller's transaction."""
    once = {one.device_id: one for one in gone}  # two messages to one device: it is gone once
    ids, reasons, befores = map(list, zip(*sorted(once.values()), strict=True))
    columns = {"ids": ids, "reasons": reasons, "befores": befores}
    named = {"application": application_id, "provider": provider}
    cursor = await connection.execute(COUNT, {**named, "slot": os.getpid() % SLOTS, "count": len(ids)})
    total, is_suspended, percent = await cursor.fetchone() or (0, False, 100)
    if is_suspended or await _is_too_many(connection, application_id, provider, total, percent or 100):
        if not is_suspended:
            await _suspend(connection, application_id, provider, total, percent)
        await connection.execute(SUSPEND, named | columns)
    else:
        await connection.execute(RETIRE, columns)


async def _is_too_many(
    connection: AsyncConnection, application_id: int, provider: str, total: int, percent: int
) -> bool:
    """More than the share of what there was an hour ago: the active devices, and those gone since."""
    key = application_id, provider, percent, int(time.monotonic() // KEPT_SECONDS)
    if total <= max(ALWAYS_ALLOWED, _allowed.get(key, 0)):
        return False
    platforms = [one for one, name in lanes.PROVIDER_OF_PLATFORM.items() if name == provider]
    most = LOOK_AHEAD * total * 100 // percent
    cursor = await connection.execute(
        ACTIVE, [application_id, platforms or list(lanes.PROVIDER_OF_PLATFORM), most]
    )
    (active,) = await cursor.fetchone() or (0,)
    if len(_allowed) > 1000:
        _allowed.clear()
    _allowed[key] = (active + total) * percent // 100
    return total > _allowed[key]


async def _suspend(
    connection: AsyncConnection, application_id: int, provider: str, total: int, percent: int
) -> None:
    log.error(
        "retirements_suspended", action="retire.suspended", application=application_id, provider=provider
    )
    words = f"{total} devices declared gone within an hour, which is more than {percent} % of them"
    parameters = incidents.opening(
        application_id=application_id,
        provider=provider,
        cause="retirements",
        words=words,
        lane_kind=lanes.CAMPAIGN,
    )
    await connection.execute(incidents.OPEN, parameters)
