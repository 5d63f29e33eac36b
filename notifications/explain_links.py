"""Where the thing can be changed that decided about a message: a policy, a device, a credential, a segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.urls import reverse

from devices.models import Device, Segment, Subscriber
from notifications.explain_verdict import Verdict
from notifications.models import Notification
from notifications.pipeline import terms
from notifications.reasons.addresses import ADDRESSES
from notifications.reasons.ours import OURS


class Link(NamedTuple):
    label: str
    url: str
    permission: str


class Subject(NamedTuple):
    """What is explained. device: whose line decided, else any of theirs."""

    notification: Notification
    subscriber: Subscriber
    device: Device | None


def of(verdict: Verdict, subject: Subject, user: AbstractBaseUser | AnonymousUser) -> Link | None:
    """The one that changes the outcome; None where nothing does, or it is not for this user to see."""
    if not verdict.rule:
        return None
    find = BY_RULE.get(verdict.rule, _notification)
    link = find(subject) if verdict.rule != "send" else _of_sending(verdict, subject)
    return link if link and user.has_perm(link.permission, subject.notification) else None  # type: ignore[union-attr]


def _to(label: str, page: str, key: object, *, at: str = "") -> Link:
    """page: "app_model"."""
    app, model = page.split("_")
    return Link(label, reverse(f"admin:{page}_change", args=[key]) + at, f"{app}.view_{model}")


def _notification(subject: Subject) -> Link:
    return _to("Open the notification", "notifications_notification", subject.notification.pk)


def _segment(subject: Subject) -> Link:
    notification = subject.notification
    slugs = [notification.audience.get("segment"), *notification.audience.get("segments", ())]
    found = Segment.objects.filter(
        application_id=notification.application_id, slug__in=[slug for slug in slugs if slug]
    ).first()
    return _to("Open the segment", "devices_segment", found.pk) if found else _notification(subject)


def _device(subject: Subject) -> Link:
    if "push" not in subject.notification.category.channels:
        return _category(subject)
    if subject.device:
        return _to("Open the device", "devices_device", subject.device.pk)
    return _to("Open the person", "devices_subscriber", subject.subscriber.pk)


def _wishes(subject: Subject) -> Link:
    return _to("Open what they want", "devices_subscriber", subject.subscriber.pk, at="#h-wants")


def _category(subject: Subject) -> Link:
    return _to("Open the category's rules", "devices_category", subject.notification.category_id)


def _application(subject: Subject) -> Link:
    return _to("Open the app's rules", "tenants_application", subject.notification.application_id)


def _caps(subject: Subject) -> Link:
    """The category's page if it has a cap of its own: the application's are over all."""
    limits = terms.of(subject.notification.category_id).limits
    is_own = any(limit.category_ids == (subject.notification.category_id,) for limit in limits)
    return (_category if is_own else _application)(subject)._replace(label="Open the caps")


def _template(subject: Subject) -> Link:
    version = subject.notification.template_version
    if version is None:
        return _notification(subject)
    return _to("Open the template", "notifications_template", version.template_id)


def _of_sending(verdict: Verdict, subject: Subject) -> Link:
    if verdict.reason in OURS:
        return Link("Open the credentials", reverse("credential_health"), "tenants.view_credential")
    if verdict.reason in ADDRESSES and subject.device:
        return _to("Open the device", "devices_device", subject.device.pk)
    return _notification(subject)


BY_RULE: dict[str, Callable[[Subject], Link]] = {
    "audience": _segment,
    "address": _device,
    "consent": _wishes,
    "preference": _wishes,
    "holdout": _application,
    "quiet_hours": _category,
    "cap": _caps,
    "template": _template,
}
