"""What is looked at before a campaign is sent: a checklist, the worst first. A block stops the launch; a warning is
mended, or launched over with a reason that is kept with the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from campaigns.models import Campaign
from campaigns.preflight import audience, content, links, people, schedule
from campaigns.preflight.check import LEVELS, Check, Level, Situation, reached
from notifications.reach import Reach

__all__ = ["Check", "NotCleared", "Report", "forget_links", "of", "overridden", "report"]

LONGEST_REASON = 300

CHECKS: tuple[Callable[[Situation], Iterator[Check]], ...] = (
    content.faults,
    audience.reachable,
    audience.credentials,
    audience.environments,
    audience.rehearsal,
    content.payload,
    content.titles,
    people.missing_variables,
    people.missing_locales,
    content.links,
    content.images,
    people.quiet_hours,
    people.caps,
    schedule.moment,
    schedule.conflicts,
    schedule.experiment,
    schedule.canary,
    schedule.approval,
    schedule.tested,
)


def of(campaign: Campaign, now: datetime, *, reach: Reach | None = None, may_ask: bool = True) -> list[Check]:
    """may_ask: whether links are asked, which takes seconds: never inside a transaction. Else what is remembered."""
    found = reached(campaign) if reach is None else reach
    situation = Situation(campaign, now, may_ask, found)
    checks = [check for looked_at in CHECKS for check in looked_at(situation)]
    return sorted(checks, key=lambda check: LEVELS.index(check.level))


@dataclass(frozen=True)
class Report:
    checks: list[Check]

    def at(self, level: Level) -> list[Check]:
        return [check for check in self.checks if check.level == level]

    @cached_property
    def blocks(self) -> list[Check]:
        return self.at("block")

    @cached_property
    def warnings(self) -> list[Check]:
        return self.at("warn")

    @property
    def needs_asking(self) -> bool:
        """Whether some link has not been asked yet."""
        return any(check.todo == content.NOT_ASKED for check in self.checks)

    @property
    def summary(self) -> str:
        """ "11 ok · 2 to know · 1 warning · 0 blocking"."""
        ok, notes, warnings = (len(self.at(level)) for level in ("ok", "note", "warn"))
        parts = [f"{ok} ok"]
        parts += [f"{notes} to know"] if notes else []
        parts += [f"{warnings} warning{'' if warnings == 1 else 's'}", f"{len(self.blocks)} blocking"]
        return " · ".join(parts)


def report(campaign: Campaign, now: datetime, *, reach: Reach | None = None, may_ask: bool = True) -> Report:
    return Report(of(campaign, now, reach=reach, may_ask=may_ask))


def forget_links(campaign: Campaign) -> None:
    """They are asked anew the next time."""
    for variant in campaign.document.variants:
        links.forget([url for _, url in links.links(variant)], is_image=False)
        links.forget([url for _, url in links.images(variant.content)], is_image=True)


class NotCleared(Exception):
    """Something blocks, or a warning has no reason to go over it. Nothing was sent."""

    def __init__(self, words: str, checks: list[Check]) -> None:
        super().__init__(words)
        self.checks = checks


def overridden(found: Report, *, reason: str, seen: Iterable[str] | None = None) -> dict[str, str]:
    """What Run.overridden keeps: each warning, with the one reason given for all. Raises NotCleared.

    seen: keys of the warnings the reason was given for, where another one asks anew.
    """
    if found.blocks:
        raise NotCleared(f"{found.blocks[0].words} Nothing was sent.", found.blocks)
    if not found.warnings:
        return {}
    reason = " ".join(reason.split())[:LONGEST_REASON]
    if not reason:
        raise NotCleared(
            "Mend what is warned of, or say why it is sent all the same. Nothing was sent.", found.warnings
        )
    if seen is not None and (fresh := [check for check in found.warnings if check.key not in set(seen)]):
        raise NotCleared(f"There is a new warning. {fresh[0].words} Nothing was sent.", fresh)
    return {check.key: reason for check in found.warnings}
