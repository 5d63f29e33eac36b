"""/admin/explain/: why somebody got a message, did not, or will. Who looks at whom is logged.

?person= (whatever they are known by) &application= &notification=, or &subscriber= (our own number, from other pages).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import orjson
import structlog
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from devices import lookup
from devices.admin import state_chip, token_tail
from devices.models import Device, Subscriber
from notifications import explain, explain_links, explain_verdict, reasons, selectors
from notifications.explain_links import Subject
from notifications.explain_verdict import Verdict
from notifications.models import Delivery, Notification
from tenants import access
from tenants.models import Application

log = structlog.get_logger(__name__)

RECENT, NEWEST = 20, 20  # messages to choose from
LINES = 300  # of their ledger, in which the recent ones are found

TITLES = {
    "audience": "Audience",
    "address": "Device and permission",
    "deadline": "Deadline",
    "consent": "Consent",
    "preference": "Category preference",
    "holdout": "Global holdout",
    "quiet_hours": "Quiet hours",
    "cap": "Cap",
    "time": "Local time and send window",
    "throttle": "Throttle",
    "template": "Template",
    "send": "Sending",
}
MARKS = {
    "yes": ("✓", "passed"),
    "no": ("✗", "stopped it"),
    "wait": ("✓", "held it"),
    "open": ("–", "not reached"),
}


class Row(NamedTuple):
    """One rule. mark: a key of MARKS. sees: as of now. today: where it now decides otherwise than on record."""

    title: str
    mark: str
    symbol: str
    said: str
    sees: str
    until: Any = None
    reason: str = ""
    today: str = ""


def page(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm("devices.view_subscriber"):
        raise PermissionDenied
    applications = list(access.applications(request.user, "devices.view_subscriber").order_by("name"))
    asked = {
        name: request.GET.get(name, "").strip()[: lookup.LONGEST]
        for name in ("person", "subscriber", "application", "notification")
    }
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Explain",
        "applications": applications,
        "asked": asked,
        **_answer(request, asked, applications),
    }
    return TemplateResponse(request, "notifications/explain.html", context)


def _answer(
    request: HttpRequest, asked: Mapping[str, str], applications: Sequence[Application]
) -> dict[str, Any]:
    if not asked["person"] and not asked["subscriber"]:
        return {"is_asked": False}
    matches = _matches(asked, applications)
    people = [one for one in matches if one.subscriber]
    if len(people) != 1:
        return {
            "is_asked": True,
            "unknown": _unknown(asked, matches),
            "candidates": _candidates(people, asked),
        }
    subscriber = people[0].subscriber
    assert subscriber
    notification = _notification(asked["notification"], subscriber)
    found = {
        "is_asked": True,
        "subscriber": subscriber,
        "found_by": people[0].by,
        "choices": _choices(subscriber, notification),
    }
    log.info(
        "explain_viewed",
        action="explain.viewed",
        by=request.user.get_username(),
        subscriber=subscriber.pk,
        notification=str(notification.id) if notification else None,
    )
    if asked["notification"] and notification is None:
        return {**found, "no_notification": True}
    return {**found, **_explained(request, notification, subscriber)} if notification else found


# --- whom, and which message ------------------------------------------------------------------


def _matches(asked: Mapping[str, str], applications: Sequence[Application]) -> list[lookup.Match]:
    wanted = [one.pk for one in applications if asked["application"] in ("", str(one.pk))]
    if not asked["subscriber"]:
        return lookup.people(asked["person"], wanted)
    if not (asked["subscriber"].isdecimal() and len(asked["subscriber"]) <= 18):
        return []
    known = Subscriber.objects.filter(application__in=applications)
    rows = known.select_related("application", "quiet_hours").filter(pk=int(asked["subscriber"]))
    return [lookup.Match(row, "link") for row in rows]


def _unknown(asked: Mapping[str, str], matches: Sequence[lookup.Match]) -> str:
    if len(matches) > 1:
        return ""
    if matches:
        return "Nobody is signed in on this device, so no rule of a person applies to it."
    if asked["subscriber"]:
        return (
            "This person was erased. What they were sent still counts, but nothing says any more what it was."
        )
    return (
        "Nobody is known by that. Ids, e-mail addresses and device ids are looked for as a whole, tokens by their last "
        f"{lookup.TAIL} characters. Of somebody who was erased only counts remain."
    )


def _candidates(
    people: Sequence[lookup.Match], asked: Mapping[str, str]
) -> list[tuple[Subscriber, str, str]]:
    """(person, how found, where to go on)."""
    return [
        (one.subscriber, one.by, url(one.subscriber.pk, asked["notification"]))
        for one in people
        if one.subscriber
    ]


def url(subscriber_id: int, notification: UUID | str = "") -> str:
    """The page's, of a person and, if given, a message."""
    asked = {"subscriber": subscriber_id, "notification": notification}
    return f"{reverse('explain')}?{urlencode({name: value for name, value in asked.items() if value})}"


