"""Campaigns: which page and which deed is where. Each is a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST, require_safe

from campaigns import (  # noqa: F401 (tester_admin registers)
    approvals,
    board,
    calendar_page,
    composer,
    composer_audience,
    composer_schedule,
    composer_segments,
    listing,
    live_deeds,
    presence,
    recipient_pages,
    scopes,
    selectors,
    test_drawer,
    tester_admin,
    versions,
)
from campaigns import live as live_pages
from campaigns import review as review_pages
from campaigns.models import Campaign
from campaigns.transitions import TRANSITIONS
from tenants.console import ConsoleAdmin

# What the composer's panels ask, about a draft stored or not.
PANELS = {
    "estimate": composer_audience.estimate,
    "people_sample": composer_audience.people_sample,
    "segments": composer_segments.listing,
    "upload_list": composer_segments.upload_list,
    "moments": composer_schedule.moments,
}

Page = Callable[["CampaignAdmin", HttpRequest, Campaign], HttpResponse]


def page(view: Page) -> Any:
    """A view of another module as one of the admin's own."""

    def method(self: CampaignAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        return view(self, request, campaign)

    return method


@admin.register(Campaign)
class CampaignAdmin(ConsoleAdmin):
    pages: ClassVar = {
        **dict.fromkeys(("review", "preflight", "look", "test", "test_status"), "view"),
        **dict.fromkeys(("live", "live_status", "live_details"), "view"),
        "recipients": live_pages.MAY_LIST,
    }
    deeds: ClassVar = {
        "save": "change",
        "presence": "campaigns.change_campaign",  # whatever its state: the page is told that it changed
        "duplicate": "add",
        "restore": "campaigns.change_campaign",  # whatever its state: the service says why not
        "resend": "add",
        "export": live_pages.MAY_EXPORT,
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
                "decide",
            )
        },
    }

    save = page(composer.save)
    presence = page(presence.told)
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
    live_details = page(live_pages.details)
    recipients = page(recipient_pages.page)
    export = page(recipient_pages.export)
    pause = page(live_deeds.pause)
    resume = page(live_deeds.resume)
    cancel = page(live_deeds.cancel)
    decide = page(live_deeds.decide)
    unschedule = page(live_deeds.unschedule)
    duplicate = page(live_deeds.duplicate)
    resend = page(live_deeds.again)

    restore = page(versions.restore)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return listing.page(self, request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        found = super().get_queryset(request)
        return found.select_related("application", "category", "latest_run", "updated_by")

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        campaign = self.found(request, object_id)
        if not self.has_view_or_change_permission(request, campaign):
            raise PermissionDenied
        return versions.page(self, request, campaign)

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
            path("calendar/", wrap(require_safe(self.calendar)), name=self.url_name("calendar")),
            path("archive/", wrap(require_POST(self.shelve)), name=self.url_name("shelve")),
            *(
                path(
                    f"compose/{name.replace('_', '-')}/",
                    wrap(require_POST(partial(view, self))),
                    name=self.url_name(name),
                )
                for name, view in PANELS.items()
            ),
            *(
                path(f"{name}/", wrap(require_safe(self.fragment)), {"name": name}, name=self.url_name(name))
                for name in board.FRAGMENTS
            ),
            *composer.routes(self),
            *super().get_urls(),
        ]

    def create(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return composer.create(self, request)

    def calendar(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return calendar_page.page(self, request)

    def shelve(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm("campaigns.change_campaign"):
            raise PermissionDenied
        return listing.shelve(self, request)

    def fragment(self, request: HttpRequest, name: str) -> HttpResponse:
        """A part of the dashboard, fetched after its first paint."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        scope = scopes.of(request)
        context = {"scope": scope, **board.FRAGMENTS[name](request, scope)}
        return TemplateResponse(request, f"campaigns/board/_{name}.html", context)
