"""The sum of a notification as a page shows it: one bar whose parts add up, each part a link to its ledger lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse

from notifications import reasons

# In the order of the bar: key, word, tone (a class of console.css), what it means.
PARTS = (
    ("accepted", "Accepted", "good", "Taken by Apple, Google or the browser's push service."),
    ("failed", "Failed", "bad", "Refused for good, or given up."),
    (
        "uncertain",
        "Uncertain",
        "odd",
        "Sent, and no answer came. May have arrived; not sent again for marketing.",
    ),
    ("suppressed", "Held back", "held", "Not sent, by the person's own choice or settings."),
    ("cancelled", "Cancelled", "off", "Not sent, because it was cancelled."),
    ("pending", "Waiting", "open", "Still to be sent."),
)


@dataclass(frozen=True, slots=True)
class Part:
    key: str
    word: str
    tone: str
    means: str
    count: int
    width: str  # per cent with a point, for CSS
    url: str


@dataclass(frozen=True, slots=True)
class ByProvider:
    """One provider's part of a row. provider: "" of what was counted before providers were told apart."""

    provider: str
    word: str
    count: int
    url: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table "Why not everyone". providers: of failures, the largest first; empty: not known."""

    reason: str
    words: reasons.Words
    kind: Literal["failed", "suppressed"]
    count: int
    share: str
    url: str
    providers: tuple[ByProvider, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    recipients: int
    parts: tuple[Part, ...]
    problems: tuple[Row, ...]  # failed, by reason
    held_back: tuple[Row, ...]  # suppressed, by reason
    settled: int
    percent: int

    @property
    def percent_width(self) -> str:
        return _share(self.settled, self.recipients)

    @property
    def accepted_share(self) -> str:
        """Of those who were to be sent to, in per cent."""
        tried = self.recipients - self.of("suppressed").count
        return _share(self.of("accepted").count, tried)

    def of(self, key: str) -> Part:
        return next(part for part in self.parts if part.key == key)


def of(notification_ids: Sequence[UUID], counts: Mapping[str, Any]) -> Sum:
    """`counts`: of notifications.selectors.counts."""
    recipients = counts["recipients"]
    parts = tuple(
        Part(key, word, tone, means, amount, _share(amount, recipients), ledger_url(notification_ids, key))
        for key, word, tone, means in PARTS
        for amount in (_total(counts[key]),)
    )
    settled = recipients - counts["pending"]
    return Sum(
        recipients=recipients,
        parts=parts,
        problems=tuple(
            replace(row, providers=_by_provider(row, counts["providers"]))
            for row in _rows(notification_ids, "failed", counts["failed"])
        ),
        held_back=_rows(notification_ids, "suppressed", counts["suppressed"]),
        settled=settled,
        # 100 only when nothing is left: a rounded 99.6 would call it finished.
        percent=int(settled * 100 / recipients) if recipients else 0,
    )


def ledger_url(notification_ids: Sequence[UUID], result: str, reason: str = "") -> str:
    ids = ",".join(map(str, notification_ids))
    query = {
        "notification_id" if len(notification_ids) == 1 else "notification_id__in": ids,
        "result": result,
    }
    if reason:
        query["reason"] = reason
    return f"{reverse('admin:notifications_delivery_changelist')}?{urlencode(query)}"


def _rows(
    notification_ids: Sequence[UUID], kind: Literal["failed", "suppressed"], counts: Mapping[str, int]
) -> tuple[Row, ...]:
    total = sum(counts.values())
    return tuple(
        Row(
            reason,
            reasons.words(reason),
            kind,
            count,
            _share(count, total),
            ledger_url(notification_ids, kind, reason),
        )
        for reason, count in sorted(counts.items(), key=lambda item: -item[1])
    )


def _by_provider(row: Row, providers: Mapping[str, Mapping[str, Any]]) -> tuple[ByProvider, ...]:
    """They add up to the row's count."""
    found = [
        ByProvider(provider, reasons.PROVIDERS.get(provider, provider), count)
        for provider, own in providers.items()
        if (count := own["failed"].get(row.reason, 0))
    ]
    found.sort(key=lambda one: -one.count)
    older = row.count - sum(one.count for one in found)
    if found and older > 0:
        found.append(ByProvider("", "Not known", older))
    return tuple(found)


def _total(value: int | Mapping[str, int]) -> int:
    return value if isinstance(value, int) else sum(value.values())


def _share(part: int, whole: int) -> str:
    return f"{part * 100 / whole:.2f}" if whole else "0"
