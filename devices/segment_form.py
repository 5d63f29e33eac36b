"""The form of a segment: its rules come as JSON out of the rule builder (static/segments.js), and their faults go
back to where they are."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from devices import segments
from devices.models import Category, Segment
from devices.segment_fields import FIELDS
from devices.segment_operators import OPERATORS
from tenants import access

REFRESHES = (
    ("", "Every time it is used"),
    (15, "Every 15 minutes"),
    (60, "Every hour"),
    (24 * 60, "Every day"),
)


class SegmentForm(forms.ModelForm):
    rules = forms.JSONField(required=False, widget=UnfoldAdminTextareaWidget(attrs={"data-rules": ""}))
    refresh_minutes = forms.TypedChoiceField(
        label="Find its people",
        coerce=int,
        empty_value=None,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="On a schedule it is quicker to send to, and its size is kept; who joins is found at the next one.",
    )

    class Meta:
        model = Segment
        fields = ("application", "name", "slug", "kind", "refresh_minutes", "rules")
        help_texts = {
            "slug": "How the API names it.",
            "kind": "By rules: whoever fits. A list: those you upload.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.faults: list[segments.Fault] = []
        if "application" in self.fields:  # none for those who may only look
            self._settle()

    def _settle(self) -> None:
        own = self.instance.refresh_minutes
        known = [value for value, _ in REFRESHES]
        others = [(own, f"Every {own} minutes")] if own and own not in known else []
        self.fields["refresh_minutes"].choices = [*REFRESHES, *others]  # type: ignore[attr-defined]
        if self.instance.pk:
            for name in ("application", "slug", "kind"):
                self.fields[name].disabled = True
        offered = self.fields["application"].queryset  # type: ignore[attr-defined]
        applications = list(offered.values_list("id", flat=True)[:2])
        if len(applications) == 1:
            self.fields["application"].widget = forms.HiddenInput()
            self.initial.setdefault("application", applications[0])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("kind") == Segment.Kind.LIST:
            cleaned["rules"], cleaned["refresh_minutes"] = {}, None
        elif cleaned.get("application") and "rules" in cleaned:
            self.faults = segments.check(
                cleaned["rules"], cleaned["application"].pk, slug=cleaned.get("slug") or ""
            )
            if self.faults:
                self.add_error("rules", words(cleaned["rules"], self.faults))
        return cleaned


def words(rules: Any, faults: list[segments.Fault]) -> str:
    if not rules:
        return "Say whom you mean: add a rule."
    return "One rule is not complete." if len(faults) == 1 else f"{len(faults)} things are not right yet."


def schema(ids: list[int] | None) -> dict[str, Any]:
    """What the rule builder offers; categories and segments of these applications, each with its own."""
    known = {
        model: access.narrowed(model.objects.order_by("name"), ids).values("slug", "name", "application_id")
        for model in (Category, Segment)
    }
    return {
        "fields": [
            {"name": name, "words": one.words, "kind": one.kind, "choices": list(one.choices.items())}
            for name, one in FIELDS.items()
        ],
        "operators": [
            {"name": name, "words": one.words, "kinds": one.kinds, "takes": one.takes}
            for name, one in OPERATORS.items()
        ],
        "categories": list(known[Category]),
        "segments": list(known[Segment][:500]),
    }
