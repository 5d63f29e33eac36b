"""Events, batched: what became of messages, and custom events.

Devices tell what they did with a message under the client key of their app, each by its unguessable id. All else
names people and is for server keys.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Any

import msgspec
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from config import problems, rest
from config.json import decoded
from config.openapi import documented, schema_of
from config.problems import InvalidField, Problem
from devices import events
from devices.events import Given
from notifications import engagement
from notifications.engagement import Told

MOST = 1000
FROM_ANYBODY = frozenset({"received", "opened", "clicked"})
WRITE, DEVICES = "subscribers:write", "devices:register"


class Many(msgspec.Struct, forbid_unknown_fields=True):
    """Each is read by itself, so that one bad event costs no other."""

    events: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MOST)]


class Named(msgspec.Struct):
    name: str


_named = msgspec.json.Decoder(Named)

DOCUMENTED = {
    "type": "object",
    "required": ["events"],
    "additionalProperties": False,
    "properties": {
        "events": {"type": "array", "minItems": 1, "maxItems": MOST, "items": schema_of((Told, Given))}
    },
}


class EventResult(msgspec.Struct):
    """status: accepted, repeated (it was known) or error."""

    index: int
    status: str
    problem: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class EventResults(msgspec.Struct):
    accepted: int
    results: list[EventResult]


class Events(rest.Endpoint):
    scopes = {"POST": (WRITE, DEVICES)}

    @documented(
        "Tell what became of messages and what subscribers did, up to 1000 events; good ones are kept",
        request={"application/json": DOCUMENTED},
        responses={200: EventResults},
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        key = rest.key(request)
        lines = Lines(rest.body(request, Many).events, is_trusted=WRITE in key.scopes)
        lines.store(key.application_id)
        return rest.answer({"accepted": lines.accepted, "results": lines.results})


class Lines:
    """A batch on its way: what was good of it, by number, and what is answered to each."""

    def __init__(self, items: list[msgspec.Raw], *, is_trusted: bool) -> None:
        self.now = timezone.now()
        self.custom: list[tuple[int, Given]] = []
        self.told: list[tuple[int, Told]] = []
        self.results: list[dict[str, Any]] = []
        for index, item in enumerate(items):
            self.results.append({"index": index, "status": "accepted"})
            try:
                self._read(index, item, is_trusted)
            except (Problem, InvalidField) as error:
                self._refuse(index, error)

    def _read(self, index: int, item: msgspec.Raw, is_trusted: bool) -> None:
        name = _name(item)
        if name and name not in FROM_ANYBODY and not is_trusted:
            raise Problem(403, "Forbidden", f"“{name}” takes a server key with the scope {WRITE}.")
        if name in events.RESERVED:
            told = decoded(item, Told)
            engagement.check(told, self.now)
            self.told.append((index, told))
        else:
            given = decoded(item, Given)
            events.check(given, self.now)
            self.custom.append((index, given))

    def store(self, application_id: int) -> None:
        with transaction.atomic() if self.custom and self.told else nullcontext():
            left = events.store(self.custom, application_id=application_id, now=self.now)
            left |= engagement.store(self.told, application_id=application_id, now=self.now)
        by_person = {index for index, told in self.told if told.subscriber is not msgspec.UNSET}
        for index, why in left.items():
            if why == "repeated":
                self.results[index]["status"] = why
            else:
                field, words = engagement.REFUSED[why]
                field = "subscriber" if field == "device" and index in by_person else field
                self._refuse(index, InvalidField(f"/{field}", words))

    def _refuse(self, index: int, error: Exception) -> None:
        problem = problems.of(error)
        assert problem
        self.results[index] = {"index": index, "status": "error", "problem": problem.body()}

    @property
    def accepted(self) -> int:
        return sum(result["status"] == "accepted" for result in self.results)


def _name(item: msgspec.Raw) -> str:
    """ "": it has none; what reads it as a whole says so."""
    try:
        return _named.decode(item).name
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
