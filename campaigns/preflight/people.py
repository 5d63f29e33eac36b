"""What those who are reached are like: what is not known of them, what they read, when they are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from campaigns import timetable
from campaigns.preflight.check import Check, Situation, devices, listed
from devices.models import Category
from notifications import content as contents
from notifications import template_wording as wordings
from notifications.pipeline import terms, timing
from notifications.pipeline.timing import Moment, Timing

RARE = 0.01  # of the audience: a language of fewer is not worth a line
SHOWN = 4
# Reasons of Moment that quiet hours give.
DROPPED = (timing.QUIET, timing.INBOX_ONLY)


def missing_variables(at: Situation) -> Iterator[Check]:
    """People for whom a text has a hole."""
    if not at.needed:
        return
    if at.seen is None:
        yield Check("variables", "note", "How many lack a value could not be counted in time.")
        return
    if not at.seen.lack_any:
        words = f"Everybody{at.sampled} has a value for every variable, or there is a default."
        yield Check("variables", "ok", words)
        return
    share = at.seen.share(at.seen.lack_any)
    names = sorted(at.seen.lacks, key=lambda name: -at.seen.lacks[name])  # type: ignore[union-attr]
    short = listed(name.removeprefix(f"{wordings.ATTRIBUTES}.").removeprefix("subscriber.") for name in names)
    count = at.share(share).capitalize()
    is_skipped = at.plan.missing == "skip"
    yield Check(
        "variables",
        "note" if is_skipped else "warn",
        f"{count} ({_percent(share)}{at.sampled}) lack {short}: "
        + ("they are skipped." if is_skipped else "they get the text with a hole in it."),
        "" if is_skipped else "Give it a default, or skip these people.",
        at.place("/defaults"),
    )


def missing_locales(at: Situation) -> Iterator[Check]:
    """Languages of the audience that get the text of another."""
    if at.seen is None or not at.seen.devices:
        return
    own = {contents.normal(name) for variant in at.plan.variants for name in variant.content.locales}
    default = _language(at.campaign.application.default_locale)
    without: Counter[str] = Counter()
    for locale, count in at.seen.locales.items():
        if locale and _language(locale) != default and not contents.fitting(own, locale):
            without[_language(locale)] += count
    common = [(name, count) for name, count in without.most_common() if at.seen.share(count) >= RARE]
    if not common:
        yield Check("locales", "ok", f"Everybody{at.sampled} gets it in a language of theirs.")
        return
    shares = listed(f"{name} {_percent(at.seen.share(count))}" for name, count in common[:SHOWN])
    more = f", and {len(common) - SHOWN} more" if len(common) > SHOWN else ""
    yield Check(
        "locales",
        "note",
        f"No text of their own for {shares}{more}{at.sampled}: they get the text in {default}.",
        "Add the language, if it is worth it.",
        at.place("/variants/0/content/locales"),
    )


def _language(locale: str) -> str:
    return contents.normal(locale).partition("-")[0]


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.1 else f"{share * 100:.1f} %"


# --- clocks -----------------------------------------------------------------------------------


def quiet_hours(at: Situation) -> Iterator[Check]:
    """What quiet hours, a local time and a send window make of it, by the code that decides it when it is sent."""
    found = _moments(at)
    if found is None:
        return
    timed, moments = found
    total = sum(count for _, count in moments)
    dropped = sum(count for moment, count in moments if moment.reason in DROPPED)
    held = [(moment.due_at, count) for moment, count in moments if _is_held(moment, at.due)]
    if dropped:
        yield Check(
            "quiet_hours",
            "warn",
            f"{_about(at, dropped, total)} are in quiet hours then, and the category drops what comes in them.",
            "Send at another time, or choose each person's local time.",
            at.place("/schedule"),
        )
    elif held and not at.plan.is_local:
        until = max(due for due, _ in held if due)
        count = at.reach.later
        said = (
            devices(count, about=at.reach.is_estimate).capitalize()
            if count
            else _about(at, sum(count for _, count in held), total)
        )
        yield Check(
            "quiet_hours",
            "note",
            f"{said} wait for the end of quiet hours or the send window, the last until "
            f"{until:%-d %b, %H:%M} UTC.",
        )
    elif timed.quiet_rule != Category.QuietRule.IGNORE:
        yield Check("quiet_hours", "ok", f"Nobody{at.sampled} is in quiet hours then.")
    yield from _never(at, moments, total)


def _moments(at: Situation) -> tuple[Timing, list[tuple[Moment, int]]] | None:
    """When each pair of a zone and quiet hours may be reached, and how many of the sample are of it. None: no clock
    holds anybody, or nobody knows."""
    if at.seen is None or at.due is None:
        return None
    schedule, said = at.plan.schedule, terms.of(at.campaign.category_id)
    timed = said.timing(
        meant_for=at.due,
        ttl_seconds=schedule.lifetime_hours * 3600 if schedule.lifetime_hours else None,
        local_time=timetable.local(at.campaign, at.due).isoformat("T", "minutes") if at.plan.is_local else "",
        send_window=timetable.window(at.campaign),
    )
    if not timed.holds:
        return None
    return timed, [
        (timed.moment(zone, said.quiet_hours.get(quiet) if quiet else None, max(at.due, at.now)), count)
        for (zone, quiet), count in at.seen.zones.items()
    ]


def _is_held(moment: Moment, due: datetime | None) -> bool:
    return moment.due_at is not None and due is not None and moment.due_at > due


def _never(at: Situation, moments: list[tuple[Moment, int]], total: int) -> Iterator[Check]:
    """Those for whom the right moment never comes."""
    counts: Counter[str] = Counter()
    for moment, count in moments:
        if moment.due_at is None and moment.reason not in DROPPED:
            counts[moment.reason] += count
    words = {
        timing.NEVER: "their quiet hours and the send window leave no time at all",
        timing.PAST_DEADLINE: "it would be held beyond its lifetime",
        timing.LATE: "the time comes after its lifetime where they live",
    }
    for reason, count in counts.items():
        yield Check(
            reason,
            "block" if count == total else "warn",
            f"{_about(at, count, total)} never get it: {words.get(reason, reason)}.",
            "Widen the send window, or give it a longer life.",
            at.place("/schedule/window"),
        )


def _about(at: Situation, count: int, total: int) -> str:
    return at.share(count / total if total else 0).capitalize()


def caps(at: Situation) -> Iterator[Check]:
    capped = at.reach.held_back.get("capped", 0)
    if capped:
        yield Check(
            "caps",
            "note",
            f"{devices(capped, about=at.reach.is_estimate).capitalize()} have had as many messages as the limits "
            "allow, and are left out.",
        )
    elif terms.of(at.campaign.category_id).limits:
        yield Check("caps", "ok", "Nobody has had too many messages by now.")
