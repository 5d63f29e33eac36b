"""The admin of memberships: who has which role where; also as a table on an application's and on a person's page."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from tenants.console import ConsoleAdmin, Scoped
from tenants.models import Membership
from tenants.roles import Role


def short(role: str) -> str:
    """ "marketer" → "Marketer"."""
    return Role(role).label.partition(":")[0] if role in Role.values else role


class MembershipForm(forms.ModelForm):
    """The person is typed: a list would show everybody's colleagues of other applications."""

    person = forms.CharField(
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Their user name or e-mail address. They need an account that may sign in here.",
    )

    class Meta:
        model = Membership
        fields = ("application", "role")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        who, role = cleaned.get("person", "").strip(), cleaned.get("role")
        application = cleaned.get("application") or getattr(self.instance, "application", None)
        if not who or not role or application is None:
            return cleaned
        found = list(
            User.objects.filter(Q(username=who) | Q(email__iexact=who), is_staff=True, is_active=True)[:2]
        )
        if len(found) != 1:
            self.add_error(
                "person", "There is no such account." if not found else "Several have it: use the user name."
            )
            return cleaned
        if Membership.objects.filter(user=found[0], application=application, role=role).exists():
            self.add_error("role", "They have this role already.")
        self.instance.user = cleaned["user"] = found[0]
        return cleaned


class Different(forms.BaseInlineFormSet):
    def clean(self) -> None:
        super().clean()
        said = [
            (form.cleaned_data.get("user"), form.cleaned_data.get("role"))
            for form in self.forms
            if form.cleaned_data.get("user") and not form.cleaned_data.get("DELETE")
        ]
        if len(set(said)) != len(said):
            raise forms.ValidationError("The same role twice for one person.")


class _Memberships(Scoped, TabularInline):
    """A role is given or taken, never turned into another: the history then tells what was."""

    model = Membership
    extra = 0
    hide_title = True
    verbose_name_plural = "Roles"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PeopleInline(_Memberships):
    """On an application's page."""

    form = MembershipForm
    formset = Different
    fields = ("person", "role")
    verbose_name_plural = "People and what they may do"

    @display(description="Person")
    def person(self, obj: Membership) -> str:
        return str(obj.user)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        found: QuerySet[Membership] = super().get_queryset(request)
        return found.select_related("user")


class RolesInline(_Memberships):
    """On a person's page, for those who see all applications."""

    fields = ("application", "role")
    verbose_name_plural = "Roles in applications"


@admin.register(Membership)
class MembershipAdmin(ConsoleAdmin):
    form = MembershipForm
    list_display = ("user", "role_word", "application", "created_at")
    list_filter = ("role", "application")
    list_select_related = ("application", "user")
    search_fields = ("user__username", "user__email")
    fields = ("application", "person", "role")
    readonly_on_change: ClassVar = ("application", "user", "role_word", "created_at")

    @display(description="Role", ordering="role")
    def role_word(self, obj: Membership) -> str:
        return short(obj.role)

    def get_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:
        return self.readonly_on_change if obj else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:
        return self.readonly_on_change if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Given or taken, never changed."""
        return False
