"""Quiet hours as a form field: lines of days, a start and an end."""

from __future__ import annotations

import itertools
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from devices import quiet

BLANK_LINES = 2


class QuietHoursWidget(forms.Widget):
    template_name = "devices/widgets/quiet_hours.html"

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, None, attrs)
        blank = {"days": quiet.EVERY_DAY, "start": "", "end": ""}
        lines = [*(value or []), *[blank] * BLANK_LINES][: quiet.MOST_WINDOWS]
        context["widget"]["rows"] = [
            {**line, "name": f"{name}-{number}", "days": _days(line["days"])}
            for number, line in enumerate(lines)
        ]
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[dict[str, Any]]:
        """Lines without times say nothing."""
        lines = []
        for number in itertools.takewhile(lambda n: f"{name}-{n}-start" in data, itertools.count()):
            start, end = (data.get(f"{name}-{number}-{side}", "")[:5] for side in ("start", "end"))
            days = [int(day) for day in data.getlist(f"{name}-{number}-day") if day in tuple("1234567")]
            if start or end:
                lines.append({"days": days, "start": start, "end": end})
        return lines

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return f"{name}-0-start" not in data


def _days(ticked: list[int]) -> list[tuple[int, str, bool]]:
    return [(day, name, day in ticked) for day, name in enumerate(quiet.NAMES, start=1)]


class QuietHoursField(forms.Field):
    widget = QuietHoursWidget

    def __init__(self, **kwargs: Any) -> None:
        kwargs = {"required": False, "label": "Quiet hours", **kwargs}
        super().__init__(**kwargs)

    def clean(self, value: Any) -> list[dict[str, Any]]:
        try:
            return quiet.check(value or [])
        except ValueError as error:
            raise ValidationError(_words(str(error))) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return quiet.check(data or []) != (initial or [])
        except ValueError:
            return True


def _words(fault: str) -> str:
    """quiet.check says "/0/start: …"."""
    pointer, _, words = fault.partition(": ")
    _, *parts = pointer.split("/")
    if not parts:
        return f"{words[:1].upper()}{words[1:]}."
    words = "tick at least one day" if parts[-1] == "days" else words
    return f"Line {int(parts[0]) + 1}: {words}."
