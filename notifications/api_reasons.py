"""What the reasons in counts, deliveries and explanations mean: the words the admin shows."""

from __future__ import annotations

import msgspec
from django.http import HttpRequest, HttpResponse

from config import rest
from config.openapi import documented
from notifications import catalogue
from tenants.permissions import ANY_KEY


class AnswerRow(msgspec.Struct):
    """The provider's answer that is recorded under the reason. code: its own word, "" where the status says it all."""

    provider: str
    status: int
    code: str
    outcome: str


class ReasonRow(msgspec.Struct):
    """group: held, apns, fcm, webpush, several or carillon. what_to_do: "" for nothing."""

    reason: str
    group: str
    title: str
    what_happened: str
    not_affected: str
    what_to_do: str
    answers: list[AnswerRow]


class ReasonList(msgspec.Struct):
    results: list[ReasonRow]


DESCRIPTION = (
    "Every `reason` in a notification's counts, its deliveries and explanations, in plain words. Any key may read it. "
    "A provider's answer that no table names is recorded by its own word in snake case, or as `http_<status>`.\n\n"
    + catalogue.table(catalogue.grouped())
)


class Reasons(rest.Endpoint):
    scopes = {"GET": ANY_KEY}

    @documented("List reasons", description=DESCRIPTION, responses={200: ReasonList})
    def get(self, request: HttpRequest) -> HttpResponse:
        rest.query(request)
        rows = [
            {
                "reason": entry.reason,
                "group": group.key,
                "title": entry.words.title,
                "what_happened": entry.words.means,
                "not_affected": entry.words.spared,
                "what_to_do": entry.words.todo,
                "answers": [answer._asdict() for answer in entry.answers],
            }
            for group in catalogue.grouped()
            for entry in group.entries
        ]
        return rest.answer({"results": rows})
