"""Telling people of incidents, by e-mail and webhook: when one opens that needs somebody, and when that one is over.

At least once; once as a rule. `Incident.told_at` is the last word told. A century earlier than now it is a try that
began then and is not over, or has failed: for TRY_SECONDS nobody else begins another, whatever becomes of this one.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import redis
import structlog
from django.conf import settings
from django.core.cache import cache
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F, Q, Subquery
from django.db.models.functions import Greatest, Least, Now
from django.urls import reverse
from django.utils import timezone

from notifications import incidents, reasons
from notifications.models import Incident

log = structlog.get_logger(__name__)

OPENED: Final = "incident.opened"
CLOSED: Final = "incident.closed"

CENTURY = timedelta(days=36_525)
TRY_SECONDS = 60
TIMEOUT_SECONDS = 5
# What a call of tell() may take before it leaves the rest to the next one.
BUDGET_SECONDS = 10
# The end of an incident is looked for among this many of the newest: old ones are not read every few seconds.
NEWEST = 5_000
MOMENT = timedelta(microseconds=1)

Channel = Callable[[str, Incident], None]


def tell() -> None:
    """What the clock calls. Cheap when there is nothing to tell, or nobody to tell it to."""
    channels = _channels()
    deadline = time.monotonic() + BUDGET_SECONDS
    while channels and time.monotonic() < deadline and (claimed := _claim()):
        incident, event = claimed
        if [name for name, channel in channels.items() if not _tell_by(name, channel, event, incident)]:
            return  # the next call goes on with the others
        _note_told(incident, event)


def _channels() -> dict[str, Channel]:
    wanted = (("email", settings.ALARM_EMAILS, _mail), ("webhook", settings.ALARM_WEBHOOK_URL, _post))
    return {name: channel for name, address, channel in wanted if address}


def _claim() -> tuple[Incident, str] | None:
    """An incident nobody else is telling, from now on ours; committed before anything is said."""
    now = timezone.now()
    lapsed = Q(told_at__lt=now - CENTURY - timedelta(seconds=TRY_SECONDS))
    opened = incidents.needing_people(now) & (Q(told_at__isnull=True) | lapsed)
    # Never those that were over before anybody was told.
    closed = Q(told_at__lt=F("closed_at")) & (Q(told_at__gte=F("opened_at")) | lapsed)
    newest = Incident.objects.order_by("-id").values("id")[:1]
    with transaction.atomic():
        incident = _locked(opened) or _locked(closed & Q(id__gt=Subquery(newest) - NEWEST))
        if incident is None:
            return None
        Incident.objects.filter(id=incident.id).update(told_at=now - CENTURY)
    return incident, CLOSED if incident.closed_at else OPENED


def _locked(due: Q) -> Incident | None:
    free = Incident.objects.select_for_update(of=("self",), skip_locked=True).filter(due)
    return free.select_related("application").order_by("id").first()


def _note_told(incident: Incident, event: str) -> None:
    """Before its end, however soon that came: only what was told before is told to be over."""
    told_at = Greatest(Now(), F("closed_at")) if event == CLOSED else Least(Now(), F("closed_at") - MOMENT)
    Incident.objects.filter(id=incident.id).update(told_at=Greatest(told_at, F("opened_at")))
    log.info("alarm_told", action="alarms.told", incident=incident.id, of=event)


def _tell_by(name: str, channel: Channel, event: str, incident: Incident) -> bool:
    """Whether this channel has taken it, now or in an earlier try that failed on the other channel."""
    key = f"carillon:alarms:{incident.id}:{event}:{name}"
    if _recall(key):
        return True
    try:
        channel(event, incident)
    except Exception as error:  # whatever it is: never the address, which may hold a secret
        log.error(
            "alarm_failed",
            action="alarms.failed",
            channel=name,
            incident=incident.id,
            error=type(error).__name__,
        )
        return False
    _remember(key)
    return True


def _recall(key: str) -> bool:
    try:
        return bool(cache.get(key))
    except redis.RedisError:  # rather twice than never
        return False


def _remember(key: str) -> None:
    try:
        cache.set(key, 1, timeout=86_400)
    except redis.RedisError:
        log.warning("alarm_not_remembered", action="alarms.not_remembered")


# --- E-mail -----------------------------------------------------------------------------------


def _mail(event: str, incident: Incident) -> None:
    said = incidents.said(incident)
    subject = f"[Carillon] {'Over: ' if event == CLOSED else ''}{said.title}"
    send_mail(
        " ".join(subject.split()),
        _text(event, incident, said),
        settings.DEFAULT_FROM_EMAIL,
        settings.ALARM_EMAILS,
    )


def _text(event: str, incident: Incident, said: incidents.Said) -> str:
    words = f"In so many words: {said.provider_words}" if said.provider_words else ""
    if event == CLOSED:
        by = f" by {incident.closed_by}" if incident.closed_by else ""
        paragraphs = [f"Ended{by}: {_at(incident.closed_at)}.", f"Began: {_at(incident.opened_at)}.", words]
    else:
        paragraphs = [f"Since {_at(incident.opened_at)}.", words, said.spared, f"What to do: {said.todo}"]
    return "\n\n".join(filter(None, [f"{said.title}.", *paragraphs, _url(incident)])) + "\n"


def _at(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def _url(incident: Incident) -> str:
    path = reverse("admin:notifications_incident_change", args=[incident.pk])
    return f"{settings.BASE_URL}{path}"


# --- Webhook ----------------------------------------------------------------------------------


def payload(event: str, incident: Incident) -> Mapping[str, Any]:
    """Receivers tell a repetition by (id, event)."""
    return {
        "event": event,
        "id": incident.id,
        "application": incident.application.slug,
        "provider": incident.provider,
        "cause": incident.cause,
        "words": reasons.repeatable(incident.words),
        "opened_at": incident.opened_at,
        "closed_at": incident.closed_at,
        "waiting": incidents.said(incident).waiting,
        "url": _url(incident),
    }


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Followed, a POST would arrive as a GET without its body, and be taken for told."""

    def redirect_request(self, *args: Any) -> None:
        return None


def _post(event: str, incident: Incident) -> None:
    body = orjson.dumps(payload(event, incident))
    headers = {"Content-Type": "application/json", "User-Agent": "Carillon"}
    if secret := settings.ALARM_WEBHOOK_SECRET:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Carillon-Signature"] = f"sha256={digest}"
    # Its scheme is checked at start: config/env.py.
    request = urllib.request.Request(str(settings.ALARM_WEBHOOK_URL), body, headers)  # noqa: S310
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS):
        """2xx: it is theirs now. Anything else has raised."""
