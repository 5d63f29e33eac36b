"""What an application says about a category's messages: quiet hours and caps. Kept in the process for seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from devices.models import Cap, Category, QuietHours
from notifications.models import Notification
from notifications.pipeline.timing import LIFETIME, Rule, Timing, Windows
from tenants.selectors import remembered


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many of these categories in a day or a week."""

    category_ids: tuple[int, ...]
    most: int
    is_weekly: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """quiet_hours: by id those somebody has of their own, and at 0 the application's."""

    quiet_rule: str
    time_zone: str
    quiet_hours: Mapping[int, Windows]
    limits: tuple[Limit, ...]
    lifetime: timedelta

    @property
    def has_quiet_hours(self) -> bool:
        return self.quiet_rule != Rule.IGNORE and any(self.quiet_hours.values())

    def timing(
        self,
        *,
        meant_for: datetime,
        ttl_seconds: int | None = None,
        local_time: str = "",
        send_window: Mapping[str, Any] | None = None,
        deadline: datetime | None = None,
    ) -> Timing:
        """For one notification."""
        return Timing(
            quiet_rule=self.quiet_rule,
            time_zone=self.time_zone,
            quiet_hours=self.quiet_hours[0],
            local_time=datetime.fromisoformat(local_time) if local_time else None,
            send_window=send_window,
            meant_for=meant_for,
            lifetime=self.lifetime if ttl_seconds is None else timedelta(seconds=ttl_seconds),
            deadline=deadline,
        )


def timing_of(notification: Notification) -> Timing:
    """Of a stored notification whose time has come."""
    return of(notification.category_id).timing(
        meant_for=notification.send_at or notification.created_at,
        ttl_seconds=notification.ttl_seconds,
        local_time=notification.local_time,
        send_window=notification.send_window,
        deadline=notification.deadline,
    )


@remembered
def of(category_id: int) -> Terms:
    """Of a category; what changes in the settings holds within REMEMBERED_SECONDS."""
    category = Category.objects.select_related("application").get(id=category_id)
    application = category.application
    own = QuietHours.objects.filter(application_id=application.id).values_list("id", "windows")
    return Terms(
        quiet_rule=category.quiet_rule,
        time_zone=application.default_time_zone,
        quiet_hours={0: application.quiet_hours, **dict(own)},
        limits=tuple(_limits(category)),
        lifetime=timedelta(seconds=category.ttl_seconds) if category.ttl_seconds else LIFETIME,
    )


def _limits(category: Category) -> list[Limit]:
    """Those the category falls under, with all the categories that count in them."""
    caps = Cap.objects.filter(application_id=category.application_id, channel__in=("", "push"))
    siblings = list(Category.objects.filter(application_id=category.application_id))
    return [
        Limit(tuple(sorted(counted)), cap.most, cap.period == Cap.Period.WEEK)
        for cap in caps
        if category.id in (counted := {one.id for one in siblings if _counts(cap, one)})
    ]


def _counts(cap: Cap, category: Category) -> bool:
    if cap.category_id:
        return cap.category_id == category.id
    return cap.kind == category.kind if cap.kind else category.kind != Category.Kind.CRITICAL
