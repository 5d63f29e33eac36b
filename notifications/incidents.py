"""Incidents as people meet them: which are open and need somebody, and what is done about them by hand.

How the pipeline opens and ends them by itself: pipeline/incidents.py. Telling people: alarms.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from notifications import lanes, reasons, services
from notifications.models import Incident, RetirementCount, SuspendedRetirement
from notifications.pipeline import wake
from notifications.pipeline.build import providers
from notifications.providers.base import Outcome
from tenants.models import Credential
from tenants.selectors import remembered

Cause = Incident.Cause

ENDED_BY_HAND = (Cause.CREDENTIAL, Cause.CIRCUIT, Cause.QUOTA)
# These mostly end by themselves: nobody is called for the first minute.
PATIENCE = timedelta(seconds=60)
PATIENT = (Cause.CIRCUIT, Cause.QUOTA)

ATTEMPTS = 3


# --- Reads ------------------------------------------------------------------------------------


def needing_people(now: datetime) -> Q:
    """Open, and not likely to end by itself."""
    return Q(closed_at__isnull=True) & (~Q(cause__in=PATIENT) | Q(opened_at__lte=now - PATIENCE))


def needs_people(incident: Incident, now: datetime) -> bool:
    """The same of one incident in hand."""
    is_patient = incident.cause in PATIENT and incident.opened_at > now - PATIENCE
    return incident.closed_at is None and not is_patient


def open_ones(application_id: int | None = None) -> QuerySet[Incident]:
    """What is wrong now, of one application or of all; the oldest first. `credential_id`: the refused one, if any."""
    refused = Credential.objects.filter(
        application_id=OuterRef("application_id"),
        provider=OuterRef("provider"),
        is_active=True,
        blocked_at__isnull=False,
    )
    found = Incident.objects.filter(closed_at__isnull=True).select_related("application").order_by("id")
    if application_id is not None:
        found = found.filter(application_id=application_id)
    return found.annotate(credential_id=Subquery(refused.values("id")[:1]))


def stopped_lanes(incident: Incident) -> tuple[str, ...]:
    if not incident.stops_lanes or not incident.provider:
        return ()
    kinds = (incident.lane_kind,) if incident.lane_kind else (lanes.TRANSACTIONAL, lanes.CAMPAIGN)
    return tuple(f"{incident.provider}.{kind}" for kind in kinds)


WAITING = """
    SELECT coalesce(sum(cardinality(b.device_ids)), 0)::bigint
    FROM unnest(%s::bigint[], %s::text[]) AS stopped (application_id, lane)
    JOIN notifications_batch b ON b.application_id = stopped.application_id AND b.lane = stopped.lane
"""


def waiting(*found: Incident) -> int:
    """Recipients in open batches of the lanes these stop, each counted once; a few seconds old."""
    stopped = {(incident.application_id, lane) for incident in found for lane in stopped_lanes(incident)}
    return _waiting(tuple(sorted(stopped))) if stopped else 0


@remembered
def _waiting(stopped: tuple[tuple[int, str], ...]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(WAITING, list(map(list, zip(*stopped, strict=True))))
        return int(cursor.fetchone()[0])


@dataclass(frozen=True, slots=True)
class Said:
    """An incident in words (reasons.INCIDENTS). provider_words: the provider's own, safe to repeat."""

    title: str
    spared: str
    todo: str
    deed: str
    tone: str
    icon: str
    provider_words: str
    waiting: int


def said(incident: Incident) -> Said:
    count = 0 if incident.closed_at else waiting(incident)
    in_part = incident.cause == Cause.CREDENTIAL and not incident.stops_lanes
    entry = reasons.INCIDENTS["credential_in_part" if in_part else incident.cause]
    named = {
        "app": incident.application.name,
        "provider": reasons.PROVIDERS.get(incident.provider, incident.provider),
        "waiting": messages_wait(count),
    }
    return Said(
        title=entry.title.format(**named),
        spared=entry.spared.format(**named),
        todo=entry.todo,
        deed=entry.deed,
        tone=entry.tone,
        icon=entry.icon,
        provider_words=reasons.repeatable(incident.words),
        waiting=count,
    )


def messages_wait(count: int) -> str:
    return (
        "nothing waits at the moment"
        if not count
        else f"{count:,} message{' waits' if count == 1 else 's wait'}"
    )


# --- Deeds ------------------------------------------------------------------------------------


