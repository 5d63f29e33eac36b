"""The composer's form, and the confirmation of a launch."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from campaigns import services
from campaigns.models import Campaign
from devices import clocks
from devices.models import Category, Device
from notifications.providers.base import PayloadTooLarge
from notifications.sizes import LABELS
from tenants.models import Application

# Above this many devices the number has to be typed before a launch.
TYPED_ABOVE = 100_000

# What the fields of a Message are called here, for errors about the payload.
FIELD_NAMES = ("title", "body", "image", "url")


class CategorySelect(UnfoldAdminSelectWidget):
    """Options know their application, so that the page can offer only those of the chosen one."""

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        if instance := getattr(value, "instance", None):
            option["attrs"]["data-application"] = str(instance.application_id)
        return option


class CategoryField(forms.ModelChoiceField):
    def label_from_instance(self, category: Category) -> str:
        return f"{category.name} · {category.get_default_display().lower()}"


def zones() -> list[tuple[str, str]]:
    return [
        ("", "The app's"),
        *((name, name.replace("_", " ")) for name in sorted(clocks.names()) if "/" in name),
    ]


class CampaignForm(forms.ModelForm):
    """understood: the fields that are fine by themselves, also while others are missing or the whole is too long."""

    understood: dict[str, Any]

    application = forms.ModelChoiceField(
        Application.objects.all(), widget=UnfoldAdminSelectWidget, empty_label=None, label="App"
    )
    category = CategoryField(
        Category.objects.select_related("application"),
        widget=CategorySelect,
        empty_label=None,
        help_text="Decides who may be sent this: people choose categories, not campaigns.",
    )
    platform = forms.ChoiceField(
        choices=Device.Platform.choices, widget=UnfoldAdminSelectWidget, required=False
    )
    audience = forms.ChoiceField(
        choices=Campaign.Audience.choices, widget=forms.RadioSelect, initial=Campaign.Audience.EVERYONE
    )

    schedule = forms.ChoiceField(
        choices=Campaign.Schedule.choices,
        widget=forms.RadioSelect,
        initial=Campaign.Schedule.NOW,
        required=False,
    )
    time_zone = forms.ChoiceField(choices=zones, widget=UnfoldAdminSelectWidget, required=False)

    class Meta:
        model = Campaign
        fields = (
            "application",
            "name",
            "title",
            "body",
            "image",
            "url",
            "category",
            "audience",
            "platform",
            "attribute_name",
            "attribute_value",
            "throttle_per_second",
            "schedule",
            "starts",
            "time_zone",
            "rule",
            "is_local",
            "window_start",
            "window_end",
            "lifetime_hours",
        )
        labels = {
            "url": "Opens",
            "name": "Campaign name",
            "attribute_name": "Attribute",
            "attribute_value": "Is",
        }
        widgets = {
            "name": UnfoldAdminTextInputWidget(attrs={"placeholder": "Autumn sale, first wave"}),
            "title": UnfoldAdminTextInputWidget(attrs={"placeholder": "The autumn sale is on"}),
            "body": UnfoldAdminTextareaWidget(
                attrs={"rows": 3, "placeholder": "Up to 40 % off until Sunday. Tap to see what is left."}
            ),
            "image": UnfoldAdminTextInputWidget(attrs={"placeholder": "https://…", "inputmode": "url"}),
            "url": UnfoldAdminTextInputWidget(attrs={"placeholder": "https://… or shop://sale"}),
            "attribute_name": UnfoldAdminTextInputWidget(
                attrs={"placeholder": "plan", "list": "attribute-names"}
            ),
            "attribute_value": UnfoldAdminTextInputWidget(attrs={"placeholder": "premium"}),
            "throttle_per_second": UnfoldAdminIntegerFieldWidget(
                attrs={"placeholder": "as fast as it goes", "min": 1}
            ),
            "starts": UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
            "rule": UnfoldAdminTextInputWidget(
                attrs={"placeholder": "FREQ=WEEKLY;BYDAY=MO,TH", "list": "rules"}
            ),
            "is_local": UnfoldBooleanSwitchWidget,
            "window_start": UnfoldAdminTextInputWidget(attrs={"type": "time"}),
            "window_end": UnfoldAdminTextInputWidget(attrs={"type": "time"}),
            "lifetime_hours": UnfoldAdminIntegerFieldWidget(attrs={"placeholder": "72", "min": 1}),
        }
        help_texts = {
            "image": "Shown on phones and in most browsers. A wide picture (2:1) below 500 KB works everywhere.",
            "url": "A web address or a deep link. Empty: the app simply opens.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        applications = list(Application.objects.values_list("id", flat=True)[:2])
        if len(applications) == 1:
            self.fields["application"].widget = forms.HiddenInput()
            self.initial.setdefault("application", applications[0])
        if not self.instance.pk:
            self.initial.setdefault("category", self._usual_category())

    def _usual_category(self) -> int | None:
        found = Category.objects.filter(kind=Category.Kind.MARKETING).order_by("id")
        if application := self.initial.get("application"):
            found = found.filter(application_id=application)
        return found.values_list("id", flat=True).first()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self._clean_category(cleaned)
        self._clean_audience(cleaned)
        self._clean_schedule(cleaned)
        self.understood = dict(cleaned)
        if not self.errors:
            self._clean_payload(cleaned)
        return cleaned

    def _clean_category(self, cleaned: dict[str, Any]) -> None:
        category, application = cleaned.get("category"), cleaned.get("application")
        if category and application and category.application_id != application.pk:
            self.add_error("category", f"This category belongs to another app. Choose one of {application}.")

    def _clean_audience(self, cleaned: dict[str, Any]) -> None:
        audience = cleaned.get("audience")
        if audience != Campaign.Audience.PLATFORM:
            cleaned["platform"] = ""
        elif not cleaned.get("platform"):
            self.add_error("platform", "Choose the platform to send to.")
        if audience != Campaign.Audience.ATTRIBUTE:
            cleaned["attribute_name"] = cleaned["attribute_value"] = ""
        elif not cleaned.get("attribute_name"):
            self.add_error("attribute_name", "Name the attribute people must have.")

    def _clean_schedule(self, cleaned: dict[str, Any]) -> None:
        schedule = cleaned["schedule"] = cleaned.get("schedule") or Campaign.Schedule.NOW
        if schedule == Campaign.Schedule.NOW:
            cleaned["starts"] = ""
        if schedule != Campaign.Schedule.RECURRING:
            cleaned["rule"], cleaned["is_local"] = "", False
        if bool(cleaned.get("window_start")) != bool(cleaned.get("window_end")):
            missing = "window_end" if cleaned.get("window_start") else "window_start"
            self.add_error(missing, "Give both, or neither.")
        if self.errors:
            return
        try:
            services.due_at(draft(cleaned), timezone.now())
        except ValueError as error:
            field, _, words = str(error).partition(": ")
            self.add_error(field, words[:1].upper() + words[1:])

    def _clean_payload(self, cleaned: dict[str, Any]) -> None:
        try:
            services.check(draft(cleaned))
        except PayloadTooLarge as error:
            self.add_error("body", too_large(error))
        except ValueError as error:
            self.add_error(field_at_fault(error), str(error))


def draft(cleaned: dict[str, Any]) -> Campaign:
    """An unsaved campaign of what the form understood so far."""
    return Campaign(**{name: cleaned[name] for name in CampaignForm.Meta.fields if cleaned.get(name)})


def too_large(error: PayloadTooLarge) -> str:
    label = LABELS.get(error.provider, error.provider)
    over = error.size - error.limit
    return (
        f"Too long by {over:,} bytes: {error.size:,} bytes for {label}, which takes {error.limit:,}. "
        "Shorten the text or the link."
    )


def field_at_fault(error: ValueError) -> str | None:
    """The form field a payload error is about, None for the form as a whole."""
    said = str(error).lower()
    return next((name for name in FIELD_NAMES if name in said), None)


class LaunchForm(forms.Form):
    """version: what was looked at; devices: how many it said it would reach; typed: the number once more."""

    version = forms.CharField(widget=forms.HiddenInput)
    devices = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    typed = forms.CharField(required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        devices = cleaned.get("devices") or 0
        typed = "".join(letter for letter in cleaned.get("typed", "") if letter.isdigit())
        if devices > TYPED_ABOVE and typed != str(devices):
            self.add_error("typed", f"Type {devices} to confirm. Nothing was sent.")
        return cleaned