def _choices(subscriber: Subscriber, chosen: Notification | None) -> list[tuple[str, list[tuple[UUID, str]]]]:
    """(label, [(id, name)]): those in their ledger, and the newest of the application: it may not have come to them."""
    lines = Delivery.objects.filter(application_id=subscriber.application_id, subscriber_id=subscriber.pk)
    seen = list(dict.fromkeys(lines.order_by("-id").values_list("notification_id", flat=True)[:LINES]))[
        :RECENT
    ]
    of_app = Notification.objects.filter(application_id=subscriber.application_id).select_related(
        "stage__run__campaign"
    )
    theirs = of_app.in_bulk(seen)
    newest = [one for one in of_app.order_by("-id")[:NEWEST] if one.pk not in theirs]
    groups = [
        ("In their record", [theirs[id] for id in seen if id in theirs]),
        ("Newest of this app", newest),
    ]
    if chosen and chosen.pk not in {one.pk for _, found in groups for one in found}:
        groups.insert(0, ("Asked for", [chosen]))
    return [(label, [(one.pk, _name(one)) for one in found]) for label, found in groups if found]


def _name(notification: Notification) -> str:
    stage = getattr(notification, "stage", None)
    of = f"{stage.run.campaign}: " if stage else ""
    return f"{of}{notification}, {notification.created_at:%-d %b %H:%M}"


def _notification(id: str, subscriber: Subscriber) -> Notification | None:
    try:
        wanted = UUID(id)
    except ValueError:
        return None
    return selectors.notification(subscriber.application_id, wanted)


# --- the explanation --------------------------------------------------------------------------


def _explained(request: HttpRequest, notification: Notification, subscriber: Subscriber) -> dict[str, Any]:
    told, steps = selectors.explanation(notification, subscriber), explain.rules(notification, subscriber)
    for line in told["deliveries"]:  # a provider's words may hold what looks like a token
        line["detail"] = reasons.repeatable(line["detail"] or "")
    verdict = explain_verdict.of(notification, subscriber, told, steps)
    devices = list(
        Device.objects.filter(subscriber=subscriber).order_by("retired_at", "-last_seen_at", "-id")[:10]
    )
    speaks = next(
        (one for one in devices if one.public_id == verdict.device), devices[0] if devices else None
    )
    raw = {
        "notification": notification.id,
        "subscriber": subscriber.external_id,
        "verdict": verdict.words,
        **told,
        "rules": steps,
    }
    return {
        "notification": notification,
        "verdict": verdict,
        "advice": reasons.words(verdict.reason) if verdict.reason else None,
        "link": explain_links.of(verdict, Subject(notification, subscriber, speaks), request.user),
        "rows": rows(verdict, steps),
        "devices": [(one, state_chip(one), token_tail(one)) for one in devices],
        "lines": [_line(line) for line in told["deliveries"][:50]],
        "raw": orjson.dumps(raw, option=orjson.OPT_INDENT_2, default=str).decode(),
        "now": timezone.now(),
    }


def rows(verdict: Verdict, steps: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Each rule in its order: up to the one that stopped it they let it pass, behind it none was asked."""
    found, is_over = [], False
    for step in steps:
        stops = step["decides"] == explain.STOPS
        is_here = not is_over and step["rule"] == verdict.rule and _is_the_one(step, steps, verdict)
        mark = (
            "open"
            if is_over
            else "no"
            if is_here
            else "wait"
            if step["until"] and not verdict.is_stored
            else "yes"
        )
        today = _today(mark, stops) if verdict.is_stored else ""
        symbol, said = MARKS[mark]
        found.append(
            Row(TITLES[step["rule"]], mark, symbol, said, step["sees"], step["until"], step["reason"], today)
        )
        is_over |= is_here
    return [*found, _sending(verdict, is_over)]


def _is_the_one(step: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], verdict: Verdict) -> bool:
    """Of several caps, the one that is full; on record it may have been any, so the last."""
    same = [one for one in steps if one["rule"] == step["rule"]]
    full = [one for one in same if one["decides"] == explain.STOPS]
    return step is (full[0] if full else same[-1])


def _today(mark: str, stops: bool) -> str:
    if mark == "no" and not stops:
        return "Today it would let it pass."
    return "Today it would stop it." if mark == "yes" and stops else ""


def _sending(verdict: Verdict, is_over: bool) -> Row:
    stopped = verdict.rule == "send"
    is_sent = verdict.is_stored and not is_over and verdict.at and not stopped and verdict.tone == "good"
    mark = "no" if stopped else "yes" if is_sent else "open"
    symbol, said = MARKS[mark]
    sees = verdict.words if stopped or is_sent else "not come to"
    return Row(TITLES["send"], mark, symbol, said, sees, reason=verdict.reason if stopped else "")


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    """Of the ledger, as the page shows it."""
    return {
        **line,
        "label": Delivery.Outcome(line["outcome"]).label,
        "title": reasons.words(line["reason"]).title if line["reason"] else "",
    }
