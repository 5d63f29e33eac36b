"""The admin of credentials: a form per provider, secrets that go in and never come out.

Here and not in tenants: what a good credential is, only the providers know.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.validators import MinValueValidator
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from notifications import services
from notifications.models import Incident
from notifications.providers.base import InvalidCredential
from tenants import access
from tenants.console import ConsoleAdmin
from tenants.models import Credential

Provider = Credential.Provider


class WriteOnly(UnfoldAdminTextareaWidget):
    """Takes a secret by paste or from a file read in the browser; never renders one, not even after an error."""

    template_name = "tenants/widgets/write_only.html"

    def __init__(self, accept: str = "") -> None:
        super().__init__(
            attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
        )
        self.accept = accept
        self.attrs["class"] = f"{self.attrs.get('class', '')} c-secret"

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, None, attrs)
        context["widget"]["accept"] = self.accept
        return context


def _text(label: str, help_text: str, placeholder: str = "") -> forms.CharField:
    widget = UnfoldAdminTextInputWidget(attrs={"placeholder": placeholder, "spellcheck": "false"})
    return forms.CharField(label=label, help_text=help_text, widget=widget)


class CredentialForm(forms.ModelForm):
    """settings: the form's fields that go into `public`. needs_secret: it cannot be made for you."""

    provider: ClassVar[str]
    settings: ClassVar[tuple[str, ...]] = ()
    needs_secret: ClassVar[bool] = False

    class Meta:
        model = Credential
        fields = ("application", "name", "messages_per_second", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.settings:
            if self.instance.pk:
                self.initial.setdefault(name, self.instance.public.get(name, ""))
        if rate := self.fields.get("messages_per_second"):
            rate.validators.append(MinValueValidator(1))
            rate.widget.attrs["min"] = 1
        if "secret" in self.fields:
            self.fields["secret"].required = self.needs_secret and not self.instance.pk
            if self.instance.pk:
                self.fields[
                    "secret"
                ].help_text = "Stored, encrypted, and never shown. Leave empty to keep it."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        public = {**self._kept(), **{name: cleaned[name] for name in self.settings if cleaned.get(name)}}
        try:
            self.checked = services.check_credential(
                self.provider, public, cleaned.get("secret") or self.instance.secret
            )
        except InvalidCredential as error:
            name = error.field.partition(".")[0]
            words = str(error).removeprefix(f"{error.field}: ")
            self.add_error(name if name in self.fields else None, f"{words[:1].upper()}{words[1:]}.")
        return cleaned

    def _kept(self) -> dict[str, Any]:
        """Public parts no field stands for. A new secret makes them anew."""
        if not self.instance.pk or self.cleaned_data.get("secret"):
            return {}
        return {name: value for name, value in self.instance.public.items() if name not in self.settings}


class ApnsForm(CredentialForm):
    provider = Provider.APNS
    settings = ("team_id", "key_id", "bundle_id", "environment")
    needs_secret = True

    team_id = _text(
        "Team ID", "Ten characters, on the membership page of your Apple developer account.", "A1B2C3D4E5"
    )
    key_id = _text("Key ID", "Ten characters; also in the file's name: AuthKey_F6G7H8I9J0.p8.", "F6G7H8I9J0")
    bundle_id = _text("Bundle ID", "The app's own id, as in Xcode.", "com.example.shop")
    environment = forms.ChoiceField(
        choices=[
            ("both", "Both (recommended)"),
            ("production", "Production only"),
            ("sandbox", "Development only"),
        ],
        widget=UnfoldAdminSelectWidget,
        help_text="Which of Apple's two services the key may be used with.",
    )
    secret = forms.CharField(
        label="Key (.p8)",
        widget=WriteOnly(".p8,.pem"),
        help_text="developer.apple.com → Certificates, IDs & Profiles → Keys → Apple Push Notifications service. "
        "Apple lets you download it once.",
    )


class FcmForm(CredentialForm):
    provider = Provider.FCM
    needs_secret = True

    secret = forms.CharField(
        label="Service account (.json)",
        widget=WriteOnly(".json,application/json"),
        help_text="console.firebase.google.com → Project settings → Service accounts → Generate new private key. "
        "The project is read from it.",
    )


class WebPushForm(CredentialForm):
    provider = Provider.WEBPUSH
    settings = ("subject",)

    subject = _text(
        "Contact",
        "Browser makers write here when something is wrong. An e-mail or https address of yours.",
        "mailto:push@example.com",
    )
    secret = forms.CharField(
        label="VAPID private key",
        required=False,
        widget=WriteOnly(".pem,.txt"),
        help_text="Leave empty: a key pair is made for you. Paste one only to keep browsers subscribed with it.",
    )


class ConsoleForm(CredentialForm):
    provider = Provider.CONSOLE


class MemoryForm(CredentialForm):
    provider = Provider.MEMORY


FORMS: dict[str, type[CredentialForm]] = {
    form.provider: form for form in (ApnsForm, FcmForm, WebPushForm, ConsoleForm, MemoryForm)
}

# provider, icon, name, what one needs to have at hand
CHOICES = (
    (
        Provider.APNS,
        "phone_iphone",
        "Apple",
        "iPhone, iPad and Mac. You need a .p8 key, its key id, and your team id. About 4 minutes.",
    ),
    (
        Provider.FCM,
        "android",
        "Google (Firebase)",
        "Android. You need the service account's JSON file of the Firebase project. About 3 minutes.",
    ),
    (
        Provider.WEBPUSH,
        "language",
        "Web Push",
        "Chrome, Firefox, Edge and Safari. You need nothing: the key is made here.",
    ),
    (
        Provider.CONSOLE,
        "terminal",
        "Console (trial)",
        "Sends nothing: writes a line to the log for each message. For trying things out.",
    ),
)


# An open incident's cause → the state of the credentials it stops.
STOPPED: dict[str | None, str] = {
    Incident.Cause.CREDENTIAL: "Refused",
    Incident.Cause.CIRCUIT: "Provider in trouble",
    Incident.Cause.QUOTA: "Quota used up",
    Incident.Cause.RETIREMENTS: "Waits for a decision",
}
STATE_TONES = {
    "Active": "success",
    "Switched off": "warning",
    **dict.fromkeys(STOPPED.values(), "warning"),
    "Refused": "danger",
}


@admin.register(Credential)
class CredentialAdmin(ConsoleAdmin):
    deeds: ClassVar = {"resume": "tenants.check_credential"}

    list_display = ("credential", "application", "provider", "state", "facts", "updated_at")
    list_filter = ("provider", "application")
    list_select_related = ("application",)
    change_form_before_template = "notifications/incident_credential.html"
    list_before_template = "tenants/credential_list_before.html"

    @display(description="Credential", ordering="name")
    def credential(self, obj: Credential) -> str:
        return str(obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Credential]:
        """`incident_id`, `incident_cause`: the oldest open incident that stops its lanes."""
        stopping = Incident.objects.filter(
            application=OuterRef("application"),
            provider=OuterRef("provider"),
            closed_at__isnull=True,
            stops_lanes=True,
        ).order_by("id")
        found: QuerySet[Credential] = super().get_queryset(request)
        return found.annotate(
            incident_id=Subquery(stopping.values("id")[:1]),
            incident_cause=Subquery(stopping.values("cause")[:1]),
        )

    @display(description="State", label=STATE_TONES)
    def state(self, obj: Any) -> str:
        if not obj.is_active:
            return "Switched off"
        if obj.blocked_at or obj.check_result == Credential.CheckResult.REFUSED:
            return "Refused"
        return STOPPED.get(getattr(obj, "incident_cause", None), "Active")

    @display(description="Facts")
    def facts(self, obj: Credential) -> str:
        wanted = ("bundle_id", "key_id", "project_id", "subject")
        return " · ".join(str(obj.public[name]) for name in wanted if obj.public.get(name)) or "—"

    @display(description="Public key, for web pages")
    def public_key(self, obj: Credential) -> str:
        return format_html(
            '<span class="c-copy"><code id="vapid">{}</code><button type="button" class="c-btn" data-copies="vapid">'
            '<span aria-live="polite">Copy</span></button></span>',
            obj.public.get("public_key", ""),
        )

    # --- form -----------------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            return super().add_view(request, form_url, extra_context)
        if not access.applications(request.user, "tenants.add_credential").exists():
            messages.info(request, "Create an application first: a credential belongs to one.")
            return HttpResponseRedirect("../../application/add/")
        if request.GET.get("provider") not in FORMS:
            return self._choose(request)
        title = f"Connect {Provider(request.GET['provider']).label}"
        return super().add_view(request, form_url, {**(extra_context or {}), "title": title})

    def _choose(self, request: HttpRequest) -> TemplateResponse:
        context = {
            "title": "Connect a provider",
            "choices": CHOICES,
            "application": request.GET.get("application", ""),
        }
        return self.render(request, "tenants/credential_choose.html", None, context)

    def get_form(
        self, request: HttpRequest, obj: Credential | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        provider = obj.provider if obj else request.GET.get("provider", "")
        return super().get_form(request, obj, change, form=FORMS.get(provider, ConsoleForm), **kwargs)

    def get_fields(self, request: HttpRequest, obj: Credential | None = None) -> list[str]:
        form = FORMS.get(obj.provider if obj else request.GET.get("provider", ""), ConsoleForm)
        # For those who may only look, the form is not built: show what the model has, but the secret.
        if obj and not self.has_change_permission(request, obj):
            return ["application", "name", "state", "facts", "checked_at"]
        fields = ["application", "name", *(name for name in form.declared_fields)]
        if obj and obj.provider == Provider.WEBPUSH:
            fields.append("public_key")
        return [*fields, "messages_per_second", "is_active"]

    def get_readonly_fields(self, request: HttpRequest, obj: Credential | None = None) -> tuple[str, ...]:
        seen = ("state", "facts", "checked_at", "public_key")
        return (*seen, "application") if obj else seen

    def save_model(self, request: HttpRequest, obj: Credential, form: CredentialForm, change: bool) -> None:
        public, secret = form.checked
        obj.provider = form.provider
        services.store_credential(
            obj.application,
            provider=form.provider,
            public=public,
            secret=secret,
            name=obj.name,
            credential=obj,
        )

    def resume(self, request: HttpRequest, obj: Credential) -> HttpResponse:
        """POST: check what is stored again, and let what waits for it go out."""
        try:
            public, secret = services.check_credential(obj.provider, obj.public, obj.secret)
        except InvalidCredential as error:
            messages.error(request, f"Still not usable. {error}")
            return HttpResponseRedirect(self.url("change", obj))
        services.store_credential(
            obj.application, provider=obj.provider, public=public, secret=secret, credential=obj
        )
        self.audit(request, obj, "Checked again and resumed.")
        messages.success(
            request, "Resumed. If the provider refuses it again, it is stopped again and you are told why."
        )
        return HttpResponseRedirect(self.url("change", obj))
