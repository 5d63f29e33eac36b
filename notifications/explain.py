"""Why a person got a message, did not, or will: each rule in its order, what it sees now and what it decides.

What has been decided is in the ledger; this says how the rules stand at this moment, in the precedence of
docs/architecture.md, with the pipeline's own functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from devices import quiet, selectors
from devices.models import Category, Device, Subscriber
from notifications.models import Notification, Recent
from notifications.pipeline import audience, policy, terms
from notifications.pipeline.terms import Limit, Terms
from notifications.pipeline.timing import LATE_REASONS, Moment, Rule

Step = dict[str, Any]

PASSES, HOLDS, STOPS = "passes", "holds", "stops"


def rules(notification: Notification, subscriber: Subscriber) -> list[Step]:
    """One step per rule: rule, sees (words), decides (passes, holds, stops), reason ("" or the ledger's), until."""
    category, said = notification.category, terms.of(notification.category_id)
    now = timezone.now()
    device = Device.objects.filter(subscriber=subscriber, retired_at=None).order_by("-last_seen_at").first()
    zone = subscriber.time_zone or (device.time_zone if device else "")
    own = subscriber.quiet_hours.windows if subscriber.quiet_hours else None
    moment = terms.timing_of(notification).moment(zone, own, now)
    return [
        _audience(notification, subscriber),
        _address(subscriber, device, category),
        _deadline(notification, zone, moment, now),
        *_consent(subscriber, category),
        *_holdout(subscriber, category),
        _quiet_hours(said, zone, own, moment),
        *_caps(notification, subscriber, said, moment),
        _moment(notification, zone, moment, now),
        _throttle(notification),
    ]


def _step(rule: str, sees: str, *, reason: str = "", until: datetime | None = None) -> Step:
    decides = STOPS if reason else HOLDS if until else PASSES
    return {"rule": rule, "sees": sees, "decides": decides, "reason": reason, "until": until}


def _audience(notification: Notification, subscriber: Subscriber) -> Step:
    asked = {"application": notification.application_id, "subscriber": subscriber.id}
    source, parameters = audience.whole(notification.audience, notification.application_id)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT FROM ({source}) AS d WHERE d.subscriber_id = %(subscriber)s)",
            {**parameters, **asked},
        )
        is_in = cursor.fetchone()[0]
    named = next((kind for kind in ("segment", "all") if kind in notification.audience), "")
    meant = {"segment": f"the segment {notification.audience.get('segment')}", "all": "everyone"}.get(
        named, "a list"
    )
    if is_in:
        return _step("audience", f"it is for {meant}, and they are in it now")
    return _step("audience", f"it is for {meant}, and they are not in it now", reason="not_in_audience")


def _address(subscriber: Subscriber, device: Device | None, category: Category) -> Step:
    if device is None:
        return _step("address", "no active device", reason="no_device")
    sees = f"{device.get_platform_display()}, permission {device.permission or 'not told'}"
    if device.permission == Device.Permission.DENIED:
        return _step("address", sees, reason="permission_denied")
    if "push" not in category.channels:
        return _step("address", f"the category is not sent by push; {sees}", reason="channel_not_allowed")
    return _step("address", sees)


def _deadline(notification: Notification, zone: str, moment: Moment, now: datetime) -> Step:
    timed = terms.timing_of(notification)
    ends = timed.expires_at(timed.zone(zone))
    late = moment.reason if moment.reason in LATE_REASONS else ""
    return _step(
        "deadline",
        f"worth sending until {ends:%Y-%m-%d %H:%M} UTC",
        reason="expired" if now >= ends else late,
    )


def _consent(subscriber: Subscriber, category: Category) -> Iterator[Step]:
    is_forced = category.default == Category.Default.FORCED
    is_marketing = category.kind == Category.Kind.MARKETING
    unsubscribed = bool(subscriber.unsubscribed_at) and is_marketing and not is_forced
    sees = (
        f"unsubscribed on {subscriber.unsubscribed_at:%Y-%m-%d}"
        if subscriber.unsubscribed_at
        else "not unsubscribed"
    )
    yield _step("consent", sees, reason="unsubscribed" if unsubscribed else "")
    word = (
        subscriber.preferences.filter(category=category, channel="push")
        .values_list("is_allowed", flat=True)
        .first()
    )
    own = {None: "they said nothing", True: "they said yes", False: "they said no"}[word]
    sees = f"{category}: {category.get_default_display().lower()}; {own}"
    is_allowed = selectors.preferences(subscriber)[category.slug]["push"]
    reason = "" if is_forced or is_allowed else "not_opted_in" if word is None else "opted_out"
    yield _step("preference", sees, reason=reason)


def _holdout(subscriber: Subscriber, category: Category) -> Iterator[Step]:
    percent = category.application.holdout_percent
    if not percent or category.kind != Category.Kind.MARKETING:
        return
    is_held_out = policy.is_held_out(category.application_id, percent, subscriber.id, None)
    among = "they are among them" if is_held_out else "they are not among them"
    sees = f"{percent} % of people get no marketing, to compare with; {among}"
    yield _step("holdout", sees, reason="global_holdout" if is_held_out else "")


def _quiet_hours(said: Terms, zone: str, own: list[dict[str, Any]] | None, moment: Moment) -> Step:
    windows = said.quiet_hours[0] if own is None else own
    whose = "the application's" if own is None else "their own"
    shown = quiet.describe(windows) or "none"
    sees = f"{whose}: {shown}, in {zone or said.time_zone}; the category says {Rule(said.quiet_rule).label.lower()}"
    is_quiet = moment.reason not in LATE_REASONS
    return _step("quiet_hours", sees, reason=moment.reason if is_quiet else "")


def _caps(notification: Notification, subscriber: Subscriber, said: Terms, moment: Moment) -> Iterator[Step]:
    recent = Recent.objects.filter(
        application_id=notification.application_id, recipient=subscriber.id
    ).first()
    for limit in said.limits:
        taken = _taken(recent, limit, notification, moment)
        has_place = recent is not None and notification.id in recent.notification_ids
        period = "week" if limit.is_weekly else "day"
        sees = f"{taken} others of at most {limit.most} in that {period}" + (
            "; this one has its place" if has_place else ""
        )
        yield _step("cap", sees, reason="" if has_place or taken < limit.most else "capped")


def _taken(recent: Recent | None, limit: Limit, notification: Notification, moment: Moment) -> int:
    if recent is None:
        return 0
    week = moment.day.isocalendar()[:2]
    return sum(
        category in limit.category_ids
        and id != notification.id
        and (day.isocalendar()[:2] == week if limit.is_weekly else day == moment.day)
        for id, category, day in zip(recent.notification_ids, recent.category_ids, recent.days, strict=True)
    )


def _moment(notification: Notification, zone: str, moment: Moment, now: datetime) -> Step:
    window = notification.send_window
    sees = "; ".join(
        [
            *([f"meant for {notification.local_time} on their clock"] if notification.local_time else []),
            *([f"only from {window['start']} to {window['end']}"] if window else []),
        ]
    )
    until = moment.due_at if moment.due_at and moment.due_at > now else None
    return _step("time", sees or "any time", until=until)


def _throttle(notification: Notification) -> Step:
    pace = notification.throttle_per_second
    return _step("throttle", f"at most {pace} a second" if pace else "no limit of its own")
