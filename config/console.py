"""What unfold asks the project for: the dashboard's content, and what stands on every page.

Imports inside: settings name this module before the apps are loaded.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def frame(request: HttpRequest) -> dict[str, Any]:
    """UNFOLD["GLOBAL_CALLBACK"]: the banner of `templates/admin/base.html`."""
    from notifications.incident_admin import banner

    return {"incident_banner": banner(request)} if request.user.is_authenticated else {}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """UNFOLD["DASHBOARD_CALLBACK"]: `templates/admin/index.html` shows it."""
    from campaigns.board import board

    return {**context, "board": board(request), "title": "Overview", "subtitle": None}
