"""The admin of segments: the list with sizes, the rule builder, and uploads to lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from unfold.decorators import display

from config.problems import InvalidField, Problem
from devices import importing_files, segment_lists, segments, suggestions
from devices.models import Category, Segment, SegmentSize
from devices.segment_form import SegmentForm, schema
from devices.segment_lists import Mode
from tenants import access
from tenants.console import ConsoleAdmin
from tenants.models import Application
from tenants.templatetags.console import count, things

CURVE = 40  # sizes in a history's curve


@admin.register(Segment)
class SegmentAdmin(ConsoleAdmin):
    deeds: ClassVar = {"upload": "change"}

    form = SegmentForm
    change_form_template = "devices/segment_form.html"
    change_form_outer_after_template = "devices/segment_after.html"
    list_display = ("segment", "application", "how", "people", "history_curve", "updated_at")
    list_display_links = ("segment",)
    list_filter = ("kind", "application")
    list_select_related = ("application",)
    search_fields = ("name", "slug")
    warn_unsaved_form = True

    class Media:
        js = ("segments.js",)
        css: ClassVar = {"all": ("segments.css",)}

    # --- list -----------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Segment]:
        newest = SegmentSize.objects.filter(segment=OuterRef("pk")).order_by("-id").values("size")
        return super().get_queryset(request).annotate(newest=ArraySubquery(newest[:CURVE]))

    @display(description="Segment", header=True, ordering="name")
    def segment(self, obj: Segment) -> list[str]:
        return [obj.name, obj.slug]

    @display(description="Its people")
    def how(self, obj: Segment) -> str:
        if obj.kind == Segment.Kind.LIST:
            return "Uploaded"
        if obj.refresh_minutes is None:
            return "By rules, at every use"
        return f"By rules, every {obj.refresh_minutes} min"

    @display(description="Size", ordering="size")
    def people(self, obj: Segment) -> str:
        words = "—" if obj.size is None else count(obj.size)
        return format_html('<span class="c-num">{}</span>', words)

    @display(description="History")
    def history_curve(self, obj: Any) -> str:
        return curve(obj.newest[::-1]) or "—"

    # --- form -----------------------------------------------------------------------------

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        own = access.applications(request.user, self.permission("add"))
        if object_id is None and self.has_add_permission(request) and not own.exists():
            messages.info(request, "Create an application first: a segment belongs to one.")
            return HttpResponseRedirect("../../../tenants/application/add/")
        ids = access.ids(request.user, self.permission("view"))
        segment = self.get_object(request, object_id) if object_id else None
        context = {
            **(extra_context or {}),
            "schema": schema(ids),
            "suggestions": _suggestions(segment, own),
            "categories": access.narrowed(
                Category.objects.select_related("application").order_by("name"), ids
            ),
            "segment": segment,
            "curve": self.history_curve(segment) if segment and segment.size is not None else "",
        }
        try:
            return super().changeform_view(request, object_id, form_url, context)
        except (Problem, InvalidField, segments.Taken) as error:
            # Another's change came between the form's check and the saving.
            messages.error(request, f"Not saved: {error}. Somebody else has changed something meanwhile.")
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        segments.save(obj)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except segments.InUse as error:
            messages.error(request, f"Not deleted: the rules of {error} name it. Change those first.")
            return HttpResponseRedirect("../change/")

    def delete_model(self, request: HttpRequest, obj: Segment) -> None:
        segments.delete(obj)

    # --- lists ----------------------------------------------------------------------------

    def upload(self, request: HttpRequest, obj: Segment) -> HttpResponse:
        """POST: the lines of a file into a list."""
        back = HttpResponseRedirect(self.url("change", obj))
        file, mode = request.FILES.get("file"), request.POST.get("mode", "")
        kind = importing_files.format_of(file.content_type or "", file.name or "") if file else None
        if file is None or kind is None or mode not in list(Mode):
            messages.error(request, "Choose a .csv or .ndjson file first. Nothing was changed.")
            return back
        source: Any = importing_files.ndjson if kind == importing_files.NDJSON else importing_files.csv_people
        try:
            filled = segment_lists.fill(obj, source(file.file), Mode(mode))
        except (InvalidField, Problem) as error:
            messages.error(request, f"This file cannot be read: {error}. Nothing was changed.")
            return back
        self.audit(request, obj, f"Upload: {filled.added:,} added, {filled.removed:,} removed.")
        messages.success(
            request,
            f"{filled.added:,} added, {filled.removed:,} removed: the list has {things(filled.size, 'member')}.",
        )
        if filled.error_count:
            messages.warning(request, _left_out(filled))
        return back


def _suggestions(segment: Segment | None, applications: QuerySet[Application]) -> dict[str, Any]:
    """For a new one as long as there is but one application."""
    ids = [segment.application_id] if segment else list(applications.values_list("pk", flat=True)[:2])
    return suggestions.of(ids[0]) if len(ids) == 1 else {}


def _left_out(filled: segment_lists.Filled) -> str:
    first = "; ".join(f"line {error['line']}: {error['reason']}" for error in filled.errors[:5])
    more = "; …" if filled.error_count > 5 else "."
    return f"{things(filled.error_count, 'line')} left out: {first}{more}"


def curve(sizes: Sequence[int]) -> str:
    """A small line of what the size was, oldest first; "" for fewer than two."""
    if len(sizes) < 2:
        return ""
    least, most = min(sizes), max(sizes)
    height = (most - least) or 1
    points = " ".join(
        f"{100 * at / (len(sizes) - 1):.1f},{22 - 20 * (size - least) / height:.1f}"
        for at, size in enumerate(sizes)
    )
    words = f"From {count(sizes[0])} to {count(sizes[-1])}, between {count(least)} and {count(most)}"
    return format_html(
        '<svg class="c-curve" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<title>{}</title><polyline points="{}"></polyline></svg>',
        words,
        words,
        points,
    )
