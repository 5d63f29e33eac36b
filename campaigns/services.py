"""Writes to campaigns: launch, runs, pause, cancel, duplicate."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, NoReturn

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from campaigns import schedules
from campaigns.models import Campaign, Run
from devices import clocks, quiet
from notifications import services as notifications
from notifications.models import Notification
from notifications.pipeline import timing


class NotLaunchable(Exception):
    """It is no draft any more, or was edited since it was looked at. Nothing was sent by this call."""


def content(campaign: Campaign) -> dict[str, Any]:
    """What the notification says; empty fields are left out."""
    fields = {"title": campaign.title, "body": campaign.body, "image": campaign.image, "url": campaign.url}
    return {name: value for name, value in fields.items() if value}


def audience(campaign: Campaign) -> dict[str, Any]:
    """The audience as the send API says it."""
    match campaign.audience:
        case Campaign.Audience.PLATFORM:
            return {"all": True, "platforms": [campaign.platform]}
        case Campaign.Audience.ATTRIBUTE:
            return {
                "all": True,
                "attribute": {"name": campaign.attribute_name, "value": campaign.attribute_value},
            }
    return {"all": True}


def check(campaign: Campaign) -> dict[str, int]:
    """Payload bytes per provider. Raises PayloadTooLarge, or ValueError naming the field."""
    return notifications.check_payload(content=content(campaign), overrides={})


def launch(campaign: Campaign, *, by: User) -> Campaign:
    """Send it when its schedule says, exactly as `campaign` holds it.

    Raises NotLaunchable, PayloadTooLarge, or ValueError naming the field; then nothing is sent.
    Two marketers, a double click, a second try after a lost answer: one notification.
    """
    check(campaign)
    now = timezone.now()
    is_recurring = campaign.schedule == Campaign.Schedule.RECURRING
    first = due_at(campaign, now)
    with transaction.atomic():
        changed = Campaign.objects.filter(
            id=campaign.id, status=Campaign.Status.DRAFT, updated_at=campaign.updated_at
        ).update(
            status=Campaign.Status.RECURRING if is_recurring else Campaign.Status.LAUNCHED,
            launched_at=now,
            launched_by=by,
            next_run_at=first if is_recurring else None,
        )
        if not changed:
            raise NotLaunchable
        if not is_recurring:
            run(campaign, first, by=f"staff:{by.get_username()}"[:80])
    campaign.refresh_from_db()
    return campaign


def coming(campaign: Campaign, now: datetime, *, most: int) -> list[tuple[datetime, datetime]]:
    """A recurring campaign's next runs: on their wall clock (naive), and when they begin."""
    found: list[tuple[datetime, datetime]] = []
    begins = campaign.next_run_at or next_run(campaign, None, now)
    while begins is not None and len(found) < most:
        found.append((_local(campaign, begins), begins))
        begins = next_run(campaign, begins, begins)
    return found


def due_at(campaign: Campaign, now: datetime) -> datetime:
    """When it begins: where local time counts, in the first place on earth. Raises ValueError naming the field."""
    if campaign.schedule == Campaign.Schedule.NOW:
        return now
    try:
        starts = schedules.parsed_local(campaign.starts)
    except ValueError:
        raise ValueError("starts: choose a date and time") from None
    if campaign.schedule == Campaign.Schedule.RECURRING:
        try:
            schedules.check(campaign.rule, starts)
        except ValueError as error:
            raise ValueError(f"rule: {error}") from None
        return next_run(campaign, None, now) or _over("rule")
    is_local = campaign.schedule == Campaign.Schedule.LOCAL
    if (timing.latest(starts) if is_local else schedules.instant(starts, zone_name(campaign))) <= now:
        _over("starts")
    return timing.earliest(starts) if is_local else schedules.instant(starts, zone_name(campaign))


def _over(field: str) -> NoReturn:
    raise ValueError(f"{field}: this moment is over")


def zone_name(campaign: Campaign) -> str:
    return campaign.time_zone or campaign.application.default_time_zone


def next_run(campaign: Campaign, after: datetime | None, now: datetime) -> datetime | None:
    """When a recurring campaign's next run begins; what was missed is not made up for. None: that was the last."""
    starts = schedules.parsed_local(campaign.starts)
    local = schedules.following(campaign.rule, starts, None if after is None else _local(campaign, after))
    while local is not None and (moment := _begins(campaign, local)) <= now:
        local = schedules.following(campaign.rule, starts, local)
    return None if local is None else moment


def _begins(campaign: Campaign, local: datetime) -> datetime:
    return timing.earliest(local) if is_local(campaign) else schedules.instant(local, zone_name(campaign))


