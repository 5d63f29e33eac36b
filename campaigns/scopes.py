"""Which applications a page of campaigns is about: all its reader may see, or the one they have chosen (?app=slug)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest

from tenants.models import Application


@dataclass(frozen=True, slots=True)
class Scope:
    """applications: those that may be chosen. ids: None for all there are, which only superusers see."""

    applications: list[Application]
    chosen: Application | None
    ids: list[int] | None

    @property
    def key(self) -> str:
        """Of caches: who sees the same applications sees the same numbers."""
        return "all" if self.ids is None else ",".join(map(str, sorted(self.ids)))

    @property
    def app(self) -> str:
        return self.chosen.slug if self.chosen else ""

    @property
    def query(self) -> str:
        """What a link carries on: "?app=shop", or nothing."""
        return f"?{urlencode({'app': self.app})}" if self.app else ""

    @property
    def narrowed(self) -> dict[str, list[int]]:
        """The filter of a query over rows with an application."""
        return {} if self.ids is None else {"application_id__in": self.ids}


def of(request: HttpRequest) -> Scope:
    """An application they may not see is as good as none: then all are meant. One query."""
    seen = list(admin.site.get_model_admin(Application).get_queryset(request).order_by("name", "id"))
    chosen = next((one for one in seen if one.slug == request.GET.get("app")), None)
    if chosen:
        return Scope(seen, chosen, [chosen.pk])
    return Scope(seen, None, None if request.user.is_superuser else [one.pk for one in seen])
