"""When it goes out, beside what else, in which steps, and whether people have looked at it before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Q
from django.template.defaultfilters import date
from django.urls import reverse
from django.utils.timesince import timesince, timeuntil

from campaigns import approving, drift, stages, statistics, timetable
from campaigns.document import Audience
from campaigns.models import Approval, Campaign, TestSend, Version
from campaigns.preflight.check import Check, Situation, devices, listed
from config import estimates
from devices import clocks
from notifications import selectors as notifications

NEAR = timedelta(hours=24)
LARGE = 10_000  # devices: from here on a first few are worth sending to first
# What campaigns usually get, where nothing better is known; CONSOLE's tables start from the same.
USUAL = {"opened": 0.05, "clicked": 0.02, "converted": 0.01}
LIFT = 0.2  # what an experiment should be able to show


def moment(at: Situation) -> Iterator[Check]:
    if at.due is None:  # `faults` says so
        return
    if at.plan.schedule.kind == "now":
        yield Check("schedule", "ok", "It begins as soon as it is launched.")
    elif at.plan.is_local:
        yield from _local(at, at.due)
    else:
        words = f"It begins {date(at.due, 'j M Y, H:i')} UTC, in {timeuntil(at.due, at.now)}."
        yield Check("schedule", "ok", words.replace("\xa0", " "))


def _local(at: Situation, due: datetime) -> Iterator[Check]:
    """Zones in which the time is over before it can begin there."""
    local = timetable.local(at.campaign, due)
    late, total = 0, 0
    zones: set[str] = set()
    for (name, _), count in (at.seen.zones if at.seen else {}).items():
        zone = clocks.zone(name) or clocks.zone(at.campaign.application.default_time_zone)
        total += count
        if zone and clocks.instant(local, zone) < at.now:
            late += count
            zones.add(zone.key)
    if late:
        them = at.share(late / total)
        yield Check(
            "schedule",
            "warn",
            f"{date(local, 'H:i')} is over already in {len(zones)} zone{'s' if len(zones) > 1 else ''}: "
            f"{them} get it at once.",
            "Choose a later time.",
            at.place("/schedule/starts"),
        )
    else:
        words = f"It begins {date(due, 'j M Y, H:i')} UTC, where it is {date(local, 'H:i')} first."
        yield Check("schedule", "ok", words)


# --- beside what else -------------------------------------------------------------------------


def conflicts(at: Situation) -> Iterator[Check]:
    """Others of the category within a day to people who may be the same."""
    if at.due is None:
        return
    span = (at.due - NEAR, at.due + NEAR)
    others = (
        Campaign.objects.filter(
            application_id=at.campaign.application_id,
            category_id=at.campaign.category_id,
            status__in=Campaign.LIVE,
        )
        .filter(Q(next_run_at__range=span) | Q(next_run_at=None, latest_run__due_at__range=span))
        .exclude(id=at.campaign.pk)
        .select_related("latest_run")
        .order_by("id")[:20]
    )
    near = [other for other in others if overlaps(at.plan.audience, other.document.audience)]
    if not near:
        yield Check("conflicts", "ok", "No other campaign of this category within a day.")
        return
    names = listed(f"“{other}” ({_when(other)})" for other in near[:3])
    more = f" and {len(near) - 3} more" if len(near) > 3 else ""
    yield Check(
        "conflicts",
        "note",
        f"People of this audience may get {names}{more} within a day of it.",
        "Leave one audience out of the other, or choose another day.",
        at.place("/schedule"),
    )


def overlaps(one: Audience, other: Audience) -> bool:
    """Whether somebody may be in both, by what they say."""
    if one.platforms and other.platforms and not set(one.platforms) & set(other.platforms):
        return False
    return not (_is_without(one, other) or _is_without(other, one))


def _is_without(one: Audience, other: Audience) -> bool:
    return bool(one.segments) and set(one.segments) <= set(other.not_segments)


def _when(campaign: Campaign) -> str:
    at = campaign.next_run_at or (campaign.latest_run.due_at if campaign.latest_run else campaign.updated_at)
    return f"{date(at, 'j M, H:i')} UTC"


# --- in which steps ---------------------------------------------------------------------------


def experiment(at: Situation) -> Iterator[Check]:
    """Whether its variants get enough people to tell them apart."""
    if not at.plan.is_experiment:
        return
    plan, metric = at.plan, at.plan.experiment.metric
    taking_part = (1 - plan.experiment.holdout / 100) * plan.experiment.test / 100
    smallest = min(variant.share for variant in plan.variants) / sum(
        variant.share for variant in plan.variants
    )
    people = round((at.reach.people or at.reach.reachable) * taking_part * smallest)
    lift = statistics.detectable_lift(USUAL[metric], people, variants=len(plan.variants))
    usual = f"where {USUAL[metric]:.0%} {metric} is usual"
    if lift is not None and lift <= LIFT:
        yield Check("experiment", "ok", f"Large enough: it can show +{lift:.0%} or more, {usual}.")
        return
    needed = statistics.people_needed(USUAL[metric], LIFT, variants=len(plan.variants)) or 0
    can = f"+{lift:.0%} or more" if lift is not None else "no difference at all"
    yield Check(
        "experiment",
        "warn",
        f"The smallest variant gets {estimates.said(people, is_estimate=at.reach.is_estimate)}: that can show {can}. "
        f"For +{LIFT:.0%} it takes {needed:,}, {usual}.",
        "Compare fewer variants, or among more people.",
        at.place("/experiment"),
    )


def canary(at: Situation) -> Iterator[Check]:
    wanted, reachable = at.plan.safety.canary, at.reach.reachable
    if any(one.kind == "canary" for one in stages.of(at.plan, at.reach.devices)):
        yield Check(
            "canary", "ok", f"The first {wanted:,} devices go first; the others when these went well."
        )
    elif wanted:
        words = f"The first {wanted:,} are most of the audience: everybody goes at once."
        yield Check("canary", "note", words, "Choose fewer.", at.place("/safety/canary"))
    elif reachable >= LARGE:
        who = f"{'About' if at.reach.is_estimate else 'All'} {at.reach.said:,} devices"
        words = f"{who} go at once, none first to see whether it goes well."
        yield Check("canary", "note", words, "Let the first 1,000 go first.", at.place("/safety/canary"))
    if not at.plan.safety.stop_percent:
        words = "It does not stop by itself, however many fail."
        yield Check("stop", "note", words, "Set a limit.", at.place("/safety/stop_percent"))


# --- who has looked at it ---------------------------------------------------------------------


def approval(at: Situation) -> Iterator[Check]:
    campaign = at.campaign
    latest = Approval.objects.filter(campaign=campaign).select_related("decided_by").first()
    if campaign.status == Campaign.Status.WAITING:
        yield Check("approval", "note", "It waits for a second person's approval.")
    elif campaign.status == Campaign.Status.APPROVED and latest and latest.decided_at:
        words = f"Approved by {latest.decided_by or 'somebody'}, {_ago(latest.decided_at, at.now)}"
        now = estimates.said(at.reach.reachable, is_estimate=at.reach.is_estimate)
        more = f"{words}, for {latest.devices:,} devices; it reaches {now} now."
        if approving.is_needed(campaign, at.reach.reachable, at.reach.margin):
            yield Check("approval", "block", more, "Take it back to edit and ask again.")
        elif drift.is_large(at.reach.reachable, latest.devices, at.reach.margin):
            yield Check("approval", "note", more)
        else:
            yield Check("approval", "ok", f"{words}.")
    elif approving.is_needed(campaign, at.reach.reachable):
        above = campaign.application.approval_above
        words = f"A second person has to approve it: it reaches more than {above:,} devices."
        if latest and latest.is_granted is False:
            said = f": “{latest.answer}”" if latest.answer else "."
            words += f" {latest.decided_by or 'Somebody'} sent it back{said}"
        yield Check("approval", "note", words, "Ask for approval.")


def tested(at: Situation) -> Iterator[Check]:
    """Whether what it says now has been on a phone."""
    test = at.campaign.tests.select_related("notification").first()
    if test is None or not is_of(test, at.campaign):
        words = (
            "It has not been on a phone yet." if test is None else "It was not tested since its text changed."
        )
        url = reverse("admin:campaigns_campaign_review", args=[at.campaign.pk])
        yield Check("test", "warn", words, "Send a test to yourself.", f"{url}#test")
        return
    counts = notifications.counts([test.notification])[test.notification_id]
    ago = _ago(test.created_at, at.now)
    if counts["received"] or counts["opened"]:
        yield Check(
            "test", "ok", f"Test received on {devices(max(counts['received'], counts['opened']))}, {ago}."
        )
    elif counts["accepted"]:
        yield Check("test", "ok", f"Test sent to {devices(counts['accepted'])}, {ago}.")
    elif counts["pending"]:
        yield Check("test", "note", f"The test sent {ago} is still on its way.")
    else:
        yield Check("test", "warn", f"The test sent {ago} reached nobody.", "Look at why, and send another.")


def _ago(then: datetime, now: datetime) -> str:
    if now - then < timedelta(minutes=1):
        return "just now"
    return f"{timesince(then, now, depth=1)} ago".replace("\xa0", " ")


def is_of(test: TestSend, campaign: Campaign) -> bool:
    """Whether the test said what the campaign says now."""
    if test.version == campaign.version:
        return True
    then = Version.objects.filter(campaign=campaign, number=test.version).first()
    return then is not None and all(
        then.plan.get(section) == campaign.plan[section] for section in ("variants", "defaults", "missing")
    )
