"""Notifications and their ledger, to read; cancelling is the only deed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList as BaseChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince
from unfold.decorators import display
from unfold.paginator import InfinitePaginator
from unfold.views import ChangeList

from devices.models import Subscriber
from notifications import (  # noqa: F401 (credentials, dead_letters, incident_admin and template_admin register)
    credentials,
    dead_letters,
    explain_admin,
    incident_admin,
    reasons,
    selectors,
    services,
    sums,
    template_admin,
)
from notifications.models import Delivery, Notification
from tenants import access
from tenants.console import ReadOnlyAdmin
from tenants.templatetags.console import count, pretty_json

STATUS_TONES = {
    Notification.Status.SCHEDULED: "off",
    Notification.Status.FANNING_OUT: "run",
    Notification.Status.SENDING: "run",
    Notification.Status.DONE: "good",
    Notification.Status.CANCELLED: "off",
}
OUTCOME_TONES = {
    "accepted": "good",
    "unregistered": "bad",
    "rejected": "bad",
    "failed": "bad",
    "uncertain": "warn",
}


MAY_CANCEL = "notifications.change_notification"


def chip(word: str, tone: str) -> str:
    return format_html('<span class="c-chip c-{}">{}</span>', tone, word)


class NotificationList(ChangeList):
    """Rows know their counts: one query for the page."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        counts = selectors.counts(rows)
        for notification in rows:
            notification.counts = counts[notification.id]
        self.result_list = rows


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    pages: ClassVar = {"live_status": "view"}
    deeds: ClassVar = {"cancel": MAY_CANCEL}

    list_display = (
        "what",
        "state",
        "application",
        "category",
        "recipients",
        "accepted",
        "failed",
        "requested_by",
        "created_at",
    )
    list_display_links = ("what",)
    list_filter = ("status", "application")
    list_select_related = ("application", "category")
    show_full_result_count = False
    paginator = InfinitePaginator
    ordering = ("-id",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BaseChangeList]:
        return NotificationList

    @display(description="Notification", header=True)
    def what(self, obj: Notification) -> list[str]:
        return [obj.content.get("title") or "(no title)", str(obj.id)]

    @display(description="State")
    def state(self, obj: Any) -> str:
        status = Notification.Status(selectors.status(obj, obj.counts))
        return chip(status.label, STATUS_TONES[status])

    @display(description="Recipients")
    def recipients(self, obj: Any) -> str:
        return count(obj.counts["recipients"])

    @display(description="Accepted")
    def accepted(self, obj: Any) -> str:
        return count(obj.counts["accepted"])

    @display(description="Failed")
    def failed(self, obj: Any) -> str:
        return count(sum(obj.counts["failed"].values()))

    # --- one notification -----------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        notification = self.found(request, object_id)
        if not self.has_view_permission(request, notification):
            raise PermissionDenied
        context = {
            **self._live_context(request, notification),
            "title": str(notification),
            "content_json": pretty_json(notification.content),
            "audience_json": pretty_json(notification.audience),
            "campaign": getattr(notification, "campaign", None),
        }
        return self.render(request, "notifications/notification.html", notification, context)

    def live_status(self, request: HttpRequest, notification: Notification) -> HttpResponse:
        context = self._live_context(request, notification)
        return TemplateResponse(
            request, "notifications/_live.html", context, status=200 if context["is_open"] else 286
        )

    def _live_context(self, request: HttpRequest, notification: Notification) -> dict[str, Any]:
        counts = selectors.counts([notification])[notification.id]
        status = Notification.Status(selectors.status(notification, counts))
        is_open = status in Notification.OPEN or bool(counts["pending"])
        return {
            "notification": notification,
            "status": status,
            "tone": STATUS_TONES[status],
            "sum": sums.of([notification.id], counts),
            "counted": _ago(notification.verified_at),
            "is_open": is_open,
            "may_cancel": status in Notification.OPEN and self.may(request, MAY_CANCEL, notification),
        }

    def cancel(self, request: HttpRequest, notification: Notification) -> HttpResponse:
        """POST: stop what still waits."""
        services.cancel(notification)
        self.audit(request, notification, "Cancelled.")
        messages.success(request, "Cancelled. What was already with a provider cannot be recalled.")
        return HttpResponseRedirect(self.url("change", notification))


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return ""
    return f"{timesince(moment)} ago" if timezone.now() - moment >= timedelta(minutes=1) else "just now"


# --- the ledger -------------------------------------------------------------------------------

# What a number of the sum links to → the outcomes it counts.
RESULTS = {
    "accepted": ("accepted",),
    "failed": tuple(str(outcome) for outcome in selectors.FAILURES),
    "suppressed": ("suppressed",),
    "uncertain": ("uncertain",),
    "cancelled": ("cancelled",),
    "pending": tuple(str(outcome) for outcome in Delivery.NOT_FINAL),
}
RESULT_WORDS = (
    ("accepted", "Accepted"),
    ("failed", "Failed"),
    ("suppressed", "Held back"),
    ("uncertain", "Uncertain"),
    ("cancelled", "Cancelled"),
    ("pending", "Waiting for another attempt"),
)

