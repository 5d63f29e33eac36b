"""Workspace: applications, API keys, staff. Credentials are in notifications/credentials.py: providers check them."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html
from django_celery_beat import models as beat
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from tenants import keys, services
from tenants.console import ConsoleAdmin
from tenants.membership_admin import RolesInline
from tenants.models import ApiKey, Application

# Where a request keeps the secret it has just made, from saving to answering.
FRESH = "carillon.fresh_secret"

USES = {
    ApiKey.Kind.SERVER: "For your backend: sends, reads and manages. Keep it out of apps and web pages.",
    ApiKey.Kind.CLIENT: "For apps and web pages: may only register the device it runs on.",
}


@admin.register(Application)
class ApplicationAdmin(ConsoleAdmin):
    application_path = "id"
    deeds: ClassVar = {"identity_secret": "change"}

    list_display = ("name", "slug", "mode", "default_locale", "default_time_zone", "created_at")
    search_fields = ("name", "slug")
    prepopulated_fields: ClassVar = {"slug": ("name",)}
    fields = ("name", "slug", "default_locale", "default_time_zone", "is_sandbox")
    change_form_outer_after_template = "tenants/application_after.html"

    @display(description="Mode", label={"Rehearsal": "warning", "Live": "success"})
    def mode(self, obj: Application) -> str:
        return "Rehearsal" if obj.is_sandbox else "Live"

    def get_fields(self, request: HttpRequest, obj: Application | None = None) -> tuple[str, ...]:
        """Limits are for those who have something to limit."""
        limits = ("approval_above", "messages_per_second", "retirement_percent", "holdout_percent")
        return (*self.fields, *limits) if obj else self.fields

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "messages_per_second":  # none is said by an empty field
            kwargs |= {"min_value": 1, "max_value": 1_000_000}
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Application | None = None) -> dict[str, Any]:
        return {} if obj else self.prepopulated_fields

    def get_readonly_fields(self, request: HttpRequest, obj: Application | None = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return (
            False  # with it would go every device and the whole ledger: an operator's command, not a button
        )

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            services.set_up(obj)

    def response_add(
        self, request: HttpRequest, obj: Application, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The first keys, shown in this answer and never again."""
        made = []
        for kind in (ApiKey.Kind.SERVER, ApiKey.Kind.CLIENT):
            _, secret = services.create_key(obj, kind=kind, name=f"First {kind.label.lower()} key")
            made.append((f"{kind.label} key", secret, USES[kind]))
        return self.render_once(request, obj, title=f"{obj} is ready: its API keys", secrets=made)

    def identity_secret(self, request: HttpRequest, obj: Application) -> HttpResponse:
        """POST: what the application's backend signs `X-Subscriber-Signature` with."""
        self.audit(request, obj, "Identity secret shown.")
        use = (
            "Your backend signs subscribers' ids with it (HMAC-SHA256): nobody can register as somebody else."
        )
        secrets = [("Identity secret", obj.identity_secret, use)]
        return self.render_once(request, obj, title=f"{obj}: identity secret", secrets=secrets)


class ScopeBoxes(forms.CheckboxSelectMultiple):
    """Each box knows for which kind of key it is; the page shows those of the chosen kind."""

    template_name = "tenants/widgets/scopes.html"

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        option["attrs"]["data-kind"] = next(kind for kind, scopes in keys.SCOPES.items() if value in scopes)
        return option


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scopes in keys.SCOPES.values() for scope in scopes],
        widget=ScopeBoxes,
        required=False,
        help_text="Give no more than is needed. None ticked: all of this kind.",
    )

    class Meta:
        model = ApiKey
        fields = ("application", "kind", "name", "scopes", "expires_at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:  # its kind is settled
            scopes = keys.SCOPES[ApiKey.Kind(self.instance.kind)]
            self.fields["scopes"].choices = [(scope, scope) for scope in scopes]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        kind = cleaned.get("kind") or self.instance.kind
        allowed = keys.SCOPES.get(ApiKey.Kind(kind), []) if kind else []
        scopes = cleaned.get("scopes") or []
        if wrong := [scope for scope in scopes if scope not in allowed]:
            self.add_error("scopes", f"Not for this kind of key: {', '.join(wrong)}.")
        cleaned["scopes"] = scopes or list(allowed)
        return cleaned


@admin.register(ApiKey)
class ApiKeyAdmin(ConsoleAdmin):
    deeds: ClassVar = {"revoke": "change"}

    form = ApiKeyForm
    list_display = ("key", "name", "application", "kind", "state", "last_used_at", "created_at")
    list_filter = ("kind", "application")
    list_select_related = ("application",)
    search_fields = ("name", "prefix")
    change_form_outer_after_template = "tenants/key_after.html"

    @display(description="Key", ordering="prefix")
    def key(self, obj: ApiKey) -> str:
        return format_html('<code class="c-code">{}…</code>', obj.prefix)

    @display(description="State", label={"Active": "success", "Revoked": "danger", "Expired": "warning"})
    def state(self, obj: ApiKey) -> str:
        if obj.revoked_at:
            return "Revoked"
        return "Expired" if obj.expires_at and obj.expires_at <= timezone.now() else "Active"

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        asked = ("application", "kind", "name", "scopes", "expires_at")
        return (*asked, "key", "state", "last_used_at", "revoked_at") if obj else asked

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        seen = ("key", "state", "last_used_at", "revoked_at")
        return (*seen, "application", "kind") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # revoked, so that logs that name it stay readable

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=["name", "scopes", "expires_at"])
            return
        made, secret = services.create_key(
            obj.application, kind=obj.kind, name=obj.name, scopes=obj.scopes, expires_at=obj.expires_at
        )
        obj.pk, obj.prefix = made.pk, made.prefix
        request.META[FRESH] = secret

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        secrets = [(f"{obj.get_kind_display()} key", request.META[FRESH], USES[ApiKey.Kind(obj.kind)])]
        return self.render_once(request, obj, title=f"New API key for {obj.application}", secrets=secrets)

    def revoke(self, request: HttpRequest, obj: ApiKey) -> HttpResponse:
        """POST: refuse it from now on."""
        if not obj.revoked_at:
            services.revoke_key(obj)
            self.audit(request, obj, "Revoked.")
        messages.success(request, "The key is revoked. Callers that still use it are refused.")
        return HttpResponseRedirect(self.url("change", obj))


# --- staff ------------------------------------------------------------------------------------

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(BaseUserAdmin, ModelAdmin):
    inlines = (RolesInline,)
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):
    pass


# The clock's ticks are code (config/celery.py); a form to edit them would be a second truth.
for model in (
    beat.PeriodicTask,
    beat.IntervalSchedule,
    beat.CrontabSchedule,
    beat.SolarSchedule,
    beat.ClockedSchedule,
):
    if admin.site.is_registered(model):
        admin.site.unregister(model)
