"""Which applications a page of campaigns is about: all its reader may see, or the one they have chosen (?app=slug)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpRequest

from tenants import access
from tenants.models import Application

SEES = "campaigns.view_campaign"


@dataclass(frozen=True, slots=True)
class Scope:
    """applications: those that may be chosen. ids: None for all there are."""

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

    def within(self, user: access.Person, permission: str) -> dict[str, list[int]]:
        """The filter of a query over rows for which this permission is needed."""
        own = access.ids(user, permission)
        if own is None:
            return self.narrowed
        return {"application_id__in": own if self.ids is None else sorted({*own} & {*self.ids})}


def of(request: HttpRequest) -> Scope:
    """An application they may not see is as good as none: then all are meant. One query."""
    seen = list(access.applications(request.user, SEES).order_by("name", "id"))
    chosen = next((one for one in seen if one.slug == request.GET.get("app")), None)
    if chosen:
        return Scope(seen, chosen, [chosen.pk])
    return Scope(seen, None, access.ids(request.user, SEES))
