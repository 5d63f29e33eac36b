"""Campaigns: list, composer, review, launch, live page."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList as BaseChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import date
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe
from unfold.decorators import display
from unfold.views import ChangeList

from campaigns import board, forms, selectors, views
from campaigns.models import Campaign
from tenants.console import ConsoleAdmin
from tenants.models import Application
from tenants.templatetags.console import count


class CampaignList(ChangeList):
    """Rows know their progress: two queries for the page, however many rows it has."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        for campaign, (_, progress) in zip(rows, selectors.with_progress(rows), strict=True):
            campaign.progress = progress
        self.result_list = rows


@admin.register(Campaign)
class CampaignAdmin(ConsoleAdmin):
    pages: ClassVar = {"review": "view", "live": "view", "live_status": "view"}
    deeds: ClassVar = {
        "launch": "campaigns.launch_campaign",
        "cancel": "campaigns.launch_campaign",
        "pause": "campaigns.launch_campaign",
        "resume": "campaigns.launch_campaign",
        "unschedule": "campaigns.launch_campaign",
        "duplicate": "add",
    }

    form = forms.CampaignForm
    change_form_template = "campaigns/compose.html"
    change_list_template = "campaigns/list.html"
    list_display = ("campaign", "status_chip", "audience_words", "result", "when")
    list_display_links = ("campaign",)
    list_filter = ("status", "application")
    list_filter_submit = False
    search_fields = ("name", "title")
    search_help_text = "Search by name or title"
    ordering = ("-id",)
    warn_unsaved_form = True
    list_per_page = 25

    # --- list -----------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BaseChangeList]:
        return CampaignList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        return selectors.recent()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"has_any": Campaign.objects.exists(), "has_application": Application.objects.exists()}
        return super().changelist_view(request, {**(extra_context or {}), **context})

    @display(description="Campaign", header=True, ordering="name")
    def campaign(self, obj: Campaign) -> list[str]:
        return [obj.name, obj.title]

    @display(description="State")
    def status_chip(self, obj: Any) -> str:
        return chip(selectors.state_of(obj, obj.progress))

    @display(description="Audience")
    def audience_words(self, obj: Campaign) -> str:
        return views.audience_words(obj)

    @display(description="Result")
    def result(self, obj: Any) -> str:
        if not obj.progress:
            return "—"
        progress = obj.progress
        if progress.is_open:
            return f"{progress.sum.percent}% of {count(progress.sum.recipients)}"
        return f"{count(progress.sum.of('accepted').count)} of {count(progress.sum.recipients)} accepted"

    @display(description="When", ordering="launched_at")
    def when(self, obj: Campaign) -> Any:
        if obj.launched_at:
            return date(obj.launched_at, "j M Y, H:i")
        return format_html('<span class="c-quiet">edited {}</span>', date(obj.updated_at, "j M Y, H:i"))

    # --- composer -------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        is_open = obj is None or obj.status == Campaign.Status.DRAFT
        return is_open and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        is_draft = obj is not None and obj.status == Campaign.Status.DRAFT
        return is_draft and super().has_delete_permission(request, obj)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not Application.objects.exists():
            messages.info(request, "Create an application first: a campaign belongs to one.")
            return HttpResponseRedirect("../../../tenants/application/add/")
        return super().add_view(request, form_url, {**(extra_context or {}), **self._composer()})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        campaign = self.get_object(request, object_id)
        is_draft = campaign is None or campaign.status == Campaign.Status.DRAFT
        if campaign and not is_draft and self.has_view_permission(request, campaign):
            return HttpResponseRedirect(self.url("live", campaign))
        if campaign and self._may_only_look(request, campaign):
            return HttpResponseRedirect(self.url("review", campaign))
        context = {**(extra_context or {}), **self._composer(campaign)}
        return super().change_view(request, object_id, form_url, context)

    def _may_only_look(self, request: HttpRequest, campaign: Campaign) -> bool:
        return self.has_view_permission(request, campaign) and not self.has_change_permission(
            request, campaign
        )

    def _composer(self, campaign: Campaign | None = None) -> dict[str, Any]:
        return {
            "payload_url": self.url("payload"),
            "reach_url": self.url("reach"),
            "campaign": campaign,
            "attribute_names": selectors.attribute_names(),
            "has_several_applications": Application.objects.count() > 1,
            "title": None if campaign is None else campaign.name,
            "subtitle": None,
        }

    def save_model(self, request: HttpRequest, obj: Campaign, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = views.staff(request)
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: Campaign, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._after_save(request, obj)

    def response_change(self, request: HttpRequest, obj: Campaign) -> HttpResponse:
        return self._after_save(request, obj)

    def _after_save(self, request: HttpRequest, obj: Campaign) -> HttpResponse:
        # Everything is stored by now, so the next page shows what would be sent.
        if "_review" in request.POST:
            return HttpResponseRedirect(self.url("review", obj))
        messages.success(request, "Draft saved. Nothing has been sent.")
        return HttpResponseRedirect(self.url("change", obj))

    # --- our own pages --------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("payload/", wrap(require_POST(self.payload)), name=self.url_name("payload")),
            path("reach/", wrap(require_POST(self.reach)), name=self.url_name("reach")),
            *(
                path(f"{name}/", wrap(require_safe(self.fragment)), {"name": name}, name=self.url_name(name))
                for name in ("sending", "audience", "week")
            ),
            *super().get_urls(),
        ]

    def payload(self, request: HttpRequest) -> HttpResponse:
        self._check_author(request)
        return views.payload(request)

    def reach(self, request: HttpRequest) -> HttpResponse:
        self._check_author(request)
        return views.reach(request)

    def fragment(self, request: HttpRequest, name: str) -> HttpResponse:
        """A part of the dashboard, fetched after its first paint."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {"sending": board.sending()} if name == "sending" else getattr(board, name)()
        return TemplateResponse(request, f"campaigns/_{name}.html", context)

    def _check_author(self, request: HttpRequest) -> None:
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied

    def review(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return views.review(self, request, campaign)

    def launch(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return views.launch(self, request, campaign)

    def live(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return views.live(self, request, campaign)

    def live_status(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return views.live_status(self, request, campaign)

    def cancel(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return views.cancel(self, request, campaign)

    def pause(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return views.pause(self, request, campaign)

    def resume(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return views.resume(self, request, campaign)

    def unschedule(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return views.unschedule(self, request, campaign)

    def duplicate(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return views.duplicate(self, request, campaign)


def chip(state: selectors.State) -> str:
    return format_html(
        '<span class="c-chip c-{}"><span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span>',
        state.tone,
        state.icon,
        state.word,
    )
