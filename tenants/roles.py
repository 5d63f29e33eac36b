"""What each role may do: one table. Who has which role in which application is a `Membership`."""

from __future__ import annotations

from django.db.models import TextChoices


class Role(TextChoices):
    VIEWER = "viewer", "Viewer: looks at everything but keys and credentials"
    MARKETER = "marketer", "Marketer: writes and tests campaigns, asks for approval, launches small ones"
    APPROVER = "approver", "Approver: says yes or no to campaigns of others"
    OPERATOR = "operator", "Operator: pauses and cancels, deals with incidents and dead letters"
    DEVELOPER = "developer", "Developer: keys, credentials, templates, devices"
    ADMIN = "admin", "Admin: all of these, and the application's settings and people"


def _may(model: str, *deeds: str) -> set[str]:
    """("devices.segment", "add") → {"devices.add_segment"}."""
    app, _, name = model.partition(".")
    return {f"{app}.{deed}_{name}" for deed in deeds}


_ALL = ("view", "add", "change", "delete")

_LOOK = {
    permission
    for model in (
        "tenants.application",
        "devices.subscriber",
        "devices.device",
        "devices.category",
        "devices.cap",
        "devices.segment",
        "notifications.template",
        "notifications.notification",
        "notifications.delivery",
        "notifications.replay",
        "notifications.incident",
        "campaigns.campaign",
        "campaigns.tester",
    )
    for permission in _may(model, "view")
}

# Launching is held to `Application.approval_above` by services.launch, whoever asks.
_WRITE = (
    _may("campaigns.campaign", "add", "change", "delete", "launch", "stop", "export")
    | _may("campaigns.tester", "add", "change", "delete")
    | _may("devices.segment", "add", "change", "delete")
    | _may("notifications.template", "add", "change", "delete")
)
_APPROVE = _may("campaigns.campaign", "approve")
_OPERATE = (
    _may("campaigns.campaign", "stop")
    | _may("notifications.notification", "change")
    | _may("notifications.incident", "change")
    | _may("notifications.replay", "add")
    | _may("tenants.credential", "view", "check")
    | _may("devices.subscriber", "change")
)
_DEVELOP = (
    _may("tenants.apikey", *_ALL)
    | _may("tenants.credential", *_ALL, "check")
    | _may("notifications.template", "add", "change", "delete")
    | _may("campaigns.tester", "add", "change", "delete")
    | _may("devices.device", "change")
)
_RULE = (
    _may("tenants.application", "change")
    | _may("tenants.membership", *_ALL)
    | _may("devices.category", "add", "change", "delete")
    | _may("devices.cap", "add", "change", "delete")
)

PERMISSIONS: dict[str, frozenset[str]] = {
    Role.VIEWER: frozenset(_LOOK),
    Role.MARKETER: frozenset(_LOOK | _WRITE),
    Role.APPROVER: frozenset(_LOOK | _APPROVE),
    Role.OPERATOR: frozenset(_LOOK | _OPERATE),
    Role.DEVELOPER: frozenset(_LOOK | _DEVELOP),
    Role.ADMIN: frozenset(_LOOK | _WRITE | _APPROVE | _OPERATE | _DEVELOP | _RULE),
}

# What used to need another permission: who has that one for all applications keeps what it let them do.
FORMERLY = {
    "notifications.add_replay": "campaigns.launch_campaign",
    "notifications.change_notification": "campaigns.launch_campaign",
    "notifications.change_incident": "tenants.change_credential",
    "tenants.check_credential": "tenants.change_credential",
}


def having(permission: str) -> list[str]:
    """The roles that may do it."""
    return [role for role, permissions in PERMISSIONS.items() if permission in permissions]
