"""Why a person got a message, did not, or will: each rule in its order, what it sees now and what it decides.

What has been decided is in the ledger; this says how the rules stand at this moment, in the precedence of
docs/architecture.md, with the pipeline's own functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from config.problems import InvalidField
from devices import clocks, quiet, selectors
from devices.models import Category, Device, Subscriber
from notifications import template_versions
from notifications import template_wording as wordings
from notifications.models import Notification, Recent, TemplateVersion
from notifications.pipeline import audience, policy, terms
from notifications.pipeline.terms import Limit, Terms
from notifications.pipeline.timing import LATE_REASONS, Moment, Rule
from notifications.templating import Missing, NotRenderable

Step = dict[str, Any]

PASSES, HOLDS, STOPS = "passes", "holds", "stops"


@dataclass(frozen=True, slots=True)
class Case:
    """One person and one notification, at a moment: now, or when it is to be sent. device: the one that speaks for
    the person. own: their quiet hours, None for the application's."""

    notification: Notification
    subscriber: Subscriber
    device: Device | None
    is_meant: bool
    said: Terms
    at: datetime
    zone: str
    own: list[dict[str, Any]] | None
    moment: Moment

    @property
    def category(self) -> Category:
        return self.notification.category

    @property
    def windows(self) -> Any:
        return self.said.quiet_hours[0] if self.own is None else self.own


def rules(notification: Notification, subscriber: Subscriber) -> list[Step]:
    """One step per rule: rule, sees (words), decides (passes, holds, stops), reason ("" or the ledger's), until."""
    case = _case(notification, subscriber)
    return [
        _audience(case),
        _address(case),
        _deadline(case),
        *_consent(subscriber, case.category),
        *_holdout(subscriber, case.category),
        _quiet_hours(case),
        *_caps(case),
        _moment(case),
        _throttle(notification),
        *_template(case),
    ]


def _case(notification: Notification, subscriber: Subscriber) -> Case:
    now = timezone.now()
    at = max(now, notification.send_at or now)
    meant = _meant(notification, subscriber)
    device = _device(subscriber, meant)
    zone = subscriber.time_zone or (device.time_zone if device else "")
    own = subscriber.quiet_hours.windows if subscriber.quiet_hours else None
    moment = terms.timing_of(notification).moment(zone, own, at)
    said = terms.of(notification.category_id)
    return Case(notification, subscriber, device, bool(meant), said, at, zone, own, moment)


def _meant(notification: Notification, subscriber: Subscriber) -> list[int | None]:
    """The person's devices that are in the audience now; [None] for a person without any, listed by name."""
    asked = {"application": notification.application_id, "subscriber": subscriber.id}
    try:
        source, parameters = audience.whole(notification.audience, notification.application_id)
    except InvalidField:  # its segment was deleted: there is nobody in it
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT d.device_id FROM ({source}) AS d WHERE d.subscriber_id = %(subscriber)s",
            {**parameters, **asked},
        )
        return [id for (id,) in cursor.fetchall()]


def _device(subscriber: Subscriber, meant: list[int | None]) -> Device | None:
    """The active device by which the message has the best chance."""
    found = list(Device.objects.filter(subscriber=subscriber, retired_at=None))

    def chance(device: Device) -> tuple[Any, ...]:
        is_denied = device.permission == Device.Permission.DENIED
        return device.id in meant, not is_denied, device.last_seen_at or device.registered_at

    return max(found, key=chance, default=None)


def _step(rule: str, sees: str, *, reason: str = "", until: datetime | None = None) -> Step:
    decides = STOPS if reason else HOLDS if until else PASSES
    return {"rule": rule, "sees": sees, "decides": decides, "reason": reason, "until": until}


def _audience(case: Case) -> Step:
    wanted = case.notification.audience
    named = {"segment": f"the segment {wanted.get('segment')}", "all": "everyone"}
    meant = next((words for kind, words in named.items() if kind in wanted), "a list")
    if case.is_meant:
        return _step("audience", f"it is for {meant}, and they are in it now")
    return _step("audience", f"it is for {meant}, and they are not in it now", reason="not_in_audience")


def _address(case: Case) -> Step:
    device = case.device
    if device is None:
        return _step("address", "no active device", reason="no_device")
    sees = f"{device.get_platform_display()}, permission {device.permission or 'not told'}"
    if device.permission == Device.Permission.DENIED:
        return _step("address", sees, reason="permission_denied")
    if "push" not in case.category.channels:
        return _step("address", f"the category is not sent by push; {sees}", reason="channel_not_allowed")
    return _step("address", sees)


