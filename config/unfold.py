"""The admin's looks and navigation (django-unfold)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _may_view(app: str, model: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(f"{app}.view_{model}")


def _item(title: str, icon: str, app: str, model: str, page: str = "changelist") -> dict[str, Any]:
    """A link to a list, for those who may see it."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_{page}"),
        "permission": _may_view(app, model),
    }


NAVIGATION: list[dict[str, Any]] = [
    {"items": [{"title": "Overview", "icon": "space_dashboard", "link": reverse_lazy("admin:index")}]},
    {
        "title": "Messages",
        "items": [
            _item("Campaigns", "campaign", "campaigns", "campaign"),
            _item("Templates", "edit_note", "notifications", "template"),
            _item("Notifications", "send", "notifications", "notification"),
            _item("Deliveries", "receipt_long", "notifications", "delivery"),
            _item("Dead letters", "unsubscribe", "notifications", "replay", "dead_letters"),
            _item("Incidents", "emergency_home", "notifications", "incident"),
        ],
    },
    {
        "title": "Audience",
        "items": [
            _item("Subscribers", "group", "devices", "subscriber"),
            _item("Devices", "smartphone", "devices", "device"),
            _item("Segments", "filter_alt", "devices", "segment"),
            _item("Categories", "category", "devices", "category"),
            _item("Testers", "phonelink_ring", "campaigns", "tester"),
            {
                "title": "Explain",
                "icon": "quiz",
                "link": reverse_lazy("explain"),
                "permission": _may_view("devices", "subscriber"),
            },
        ],
    },
    {
        "title": "Workspace",
        "items": [
            _item("Applications", "apps", "tenants", "application"),
            _item("Credentials", "vpn_key", "tenants", "credential"),
            {
                "title": "Credential health",
                "icon": "ecg_heart",
                "link": reverse_lazy("credential_health"),
                "permission": _may_view("tenants", "credential"),
            },
            _item("API keys", "key", "tenants", "apikey"),
            _item("Roles", "group_add", "tenants", "membership"),
            _item("Staff", "badge", "auth", "user"),
            {"title": "Reasons", "icon": "menu_book", "link": reverse_lazy("reasons")},
        ],
    },
]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """NAVIGATION, with how many wait for somebody; unfold would show a badge of none as well."""
    counts = {title: count for title, count in _badges(request) if count}
    if not counts:
        return NAVIGATION
    groups = deepcopy(NAVIGATION)
    for item in (item for group in groups for item in group["items"] if item["title"] in counts):
        item["badge"] = str(counts[item["title"]])
    return groups


def _badges(request: HttpRequest) -> Iterator[tuple[str, int]]:
    """Open incidents; for approvers the campaigns that wait for an approval."""
    from campaigns import selectors as campaigns  # the apps are loaded by now
    from notifications.incident_admin import open_ones
    from tenants import access

    yield "Incidents", len(open_ones(request))
    own = access.ids(request.user, "campaigns.approve_campaign")
    if own != []:
        yield "Campaigns", campaigns.waiting_count(own)


# 600 is darker than usual: unfold writes white on it, and links in it.
TEAL = {
    "50": "#f0fdfa",
    "100": "#ccfbf1",
    "200": "#99f6e4",
    "300": "#5eead4",
    "400": "#2dd4bf",
    "500": "#14b8a6",
    "600": "#0f7a71",  # white on it, and it on white, is readable (WCAG AA)
    "700": "#0f766e",
    "800": "#115e59",
    "900": "#134e4a",
    "950": "#042f2e",
}

UNFOLD = {
    "SITE_TITLE": "Carillon",
    "SITE_HEADER": "Carillon",
    "SITE_SYMBOL": "notifications_active",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("favicon.svg")}
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "GLOBAL_CALLBACK": "config.console.frame",
    "DASHBOARD_CALLBACK": "config.console.dashboard",
    "STYLES": [lambda request: static("console.css")],
    "SCRIPTS": [lambda request: static("console.js")],
    "COLORS": {"primary": TEAL},
    "SIDEBAR": {"show_search": False, "navigation": navigation},
}
