"""Find a person by what staff have at hand: an id, an e-mail address, a device's id, the end of a token.

Every way is an index's: none reads all the people there are. Whole values only, but for the token's end.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db.models import QuerySet
from django.db.models.functions import Lower, Right

from devices.models import Device, Subscriber

MOST = 10
TAIL = 6  # characters of a token that staff may see, and by which they may ask
LONGEST = 300

_TAIL = re.compile(rf"…?(\S{{{TAIL}}})")
_NUMBER = re.compile(r"#(\d{1,18})")


class Match(NamedTuple):
    """subscriber: None for a device nobody is signed in on. by: in words."""

    subscriber: Subscriber | None
    by: str
    device: Device | None = None


def people(words: str, application_ids: Sequence[int]) -> list[Match]:
    """Those the words fit, each once, the surest way first; MOST at most. What is found by a surer way ends the search,
    so that an id of six characters is not taken for a token's end."""
    words = words.strip()[:LONGEST]
    if not words or "\x00" in words:
        return []
    for way in (_by_external_id, _by_email, _by_device, _by_token_tail):
        if found := list(_once(way(words, application_ids))):
            return found
    return []


def _once(matches: Iterator[Match]) -> Iterator[Match]:
    seen = set()
    for one in matches:
        if (key := one.subscriber.pk if one.subscriber else None) not in seen:
            seen.add(key)
            yield one


def _by_external_id(words: str, application_ids: Sequence[int]) -> Iterator[Match]:
    for person in _people(application_ids).filter(external_id=words)[:MOST]:
        yield Match(person, "id")


def _by_email(words: str, application_ids: Sequence[int]) -> Iterator[Match]:
    if "@" not in words:
        return
    found = _people(application_ids).alias(lowered=Lower("email")).filter(lowered=words.lower())
    for person in found.exclude(email="")[:MOST]:
        yield Match(person, "e-mail address")


def _by_device(words: str, application_ids: Sequence[int]) -> Iterator[Match]:
    """Its public id, the installation's, or its number as the ledger's pages show it (#12)."""
    ways = [{"installation_id": words}]
    if number := _NUMBER.fullmatch(words):
        ways.append({"pk": number[1]})
    with contextlib.suppress(ValueError):
        ways.append({"public_id": str(uuid.UUID(words))})
    for way in ways:
        for device in _devices(application_ids).filter(**way)[:MOST]:
            yield Match(device.subscriber, "device", device)


def _by_token_tail(words: str, application_ids: Sequence[int]) -> Iterator[Match]:
    if tail := _TAIL.fullmatch(words):
        found = (
            _devices(application_ids).alias(tail=Right("token", TAIL)).filter(tail=tail[1], retired_at=None)
        )
        for device in found[:MOST]:
            yield Match(device.subscriber, "end of a token", device)


def _people(application_ids: Sequence[int]) -> QuerySet[Subscriber]:
    found = Subscriber.objects.select_related("application", "quiet_hours")
    return found.filter(application_id__in=application_ids).order_by()


def _devices(application_ids: Sequence[int]) -> QuerySet[Device]:
    found = Device.objects.select_related("subscriber__application", "subscriber__quiet_hours", "application")
    return found.filter(application_id__in=application_ids).order_by()
