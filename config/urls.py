"""Every route."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path, register_converter
from django.urls.converters import StringConverter
from django.views.decorators.http import require_POST, require_safe
from django.views.defaults import server_error
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from campaigns import api as campaigns
from campaigns import api_deeds as campaign_deeds
from campaigns import pictures
from config import health
from config.problems import Problem
from devices import api as devices
from devices import api_categories as categories
from devices import api_import as imports
from devices import api_segments as segments
from devices import api_subscribers as subscribers
from devices import centre
from notifications import api as notifications
from notifications import api_events as events
from notifications import api_reasons as reasons
from notifications import api_segments as reach
from notifications import api_templates as templates
from notifications import explain_admin, health_page, reason_page, segment_reach


class ExternalId(StringConverter):
    """Any text without control characters, slashes included: other people's ids are as they are."""

    regex = r"[^\x00-\x1f\x7f]+"


register_converter(ExternalId, "external_id")


def nothing_here(request: HttpRequest, rest: str = "") -> HttpResponse:
    return Problem(404, "Not found", "There is nothing at this address.").plain_response()


def failed(request: HttpRequest) -> HttpResponse:
    """Our own fault; what it was is in the log only."""
    if request.path_info.startswith("/v1/"):
        return Problem(
            500, "Internal error", "This is not your mistake. It has been logged."
        ).plain_response()
    return server_error(request)


handler500 = failed

API: list[URLPattern | URLResolver] = [
    path("devices", devices.Devices.as_view()),
    path("devices/<uuid:public_id>", devices.OneDevice.as_view()),
    path("devices/import", imports.ImportDevices.as_view()),
    path("vapid-key", devices.VapidKey.as_view()),
    path("caps", categories.OwnCaps.as_view()),
    path("categories", categories.Categories.as_view()),
    path("categories/<slug:slug>", categories.OneCategory.as_view()),
    path("subscribers", subscribers.Subscribers.as_view()),
    path("subscribers/import", imports.ImportSubscribers.as_view()),
    path("subscribers/<external_id:external_id>/consent", subscribers.Consent.as_view()),
    path("subscribers/<external_id:external_id>/preference-link", subscribers.PreferenceLink.as_view()),
    path("subscribers/<external_id:external_id>/preferences", subscribers.Preferences.as_view()),
    path("subscribers/<external_id:external_id>/explain/<uuid:id>", notifications.Explain.as_view()),
    path("subscribers/<external_id:external_id>", subscribers.OneSubscriber.as_view()),
    path("segments", segments.Segments.as_view()),
    path("segments/estimate", reach.Estimate.as_view()),
    path("segments/<slug:slug>", segments.OneSegment.as_view()),
    path("segments/<slug:slug>/members", segments.Members.as_view()),
    path("events", events.Events.as_view()),
    path("notifications", notifications.Notifications.as_view()),
    path("notifications/batch", notifications.Batch.as_view()),
    path("notifications/<uuid:id>", notifications.OneNotification.as_view()),
    path("notifications/<uuid:id>/deliveries", notifications.Deliveries.as_view()),
    path("notifications/<uuid:id>/cancel", notifications.Cancel.as_view()),
    path("notifications/<uuid:id>/pause", notifications.Pause.as_view()),
    path("notifications/<uuid:id>/resume", notifications.Resume.as_view()),
    path("campaigns", campaigns.Campaigns.as_view()),
    path("campaigns/<int:id>", campaigns.OneCampaign.as_view()),
    path("campaigns/<int:id>/reach", campaigns.CampaignReach.as_view()),
    path("campaigns/<int:id>/preflight", campaigns.CampaignPreflight.as_view()),
    path("campaigns/<int:id>/runs", campaigns.CampaignRuns.as_view()),
    path("campaigns/<int:id>/runs/<int:number>", campaigns.OneCampaignRun.as_view()),
    path("campaigns/<int:id>/versions", campaigns.CampaignVersions.as_view()),
    path("campaigns/<int:id>/versions/<int:number>", campaigns.OneCampaignVersion.as_view()),
    path("campaigns/<int:id>/launch", campaign_deeds.CampaignLaunch.as_view()),
    path("campaigns/<int:id>/pause", campaign_deeds.CampaignPause.as_view()),
    path("campaigns/<int:id>/resume", campaign_deeds.CampaignResume.as_view()),
    path("campaigns/<int:id>/cancel", campaign_deeds.CampaignCancel.as_view()),
    path("campaigns/<int:id>/unschedule", campaign_deeds.CampaignUnschedule.as_view()),
    path("campaigns/<int:id>/decide", campaign_deeds.CampaignDecide.as_view()),
    path("reasons", reasons.Reasons.as_view()),
    path("templates", templates.Templates.as_view()),
    path("templates/<slug:slug>", templates.OneTemplate.as_view()),
    path("templates/<slug:slug>/preview", templates.Preview.as_view()),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", include(API)),
    path("v1/", nothing_here),
    path("v1/<path:rest>", nothing_here),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("pictures/<str:digest>", pictures.serve),
    path("p/<str:token>", centre.preferences),
    path("p/<str:token>/unsubscribe", centre.unsubscribe),
    path("p/<str:token>/subscribe", centre.subscribe),
    path(
        "admin/segments/estimate/",
        admin.site.admin_view(require_POST(segment_reach.estimate)),
        name="segment_estimate",
    ),
    path(
        "admin/credentials/health/",
        admin.site.admin_view(require_safe(health_page.health)),
        name="credential_health",
    ),
    path(
        "admin/credentials/check/",
        admin.site.admin_view(require_POST(health_page.check_all)),
        name="credential_check_all",
    ),
    path("admin/explain/", admin.site.admin_view(require_safe(explain_admin.page)), name="explain"),
    path("admin/reasons/", admin.site.admin_view(require_safe(reason_page.reasons)), name="reasons"),
    path("admin/", admin.site.urls),
]
