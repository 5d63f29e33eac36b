"""Custom events, batched. For server keys: they name people, which a client may only do one by one and signed."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from config import problems, rest
from config.json import decoded
from config.openapi import documented
from config.problems import InvalidField, Problem
from devices import events
from devices.events import Given

MOST = 1000


class Many(msgspec.Struct, forbid_unknown_fields=True):
    """Each is read by itself, so that one bad event costs no other."""

    events: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MOST)]


class ManyDocumented(msgspec.Struct):
    events: Annotated[list[Given], msgspec.Meta(min_length=1, max_length=MOST)]


class EventResult(msgspec.Struct):
    """status: accepted, repeated (its id and time were known) or error."""

    index: int
    status: str
    problem: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class EventResults(msgspec.Struct):
    accepted: int
    results: list[EventResult]


class Events(rest.Endpoint):
    scopes = {"POST": ("subscribers:write",)}

    @documented(
        "Tell what subscribers did, up to 1000 events; good ones are kept",
        request=ManyDocumented,
        responses={200: EventResults},
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        items = rest.body(request, Many).events
        now = timezone.now()
        good: list[tuple[int, Given]] = []
        results: list[dict[str, Any]] = []
        for index, item in enumerate(items):
            results.append({"index": index, "status": "accepted"})
            try:
                given = decoded(item, Given)
                events.check(given, now)
                good.append((index, given))
            except (Problem, InvalidField) as error:
                results[index] = _error(index, error)
        left = events.store(good, application_id=rest.key(request).application_id, now=now)
        for index, why in left.items():
            if why == "repeated":
                results[index]["status"] = why
            else:
                results[index] = _error(index, InvalidField("/subscriber", "there is no such subscriber"))
        accepted = sum(result["status"] == "accepted" for result in results)
        return rest.answer({"accepted": accepted, "results": results})


def _error(index: int, error: Exception) -> dict[str, Any]:
    problem = problems.of(error)
    assert problem
    return {"index": index, "status": "error", "problem": problem.body()}
