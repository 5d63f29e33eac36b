"""A campaign's plan in words: for lists, reviews and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.template.defaultfilters import date
from django.utils.timesince import timesince

from campaigns import schedules, timetable
from campaigns.document import Audience
from campaigns.models import Campaign
from config import estimates
from devices.models import Segment
from notifications.reach import Reach

PLATFORMS = {"ios": "iPhone and iPad", "android": "Android", "web": "Browser", "macos": "Mac"}


def audience(campaign: Campaign) -> str:
    """ "Buyers or Friends, without Lapsed, on Android"."""
    return audiences([campaign])[0]


def audiences(campaigns: Sequence[Campaign]) -> list[str]:
    """Of each, in one query for all of them."""
    wanted = [campaign.document.audience for campaign in campaigns]
    slugs = {slug for one in wanted for slug in (*one.segments, *one.not_segments)}
    named: dict[int, dict[str, str]] = {}
    if slugs:
        found = Segment.objects.filter(
            application_id__in={campaign.application_id for campaign in campaigns}, slug__in=slugs
        )
        for application_id, slug, name in found.values_list("application_id", "slug", "name"):
            named.setdefault(application_id, {})[slug] = name
    return [
        _audience(one, named.get(campaign.application_id, {}))
        for campaign, one in zip(campaigns, wanted, strict=True)
    ]


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


def planned(campaign: Campaign) -> str:
    """When it will go out, for one that is not launched: "At once when launched", "On 25 Nov 2026, 09:00 (UTC)"."""
    if campaign.document.schedule.kind == "now":
        return "At once when launched"
    said = when(campaign)
    return said[0].upper() + said[1:]


def ago(moment: datetime, now: datetime) -> str:
    """ "just now", "3 hours ago"."""
    if now - moment < timedelta(minutes=1):
        return "just now"
    return f"{timesince(moment, now, depth=1)} ago"


def title(campaign: Campaign) -> str:
    """The first words people see."""
    said = campaign.plan["variants"][0]["content"]
    return said.get("title") or said.get("body") or ""


def reached(reach: Reach, *, is_first: bool = False) -> str:
    """ "1 device", "about 1,240,000 devices", "fewer than 1,500 devices" of a sample that met nobody."""
    if reach.is_estimate and not reach.reachable:
        words = f"fewer than {estimates.rounded(reach.margin):,} devices"
    else:
        count = estimates.said(reach.reachable, is_estimate=reach.is_estimate)
        words = f"{count} device{'' if reach.reachable == 1 else 's'}"
    return words[:1].upper() + words[1:] if is_first else words
