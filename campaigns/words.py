"""A campaign's plan in words: for lists, reviews and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.template.defaultfilters import date

from campaigns import schedules, timetable
from campaigns.document import Audience
from campaigns.models import Campaign
from devices.models import Segment

PLATFORMS = {"ios": "iPhone and iPad", "android": "Android", "web": "Browser", "macos": "Mac"}


def audience(campaign: Campaign) -> str:
    """ "Buyers or Friends, without Lapsed, on Android"."""
    return audiences([campaign])[campaign.pk]


def audiences(campaigns: Sequence[Campaign]) -> dict[int | None, str]:
    """By the campaign's id. One query for all of them."""
    wanted = {campaign.pk: campaign.document.audience for campaign in campaigns}
    slugs = {slug for one in wanted.values() for slug in (*one.segments, *one.not_segments)}
    named: dict[int, dict[str, str]] = {}
    if slugs:
        found = Segment.objects.filter(
            application_id__in={campaign.application_id for campaign in campaigns}, slug__in=slugs
        )
        for application_id, slug, name in found.values_list("application_id", "slug", "name"):
            named.setdefault(application_id, {})[slug] = name
    return {
        campaign.pk: _audience(wanted[campaign.pk], named.get(campaign.application_id, {}))
        for campaign in campaigns
    }


def _audience(wanted: Audience, names: Mapping[str, str]) -> str:
    who = " or ".join(names.get(slug, slug) for slug in wanted.segments) or "Everyone"
    if wanted.attribute:
        who += f" whose {wanted.attribute.name} is “{wanted.attribute.value}”"
    if wanted.not_segments:
        who += ", without " + " and ".join(names.get(slug, slug) for slug in wanted.not_segments)
    if wanted.platforms:
        who += ", on " + " and ".join(PLATFORMS[name] for name in wanted.platforms)
    return who


def pace(campaign: Campaign) -> str:
    per_second = campaign.document.schedule.per_second
    return f"At most {per_second:,} per second" if per_second else "As fast as it goes"


def when(campaign: Campaign) -> str:
    """Its schedule as a sentence's end: "starting now", "on 25 Nov 2026 at 09:00 (Europe/Berlin)"."""
    plan = campaign.document
    if plan.schedule.kind == "now":
        return "starting now"
    try:
        day = date(schedules.parsed_local(plan.schedule.starts), "j M Y, H:i")
    except ValueError:
        return "at a time to be chosen"
    where = "each person's local time" if plan.is_local else timetable.zone_name(campaign)
    return f"again and again from {day} on ({where})" if plan.is_recurring else f"on {day} ({where})"


def title(campaign: Campaign) -> str:
    """The first words people see."""
    said = campaign.plan["variants"][0]["content"]
    return said.get("title") or said.get("body") or ""
