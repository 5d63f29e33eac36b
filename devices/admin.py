"""Audience: subscribers with what they want, and their devices."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from devices import (  # noqa: F401 (those called …_admin register)
    application_admin,
    category_admin,
    consent,
    links,
    lookup,
    quiet,
    segment_admin,
    selectors,
    services,
)
from devices.models import ConsentChange, Device, Preference, Subscriber
from devices.selectors import Choice
from tenants.console import ConsoleAdmin, Scoped
from tenants.templatetags.console import pretty_json


def token_tail(device: Device) -> str:
    """Enough to tell two apart, useless to send with."""
    return f"…{device.token[-lookup.TAIL :]}"


def state_chip(device: Device) -> str:
    word, icon, tone = _state(device)
    return format_html(
        '<span class="c-chip c-{}"><span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span>',
        tone,
        icon,
        word,
    )


def _state(device: Device) -> tuple[str, str, str]:
    if device.retired_at:
        return "Retired", "block", "off"
    if device.permission == Device.Permission.DENIED:
        return "Notifications off", "notifications_off", "warn"
    return "Active", "check_circle", "good"


def field_names(fieldsets: Any) -> list[str]:
    return [name for _, options in fieldsets for name in options["fields"]]


class DeviceInline(Scoped, TabularInline):
    model = Device
    fields = ("device", "state", "token_tail", "app_version", "last_seen_at")
    readonly_fields = fields
    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = False
    hide_title = True
    ordering = ("retired_at", "-last_seen_at")
    verbose_name_plural = "devices"

    @display(description="Device")
    def device(self, obj: Device) -> str:
        url = reverse("admin:devices_device_change", args=[obj.pk])
        return format_html(
            '<a class="c-link" href="{}">{} {}</a>', url, obj.get_platform_display(), obj.model
        )

    @display(description="State")
    def state(self, obj: Device) -> str:
        return state_chip(obj)

    @display(description="Token")
    def token_tail(self, obj: Device) -> str:
        return token_tail(obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Subscriber)
class SubscriberAdmin(ConsoleAdmin):
    list_display = ("external_id", "application", "country", "locale", "time_zone", "created_at")
    list_filter = ("application",)
    deeds: ClassVar = {"choose": "change"}

    list_select_related = ("application",)
    search_fields = ("external_id",)
    search_help_text = "The whole id, as your own system knows the person"
    show_full_result_count = False
    paginator = InfinitePaginator
    inlines = (DeviceInline,)
    change_form_outer_after_template = "devices/subscriber_after.html"
    fieldsets = (
        (None, {"fields": ("external_id", "application", "created_at", "updated_at")}),
        ("Contact", {"fields": ("email", "phone", "locale", "time_zone", "country")}),
        ("Attributes", {"fields": ("attributes_pretty", "quiet_words")}),
    )
    saves = False  # the application's backend is the one that knows

    def get_readonly_fields(self, request: HttpRequest, obj: Subscriber | None = None) -> list[str]:
        return field_names(self.fieldsets)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # people come through the API, with their devices

    def has_delete_permission(self, request: HttpRequest, obj: Subscriber | None = None) -> bool:
        return False  # erasure is the API's: it takes the ledger along

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        """The whole id by its unique index; a part of it would read every row."""
        return (queryset.filter(external_id=search_term.strip()) if search_term.strip() else queryset), False

    @display(description="Attributes")
    def attributes_pretty(self, obj: Subscriber) -> str:
        return (
            format_html('<pre class="c-pre">{}</pre>', pretty_json(obj.attributes))
            if obj.attributes
            else "None"
        )

    @display(description="Quiet hours")
    def quiet_words(self, obj: Subscriber) -> str:
        if obj.quiet_hours is None:
            return "The application's"
        return quiet.describe(obj.quiet_hours.windows) or "None: at any hour"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        if obj:
            context |= {
                "choices": [_choice(choice) for choice in selectors.choices(obj)],
                "history": [_line(change) for change in selectors.consent(obj)[:HISTORY_LINES]],
                "link": links.url(obj) if self.has_change_permission(request, obj) else "",
            }
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)

    def choose(self, request: HttpRequest, obj: Subscriber) -> HttpResponse:
        """POST: set what the person wants, as they have told staff."""
        wishes: dict[str, Any] = {}
        for choice in selectors.choices(obj):
            word = WORDS.get(request.POST.get(_name(choice), ""), choice.said)
            if word != choice.said and not choice.is_forced:
                wishes.setdefault(choice.category.slug, {})[choice.channel] = word
        if (unsubscribed := request.POST.get("unsubscribed")) in ("yes", "no"):
            wishes[consent.UNSUBSCRIBED] = unsubscribed == "yes"
        origin = consent.origin(request, consent.Source.ADMIN, request.user.get_username())
        before = selectors.consent(obj).count()
        services.set_preferences(obj, wishes, origin=origin)
        if selectors.consent(obj).count() > before:
            self.audit(request, obj, "Preferences changed.")
            messages.success(request, "Saved, and written down in the history below.")
        else:
            messages.info(request, "Nothing was changed.")
        return HttpResponseRedirect(self.url("change", obj))


WORDS = {"yes": True, "no": False, "default": None}
HISTORY_LINES = 20


def _name(choice: Choice) -> str:
    return f"{choice.category.slug}/{choice.channel}"


def _choice(choice: Choice) -> dict[str, Any]:
    """As the form shows it."""
    default = "on" if choice._replace(said=None).is_allowed else "off"
    return {
        "name": _name(choice),
        "category": choice.category,
        "channel": Preference.Channel(choice.channel).label,
        "is_forced": choice.is_forced,
        "said": {True: "yes", False: "no", None: "default"}[choice.said],
        "words": (("default", f"Not said: {default}"), ("yes", "Yes"), ("no", "No")),
    }


def _line(change: ConsentChange) -> dict[str, Any]:
    """As the history shows it."""
    if change.category:
        about = f"{change.category}, {Preference.Channel(change.channel).label}"
        said = {True: "Yes", False: "No", None: "Taken back"}[change.is_allowed]
    else:
        about = "All marketing"
        said = "Unsubscribed" if change.is_allowed is False else "No longer unsubscribed"
    return {"change": change, "about": about, "said": said}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("off", "Notifications off"), ("retired", "Retired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        match self.value():
            case "active":
                return queryset.filter(retired_at__isnull=True).exclude(permission=Device.Permission.DENIED)
            case "off":
                return queryset.filter(retired_at__isnull=True, permission=Device.Permission.DENIED)
            case "retired":
                return queryset.filter(retired_at__isnull=False)
        return queryset


@admin.register(Device)
class DeviceAdmin(ConsoleAdmin):
    deeds: ClassVar = {"retire": "change", "revive": "change"}
    saves = False  # apps write devices

    list_display = (
        "device",
        "state",
        "subscriber_link",
        "application",
        "token_tail",
        "app_version",
        "last_seen_at",
    )
    list_display_links = ("device",)
    list_filter = (StateFilter, "platform", "application")
    list_select_related = ("application", "subscriber")
    search_fields = ("public_id",)
    search_help_text = "Device id, installation id or subscriber id, whole"
    show_full_result_count = False
    paginator = InfinitePaginator
    change_form_outer_after_template = "devices/device_after.html"
    fieldsets = (
        (None, {"fields": ("state", "subscriber_link", "application", "retired_at", "retired_reason")}),
        (
            "Address",
            {
                "fields": (
                    "platform",
                    "token_tail",
                    "environment",
                    "permission",
                    "registered_at",
                    "last_seen_at",
                )
            },
        ),
        (
            "Device",
            {
                "fields": (
                    "public_id",
                    "installation_id",
                    "model",
                    "os_version",
                    "app_version",
                    "locale",
                    "time_zone",
                )
            },
        ),
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Device | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Device | None = None) -> list[str]:
        return field_names(self.fieldsets)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        """Whole ids only, each by an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        people = list(Subscriber.objects.filter(external_id=term).values_list("id", flat=True)[:10])
        found = Q(installation_id=term) | Q(subscriber_id__in=people)
        with contextlib.suppress(ValueError):
            found |= Q(public_id=uuid.UUID(term))
        return queryset.filter(found), False

    @display(description="Device", header=True)
    def device(self, obj: Device) -> list[str]:
        return [obj.get_platform_display(), obj.model or str(obj.public_id)]

    @display(description="State")
    def state(self, obj: Device) -> str:
        return state_chip(obj)

    @display(description="Subscriber")
    def subscriber_link(self, obj: Device) -> str:
        if not obj.subscriber:
            return "Nobody signed in"
        url = reverse("admin:devices_subscriber_change", args=[obj.subscriber_id])
        return format_html('<a class="c-link" href="{}">{}</a>', url, obj.subscriber)

    @display(description="Token")
    def token_tail(self, obj: Device) -> str:
        return token_tail(obj)

    def retire(self, request: HttpRequest, obj: Device) -> HttpResponse:
        """POST: send nothing to it until the app registers it again."""
        changed = Device.objects.filter(pk=obj.pk, retired_at__isnull=True).update(
            retired_at=timezone.now(), retired_reason="by_staff"
        )
        if changed:
            self.audit(request, obj, "Retired.")
        messages.success(request, "Retired. It gets nothing until the app registers it again.")
        return HttpResponseRedirect(self.url("change", obj))

    def revive(self, request: HttpRequest, obj: Device) -> HttpResponse:
        """POST: take it for reachable again."""
        try:
            with transaction.atomic():
                changed = Device.objects.filter(pk=obj.pk, retired_at__isnull=False).update(
                    retired_at=None, retired_reason=""
                )
        except IntegrityError:
            messages.error(request, "Another active device has this address by now; this one stays retired.")
            return HttpResponseRedirect(self.url("change", obj))
        if changed:
            self.audit(request, obj, "Revived.")
        messages.success(request, "Active again. If the address is gone, the next message says so.")
        return HttpResponseRedirect(self.url("change", obj))
