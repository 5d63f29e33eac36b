"""What a campaign said before: who changed what and when, any two versions side by side, and going back to one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from campaigns import changes, selectors, services
from campaigns.models import Campaign, Version
from config.problems import InvalidField, Problem
from notifications.template_diff import Change
from tenants.console import ConsoleAdmin, staff

ON_A_PAGE = 15
LOGGED = 100
CHOSEN_FROM = 500  # versions, in the fields that compare two

KEPT = {
    "approval": "sent to approval",
    "launch": "launched",
    "test": "tested",
    "restore": "before going back",
}


class Row(NamedTuple):
    version: Version
    changes: list[Change]
    is_current: bool
    kept: str


def page(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    start = _number(request.GET.get("before"))
    known = campaign.versions.select_related("created_by", "category")
    shown = list((known.filter(number__lt=start) if start else known)[: ON_A_PAGE + 1])
    numbers = list(campaign.versions.values_list("number", flat=True)[:CHOSEN_FROM])
    may_change = admin.may(request, "campaigns.change_campaign", campaign)
    is_open = campaign.status in Campaign.EDITABLE
    context = {
        "title": f"Versions of {campaign}",
        "campaign": campaign,
        "state": selectors.state(campaign),
        "rows": _rows(campaign, shown),
        "older": shown[ON_A_PAGE - 1].number if len(shown) > ON_A_PAGE else 0,
        "newest_url": admin.url("history", campaign) if start else "",
        "numbers": numbers,
        "compared": _compared(request, campaign, numbers),
        "may_restore": may_change and is_open,
        "is_closed": may_change and not is_open,
        "restore_url": admin.url("restore", campaign),
        "duplicate_url": admin.url("duplicate", campaign) if admin.may(request, "add", campaign) else "",
        "open_url": admin.url("change", campaign),
        "log": _log(campaign),
    }
    return admin.render(request, "campaigns/versions.html", campaign, context)


def _rows(campaign: Campaign, shown: list[Version]) -> list[Row]:
    """The first version is not compared with nothing: all of it would be new."""
    found = changes.of_each(campaign, shown)
    return [
        Row(
            version,
            found[index] if index + 1 < len(shown) else [],
            version.number == campaign.version,
            KEPT.get(version.kept_for, version.kept_for),
        )
        for index, version in enumerate(shown[:ON_A_PAGE])
    ]


class Compared(NamedTuple):
    old: int
    new: int
    found: list[Change]


def _compared(request: HttpRequest, campaign: Campaign, numbers: list[int]) -> Compared | None:
    """The two chosen by ?old= and ?new=, whichever way round; None where there are no such two."""
    wanted = sorted({_number(request.GET.get(name)) for name in ("old", "new")} & set(numbers))
    for old, new in pairwise(wanted):
        found = {version.number: version for version in campaign.versions.filter(number__in=wanted)}
        return Compared(old, new, changes.between(campaign, found[old], found[new]))
    return None


def _number(text: str | None) -> int:
    is_one = text and text.isascii() and text.isdigit() and len(text) < 9
    return int(text) if is_one and text else 0


def _log(campaign: Campaign) -> Any:
    """What was done with it: launched, paused, archived."""
    kind = ContentType.objects.get_for_model(Campaign)
    found = LogEntry.objects.filter(content_type=kind, object_id=str(campaign.pk))
    return found.select_related("user").order_by("-action_time")[:LOGGED]


def restore(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST number, version: what it said then becomes its newest version."""
    back = HttpResponseRedirect(reverse(f"admin:{admin.url_name('history')}", args=[campaign.pk]))
    version = campaign.versions.filter(number=_number(request.POST.get("number"))).first()
    if version is None:
        messages.error(request, "There is no such version any more.")
        return back
    seen = _number(request.POST.get("version"))
    try:
        restored = services.restore(campaign, version, seen=seen, by=staff(request))
    except services.Stale as error:
        who = error.campaign.updated_by or "Somebody"
        messages.error(request, f"{who} changed it meanwhile. Nothing was restored: look at it again.")
    except services.NotAllowed as error:
        messages.error(request, str(error))
    except (Problem, InvalidField) as error:
        messages.error(request, f"This version cannot be used any more: {error}")
    else:
        if restored.version == campaign.version:
            messages.info(request, "It says that already.")
        else:
            admin.audit(request, campaign, f"Went back to version {version.number}.")
            at = timezone.localtime(version.updated_at)
            messages.success(
                request, f"It says again what it said on {at:%-d %b, %H:%M} UTC. Nothing is lost."
            )
    return back
