"""The admin of categories and of frequency caps, in plain words."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget

from config.problems import InvalidField
from devices import caps, categories
from devices.models import Cap, Category, Preference
from tenants.console import ConsoleAdmin, Scoped
from tenants.models import Application

LIFETIMES = {
    600: "10 minutes",
    3_600: "1 hour",
    21_600: "6 hours",
    86_400: "1 day",
    259_200: "3 days",
    604_800: "1 week",
    2_419_200: "4 weeks",
}


# --- Caps -------------------------------------------------------------------------------------


class CapFormSet(forms.BaseInlineFormSet):
    """The caps of a category or an application, written together as the API does."""

    def clean(self) -> None:
        super().clean()
        seen = set()
        for form in self._wanted():
            about = tuple(form.cleaned_data.get(name, "") for name in ("kind", "channel", "period"))
            if about in seen:
                form.add_error("period", "There is a cap for the same messages and period above.")
            seen.add(about)

    def save(self, commit: bool = True) -> list[Cap]:
        self.new_objects = [form.instance for form in self.extra_forms if form.has_changed()]
        self.changed_objects = [
            (form.instance, form.changed_data) for form in self.initial_forms if form.has_changed()
        ]
        self.deleted_objects: list[Cap] = []
        category = self.instance if isinstance(self.instance, Category) else None
        application = self.instance if isinstance(self.instance, Application) else self.instance.application
        names = ("most", "period", "kind", "channel")
        wanted = [
            {name: form.cleaned_data[name] for name in names if name in form.cleaned_data}
            for form in self._wanted()
        ]
        caps.put(application.pk, wanted, category=category)
        return []

    def save_m2m(self) -> None:
        """A cap has nothing of the kind."""

    def _wanted(self) -> list[Any]:
        return [
            form
            for form in self.forms
            if (said := getattr(form, "cleaned_data", {})).get("period") and not said.get("DELETE")
        ]


class CapInline(Scoped, TabularInline):
    model = Cap
    formset = CapFormSet
    fields: tuple[str, ...] = ("most", "period", "channel")
    extra = 0
    hide_title = True
    verbose_name = "cap"
    verbose_name_plural = "How much of it one person gets at most"

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "most":
            field.label = "At most"
        if db_field.name == "channel":
            field.help_text = ""
            field.choices = [("", "All together"), *list(field.choices)[1:]]
        return field


# --- Categories -------------------------------------------------------------------------------


class CategoryForm(forms.ModelForm):
    channels = forms.MultipleChoiceField(
        label="Ways to reach people",
        choices=Preference.Channel.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Through which it may be sent. People choose for each of them.",
    )
    ttl_seconds = forms.TypedChoiceField(
        label="Worth delivering for",
        required=False,
        coerce=int,
        empty_value=None,
        widget=UnfoldAdminSelectWidget,
        help_text="A phone that is off longer than that does not get it any more. A message may say otherwise.",
    )

    class Meta:
        model = Category
        fields = (
            "application",
            "name",
            "slug",
            "kind",
            "default",
            "channels",
            "quiet_rule",
            "ttl_seconds",
            "crash_rule",
        )
        labels: ClassVar = {
            "slug": "Short name",
            "default": "Who gets it",
            "quiet_rule": "During quiet hours",
            "crash_rule": "If a server stops while sending",
        }
        help_texts: ClassVar = {
            "name": "People read it on their preference page: say what they get, such as “Offers and sales”.",
            "slug": "For your systems, in their calls. It cannot be changed later.",
            "kind": "Marketing can always be refused. Transactional is what somebody waits for, such as an order. "
            "Critical is sent at any hour.",
            "default": "Until a person says otherwise. Always on: they cannot refuse it; not for marketing.",
            "quiet_rule": "Hold: it is sent when the person's quiet hours end, unless it is worthless by then.",
            "crash_rule": "Of a message on its way just then nobody knows whether it arrived.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "ttl_seconds" in self.fields:
            own = self.instance.ttl_seconds
            odd = {} if own is None or own in LIFETIMES else {own: f"{own} seconds"}
            choices = [("", "As usual: 3 days"), *{**LIFETIMES, **odd}.items()]
            self.fields["ttl_seconds"].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        names = ("slug", "kind", "default", "quiet_rule")
        try:
            categories.check(
                Category(**{name: cleaned.get(name, getattr(self.instance, name)) for name in names})
            )
        except InvalidField as error:
            self.add_error(error.pointer.strip("/"), f"{error.detail[:1].upper()}{error.detail[1:]}.")
        return cleaned


@admin.register(Category)
class CategoryAdmin(ConsoleAdmin):
    deeds: ClassVar = {"remove": "devices.delete_category"}

    form = CategoryForm
    inlines = (CapInline,)
    list_display = ("name", "slug", "application", "kind", "default", "quiet_rule")
    list_filter = ("kind", "application")
    list_select_related = ("application",)
    prepopulated_fields: ClassVar = {"slug": ("name",)}
    change_form_outer_after_template = "devices/category_after.html"
    fieldsets = (
        (None, {"fields": ("application", "name", "slug", "kind")}),
        ("Who gets it, and how", {"fields": ("default", "channels")}),
        ("When", {"fields": ("quiet_rule", "ttl_seconds")}),
        ("If something goes wrong", {"fields": ("crash_rule",)}),
    )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        usual = {"kind": Category.Kind.MARKETING, **categories.USUAL[Category.Kind.MARKETING]}
        return {"channels": ["push"], **usual, **super().get_changeform_initial_data(request)}

    def get_prepopulated_fields(self, request: HttpRequest, obj: Category | None = None) -> dict[str, Any]:
        return {} if obj else self.prepopulated_fields

    def get_readonly_fields(self, request: HttpRequest, obj: Category | None = None) -> tuple[str, ...]:
        return ("application", "slug") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Category | None = None) -> bool:
        return False  # Django's own page would read every preference to show what goes along: `remove`

    def remove(self, request: HttpRequest, obj: Category) -> HttpResponse:
        """POST: delete one that was never used."""
        name, id = str(obj), obj.pk
        try:
            categories.delete(obj)
        except categories.InUse as error:
            messages.error(request, f"{error} It cannot be deleted.")
            return HttpResponseRedirect(self.url("change", obj))
        obj.pk = id  # of the entry in the history
        self.audit(request, obj, "Deleted.")
        messages.success(request, f"“{name}” is deleted.")
        return HttpResponseRedirect(self.url("changelist"))
