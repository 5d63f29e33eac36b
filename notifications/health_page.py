"""/admin/credentials/health/: every credential, the worst first, with what it holds up and its last day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from notifications import checks, credential_states, lanes
from notifications.credential_states import CredentialState, State
from notifications.models import Incident
from notifications.pipeline import wake
from tenants import access
from tenants.models import ApiKey, Credential

HOURS = 24
OVERDUE = timedelta(minutes=2)  # a check nobody runs
SOON = timedelta(days=30)  # from when an end is worth a word

LOOKS = {
    State.REFUSED: ("bad", "Refused", "vpn_key_alert"),
    State.TROUBLE: ("warn", "Waits", "cloud_off"),
    State.UNKNOWN: ("odd", "Unknown", "help"),
    State.OK: ("good", "Accepted", "check_circle"),
}
FACTS = (
    ("key_id", "Key"),
    ("team_id", "Team"),
    ("bundle_id", "Bundle id"),
    ("environment", "Environment"),
    ("project_id", "Project"),
    ("client_email", "Service account"),
    ("subject", "Contact"),
)
# A check that found something: tone and words of the hours since.
CHECKED: dict[str, tuple[str, str]] = {
    Credential.CheckResult.REFUSED: ("bad", "refused when checked"),
    Credential.CheckResult.UNABLE: ("odd", "could not be checked"),
}
ENVIRONMENTS = {"both": "production and development", "sandbox": "development"}

WAITING = """
    SELECT b.application_id, split_part(b.lane, '.', 1), split_part(b.lane, '.', 2) = 'campaign',
        count(DISTINCT b.notification_id), sum(cardinality(b.device_ids))::bigint
    FROM unnest(%s::bigint[], %s::text[]) AS stopped (application_id, lane)
    JOIN notifications_batch b ON b.application_id = stopped.application_id AND b.lane = stopped.lane
    GROUP BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class Hour:
    """One cell of the tracker. tone: a class of console.css."""

    tone: str
    words: str


@dataclass(frozen=True, slots=True)
class Card:
    credential: Credential
    state: CredentialState
    tone: str
    word: str
    icon: str
    facts: Sequence[tuple[str, str]]
    public_key: str
    effect: str
    tracker: Sequence[Hour]
    is_checking: bool


