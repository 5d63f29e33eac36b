"""Open providers: one session per credential and worker process, kept while the credential stays as it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from psycopg import AsyncConnection

from notifications import lanes
from notifications.pipeline import incidents
from notifications.pipeline.load import Recipient
from notifications.providers.base import Credential, Provider, Session, TokenStore
from tenants.fields import cipher

log = structlog.get_logger(__name__)

# How long a changed, blocked or new credential may go unnoticed.
REFRESH_SECONDS = 3.0

CREDENTIALS = """
    SELECT c.id, c.public, c.secret, c.updated_at, c.messages_per_second, a.messages_per_second,
        c.blocked_at IS NOT NULL, c.blocked_at < now() - interval '30 seconds'
    FROM tenants_credential c JOIN tenants_application a ON a.id = c.application_id
    WHERE c.application_id = %s AND c.provider = %s AND c.is_active
    ORDER BY c.id
"""

# Not if it was replaced meanwhile: the refusal was of the old secret. Lanes stop with the last credential that worked.
BLOCK = """
    WITH blocked AS (
        UPDATE tenants_credential SET blocked_at = now(), blocked_reason = %(reason)s
        WHERE id = %(id)s AND updated_at = %(updated_at)s RETURNING id, application_id, provider
    )
    INSERT INTO notifications_incident AS i (application_id, provider, cause, words, stops_lanes, trial_at)
    SELECT b.application_id, b.provider, 'credential', %(reason)s, o.others = 0,
        CASE WHEN o.others = 0 THEN now() + make_interval(secs => %(pause)s) END
    FROM blocked b CROSS JOIN LATERAL (
        SELECT count(*) AS others FROM tenants_credential c
        WHERE c.application_id = b.application_id AND c.provider = b.provider AND c.is_active
            AND c.blocked_at IS NULL AND c.id <> b.id
    ) o
    ON CONFLICT (application_id, provider, cause, notification_id) WHERE closed_at IS NULL
    DO UPDATE SET words = excluded.words, stops_lanes = excluded.stops_lanes, trial_at = excluded.trial_at
"""

UNBLOCK = """
    WITH mended AS (
        UPDATE tenants_credential SET blocked_at = NULL, blocked_reason = '', checked_at = now()
        WHERE id = %(id)s AND blocked_at IS NOT NULL RETURNING application_id, provider
    ),
    ended AS (
        UPDATE notifications_incident i SET closed_at = now() FROM mended
        WHERE i.application_id = mended.application_id AND i.provider = mended.provider AND i.cause = 'credential'
            AND i.closed_at IS NULL
    )
    SELECT application_id FROM mended
"""

# What waited for it goes on at once; later attempts wait for their back-off, slots for their moment. A statement of its
# own: it may take seconds, and nobody must wait for the credential's row as long.
LET_GO = """
    UPDATE notifications_batch SET due_at = now() WHERE id = ANY (ARRAY(
        SELECT id FROM notifications_batch
        WHERE application_id = %(application)s AND lane = ANY (%(lanes)s) AND status = 'waiting' AND attempt = 1
            AND slot_at IS NULL AND due_at > now()
        ORDER BY id FOR UPDATE
    ))
"""


@dataclass(slots=True)
class Open:
    """A session with the credential it was opened for. is_blocked: nothing is to be sent, but for a probe."""

    credential: Credential
    session: Session
    updated_at: datetime
    rate: int | None  # messages per second, at most
    application_rate: int | None  # the same over all providers
    is_blocked: bool
    may_probe: bool
    is_blocking: bool = False  # the block is being written: what the database says is older


class Sessions:
    """All sessions of this process."""

    def __init__(self, providers: Mapping[str, Provider], tokens: TokenStore) -> None:
        self._providers = providers
        self._tokens = tokens
        self._open: dict[int, Open] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._of: dict[tuple[int, str], tuple[float, list[Open]]] = {}

    async def of(self, connection: AsyncConnection, application_id: int, provider: str) -> Sequence[Open]:
        """The application's sessions with this provider; empty while it has no credential for it."""
        key = application_id, provider
        read_at, known = self._of.get(key, (0.0, []))
        # A blocked one may have been mended this moment: its work must not be put back for long.
        if time.monotonic() - read_at > REFRESH_SECONDS or any(opened.is_blocked for opened in known):
            known = await self._refresh(connection, application_id, provider)
            self._of[key] = time.monotonic(), known
        return known

    async def block(self, connection: AsyncConnection, opened: Open, reason: str) -> None:
        """Stop sending with this credential, everywhere, and say why."""
        opened.is_blocked, opened.may_probe = True, False
        await connection.execute(
            BLOCK,
            {
                "id": opened.credential.id,
                "updated_at": opened.updated_at,
                "reason": reason[:300],
                "pause": incidents.FIRST_PAUSE["credential"],
            },
        )

    async def unblock(self, connection: AsyncConnection, opened: Open) -> None:
        """The provider took a message again."""
        opened.is_blocked = False
        cursor = await connection.execute(UNBLOCK, {"id": opened.credential.id})
        for (application_id,) in await cursor.fetchall():
            provider = opened.credential.provider
            names = [f"{provider}.{kind}" for kind in (lanes.TRANSACTIONAL, lanes.CAMPAIGN)]
            await connection.execute(LET_GO, {"application": application_id, "lanes": names})

    async def close(self) -> None:
        for opened in self._open.values():
            await opened.session.close()
        self._open.clear()

    def _retire(self, session: Session) -> None:
        task = asyncio.ensure_future(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _refresh(self, connection: AsyncConnection, application_id: int, provider: str) -> list[Open]:
        cursor = await connection.execute(CREDENTIALS, [application_id, provider])
        known = []
        for row in await cursor.fetchall():
            try:
                known.append(await self._reopen(provider, *row))
            except Exception as error:  # whatever is wrong with one credential is not the others' fault
                log.error(
                    "credential_unusable",
                    action="sessions.unusable",
                    credential=row[0],
                    error=type(error).__name__,
                )
        return known

    async def _reopen(
        self,
        provider: str,
        id: int,
        public: dict[str, object],
        secret: str,
        updated_at: datetime,
        rate: int | None,
        application_rate: int | None,
        is_blocked: bool,
        may_probe: bool | None,
    ) -> Open:
        known = self._open.get(id)
        if known and known.updated_at == updated_at:
            known.rate, known.application_rate = rate, application_rate
            known.is_blocked = is_blocked or known.is_blocking
            known.may_probe = bool(may_probe) and not known.is_blocking
            return known
        if known:
            # Requests of the old session may still be under way; it is closed when they must be over.
            asyncio.get_running_loop().call_later(60, self._retire, known.session)
        clear = cipher().decrypt(secret.encode()).decode() if secret else ""
        credential = Credential(id, provider, public, clear)
        session = self._providers[provider].open(credential, self._tokens)
        self._open[id] = Open(
            credential, session, updated_at, rate, application_rate, is_blocked, bool(may_probe)
        )
        return self._open[id]


def fitting(sessions: Sequence[Open], recipient: Recipient) -> Open | None:
    """The session a device has to be reached through: the one whose key or environment is the device's."""
    # One that works before one that is refused: the refused may be the one it replaces.
    for opened in sorted(sessions, key=lambda one: one.is_blocked):
        public = opened.credential.public
        if recipient.credential_key and public.get("public_key") not in (None, recipient.credential_key):
            continue
        environment = recipient.target.environment
        if environment and public.get("environment") not in (None, "both", environment):
            continue
        return opened
    return None