MOST_STAGES = 20  # of one run, whose ledger is shown as one

# The ledger has no index on id alone (an insert would pay for it), so "the newest" are those of the
# newest notifications: 60 short index scans, whatever the table's size.
NEWEST = """(notifications_delivery.notification_id, notifications_delivery.id) IN (
    SELECT n.id, d.id
    FROM (SELECT id FROM notifications_notification {whose} ORDER BY id DESC LIMIT 60) n
    CROSS JOIN LATERAL (
        SELECT id FROM notifications_delivery WHERE notification_id = n.id ORDER BY id DESC LIMIT 200
    ) d)"""


class ResultFilter(admin.SimpleListFilter):
    title = "result"
    parameter_name = "result"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        return RESULT_WORDS

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        outcomes = RESULTS.get(self.value() or "")
        return queryset.filter(outcome__in=outcomes) if outcomes else queryset


class DeliveryList(ChangeList):
    """Knows whose lines it shows, and the people's own ids: two queries for the page."""

    result_list: Any

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet:
        queryset = super().get_queryset(request, exclude_parameters)
        narrowings = ("notification_id", "notification_id__in", "subscriber_id")
        self.is_newest = not any(self.params.get(name) for name in narrowings)
        if not self.is_newest:
            return queryset
        ids = access.ids(request.user, "notifications.view_delivery")
        newest = NEWEST.format(whose="" if ids is None else "WHERE application_id = ANY(%s)")
        return queryset.extra(where=[newest], params=None if ids is None else [ids])  # noqa: S610 (a constant)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        ids = {row.subscriber_id for row in rows if row.subscriber_id}
        people = dict(Subscriber.objects.filter(id__in=ids).values_list("id", "external_id")) if ids else {}
        for row in rows:
            row.person = people.get(row.subscriber_id)
        self.result_list = rows


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = (
        "moment",
        "outcome_chip",
        "why",
        "person",
        "device",
        "lane",
        "attempt",
        "detail",
        "explain",
    )
    list_display_links = None
    list_filter = (ResultFilter,)
    list_before_template = "notifications/ledger_before.html"
    list_per_page = 100
    show_full_result_count = False
    paginator = InfinitePaginator
    ordering = ("-id",)
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BaseChangeList]:
        return DeliveryList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> None:
        """A line has no page of its own: the ledger cannot be asked for an id alone without reading all of it."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {**(extra_context or {}), **self._context(request)}
        return super().changelist_view(request, context)

    def _context(self, request: HttpRequest) -> dict[str, Any]:
        asked = request.GET.get("notification_id") or request.GET.get("notification_id__in") or ""
        ids = access.ids(request.user, "notifications.view_delivery")
        found = [one for id in asked.split(",")[:MOST_STAGES] if (one := _notification(id, ids))]
        if not found:
            return {"ledger_of": None}
        counts = selectors.added(selectors.counts(found).values())
        return {"ledger_of": found[0], "sum": sums.of([one.id for one in found], counts)}

    @display(description="When (UTC)")
    def moment(self, obj: Delivery) -> str:
        return format_html('<span class="c-num">{}</span>', obj.at.strftime("%-d %b %H:%M:%S"))

    @display(description="Result")
    def outcome_chip(self, obj: Delivery) -> str:
        return chip(Delivery.Outcome(obj.outcome).label, OUTCOME_TONES.get(obj.outcome, "off"))

    @display(description="Reason")
    def why(self, obj: Delivery) -> str:
        if not obj.reason:
            return "—"
        return format_html('<span title="{}">{}</span>', obj.reason, reasons.words(obj.reason).title)

    @display(description="Person")
    def person(self, obj: Any) -> str:
        if not obj.subscriber_id:
            return "—"
        url = reverse("admin:devices_subscriber_change", args=[obj.subscriber_id])
        return format_html('<a class="c-link" href="{}">{}</a>', url, obj.person or "(erased)")

    @display(description="Device")
    def device(self, obj: Delivery) -> str:
        if not obj.device_id:
            return "—"
        url = reverse("admin:devices_device_change", args=[obj.device_id])
        return format_html('<a class="c-link" href="{}">#{}</a>', url, obj.device_id)

    @display(description="Why")
    def explain(self, obj: Any) -> str:
        if not obj.subscriber_id:
            return "—"
        url = explain_admin.url(obj.subscriber_id, obj.notification_id)
        return format_html('<a class="c-link" href="{}">Explain</a>', url)


def _notification(id: str | None, application_ids: list[int] | None) -> Notification | None:
    known = access.narrowed(Notification.objects.all(), application_ids)
    try:
        return known.filter(id=UUID(id)).first() if id else None
    except (ValueError, ValidationError):
        return None