def _local(campaign: Campaign, begins: datetime) -> datetime:
    """The occurrence that begins then, on its wall clock."""
    if is_local(campaign):
        return (begins + timing.AHEAD).replace(tzinfo=None)
    zone = clocks.zone(zone_name(campaign)) or UTC
    return begins.astimezone(zone).replace(tzinfo=None)


def run(campaign: Campaign, due: datetime, *, by: str) -> Run:
    """One launch, in the caller's transaction: a notification of its own, frozen as the campaign is now."""
    number = Run.objects.filter(campaign_id=campaign.id).count() + 1
    draft = _draft(campaign, number, due)
    (accepted,) = notifications.accept([draft], application_id=campaign.application_id, requested_by=by)
    Campaign.objects.filter(id=campaign.id).update(notification_id=accepted.id)
    return Run.objects.create(campaign=campaign, number=number, due_at=due, notification_id=accepted.id)


def _draft(campaign: Campaign, number: int, due: datetime) -> notifications.Draft:
    said, meant = content(campaign), audience(campaign)
    pace = campaign.throttle_per_second
    body = json.dumps([campaign.category_id, said, meant, pace, number], sort_keys=True)
    return notifications.Draft(
        category=campaign.category,
        content=said,
        audience=meant,
        throttle_per_second=pace,
        send_at=due if due > timezone.now() else None,
        local_time=_local(campaign, due).isoformat("T", "minutes") if is_local(campaign) else "",
        send_window=window(campaign),
        ttl_seconds=campaign.lifetime_hours * 3600 if campaign.lifetime_hours else None,
        idempotency_key=f" campaign:{campaign.id}:{number}",  # no key of the API begins with a space
        fingerprint=hashlib.sha256(body.encode()).digest()[:16],
    )


def is_local(campaign: Campaign) -> bool:
    if campaign.schedule == Campaign.Schedule.RECURRING:
        return campaign.is_local
    return campaign.schedule == Campaign.Schedule.LOCAL


def window(campaign: Campaign) -> dict[str, Any] | None:
    """As the send API says it."""
    if campaign.window_start is None or campaign.window_end is None:
        return None
    return {
        "days": quiet.EVERY_DAY,
        "start": f"{campaign.window_start:%H:%M}",
        "end": f"{campaign.window_end:%H:%M}",
    }


def unschedule(campaign: Campaign) -> Campaign:
    """Take back a launch of which nothing has begun, to edit it. Raises NotLaunchable when it has."""
    with transaction.atomic():
        locked = (
            Campaign.objects.select_for_update(of=("self",))
            .select_related("notification")
            .get(id=campaign.id)
        )
        waiting = locked.notification
        if locked.status == Campaign.Status.DRAFT:
            return locked
        if waiting:
            is_waiting = Notification.objects.filter(
                id=waiting.id, status=Notification.Status.SCHEDULED
            ).update(status=Notification.Status.CANCELLED, finished_at=timezone.now())
            if not is_waiting:
                raise NotLaunchable
        locked.status, locked.notification, locked.launched_at, locked.next_run_at = (
            Campaign.Status.DRAFT,
            None,
            None,
            None,
        )
        locked.save()
    return locked


def pause(campaign: Campaign) -> Campaign:
    """Hold what has not been sent; a recurring one makes no new run meanwhile."""
    if campaign.notification:
        notifications.pause(campaign.notification)
    return campaign


def resume(campaign: Campaign) -> Campaign:
    if campaign.notification:
        notifications.resume(campaign.notification)
    return campaign


def cancel(campaign: Campaign) -> Campaign:
    """Stop what is still waiting, and all further runs; a draft and a finished campaign stay as they are."""
    Campaign.objects.filter(id=campaign.id, status=Campaign.Status.RECURRING).update(
        status=Campaign.Status.ENDED, next_run_at=None
    )
    if campaign.notification:
        notifications.cancel(campaign.notification)
    return campaign


def duplicate(campaign: Campaign, *, by: User) -> Campaign:
    """A new draft that says the same to the same audience."""
    return Campaign.objects.create(
        application=campaign.application,
        name=f"{campaign.name[:110]} (copy)",
        category=campaign.category,
        title=campaign.title,
        body=campaign.body,
        image=campaign.image,
        url=campaign.url,
        audience=campaign.audience,
        platform=campaign.platform,
        attribute_name=campaign.attribute_name,
        attribute_value=campaign.attribute_value,
        throttle_per_second=campaign.throttle_per_second,
        schedule=campaign.schedule,
        starts=campaign.starts,
        time_zone=campaign.time_zone,
        rule=campaign.rule,
        is_local=campaign.is_local,
        window_start=campaign.window_start,
        window_end=campaign.window_end,
        lifetime_hours=campaign.lifetime_hours,
        created_by=by,
    )
