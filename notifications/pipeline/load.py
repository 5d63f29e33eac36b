"""What a claimed batch needs to be sent: its notification, its devices' addresses, and whether they still want it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from notifications import template_wording as wordings
from notifications.pipeline import policy, timing
from notifications.pipeline.claim import Batch
from notifications.pipeline.timing import Timing
from notifications.providers.base import Target
from notifications.template_wording import Wording


@dataclass(frozen=True, slots=True)
class Content:
    """A stored notification as the sender needs it; the same for all its batches."""

    id: UUID
    application_id: int
    category_id: int
    category: str  # slug
    content: dict[str, Any]
    overrides: dict[str, Any]
    priority: str
    collapse_key: str
    meant_for: datetime
    expires_at: datetime
    resend_after_crash: bool
    is_rehearsal: bool
    throttle: int | None  # recipients per second, at most
    timing: Timing | None  # None: no clock holds anybody
    wording: Wording | None = None  # None: all get the content as it is
    variables: dict[str, Any] = field(default_factory=dict)  # the call's own
    locale: str = ""  # in which numbers are written where a text has none
    is_template_gone: bool = False

    @property
    def reads(self) -> Reads:
        """What of a person it takes to render it for them."""
        if self.wording is None:
            return NOTHING
        personal = [name for name in self.wording.names if wordings.is_personal(name)]
        if not personal:
            return Reads(is_by_locale=len(self.wording.variants) > 1)
        start = f"{wordings.ATTRIBUTES}."
        named = tuple(sorted(name.removeprefix(start) for name in personal if name.startswith(start)))
        return Reads(True, True, None if wordings.ATTRIBUTES in personal else named)


class Reads(NamedTuple):
    """attributes: those read by name; None: all."""

    is_by_locale: bool = False
    is_personal: bool = False
    attributes: tuple[str, ...] | None = ()


NOTHING = Reads()


@dataclass(frozen=True, slots=True)
class Recipient:
    """One device of a batch. suppressed: the reason it must not be sent to after all, or None. held_until: quiet hours
    have begun since it was resolved. locale and person: where the content reads them."""

    target: Target
    subscriber_id: int | None
    suppressed: str | None
    credential_key: str  # Web Push: the public key it subscribed with
    held_until: datetime | None = None
    locale: str = ""
    person: dict[str, Any] | None = None


# The CASE: whether quiet hours may hold anybody.
CONTENTS = """
    SELECT n.id, n.application_id, n.category_id, c.slug, n.content, n.overrides, n.priority, n.collapse_key,
        coalesce(CASE WHEN g.replay > 0 THEN n.replayed_at END, n.send_at, n.created_at), n.ttl_seconds,
        c.crash_rule = 'resend', a.is_sandbox, n.throttle_per_second,
        n.local_time, n.send_window, n.deadline, a.default_time_zone, a.quiet_hours,
        CASE WHEN a.quiet_hours <> '[]' OR EXISTS (SELECT FROM devices_quiethours q WHERE q.application_id = a.id)
            THEN c.quiet_rule ELSE 'ignore' END,
        n.template_version_id, n.variables, a.default_locale,
        g.replay
    FROM unnest(%(ids)s::uuid[], %(replays)s::int[]) AS g (id, replay)
    JOIN notifications_notification n ON n.id = g.id
    JOIN devices_category c ON c.id = n.category_id
    JOIN tenants_application a ON a.id = n.application_id
"""

VERSIONS = """
    SELECT v.id, v.content, v.locales, v.defaults, v.missing FROM notifications_templateversion v
    JOIN notifications_template t ON t.id = v.template_id
    WHERE v.id = ANY (%(ids)s) AND t.application_id = ANY (%(applications)s)
"""

VERSION = -4  # the place of template_version_id

RECIPIENTS = f"""
    SELECT d.id, d.token, d.environment, d.fid, d.p256dh, d.auth, d.subscriber_id,
        {policy.SUPPRESSED_BECAUSE}, d.vapid_key, {{columns}}
    FROM (SELECT d.*, d.id AS device_id FROM devices_device d) AS d {policy.JOIN_CONSENT} {{joins}}
    WHERE d.id = ANY (%(devices)s) AND d.application_id = %(application)s
"""
WINDOWS = "LEFT JOIN devices_quiethours q ON q.id = s.quiet_hours_id"
LOCALE = "coalesce(nullif(s.locale, ''), d.locale, '')"
PERSON = """s.external_id, s.locale, s.country, (
    SELECT jsonb_object_agg(key, value) FROM jsonb_each(s.attributes)
    WHERE %(attributes)s::text[] IS NULL OR key = ANY (%(attributes)s))"""


def _recipients(*, is_timed: bool, is_by_locale: bool, is_personal: bool) -> str:
    """The statement that reads no more than is needed."""
    columns = [policy.ZONE, "q.windows"] if is_timed else ["NULL", "NULL"]
    columns += [LOCALE] if is_by_locale else []
    columns += [PERSON] if is_personal else []
    joins = [policy.JOIN_PERSON] if is_timed or is_by_locale else []
    joins += [WINDOWS] if is_timed else []
    return RECIPIENTS.format(columns=", ".join(columns), joins=" ".join(joins))


STATEMENTS = {
    (is_timed, is_by_locale, is_personal): _recipients(
        is_timed=is_timed, is_by_locale=is_by_locale, is_personal=is_personal
    )
    for is_timed in (False, True)
    for is_by_locale, is_personal in ((False, False), (True, False), (True, True))
}


async def contents(
    connection: AsyncConnection, sent: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], Content]:
    """By notification and which sending of it: a replay's lifetime counts from the replay."""
    ids, replays = [id for id, _ in sent], [replay for _, replay in sent]
    cursor = await connection.execute(CONTENTS, {"ids": ids, "replays": replays})
    rows = await cursor.fetchall()
    wordings_of = await _wordings(connection, rows)
    return {(row[0], row[-1]): _content(wordings_of, *row[:-1]) for row in rows}


