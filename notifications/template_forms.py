"""The form of a template: its texts, those of other languages, extra data and buttons, and what stands in for what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from config.json import converted
from config.problems import InvalidField, Problem
from notifications import template_versions
from notifications import template_wording as wordings
from notifications.content import normal
from notifications.models import Template
from notifications.template_diff import MISSING
from notifications.template_versions import Said
from notifications.template_wording import Wording
from tenants.models import Application

TEXTS = ("title", "body", "image", "url")
DEFAULT, SAMPLE = "default:", "sample:"


def line(label: str, longest: int, hint: str = "", **options: Any) -> forms.CharField:
    widget = UnfoldAdminTextInputWidget(attrs={"placeholder": hint})
    return forms.CharField(label=label, max_length=longest, widget=widget, required=False, **options)


class About(forms.Form):
    application = forms.ModelChoiceField(
        Application.objects.none(), widget=UnfoldAdminSelectWidget, empty_label=None, label="App"
    )
    name = forms.CharField(
        max_length=120, widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "Order is on its way"})
    )
    slug = forms.SlugField(
        label="Short name",
        max_length=64,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "order-shipped"}),
        help_text="For your systems, in their calls. It cannot be changed later.",
    )
    missing = forms.ChoiceField(
        choices=[(value, words) for value, (words, _) in MISSING.items()],
        widget=forms.RadioSelect,
        initial="default",
    )

    def __init__(
        self, *args: Any, template: Template | None = None, applications: QuerySet[Application], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if template:
            del self.fields["application"], self.fields["slug"]
            return
        self.fields["application"].queryset = applications  # type: ignore[attr-defined]
        if len(few := applications[:2]) == 1:
            self.fields["application"].widget = forms.HiddenInput()
            self.fields["application"].initial = few[0]


class Texts(forms.Form):
    title = line("Title", 4096, "Hello {{ subscriber.attributes.first_name }}")
    body = forms.CharField(
        label="Text",
        max_length=4096,
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 3, "placeholder": "Order {{ variables.order }} is on its way."}
        ),
    )
    image = line("Picture", 2048, "https://…")
    url = line("Opens", 2048, "https://… or shop://orders/{{ variables.order }}")


class OwnTexts(Texts):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors and not (cleaned.get("title") or cleaned.get("body")):
            self.add_error("title", "Write a title or a text.")
        return cleaned


class Language(Texts):
    code = forms.RegexField(
        r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$",
        label="Language",
        max_length=35,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "de, or de-AT"}),
        error_messages={"invalid": "A language such as de, or with a country such as de-AT."},
    )


class Datum(forms.Form):
    key = line("Name", 128, "screen")
    value = line("Value", 4096, "orders")


class Button(forms.Form):
    id = line("Id", 64, "track")
    title = line("Label", 500, "Track it")
    url = line("Opens", 2048, "https://…")


class Named(forms.BaseFormSet):
    """Rows of which no two may have the same name."""

    by: str
    known_as: Callable[[str], str] = staticmethod(str)

    def clean(self) -> None:
        seen = set()
        for form in self.forms:
            name = self.known_as(getattr(form, "cleaned_data", {}).get(self.by, ""))
            if name and name in seen:
                form.add_error(self.by, "There is one of this name above.")
            seen.add(name)


class NamedLanguages(Named):
    by = "code"
    known_as = staticmethod(normal)


class NamedData(Named):
    by = "key"


Languages = forms.formset_factory(Language, NamedLanguages, extra=0, can_delete=True, max_num=100)
Data = forms.formset_factory(Datum, NamedData, extra=1, max_num=100)
Buttons = forms.formset_factory(Button, extra=1, max_num=5)
ROWS = ("languages", "data", "buttons")


NOTHING: dict[str, Any] = {"about": {}, "own": {}, "languages": [], "data": [], "buttons": []}


class Editor:
    """All the forms of a template's page together. posted: None shows what is stored. applications: of which a new
    one may be."""

    def __init__(
        self,
        template: Template | None,
        posted: QueryDict | None = None,
        *,
        applications: QuerySet[Application],
    ) -> None:
        self.template, self.version = template, template.current if template else None
        self._posted = posted
        given = self._initial() if posted is None else NOTHING
        self.about = About(posted, template=template, applications=applications, initial=given["about"])
        self.own = OwnTexts(posted, prefix="own", initial=given["own"])
        self.languages = Languages(posted, prefix="languages", initial=given["languages"])
        self.data = Data(posted, prefix="data", initial=given["data"])
        self.buttons = Buttons(posted, prefix="buttons", initial=given["buttons"])

    def _initial(self) -> dict[str, Any]:
        if self.version is None:
            return NOTHING
        content = self.version.content
        return {
            "about": {"name": self.template and self.template.name, "missing": self.version.missing},
            "own": content,
            "languages": [{"code": code, **texts} for code, texts in self.version.locales.items()],
            "data": [{"key": key, "value": value} for key, value in content.get("data", {}).items()],
            "buttons": content.get("actions", []),
        }

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.about, self.own, self.languages, self.data, self.buttons

    def understood(self) -> Said | None:
        """What the page says, checked; None, and the errors are at their fields."""
        faulty = [part for part in self.parts if not part.is_valid()]  # all of them are looked at
        if faulty:
            return None
        try:
            said = converted(self.raw(), Said)
            template_versions.checked(said)
        except (InvalidField, Problem) as error:
            self._place(error)
            return None
        return said

    # --- what the page says ---------------------------------------------------------------

    def raw(self) -> dict[str, Any]:
        """As in the API, of whatever is legible so far."""
        if self._posted is None:
            return self._stored()
        for part in self.parts:
            part.is_valid()
        content = _texts(self.own.cleaned_data)
        content = {"title": "", "body": "", **content}
        if data := {row["key"]: row.get("value", "") for row in _rows(self.data) if row.get("key")}:
            content["data"] = data
        if buttons := [_present(row) for row in _rows(self.buttons) if _is_button(row)]:
            content["actions"] = buttons
        return {
            "name": self.about.cleaned_data.get("name") or None,
            "content": content,
            "locales": self._locales(),
            "defaults": self.defaults,
            "missing": self.about.cleaned_data.get("missing") or "default",
        }

    def _stored(self) -> dict[str, Any]:
        if self.version is None:
            return {"name": None, "content": {}, "locales": {}, "defaults": {}, "missing": "default"}
        names = ("content", "locales", "defaults", "missing")
        return {"name": None, **{name: getattr(self.version, name) for name in names}}

    def _locales(self) -> dict[str, dict[str, Any]]:
        """What the API has put into a language besides its texts stays there."""
        stored = self.version.locales if self.version else {}
        found = {}
        for row in _rows(self.languages):
            if (code := row.get("code")) and not row.get("DELETE"):
                kept = {name: value for name, value in stored.get(code, {}).items() if name not in TEXTS}
                found[code] = {**_texts(row), **kept}
        return found

    @cached_property
    def defaults(self) -> dict[str, Any]:
        if self._posted is None:
            return dict(self.version.defaults) if self.version else {}
        stored = self.version.defaults if self.version else {}
        typed = {
            name.removeprefix(DEFAULT): str(value)
            for name, value in self._posted.items()
            if name.startswith(DEFAULT) and value
        }
        # A number or a yes that was stored by the API stays one, unless it is changed.
        return {
            name: stored[name] if str(stored.get(name)) == value else value for name, value in typed.items()
        }

    @property
    def samples(self) -> dict[str, Any]:
        """The call's variables as typed for the preview."""
        given: Mapping[str, Any] = self._posted or {}
        start = f"{SAMPLE}variables."
        return {
            name.removeprefix(start): value
            for name, value in given.items()
            if name.startswith(start) and value
        }

    def wording(self) -> Wording:
        """Whatever is missing. Raises InvalidField."""
        raw = self.raw()
        known = {
            name: value
            for name, value in raw["defaults"].items()
            if name.startswith(("variables.", "subscriber."))
        }
        return wordings.read(raw["content"], raw["locales"], known, wordings.LENIENT)

    # --- what is wrong --------------------------------------------------------------------

    def _place(self, error: InvalidField | Problem) -> None:
        faults = (
            error.errors
            if isinstance(error, Problem)
            else [{"pointer": error.pointer, "detail": error.detail}]
        )
        for fault in faults or [{"pointer": "", "detail": str(error)}]:
            form, field = self.at(fault["pointer"])
            form.add_error(field, fault["detail"][0].upper() + fault["detail"][1:])

    def at(self, pointer: str) -> tuple[forms.Form, str | None]:
        """The form and field that a pointer of the API speaks of."""
        _, root, *rest = [*pointer.split("/"), "", "", ""]
        if root == "locales":
            form = _first(self.languages, lambda row: normal(row.get("code", "")) == normal(rest[0]))
            return (form, rest[1] if rest[1] in TEXTS else "code") if form else (self.about, None)
        if rest[0] in TEXTS:
            return self.own, rest[0]
        if rest[0] == "data":
            key = rest[1].replace("~1", "/").replace("~0", "~")
            form = _first(self.data, lambda row: row.get("key") == key)
            return (form, "value") if form else (self.about, None)
        filled = [form for form in self.buttons.forms if _is_button(form.cleaned_data)]
        if rest[0] == "actions" and rest[1].isdigit() and int(rest[1]) < len(filled):
            return filled[int(rest[1])], rest[2] if rest[2] in ("title", "url") else "id"
        return self.about, None