def resume(incident: Incident, *, by: str) -> bool:
    """Close a credential, circuit or quota incident by hand: its lanes are claimed again at once. If the provider
    still does not want to, another opens. False: it was over already, and nothing is changed."""
    with transaction.atomic():
        # The credential first, as senders do: two orders would wait for each other.
        refused = Credential.objects.filter(
            application_id=incident.application_id, provider=incident.provider, blocked_at__isnull=False
        ).order_by("id")
        ids = [row.pk for row in refused.select_for_update()] if incident.cause == Cause.CREDENTIAL else []
        closed = Incident.objects.filter(
            id=incident.id, closed_at__isnull=True, cause__in=ENDED_BY_HAND
        ).update(closed_at=Now(), closed_by=by)
        if closed:
            # With a new session: what it refuses from now on counts anew.
            Credential.objects.filter(id__in=ids).update(
                blocked_at=None, blocked_reason="", updated_at=timezone.now()
            )
            transaction.on_commit(lambda: services.let_go(incident.application_id, incident.provider))
    return bool(closed)


# --- The mass-retirement guard ----------------------------------------------------------------

# By the rule of pipeline/retire.py: seen since, its app has registered the token again.
RETIRE = """
    WITH due AS (
        SELECT d.id, s.reason FROM notifications_suspendedretirement s
        JOIN devices_device d ON d.id = s.device_id AND d.application_id = s.application_id
        WHERE s.application_id = %(application)s AND s.provider = %(provider)s
            AND d.retired_at IS NULL AND coalesce(d.last_seen_at, '-infinity') < s.before
        ORDER BY d.id FOR UPDATE OF d
    )
    UPDATE devices_device d SET retired_at = now(), retired_reason = left(due.reason, 40)
    FROM due WHERE d.id = due.id
"""

# Not where another device has the address by now; and of several that had it, the last.
REVIVE = """
    WITH due AS (
        SELECT DISTINCT ON (d.platform, md5(d.token)) d.id FROM devices_device d
        WHERE d.application_id = %(application)s AND d.platform = ANY (%(platforms)s)
            AND d.retired_at >= %(opened_at)s::timestamptz - interval '1 hour' AND d.retired_reason = ANY (%(reasons)s)
            AND NOT EXISTS (
                SELECT FROM devices_device o
                WHERE o.application_id = d.application_id AND o.platform = d.platform AND o.retired_at IS NULL
                    AND md5(o.token)::uuid = md5(d.token)::uuid
            )
        ORDER BY d.platform, md5(d.token), d.id DESC
    )
    UPDATE devices_device d SET retired_at = NULL, retired_reason = ''
    FROM due WHERE d.id = due.id AND d.retired_at IS NOT NULL
"""


def release_retirements(incident: Incident, *, by: str, really_gone: bool) -> int | None:
    """A human's word on the devices a provider calls gone: how many were switched off, or switched on again.

    really_gone: the suspended verdicts are applied. Else they are dropped, and what the provider had retired in
    the hour before the incident and since is revived. Either way the count begins anew and the lanes go on.
    None: it was decided before, and nothing is changed.
    """
    # So many devices changed sides within the hour that the planner may take what is a million for a handful, and
    # compare each with each: minutes for 50,000, against two seconds.
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_device")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                return _release(incident, by, RETIRE if really_gone else REVIVE)
        except (IntegrityError, OperationalError):
            # A registration took one of the addresses in between, or the two waited for each other.
            if attempt == ATTEMPTS or connection.in_atomic_block:
                raise
    raise AssertionError


def _release(incident: Incident, by: str, statement: str) -> int | None:
    # First of all: of two who decide, the second finds it closed.
    closed = Incident.objects.filter(id=incident.id, closed_at__isnull=True, cause=Cause.RETIREMENTS).update(
        closed_at=Now(), closed_by=by
    )
    if not closed:
        return None
    with connection.cursor() as cursor:
        cursor.execute(statement, _release_parameters(incident))
        changed = cursor.rowcount
    of_provider = {"application_id": incident.application_id, "provider": incident.provider}
    SuspendedRetirement.objects.filter(**of_provider).delete()
    RetirementCount.objects.filter(**of_provider).delete()
    names = stopped_lanes(incident)
    transaction.on_commit(lambda: wake.lanes(names))
    return changed


def _release_parameters(incident: Incident) -> Mapping[str, Any]:
    platforms = [
        platform for platform, name in lanes.PROVIDER_OF_PLATFORM.items() if name == incident.provider
    ]
    return {
        "application": incident.application_id,
        "provider": incident.provider,
        "opened_at": incident.opened_at,
        "platforms": platforms or list(lanes.PROVIDER_OF_PLATFORM),  # a stand-in serves all
        "reasons": sorted(set(_retiring_reasons())),
    }


def _retiring_reasons() -> Iterable[str]:
    """What a provider retires a device for; its app and staff have reasons of their own."""
    for provider in providers().values():
        yield from (row.reason for row in provider.OUTCOMES.values() if row.outcome is Outcome.UNREGISTERED)


def suspended(incident: Incident) -> list[tuple[str, int]]:
    """(reason, devices) of the verdicts that wait for a decision, the most first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reason, count(*) FROM notifications_suspendedretirement"
            " WHERE application_id = %s AND provider = %s GROUP BY 1 ORDER BY 2 DESC",
            [incident.application_id, incident.provider],
        )
        return cursor.fetchall()