async def _wordings(connection: AsyncConnection, rows: Sequence[Any]) -> dict[int, Wording]:
    """What the templates' versions among the rows of CONTENTS say; those not read before are."""
    versions = {row[VERSION]: row[1] for row in rows if row[VERSION] is not None}
    known = {id: wording for id in versions if (wording := wordings.known(id))}
    if wanted := {id: application for id, application in versions.items() if id not in known}:
        cursor = await connection.execute(
            VERSIONS, {"ids": list(wanted), "applications": list(set(wanted.values()))}
        )
        known |= {row[0]: wordings.of_version(*row) for row in await cursor.fetchall()}
    return known


def _content(
    wordings_of: Mapping[int, Wording],
    id: UUID,
    application_id: int,
    category_id: int,
    category: str,
    content: dict[str, Any],
    overrides: dict[str, Any],
    priority: str,
    collapse_key: str,
    meant_for: datetime,
    ttl_seconds: int | None,
    resend_after_crash: bool,
    is_rehearsal: bool,
    throttle: int | None,
    local_time: str,
    send_window: dict[str, Any] | None,
    deadline: datetime | None,
    time_zone: str,
    quiet_hours: list[dict[str, Any]],
    quiet_rule: str,
    version_id: int | None,
    variables: dict[str, Any] | None,
    default_locale: str,
) -> Content:
    timed = Timing(
        quiet_rule=quiet_rule,
        time_zone=time_zone,
        quiet_hours=quiet_hours,
        local_time=datetime.fromisoformat(local_time) if local_time else None,
        send_window=send_window,
        meant_for=meant_for,
        lifetime=timing.LIFETIME if ttl_seconds is None else timedelta(seconds=ttl_seconds),
        deadline=deadline,
    )
    wording = None
    if version_id is not None:
        wording = wordings_of.get(version_id)
    elif "locales" in content:
        wording = wordings.literal(content)
    return Content(
        id,
        application_id,
        category_id,
        category,
        content,
        overrides,
        priority,
        collapse_key,
        meant_for,
        timed.last_expires_at,
        resend_after_crash,
        is_rehearsal,
        throttle,
        timed if timed.holds else None,
        wording,
        variables or {},
        default_locale,
        is_template_gone=variables is not None and wording is None,
    )


async def recipients(
    connection: AsyncConnection, batches: Sequence[Batch], contents: dict[tuple[UUID, int], Content]
) -> dict[int, list[Recipient]]:
    """Batch id → its recipients. One query per application, category and what of people is read, usually one."""
    groups: dict[tuple[int, int, bool, Reads], list[Batch]] = {}
    for batch in batches:
        content = contents[batch.sending]
        key = batch.application_id, content.category_id, content.timing is not None, content.reads
        groups.setdefault(key, []).append(batch)
    loaded: dict[int, list[Recipient]] = {}
    for (application_id, category_id, is_timed, reads), members in groups.items():
        given = {
            "devices": [device for batch in members for device in batch.device_ids],
            "application": application_id,
            "category": category_id,
        }
        if reads.is_personal:
            given["attributes"] = None if reads.attributes is None else list(reads.attributes)
        statement = STATEMENTS[is_timed, reads.is_by_locale, reads.is_personal]
        cursor = await connection.execute(statement, given)
        found = {row[0]: row for row in await cursor.fetchall()}
        for batch in members:
            moments = Moments(contents[batch.sending].timing)
            loaded[batch.id] = [
                _recipient(moments, batch.attempt, *found[device]) if device in found else _erased(device)
                for device in batch.device_ids
            ]
    return loaded


class Moments:
    """What the clock says just now, worked out once for each zone and quiet hours in a batch."""

    def __init__(self, timed: Timing | None) -> None:
        self._timed, self._now = timed, datetime.now(UTC)
        self._known: dict[tuple[str, str], tuple[datetime | None, str]] = {}

    def of(self, zone: str, windows: list[dict[str, Any]] | None) -> tuple[datetime | None, str]:
        """Held until when, or why never."""
        if self._timed is None:
            return None, ""
        key = zone, repr(windows)
        if key not in self._known:
            due_at, reason, _ = self._timed.moment(zone, windows, self._now)
            self._known[key] = due_at if due_at and due_at > self._now else None, reason
        return self._known[key]


def _recipient(
    moments: Moments,
    attempt: int,
    id: int,
    token: str,
    environment: str,
    fid: str,
    p256dh: str,
    auth: str,
    subscriber_id: int | None,
    suppressed: str | None,
    vapid_key: str,
    zone: str,
    windows: list[dict[str, Any]] | None,
    locale: str = "",
    *person: Any,
) -> Recipient:
    target = Target(id, token, environment, fid, p256dh, auth, attempt)
    held_until, untimely = moments.of(zone, windows)
    reason = policy.first(suppressed, untimely)
    known = wordings.person(*person) if person else None
    return Recipient(target, subscriber_id, reason, vapid_key, held_until, locale, known)


def _erased(device_id: int) -> Recipient:
    return Recipient(Target(device_id, ""), None, "device_erased", "")