def _first(formset: Any, wanted: Callable[[dict[str, Any]], bool]) -> forms.Form | None:
    return next((form for form in formset.forms if wanted(form.cleaned_data)), None)


def _is_button(row: Mapping[str, Any]) -> bool:
    return bool(row.get("id") or row.get("title"))


def added(posted: QueryDict) -> QueryDict | None:
    """The posted page with one more row, where that was asked for."""
    for kind in ROWS:
        if f"_add_{kind}" in posted:
            more = posted.copy()
            total = more.get(f"{kind}-TOTAL_FORMS", "0")
            more[f"{kind}-TOTAL_FORMS"] = str(
                min(100, int(total) + 1) if re.fullmatch(r"\d{1,3}", total) else 1
            )
            return more
    return None


def _rows(formset: Any) -> list[dict[str, Any]]:
    return [getattr(form, "cleaned_data", None) or {} for form in formset.forms]


def _texts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in TEXTS if row.get(name)}


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value}


def variables(wording: Wording, editor: Editor) -> list[dict[str, Any]]:
    """What the texts read, for the page: the call's first."""
    needed = wording.needed
    return [
        {
            "name": name,
            "short": name.removeprefix(f"{wordings.ATTRIBUTES}.")
            .removeprefix("variables.")
            .removeprefix("subscriber."),
            "is_personal": wordings.is_personal(name),
            "is_needed": name in needed,
            "default": editor.defaults.get(name, ""),
            "sample": editor.samples.get(name.removeprefix("variables."), ""),
        }
        for name in sorted(
            wording.names - wordings.WHOLE, key=lambda name: (wordings.is_personal(name), name)
        )
    ]