def _deadline(case: Case) -> Step:
    timed = terms.timing_of(case.notification)
    ends = timed.expires_at(timed.zone(case.zone))
    late = case.moment.reason if case.moment.reason in LATE_REASONS else ""
    return _step(
        "deadline",
        f"worth sending until {ends:%Y-%m-%d %H:%M} UTC",
        reason="expired" if case.at >= ends else late,
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


def _quiet_hours(case: Case) -> Step:
    whose = "the application's" if case.own is None else "their own"
    shown = quiet.describe(case.windows) or "none"
    rule = Rule(case.said.quiet_rule)
    sees = f"{whose}: {shown}, in {case.zone or case.said.time_zone}; the category says {rule.label.lower()}"
    if case.moment.reason.startswith("quiet_hours"):
        return _step("quiet_hours", sees, reason=case.moment.reason)
    if rule != Rule.HOLD or case.moment.reason:
        return _step("quiet_hours", sees)
    timed = terms.timing_of(case.notification)
    zone = timed.zone(case.zone)
    begins = max(case.at, clocks.instant(timed.local_time, zone)) if timed.local_time else case.at
    return _step("quiet_hours", sees, until=quiet.ends(case.windows, zone, begins))


def _caps(case: Case) -> Iterator[Step]:
    notification = case.notification
    recent = Recent.objects.filter(
        application_id=notification.application_id, recipient=case.subscriber.id
    ).first()
    for limit in case.said.limits:
        taken = _taken(recent, limit, notification, case.moment.day)
        has_place = recent is not None and notification.id in recent.notification_ids
        period = "week" if limit.is_weekly else "day"
        sees = f"{taken} others of at most {limit.most} in that {period}" + (
            "; this one has its place" if has_place else ""
        )
        yield _step("cap", sees, reason="" if has_place or taken < limit.most else "capped")


def full_cap(notification: Notification, subscriber: Subscriber, at: datetime) -> tuple[int, Limit] | None:
    """(others it counted, the limit) of the cap that left no place on the day of `at`, as far as is still known."""
    recent = Recent.objects.filter(
        application_id=notification.application_id, recipient=subscriber.id
    ).first()
    day = at.astimezone(terms.timing_of(notification).zone(subscriber.time_zone)).date()
    for limit in terms.of(notification.category_id).limits:
        if (taken := _taken(recent, limit, notification, day)) >= limit.most:
            return taken, limit
    return None


def _taken(recent: Recent | None, limit: Limit, notification: Notification, on: date) -> int:
    if recent is None:
        return 0
    week = on.isocalendar()[:2]
    return sum(
        category in limit.category_ids
        and id != notification.id
        and (day.isocalendar()[:2] == week if limit.is_weekly else day == on)
        for id, category, day in zip(recent.notification_ids, recent.category_ids, recent.days, strict=True)
    )


def _moment(case: Case) -> Step:
    notification, moment = case.notification, case.moment
    window = notification.send_window
    sees = "; ".join(
        [
            *([f"meant for {notification.local_time} on their clock"] if notification.local_time else []),
            *([f"only from {window['start']} to {window['end']}"] if window else []),
        ]
    )
    is_other = (
        moment.reason and moment.reason not in LATE_REASONS and not moment.reason.startswith("quiet_hours")
    )
    until = moment.due_at if moment.due_at and moment.due_at > timezone.now() else None
    return _step("time", sees or "any time", reason=moment.reason if is_other else "", until=until)


def _throttle(notification: Notification) -> Step:
    pace = notification.throttle_per_second
    return _step("throttle", f"at most {pace} a second" if pace else "no limit of its own")


# --- what it says -----------------------------------------------------------------------------


def _template(case: Case) -> Iterator[Step]:
    """Which text they get, and whether all it says is known; of a message that says the same to all, no step."""
    notification, subscriber = case.notification, case.subscriber
    version = notification.template_version
    if version is None and notification.variables is not None:
        yield _step("template", "it was deleted", reason="template_deleted")
        return
    if version is None and "locales" not in notification.content:
        return
    wording = template_versions.wording(version) if version else wordings.literal(notification.content)
    variant = wording.fitting(subscriber.locale or (case.device.locale if case.device else ""))
    variables = notification.variables or {}
    person = wordings.person(
        subscriber.external_id, subscriber.locale, subscriber.country, subscriber.attributes
    )
    values = wording.values(variables, person)
    known = replace(wording, defaults={}).values(variables, person)
    absent = wordings.missing(variant.needed, values)
    by_default = wordings.missing(variant.names & set(wording.defaults), known)
    reason = ""
    try:
        wording.rendered(variant, values)
    except Missing as error:
        reason, absent = "missing_variable", sorted({*absent, error.name})
    except NotRenderable:
        reason = "not_renderable"
    is_lenient = wording.missing == TemplateVersion.Missing.DEFAULT
    sees = [
        f"{version.template.slug}, version {version.number}" if version else "texts of its own",
        f"in {variant.locale}" if variant.locale else "in the main language",
        *([f"not known, and left empty: {', '.join(absent)}"] if absent and is_lenient else []),
        *([f"not known, and without a default: {', '.join(absent)}"] if absent and not is_lenient else []),
        *([f"not known, so by default: {', '.join(by_default)}"] if by_default else []),
    ]
    yield _step("template", "; ".join(sees), reason=reason)