def health(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm("tenants.view_credential"):
        raise PermissionDenied
    now, ids = timezone.now(), access.ids(request.user, "tenants.view_credential")
    found = list(
        access.narrowed(Credential.objects.filter(is_active=True), ids)
        .select_related("application")
        .order_by("application__name", "id")
    )
    cards = _cards(found, now)
    context = {
        **admin.site.each_context(request),
        "title": "Credential health",
        "cards": cards,
        "is_checking": any(card.is_checking for card in cards),
        "is_overdue": any(now - one.check_due_at > OVERDUE for one in found),
        "last_at": max((one.checked_at for one in found if one.checked_at), default=None),
        "may_change": request.user.has_perm("tenants.check_credential"),
        "may_add": request.user.has_perm("tenants.add_credential"),
        "expiring": list(_expiring(request, now)),
    }
    return TemplateResponse(request, "notifications/health.html", context)


def check_all(request: HttpRequest) -> HttpResponse:
    """POST: the next run checks them all; the page shows them come in."""
    if not request.user.has_perm("tenants.check_credential"):
        raise PermissionDenied
    own = access.ids(request.user, "tenants.check_credential")
    count = checks.ask_again(access.narrowed(Credential.objects.all(), own))
    wake.checks()
    messages.success(request, f"{count} credential{' is' if count == 1 else 's are'} being checked.")
    return HttpResponseRedirect(reverse("credential_health"))


def _cards(found: Sequence[Credential], now: datetime) -> list[Card]:
    by_id = {one.pk: one for one in found}
    states = credential_states.of(found)
    waiting = _waiting(by_id[one.credential_id] for one in states if one.incident_id)
    incidents = _incidents(found, now)
    cards = []
    for state in states:
        one = by_id[state.credential_id]
        key = one.application_id, one.provider
        tone, word, icon = LOOKS[state.state]
        cards.append(
            Card(
                one,
                state,
                tone,
                word,
                icon,
                [(label, _fact(one.public, name)) for name, label in FACTS if one.public.get(name)],
                str(one.public.get("public_key") or ""),
                _effect(state, waiting.get(key, (0, 0, 0))),
                _tracker(one, incidents.get(key, ()), now),
                _is_checking(one, now),
            )
        )
    return cards


def _fact(public: dict[str, Any], name: str) -> str:
    value = str(public[name])
    return ENVIRONMENTS.get(value, value) if name == "environment" else value


def _is_checking(credential: Credential, now: datetime) -> bool:
    """It is due, or was claimed and has no result yet; not for ever, where nobody runs it."""
    if credential.check_due_at <= now:
        return now - credential.check_due_at < OVERDUE
    begun_at = credential.check_due_at - checks.EVERY
    is_open = credential.checked_at is None or credential.checked_at < begun_at
    return is_open and now - begun_at < timedelta(seconds=2 * checks.SECONDS)


# --- What waits -------------------------------------------------------------------------------


def _waiting(stopped: Iterable[Credential]) -> dict[tuple[int, str], tuple[int, int, int]]:
    """(application, provider) → campaigns, single notifications, messages that wait in its lanes."""
    pairs = {
        (one.application_id, f"{one.provider}.{kind}")
        for one in stopped
        for kind in (lanes.TRANSACTIONAL, lanes.CAMPAIGN)
    }
    found: dict[tuple[int, str], tuple[int, int, int]] = {}
    if not pairs:
        return found
    with connection.cursor() as cursor:
        cursor.execute(WAITING, list(map(list, zip(*sorted(pairs), strict=True))))
        for application_id, provider, is_campaign, count, recipients in cursor.fetchall():
            campaigns, singles, total = found.get((application_id, provider), (0, 0, 0))
            found[application_id, provider] = (
                campaigns + count * is_campaign,
                singles + count * (not is_campaign),
                total + recipients,
            )
    return found


def _effect(state: CredentialState, waiting: tuple[int, int, int]) -> str:
    if state.state in (State.OK, State.UNKNOWN):
        return ""
    campaigns, singles, total = waiting
    held = " and ".join(
        f"{count:,} {noun}{'' if count == 1 else 's'}"
        for count, noun in ((campaigns, "campaign"), (singles, "single notification"))
        if count
    )
    spared = "No device is switched off."
    if not held:
        return f"Nothing waits for it at the moment. {spared}"
    return f"{held} held, {total:,} message{'' if total == 1 else 's'} in all. Nothing is lost. {spared}"


# --- The last day -----------------------------------------------------------------------------


def _incidents(found: Sequence[Credential], now: datetime) -> dict[tuple[int, str], list[Incident]]:
    lately = Incident.objects.filter(
        Q(closed_at__isnull=True) | Q(closed_at__gt=now - timedelta(hours=HOURS)),
        application_id__in={one.application_id for one in found},
    ).exclude(provider="")
    by_key: dict[tuple[int, str], list[Incident]] = {}
    for incident in lately:
        by_key.setdefault((incident.application_id, incident.provider), []).append(incident)
    return by_key


def _tracker(credential: Credential, incidents: Sequence[Incident], now: datetime) -> list[Hour]:
    """The oldest hour first; of several troubles in one hour the worst."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    begins = [this_hour - timedelta(hours=ago) for ago in reversed(range(HOURS))]
    return [_hour(credential, incidents, begin) for begin in begins]


def _hour(credential: Credential, incidents: Sequence[Incident], begin: datetime) -> Hour:
    end = begin + timedelta(hours=1)
    span = f"{begin:%H:%M} to {end:%H:%M} UTC"
    met = [
        one for one in incidents if one.opened_at < end and (one.closed_at is None or one.closed_at > begin)
    ]
    if worst := min(met, key=lambda one: one.cause != Incident.Cause.CREDENTIAL, default=None):
        tone = "bad" if worst.cause == Incident.Cause.CREDENTIAL else "warn"
        return Hour(tone, f"{span}: {worst.get_cause_display()}")
    if credential.created_at >= end:
        return Hour("off", f"{span}: not there yet")
    if (
        (looks := CHECKED.get(credential.check_result))
        and credential.check_since
        and credential.check_since < end
    ):
        return Hour(looks[0], f"{span}: {looks[1]}")
    return Hour("good", f"{span}: no trouble")


# --- What ends soon ---------------------------------------------------------------------------


def _expiring(request: HttpRequest, now: datetime) -> Iterable[tuple[str, datetime, str]]:
    """(what, when, url): API keys, and the certificate authority providers are trusted by."""
    if request.user.has_perm("tenants.view_apikey"):
        soon = ApiKey.objects.filter(
            revoked_at__isnull=True, expires_at__gt=now, expires_at__lt=now + SOON
        ).select_related("application")
        keys = access.narrowed(soon, access.ids(request.user, "tenants.view_apikey"))
        for key in keys.order_by("expires_at"):
            what = f"API key {key.name or key} of {key.application}"
            yield what, key.expires_at or now, reverse("admin:tenants_apikey_change", args=[key.pk])
    ends_at = _authority_ends_at(str(settings.PROVIDER_CA_FILE or ""))
    if ends_at and ends_at < now + SOON:
        yield "Certificate authority in PROVIDER_CA_FILE", ends_at, ""


def _authority_ends_at(path: str) -> datetime | None:
    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes()) if path else []
    except (OSError, ValueError):
        return None
    return min((one.not_valid_after_utc.astimezone(UTC) for one in found), default=None)
