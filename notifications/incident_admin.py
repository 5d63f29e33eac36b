"""The admin of incidents: the banner on every page, the list, and one incident with what can be done about it."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse, reverse_lazy
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from notifications import incidents, reasons
from notifications.models import Incident
from tenants import access
from tenants.console import ReadOnlyAdmin
from tenants.models import Credential

BANNER_LINES = 3
LIST = reverse_lazy("admin:notifications_incident_changelist")
# Where a request keeps what it has read of the open ones: the sidebar and the banner share it.
READ = "carillon.open_incidents"
# Whoever sees campaigns sees why they wait.
MAY_ACT = "notifications.change_incident"
MAY_SEE = ("notifications.view_incident", "campaigns.view_campaign")


class Line(NamedTuple):
    """One incident in the banner. url: where something is done about it, "" for those who may not go there."""

    incident: Incident
    said: incidents.Said
    url: str


def open_ones(request: HttpRequest) -> list[Any]:
    """What is wrong now; one query per request, and none for those who may not see it."""
    if READ not in request.META:
        ids = access.ids(request.user, *MAY_SEE)
        request.META[READ] = [] if ids == [] else list(access.narrowed(incidents.open_ones(), ids))
    return request.META[READ]


def banner(request: HttpRequest) -> dict[str, Any]:
    """What every page says above its content; a page that deals with an incident does not repeat it."""
    now = timezone.now()
    needy = [incident for incident in open_ones(request) if incidents.needs_people(incident, now)]
    # Those that only people can end come first.
    needy.sort(key=lambda incident: (incident.cause in incidents.PATIENT, incident.id))
    elsewhere = [
        (incident, _place(request, incident)) for incident in needy if request.path not in _places(incident)
    ]
    if not elsewhere or request.path == str(LIST):
        return {}
    lines = [Line(incident, incidents.said(incident), url) for incident, url in elsewhere[:BANNER_LINES]]
    return {
        "lines": lines,
        "is_single": len(lines) == 1,
        "more": len(elsewhere) - len(lines),
        "tone": "bad" if any(line.said.tone == "bad" for line in lines) else "warn",
        "spared": _spared([incident for incident, _ in elsewhere]),
    }


def _spared(found: list[Incident]) -> str:
    """Of several in one sentence. Where counts do not add up, nobody can say that nothing is lost."""
    words = f"{incidents.messages_wait(incidents.waiting(*found))}; whatever is not named here goes on."
    if any(incident.cause == Incident.Cause.LEDGER for incident in found):
        return words[0].upper() + words[1:]
    return f"Nothing is lost: {words}"


def _places(incident: Any) -> list[str]:
    """The pages that deal with it, the best for doing something first."""
    own = reverse("admin:notifications_incident_change", args=[incident.pk])
    if incident.cause != Incident.Cause.CREDENTIAL or not incident.credential_id:
        return [own]
    return [reverse("admin:tenants_credential_change", args=[incident.credential_id]), own]


def _place(request: HttpRequest, incident: Any) -> str:
    *credential, own = _places(incident)
    if credential and request.user.has_perm("tenants.view_credential", incident):
        return credential[0]
    return own if request.user.has_perm("notifications.view_incident", incident) else ""


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("over", "Over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        match self.value():
            case "open":
                return queryset.filter(closed_at__isnull=True)
            case "over":
                return queryset.filter(closed_at__isnull=False)
        return queryset


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    deeds: ClassVar = {
        "resume": MAY_ACT,
        "really_gone": MAY_ACT,
        "our_mistake": MAY_ACT,
    }

    list_display = ("what", "state", "application", "since", "lasted", "told")
    list_display_links = ("what",)
    list_filter = (StateFilter, "cause", "provider", "application")
    list_select_related = ("application",)
    list_before_template = "notifications/incident_list_before.html"
    show_full_result_count = False
    paginator = InfinitePaginator
    ordering = ("-closed_at", "-id")  # PostgreSQL puts those without one first
    sortable_by = ()

    @display(description="Incident", header=True)
    def what(self, obj: Incident) -> list[str]:
        return [incidents.said(obj).title, reasons.repeatable(obj.words)]

    @display(description="State")
    def state(self, obj: Incident) -> str:
        tone, word = _state(obj)
        return format_html('<span class="c-chip c-{}">{}</span>', tone, word)

    @display(description="Since (UTC)")
    def since(self, obj: Incident) -> str:
        return format_html('<span class="c-num">{}</span>', obj.opened_at.strftime("%-d %b %Y, %H:%M"))

    @display(description="Lasted")
    def lasted(self, obj: Incident) -> str:
        return format_html('<span class="c-num">{}</span>', lasted(obj))

    @display(description="Last told (UTC)")
    def told(self, obj: Incident) -> str:
        if not is_told(obj) or obj.told_at is None:
            return "—"
        return format_html('<span class="c-num">{}</span>', obj.told_at.strftime("%-d %b, %H:%M"))

    # --- one incident ---------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        incident = self.found(request, object_id)
        if not self.has_view_permission(request, incident):
            raise PermissionDenied
        said = incidents.said(incident)
        tone, word = _state(incident)
        may_act = incident.closed_at is None and self.may(request, MAY_ACT, incident)
        context = {
            "title": said.title,
            "incident": incident,
            "said": said,
            "provider": Credential.Provider(incident.provider).label if incident.provider else "",
            "explained": reasons.explained(incident.words),
            "tone": tone,
            "state": word,
            "lasted": lasted(incident),
            "told_at": incident.told_at if is_told(incident) else None,
            "credential": self._credential(request, incident),
            "may_resume": may_act and incident.cause in incidents.ENDED_BY_HAND,
            "may_decide": may_act and incident.cause == Incident.Cause.RETIREMENTS,
            **self._suspended(incident),
        }
        return self.render(request, "notifications/incident.html", incident, context)

    def _credential(self, request: HttpRequest, incident: Incident) -> Credential | None:
        """The refused one, where the incident is about it."""
        if not self.may(request, "tenants.view_credential", incident):
            return None
        of_provider = Credential.objects.filter(
            application_id=incident.application_id, provider=incident.provider, is_active=True
        )
        return of_provider.order_by("blocked_at", "id").first()

    def _suspended(self, incident: Incident) -> dict[str, Any]:
        is_open = incident.cause == Incident.Cause.RETIREMENTS and not incident.closed_at
        rows = incidents.suspended(incident) if is_open else []
        return {
            "suspended": [(reasons.words(reason), reason, count) for reason, count in rows],
            "suspended_count": sum(count for _, count in rows),
        }

    def resume(self, request: HttpRequest, obj: Incident) -> HttpResponse:
        """POST: let its lanes go on now."""
        if incidents.resume(obj, by=request.user.get_username()):
            self.audit(request, obj, "Resumed.")
            messages.success(request, "Resumed. If the provider still does not want to, you are told again.")
        else:
            messages.info(request, "It was over already.")
        return HttpResponseRedirect(self.url("change", obj))

    def really_gone(self, request: HttpRequest, obj: Incident) -> HttpResponse:
        """POST: the provider is right."""
        return self._decide(request, obj, really_gone=True, done="Switched off")

    def our_mistake(self, request: HttpRequest, obj: Incident) -> HttpResponse:
        """POST: the provider was asked the wrong question."""
        return self._decide(request, obj, really_gone=False, done="Kept, and switched on again")

    def _decide(self, request: HttpRequest, obj: Incident, *, really_gone: bool, done: str) -> HttpResponse:
        count = incidents.release_retirements(obj, by=request.user.get_username(), really_gone=really_gone)
        if count is None:
            messages.info(request, "It was decided already.")
        else:
            devices = f"{count:,} device{'' if count == 1 else 's'}"
            self.audit(request, obj, f"{done}: {devices}.")
            messages.success(request, f"{done}: {devices}. Campaigns go on.")
        return HttpResponseRedirect(self.url("change", obj))


def _state(incident: Incident) -> tuple[str, str]:
    if incident.closed_at is None:
        return "bad", "Open"
    return "off", f"Ended by {incident.closed_by}" if incident.closed_by else "Over by itself"


def is_told(incident: Incident) -> bool:
    """alarms.py notes a try that is under way as a time long gone."""
    return incident.told_at is not None and incident.told_at >= incident.opened_at


def lasted(incident: Incident) -> str:
    """In the units a person would use: "3 h 20 min", "12 min", "40 s"."""
    seconds = int(((incident.closed_at or timezone.now()) - incident.opened_at).total_seconds())
    if seconds >= 86_400:
        return f"{seconds // 86_400} d {seconds % 86_400 // 3_600} h"
    if seconds >= 3_600:
        return f"{seconds // 3_600} h {seconds % 3_600 // 60} min"
    return f"{seconds // 60} min" if seconds >= 60 else f"{max(seconds, 0)} s"
