"""What unfold asks the project for: the dashboard's content."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """UNFOLD["DASHBOARD_CALLBACK"]: `templates/admin/index.html` shows it."""
    from campaigns.board import board  # settings name this module before the apps are loaded

    return {**context, "board": board(request), "title": "Overview", "subtitle": None}
