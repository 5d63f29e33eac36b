"""The admin of dead letters: look for them, look into one, send some or all again; and the history of that.

Pages never change anything; the one deed is a POST, after a page that says what it will do.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe
from unfold.decorators import display
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from devices.models import Device, Subscriber
from notifications import lanes, reasons, replays
from notifications.models import Delivery, Notification, Replay
from tenants import access
from tenants.console import ReadOnlyAdmin
from tenants.models import Application, Credential
from tenants.templatetags.console import count, things

PER_PAGE = 50
COUNTED_MOST = 10_000
# How long a page counts and a click replays; what is left is said, and the next click goes on with it.
COUNT_SECONDS, REPLAY_SECONDS = 5.0, 20.0
SHOWN_MOST = 20
MAY_REPLAY = "notifications.add_replay"

PROVIDERS = [(name, str(Credential.Provider(name).label)) for name in lanes.PROVIDERS]


# --- which ------------------------------------------------------------------------------------


def _moment(label: str) -> forms.DateTimeField:
    widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local", "step": "1"})
    return forms.DateTimeField(required=False, label=label, widget=widget)


class WhichForm(forms.Form):
    """Which dead letters are meant; its values are the address of a page. Of one of these applications always: the
    notification's, else the one asked for, else the first."""

    application = forms.ModelChoiceField(
        Application.objects.none(), empty_label=None, label="App", widget=UnfoldAdminSelectWidget
    )
    provider = forms.ChoiceField(
        required=False, choices=[("", "Any"), *PROVIDERS], widget=UnfoldAdminSelectWidget
    )
    reason = forms.CharField(required=False, widget=UnfoldAdminSelectWidget)
    since = _moment("Failed from (UTC)")
    until = _moment("Failed before (UTC)")
    notification = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict, applications: QuerySet[Application]) -> None:
        id = _uuid(data.get("notification"))
        of_these = Notification.objects.filter(application__in=applications)
        self.of = of_these.filter(id=id).first() if id else None
        application = self.of.application if self.of else applications.first()
        given = {name: data[name] for name in self.base_fields if data.get(name)}
        if application and (self.of or "application" not in given):
            given["application"] = str(application.pk)
        super().__init__(given)
        self.fields["application"].queryset = applications  # type: ignore[attr-defined]
        seen = replays.reasons(self.cleaned_data["application"].pk) if self.is_valid() else []
        known = dict.fromkeys([*seen, given["reason"]] if "reason" in given else seen)
        choices = [("", "Any"), *((reason, reasons.words(str(reason)).title) for reason in known)]
        self.fields["reason"].widget.choices = choices

    def clean_notification(self) -> UUID | None:
        if self.cleaned_data["notification"] and self.of is None:
            raise forms.ValidationError("There is no such notification.")
        return self.cleaned_data["notification"]

    @property
    def criteria(self) -> replays.Criteria:
        given = dict(self.cleaned_data)
        return replays.Criteria(
            given.pop("application").pk, notification_id=given.pop("notification"), **given
        )

    @property
    def address(self) -> str:
        return urlencode(self.data)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be replayed: all that match the form, or those picked by hand, as "notification:device"."""

    form: WhichForm
    criteria: Sequence[replays.Criteria]
    hidden: Sequence[tuple[str, str]]  # what the next page has to be told


class Unclear(Exception):
    """It does not say which may be meant. Then none are, never all."""


def asked(data: QueryDict, applications: QuerySet[Application]) -> Asked:
    form = WhichForm(data, applications)
    if not form.is_valid():
        raise Unclear("Something in the address of that page is not right.")
    if data.get("which") == "all":
        if form.of and form.of.status == Notification.Status.CANCELLED:
            raise Unclear("That notification was cancelled: what was given up stays so.")
        criteria = form.criteria
        # What fails while somebody reads the next page is not meant.
        until = (criteria.until or timezone.now()).isoformat()
        return Asked(form, [criteria], [*{**form.data, "which": "all", "until": until}.items()])
    picked = data.getlist("letter")[:PER_PAGE]
    if not picked:
        raise Unclear("Choose at least one dead letter.")
    devices: dict[UUID, list[int]] = defaultdict(list)
    for letter in picked:
        notification, _, device = letter.partition(":")
        if (id := _uuid(notification)) is None or not device.isdecimal():
            raise Unclear("Something in the address of that page is not right.")
        devices[id].append(int(device))
    application_id = form.criteria.application_id
    chosen = [replays.Criteria(application_id, id, device_ids=tuple(ids)) for id, ids in devices.items()]
    return Asked(form, chosen, [*form.data.items(), *(("letter", letter) for letter in picked)])


def _uuid(value: str | None) -> UUID | None:
    try:
        return UUID(value) if value else None
    except ValueError:
        return None


WORDS: Mapping[str, Any] = {
    "provider": lambda value: dict(PROVIDERS).get(value, value),
    "reason": lambda value: reasons.words(value).title,
    "since": lambda value: f"from {_minute(value)}",
    "until": lambda value: f"before {_minute(value)}",
    "device_ids": lambda value: f"{things(len(value), 'device')} picked",
}


def words(given: Mapping[str, Any]) -> list[str]:
    """Criteria, or their record, as people say them."""
    return [WORDS[name](value) for name, value in given.items() if name in WORDS]


def _minute(value: datetime | str) -> str:
    moment = parse_datetime(value) if isinstance(value, str) else value
    return f"{moment:%-d %b %Y, %H:%M} UTC" if moment else str(value)


# --- the list ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Letter:
    """A line of the ledger, with what people know it by."""

    line: Delivery
    notification: Notification | None
    device: Device | None
    person: str

    @property
    def words(self) -> reasons.Words:
        return reasons.words(self.line.reason)

    @property
    def provider(self) -> str:
        name = lanes.provider_of(self.line.lane)
        return dict(PROVIDERS).get(name, name)

    @property
    def outcome(self) -> str:
        return Delivery.Outcome(self.line.outcome).label

    @property
    def stays_because(self) -> str:
        """Why it cannot be replayed; "" where it can."""
        if self.notification is None or self.notification.status == Notification.Status.CANCELLED:
            return "Cancelled"
        return "Device gone" if self.device is None or self.device.retired_at else ""


def letters(application_id: int, lines: Sequence[Delivery]) -> list[Letter]:
    """Three queries, however many lines."""

    def named(model: Any, ids: Iterable[Any]) -> dict[Any, Any]:
        found: dict[Any, Any] = model.objects.filter(application_id=application_id).in_bulk(set(ids))
        return found

    notifications = named(Notification, (line.notification_id for line in lines))
    devices = named(Device, (line.device_id for line in lines))
    people = named(Subscriber, (line.subscriber_id for line in lines if line.subscriber_id))
    return [
        Letter(
            line,
            notifications.get(line.notification_id),
            devices.get(line.device_id),
            str(people.get(line.subscriber_id, "")),
        )
        for line in lines
    ]


def _cursor(value: str) -> tuple[datetime, int] | None:
    at, _, id = value.partition("~")
    moment = parse_datetime(at) if id.isdecimal() else None
    return (moment, int(id)) if moment and timezone.is_aware(moment) else None


# --- pages ------------------------------------------------------------------------------------


@admin.register(Replay)
class ReplayAdmin(ReadOnlyAdmin):
    list_display = ("moment", "what", "recipients", "which", "requested_by")
    list_display_links = None
    list_filter = ("application",)
    list_select_related = ("notification",)
    list_before_template = "notifications/replay_list_before.html"
    show_full_result_count = False
    paginator = InfinitePaginator
    ordering = ("-id",)
    sortable_by = ()

    @display(description="When (UTC)")
    def moment(self, obj: Replay) -> str:
        return format_html('<span class="c-num">{}</span>', obj.created_at.strftime("%-d %b %Y, %H:%M:%S"))

    @display(description="Notification")
    def what(self, obj: Replay) -> str:
        url = reverse("admin:notifications_notification_change", args=[obj.notification_id])
        return format_html('<a class="c-link" href="{}">{}</a>', url, obj.notification)

    @display(description="Sent again")
    def recipients(self, obj: Replay) -> str:
        return format_html('<span class="c-num">{}</span>', count(obj.recipient_count))

    @display(description="Which")
    def which(self, obj: Replay) -> str:
        return ", ".join(words(obj.criteria)) or "All"

    def get_urls(self) -> list[URLPattern]:
        def page(route: str, view: Any, name: str) -> URLPattern:
            return path(f"dead-letters/{route}", self.admin_site.admin_view(view), name=self.url_name(name))

        return [
            page("", require_safe(self.dead_letters), "dead_letters"),
            page("confirm/", require_safe(self.confirm), "confirm"),
            page("replay/", require_POST(self.replay), "start"),
            page("<uuid:notification_id>/<int:device_id>/", require_safe(self.dead_letter), "letter"),
            *super().get_urls(),
        ]

    def dead_letters(self, request: HttpRequest) -> HttpResponse:
        self._require(request, "view")
        form = WhichForm(request.GET, self._applications(request))
        context: dict[str, Any] = {"form": form}
        if form.is_valid():
            context |= self._page(form, _cursor(request.GET.get("before", "")))
        return self._show(request, "notifications/dead_letters.html", "Dead letters", context)

    def _page(self, form: WhichForm, before: tuple[datetime, int] | None) -> dict[str, Any]:
        page = replays.latest(form.criteria, most=PER_PAGE, before=before)
        total, is_all = len(page.lines), before is None and not page.older
        if not is_all:
            total, is_all = replays.count(form.criteria, most=COUNTED_MOST)
        return {
            "letters": letters(form.criteria.application_id, page.lines),
            "is_first": before is None,
            "older": "~".join(map(str, page.older)) if page.older else "",
            "total": total,
            "total_words": f"{'' if is_all else 'more than '}{count(total)}",
            "looked": replays.LOOK,
        }

    def dead_letter(self, request: HttpRequest, notification_id: UUID, device_id: int) -> HttpResponse:
        """All that happened to one recipient of one notification."""
        self._require(request, "view")
        known = Notification.objects.filter(application__in=self._applications(request))
        notification = known.filter(id=notification_id).select_related("application").first()
        lines = replays.lines(notification, device_id) if notification else []
        if notification is None or not lines:
            raise Http404("There is no such recipient.")
        history = letters(notification.application_id, lines)
        context = {
            "notification": notification,
            "last": history[-1],
            "history": history,
            "is_dead": replays.stands(lines) and not history[-1].stays_because,
        }
        title = f"Dead letter: {history[-1].person or device_id}"
        return self._show(request, "notifications/dead_letters_one.html", title, context)

    def confirm(self, request: HttpRequest) -> HttpResponse:
        """What a replay would do, counted now."""
        self._require(request, MAY_REPLAY)
        try:
            wanted = asked(request.GET, self._applications(request, MAY_REPLAY))
            found, is_complete = _within(COUNT_SECONDS, (replays.find(one) for one in wanted.criteria))
        except Unclear as error:
            return self._back(request, str(error))
        again = sorted((row for row in found if row.recipients), key=lambda row: -row.recipients)
        titles = Notification.objects.in_bulk([row.notification_id for row in again[:SHOWN_MOST]])
        context = {
            "asked": wanted,
            "criteria": words(wanted.form.criteria.given) if request.GET.get("which") == "all" else [],
            "recipients": sum(row.recipients for row in again),
            "gone": sum(row.gone for row in found),
            "notifications": [(titles[row.notification_id], row.recipients) for row in again[:SHOWN_MOST]],
            "notification_count": len(again),
            "more": max(0, len(again) - SHOWN_MOST),
            "is_complete": is_complete,
        }
        return self._show(request, "notifications/replay_confirm.html", "Replay", context)

    def replay(self, request: HttpRequest) -> HttpResponse:
        """POST: send them again."""
        self._require(request, MAY_REPLAY)
        by = f"staff:{request.user.get_username()}"
        try:
            wanted = asked(request.POST, self._applications(request, MAY_REPLAY))
            lots = (replays.start(one, requested_by=by) for one in wanted.criteria)
            replayed, is_complete = _within(REPLAY_SECONDS, lots)
        except Unclear as error:
            return self._back(request, f"Nothing was replayed. {error}")
        self._write_down(request, replayed)
        return self._after(request, wanted, replayed, is_complete)

    def _write_down(self, request: HttpRequest, replayed: Sequence[replays.Found]) -> None:
        """In each notification's history; at one go where single sends come by the thousand."""
        by_count: dict[int, list[UUID]] = defaultdict(list)
        for row in replayed:
            by_count[row.recipients].append(row.notification_id)
        for recipients, ids in by_count.items():
            told = f"Replayed {things(recipients, 'dead letter')}."
            LogEntry.objects.log_actions(
                str(request.user.pk), Notification.objects.filter(id__in=ids), CHANGE, told
            )

    def _after(
        self, request: HttpRequest, wanted: Asked, replayed: Sequence[replays.Found], is_complete: bool
    ) -> HttpResponse:
        sent = things(sum(row.recipients for row in replayed), "dead letter")
        if not is_complete:
            messages.warning(request, f"{sent} sent again so far. There are more: go on with them here.")
            return HttpResponseRedirect(f"{self.url('confirm')}?{urlencode(wanted.hidden)}")
        if not replayed:
            messages.info(request, "There was nothing left to replay: somebody was quicker.")
            return HttpResponseRedirect(f"{self.url('dead_letters')}?{wanted.form.address}")
        messages.success(request, f"{sent} on the way again.")
        if len(replayed) > 1:
            return HttpResponseRedirect(self.url("changelist"))
        return HttpResponseRedirect(
            reverse("admin:notifications_notification_change", args=[replayed[0].notification_id])
        )

    def _applications(self, request: HttpRequest, permission: str = "") -> QuerySet[Application]:
        return access.applications(request.user, permission or self.permission("view"))

    def _require(self, request: HttpRequest, permission: str) -> None:
        if not (self.has_view_permission(request) and self.may(request, permission)):
            raise PermissionDenied

    def _show(self, request: HttpRequest, template: str, title: str, context: dict[str, Any]) -> HttpResponse:
        """A page under its own title, not the model's."""
        context["may_replay"] = self.may(request, MAY_REPLAY)
        frame = {"title": title, "content_title": title, "opts": None}
        return self.render(request, template, None, {**context, **frame})

    def _back(self, request: HttpRequest, why: str) -> HttpResponse:
        messages.error(request, why)
        data = request.POST or request.GET
        return HttpResponseRedirect(
            f"{self.url('dead_letters')}?{WhichForm(data, self._applications(request)).address}"
        )


def _within(
    seconds: float, lots: Iterable[Iterator[list[replays.Found]]]
) -> tuple[list[replays.Found], bool]:
    """What the lots come to until the time is up, and whether that was all."""
    end = time.monotonic() + seconds
    rows: list[replays.Found] = []
    for parts in lots:
        for part in parts:
            rows += part
            if time.monotonic() > end:
                return rows, False
    return rows, True
