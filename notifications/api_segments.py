"""How many people rules take in, and how many of them can be reached."""

from __future__ import annotations

from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse

from config import rest
from config.openapi import documented
from config.problems import Problem
from config.types import Slug
from devices import segments
from notifications import reach, selectors


class Rules(msgspec.Struct, forbid_unknown_fields=True):
    """category: whose consent, quiet hours and caps are asked for; absent: everyone whose address can be reached."""

    rules: dict[str, Any]
    category: Slug | None = None


class EstimateRow(msgspec.Struct):
    """devices = Σ reachable + Σ held_back; people: who have them. is_estimate: from a sample, else exact."""

    people: int
    devices: int
    reachable: dict[str, int]  # by channel
    held: int  # of the reachable, just now: until quiet hours end
    platforms: dict[str, int]  # the reachable ones, by platform
    held_back: dict[str, int]  # by reason
    is_estimate: bool


class Estimate(rest.Endpoint):
    scopes = {"POST": ("subscribers:read",)}

    @documented("Estimate the reach of rules", request=Rules, responses={200: EstimateRow})
    def post(self, request: HttpRequest) -> HttpResponse:
        given = rest.body(request, Rules)
        application_id = rest.key(request).application_id
        category = selectors.category(application_id, given.category) if given.category else None
        if given.category and category is None:
            raise Problem.of_field("/category", "there is no such category")
        if faults := segments.check(given.rules, application_id):
            raise segments.refused(faults)
        found = reach.of_rules(
            given.rules, application_id=application_id, category_id=category.pk if category else None
        )
        return rest.answer(
            {
                "people": found.people,
                "devices": found.devices,
                "reachable": {"push": found.reachable},
                "held": found.later,
                "platforms": found.platforms,
                "held_back": found.held_back,
                "is_estimate": found.is_estimate,
            }
        )
