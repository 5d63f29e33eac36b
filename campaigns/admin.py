"""Campaigns: which page and which deed is where. Each is a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList as BaseChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import date
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe
from unfold.decorators import display
from unfold.views import ChangeList

from campaigns import (  # noqa: F401 (tester_admin registers)
    approvals,
    board,
    composer,
    selectors,
    test_drawer,
    tester_admin,
    words,
)
from campaigns import live as live_pages
from campaigns import review as review_pages
from campaigns.models import Campaign
from campaigns.transitions import TRANSITIONS
from tenants.console import ConsoleAdmin
from tenants.models import Application
from tenants.templatetags.console import count

Page = Callable[["CampaignAdmin", HttpRequest, Campaign], HttpResponse]


def page(view: Page) -> Any:
    """A view of another module as one of the admin's own."""

    def method(self: CampaignAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return view(self, request, campaign)

    return method


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
    pages: ClassVar = {
        **dict.fromkeys(("review", "preflight", "look", "test", "test_status"), "view"),
        "live": "view",
        "live_status": "view",
    }
    deeds: ClassVar = {
        "save": "change",
        "duplicate": "add",
        "send_test": "view",  # and one of test_drawer.MAY_TEST
        **{
            deed: TRANSITIONS[deed].permission
            for deed in (
                "ask",
                "withdraw",
                "approve",
                "refuse",
                "launch",
                "unschedule",
                "pause",
                "resume",
                "cancel",
            )
        },
    }

    save = page(composer.save)
    review = page(review_pages.page)
    preflight = page(review_pages.checked)
    look = page(review_pages.look)
    launch = page(review_pages.launch)
    ask = page(approvals.ask)
    withdraw = page(approvals.withdraw)
    approve = page(approvals.approve)
    refuse = page(approvals.refuse)
    test = page(test_drawer.drawer)
    test_status = page(test_drawer.status)
    send_test = page(test_drawer.send)
    live = page(live_pages.page)
    live_status = page(live_pages.status)
    pause = page(live_pages.pause)
    resume = page(live_pages.resume)
    cancel = page(live_pages.cancel)
    unschedule = page(live_pages.unschedule)
    duplicate = page(live_pages.duplicate)

    change_list_template = "campaigns/list.html"
    list_display = ("campaign", "status_chip", "audience_words", "result", "when")
    list_display_links = ("campaign",)
    list_filter = ("status", "application")
    list_filter_submit = False
    search_fields = ("name",)
    search_help_text = "Search by name"
    ordering = ("-id",)
    list_per_page = 25

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BaseChangeList]:
        return CampaignList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        return super().get_queryset(request).select_related("application", "category", "latest_run")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"has_any": Campaign.objects.exists(), "has_application": Application.objects.exists()}
        return super().changelist_view(request, {**(extra_context or {}), **context})

    @display(description="Campaign", header=True, ordering="name")
    def campaign(self, obj: Campaign) -> list[str]:
        return [str(obj), words.title(obj)]

    @display(description="State")
    def status_chip(self, obj: Any) -> str:
        return chip(obj.progress.state if obj.progress else selectors.state(obj))

    @display(description="Audience")
    def audience_words(self, obj: Campaign) -> str:
        return words.audience(obj)

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
        is_open = obj is None or obj.status in Campaign.EDITABLE
        return is_open and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        was_never_sent = obj is not None and obj.status in Campaign.EDITABLE and obj.latest_run_id is None
        return was_never_sent and super().has_delete_permission(request, obj)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return composer.page(self, request, None)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        campaign = self.found(request, object_id)
        if not self.has_view_or_change_permission(request, campaign):
            raise PermissionDenied
        return composer.page(self, request, campaign)

    # --- our own pages --------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("create/", wrap(require_POST(self.create)), name=self.url_name("create")),
            *(
                path(f"{name}/", wrap(require_safe(self.fragment)), {"name": name}, name=self.url_name(name))
                for name in ("sending", "audience", "week")
            ),
            *composer.routes(self),
            *super().get_urls(),
        ]

    def create(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return composer.create(self, request)

    def fragment(self, request: HttpRequest, name: str) -> HttpResponse:
        """A part of the dashboard, fetched after its first paint."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {"sending": board.sending()} if name == "sending" else getattr(board, name)()
        return TemplateResponse(request, f"campaigns/_{name}.html", context)


def chip(state: selectors.State) -> str:
    return format_html(
        '<span class="c-chip c-{}"><span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span>',
        state.tone,
        state.icon,
        state.word,
    )
