"""What the audience adds to an application's page: quiet hours, and caps over all categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from devices import quiet
from devices.category_admin import CapInline
from devices.quiet_form import QuietHoursField
from tenants.admin import ApplicationAdmin as BaseApplicationAdmin
from tenants.membership_admin import PeopleInline
from tenants.models import Application

QUIET_HOURS_HELP = (
    "When people who set none of their own are left alone, each in their own time zone. A night may end in the "
    "morning: from 22:00 to 08:00. Each category says what becomes of its messages then. To remove a line, empty its "
    "times."
)

admin.site.unregister(Application)


class OwnCapInline(CapInline):
    fields = ("most", "period", "kind", "channel")
    verbose_name_plural = "How much one person gets at most, over all categories"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(category=None)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "kind":
            field.choices = [("", "All but critical"), *list(field.choices)[1:]]
        return field


@admin.register(Application)
class ApplicationAdmin(BaseApplicationAdmin):
    inlines = (OwnCapInline, PeopleInline)

    def get_inlines(self, request: HttpRequest, obj: Application | None) -> Sequence[Any]:
        return self.inlines if obj else ()

    def get_fields(self, request: HttpRequest, obj: Application | None = None) -> tuple[str, ...]:
        fields = super().get_fields(request, obj)
        if not obj:
            return fields
        return (*fields, "quiet_hours" if self.has_change_permission(request, obj) else "quiet_words")

    def get_readonly_fields(self, request: HttpRequest, obj: Application | None = None) -> tuple[str, ...]:
        return (*super().get_readonly_fields(request, obj), "quiet_words")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "quiet_hours":
            return QuietHoursField(help_text=QUIET_HOURS_HELP)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @display(description="Quiet hours")
    def quiet_words(self, obj: Application) -> str:
        return quiet.describe(obj.quiet_hours) or "None"
