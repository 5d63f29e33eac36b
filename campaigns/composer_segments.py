"""The composer's segments: those there are with their sizes, a new one by rules, and a new list by upload."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils.text import slugify

from campaigns import composer_draft, services
from campaigns.composer_draft import Asked, answers, read
from campaigns.models import Campaign
from config.problems import InvalidField, Problem
from config.types import text
from devices import importing_files, segment_form, segment_lists, segments, suggestions
from devices.models import Segment
from notifications import reach as notification_reach
from tenants.console import ConsoleAdmin
from tenants.models import Application

LISTED = 100
COUNTED_AT_ONCE, PATIENCE = 10, 0.8  # segments whose people are counted for one answer; seconds
COUNT_REMEMBERED = 300
LARGEST_FILE = 64 * 1024 * 1024  # bytes


class New(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, text(120, shortest=1)]
    rules: dict[str, Any]


class Wanted(Asked, kw_only=True):
    """query: of their names. named: slugs wanted besides. sizes_of: slugs whose people are to be counted.
    rules: to count, not to keep. save: to keep. builder: what the rule builder needs."""

    query: str = ""
    named: list[str] = []
    sizes_of: Annotated[list[str], msgspec.Meta(max_length=COUNTED_AT_ONCE)] = []
    rules: dict[str, Any] | None = None
    save: New | None = None
    builder: bool = False


@answers
def listing(admin: ConsoleAdmin, request: HttpRequest) -> dict[str, Any]:
    """POST: what is asked for, and no more. Faults of rules have pointers into them: "/rules/all/0/value"."""
    asked, campaign = read(admin, request, Wanted)
    application_id = campaign.application_id
    if asked.save is not None:
        return {"saved": row(_saved(admin, request, campaign.application, asked.save))}
    if asked.rules is not None:
        return _count(campaign, asked.rules)
    if asked.sizes_of:
        return {"sizes": _sizes(application_id, asked.sizes_of)}
    if asked.builder:
        return {"schema": _schema(application_id), "suggestions": suggestions.of(application_id)}
    found, query = segments.segments(application_id), asked.query.strip()
    matching = found.filter(Q(name__icontains=query) | Q(slug__icontains=query)) if query else found
    return {
        "segments": [row(one) for one in matching.order_by("name")[:LISTED]],
        "named": [row(one) for one in found.filter(slug__in=asked.named)],
        "total": found.count(),
        "may_add": request.user.has_perm("devices.add_segment", campaign.application),
    }


def row(segment: Segment) -> dict[str, Any]:
    """size: people, when counted last; null: by rules that are asked at every use."""
    return {
        "slug": segment.slug,
        "name": segment.name,
        "kind": segment.kind,
        "size": segment.size,
        "refreshed_at": segment.refreshed_at,
    }


def _schema(application_id: int) -> dict[str, Any]:
    return segment_form.schema([application_id])


def _sizes(application_id: int, slugs: list[str]) -> dict[str, int | None]:
    """People with an active device, by slug; null where it takes too long."""
    begun, found = time.monotonic(), dict[str, int | None]()
    for slug in slugs:
        key = f"carillon:segment-people:{application_id}:{slug}"
        size = cache.get(key)
        if size is None and time.monotonic() - begun < PATIENCE:
            try:
                size = notification_reach.of_rules({"segment": slug}, application_id=application_id).people
            except InvalidField:
                size = None
            cache.set(key, size, timeout=COUNT_REMEMBERED)
        found[slug] = size
    return found


def _count(campaign: Campaign, rules: dict[str, Any]) -> dict[str, Any]:
    if not rules:
        return {"faults": [{"pointer": "/rules", "detail": "add a rule first"}]}
    if faults := segments.check(rules, campaign.application_id):
        return {"faults": [{"pointer": f"/rules{at}", "detail": detail} for at, detail in faults]}
    found = notification_reach.of_rules(
        rules, application_id=campaign.application_id, category_id=campaign.category_id
    )
    return {
        "people": found.people,
        "devices": found.devices,
        "reachable": found.reachable,
        "is_estimate": found.is_estimate,
    }


# --- a new one --------------------------------------------------------------------------------


def _saved(admin: ConsoleAdmin, request: HttpRequest, application: Application, new: New) -> Segment:
    """Raises Problem, InvalidField, PermissionDenied."""
    segment = Segment(application=application, name=new.name, rules=new.rules)
    _store(admin, request, segment)
    return segment


def _store(admin: ConsoleAdmin, request: HttpRequest, segment: Segment) -> None:
    if not request.user.has_perm("devices.add_segment", segment.application):
        raise PermissionDenied("A new segment needs a colleague who may add segments.")
    for slug in _slugs(segment):
        segment.slug = slug
        try:
            segments.save(segment)
        except segments.Taken:
            continue
        admin.admin_site.get_model_admin(Segment).log_addition(
            request, segment, [{"added": {"name": "by the composer", "object": segment.name}}]
        )
        return
    raise InvalidField("/name", "choose another name: there are too many of this one")


def _slugs(segment: Segment) -> list[str]:
    """Its name as the API may say it, then with a number."""
    base = slugify(segment.name)[:58] or "segment"
    taken = set(
        segments.segments(segment.application_id).filter(slug__startswith=base).values_list("slug", flat=True)
    )
    numbered = (f"{base}-{number}" for number in range(2, 200))
    return [slug for slug in (base, *numbered) if slug not in taken][:5]


@answers
def upload_list(admin: ConsoleAdmin, request: HttpRequest) -> dict[str, Any]:
    """POST a form {application, name, file}: a list of the people whose ids it names, and the lines left out."""
    application = composer_draft.application(admin, request, request.POST.get("application", ""))
    composer_draft.check_writer(admin, request, services.drafted(application))
    name, file = request.POST.get("name", "").strip(), request.FILES.get("file")
    if not name or len(name) > 120:
        raise InvalidField("/name", "give the list a name of at most 120 characters")
    kind = importing_files.format_of(file.content_type or "", file.name or "") if file else None
    if file is None or kind is None:
        raise InvalidField("/file", "choose a .csv file whose first line names the column external_id")
    if (file.size or 0) > LARGEST_FILE:
        raise InvalidField("/file", f"it may have {LARGEST_FILE // 1024**2} MB at most")
    source: Any = importing_files.ndjson if kind == importing_files.NDJSON else importing_files.csv_people
    segment = Segment(application=application, name=name, kind=Segment.Kind.LIST)
    with transaction.atomic():
        _store(admin, request, segment)
        filled = _filled(segment, source(file.file))
    segment.refresh_from_db()
    return {
        "saved": row(segment),
        "lines": filled.lines,
        "added": filled.added,
        "error_count": filled.error_count,
        "errors": filled.errors,
    }


def _filled(segment: Segment, source: Any) -> segment_lists.Filled:
    """Raises Problem with the first lines' faults where nobody is left."""
    try:
        filled = segment_lists.fill(segment, source, segment_lists.Mode.ADD)
    except InvalidField as error:  # its header
        raise InvalidField(
            "/file", f"it cannot be read: {error.detail} ({error.pointer.strip('/')})"
        ) from error
    if not filled.size:
        errors = [
            {"pointer": "/file", "detail": f"line {one['line']}: {one['reason']}"} for one in filled.errors
        ]
        nobody = {"pointer": "/file", "detail": "none of its lines names somebody this app knows"}
        raise Problem(422, "Invalid request", nobody["detail"], errors=[nobody, *errors[:20]])
    return filled
