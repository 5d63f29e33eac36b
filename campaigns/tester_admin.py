"""Testers: whose phones test messages go to."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from campaigns import testing
from campaigns.models import Tester
from tenants.console import ConsoleAdmin


class TesterForm(forms.ModelForm):
    person = forms.CharField(
        label="Person",
        widget=UnfoldAdminTextInputWidget,
        help_text="Their id in your systems (external id), or their e-mail address. They have to be known here.",
    )
    name = forms.CharField(
        max_length=120, required=False, widget=UnfoldAdminTextInputWidget, help_text="Empty: as the person."
    )

    class Meta:
        model = Tester
        fields = ("application", "name", "user")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        application, who = cleaned.get("application"), cleaned.get("person")
        if application and who:
            try:
                self.instance.subscriber = testing.person(application.pk, who)
            except testing.NobodyToTest as error:
                self.add_error("person", str(error))
            else:
                cleaned["name"] = cleaned.get("name") or self.instance.subscriber.external_id[:120]
                known = Tester.objects.filter(application=application, subscriber=self.instance.subscriber)
                if known.exclude(pk=self.instance.pk).exists():
                    self.add_error("person", "They are a tester already.")
        return cleaned


@admin.register(Tester)
class TesterAdmin(ConsoleAdmin):
    form = TesterForm
    list_display = ("name", "person_id", "devices", "application", "user")
    list_filter = ("application",)
    list_select_related = ("application", "subscriber", "user")
    search_fields = ("name", "subscriber__external_id", "subscriber__email")
    fields = ("application", "person", "name", "user")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tester]:
        found: QuerySet[Tester] = super().get_queryset(request)
        return found.prefetch_related("subscriber__devices")

    @display(description="Person", ordering="subscriber__external_id")
    def person_id(self, obj: Tester) -> str:
        return obj.subscriber.external_id

    @display(description="Devices")
    def devices(self, obj: Tester) -> str:
        active = [device for device in obj.subscriber.devices.all() if device.retired_at is None]
        return ", ".join(map(testing.described, active)) or "none yet"

    def get_fields(self, request: HttpRequest, obj: Tester | None = None) -> tuple[str, ...]:
        return ("application", "person_id", "devices", "name", "user") if obj else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Tester | None = None) -> tuple[str, ...]:
        return ("application", "person_id", "devices") if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj:  # who it is, is settled
            kwargs["form"] = forms.ModelForm
        return super().get_form(request, obj, change, **kwargs)
