"""One line of the checklist, and what the checks look at: read once, shared by all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal, NamedTuple

from django.urls import reverse

from campaigns import audiences, contents, selectors, timetable
from campaigns.document import Plan
from campaigns.models import Campaign
from config import estimates
from config.problems import InvalidField
from notifications import audience_sample
from notifications import template_wording as wordings
from notifications.audience_sample import Seen
from notifications.reach import Reach
from notifications.template_wording import Wording

Level = Literal["ok", "note", "warn", "block"]
LEVELS: tuple[Level, ...] = ("block", "warn", "note", "ok")  # the worst first


class Check(NamedTuple):
    """words: what was found. todo: what to do about it, "" for nothing; url: where."""

    key: str
    level: Level
    words: str
    todo: str = ""
    url: str = ""


@dataclass
class Situation:
    """The campaign and what its checks ask the database, each at most once.

    may_ask: whether links may be asked now; else what is remembered of them counts.
    """

    campaign: Campaign
    now: datetime
    may_ask: bool = True
    reach: Reach = field(default_factory=Reach)

    @cached_property
    def plan(self) -> Plan:
        return self.campaign.document

    @cached_property
    def due(self) -> datetime | None:
        """When it begins; None: its schedule is not finished."""
        try:
            return timetable.due_at(self.campaign, self.now)
        except ValueError:
            return None

    @cached_property
    def wordings(self) -> dict[str, Wording]:
        """By variant; those that can be read."""
        found: dict[str, Wording] = {}
        for variant in self.plan.variants:
            try:
                found[variant.key] = contents.wording(self.plan, variant)
            except InvalidField:  # `faults` says so
                continue
        return found

    @cached_property
    def names(self) -> frozenset[str]:
        """The variables of its texts."""
        return frozenset[str]().union(*(wording.names for wording in self.wordings.values()))

    @cached_property
    def needed(self) -> frozenset[str]:
        """What of a person some text cannot do without."""
        names = frozenset[str]().union(*(wording.needed for wording in self.wordings.values()))
        return frozenset(filter(wordings.is_personal, names))

    @cached_property
    def seen(self) -> Seen | None:
        """None: it could not be looked at."""
        try:
            return audience_sample.of(
                audiences.of(self.plan),
                application_id=self.campaign.application_id,
                category_id=self.campaign.category_id,
                needed=self.needed,
                names=self.names,
            )
        except InvalidField:  # a segment is gone; `faults` says so
            return None

    @property
    def is_sample(self) -> bool:
        """Whether what is said of those reached is known of some of them only."""
        return self.seen is not None and not self.seen.is_all

    @property
    def sampled(self) -> str:
        """ " in a sample of 12,345 devices"; "" where everybody was looked at."""
        return f" in a sample of {devices(self.seen.devices)}" if self.seen and self.is_sample else ""

    def share(self, share: float) -> str:
        """ "1 device", "about 12,300 devices": so many of those reached."""
        count, is_exact = round(self.reach.reachable * share), not (self.is_sample or self.reach.is_estimate)
        return devices(count, about=not is_exact)

    def place(self, pointer: str = "") -> str:
        """In the composer: the field's JSON pointer is its anchor."""
        url = reverse("admin:campaigns_campaign_change", args=[self.campaign.pk])
        return f"{url}#{pointer}" if pointer else url


def reached(campaign: Campaign) -> Reach:
    try:
        return selectors.reach(campaign)
    except InvalidField:  # a segment is gone; `faults` says so
        return Reach()


def devices(count: int, *, about: bool = False) -> str:
    return f"{estimates.said(count, is_estimate=about)} device{'' if count == 1 else 's'}"


def listed(words: Iterable[str], *, last: str = "and") -> str:
    """ "A, B and C"."""
    *others, end = words
    return f"{', '.join(others)} {last} {end}" if others else end
