"""Causes of incidents in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PROVIDERS: Mapping[str, str] = {
    "apns": "Apple",
    "fcm": "Google",
    "webpush": "Web Push",
    "console": "The console",
    "memory": "The memory provider",
}


class IncidentWords(NamedTuple):
    """Templates over {app}, {provider} and {waiting} ("12,340 messages wait").

    spared: what it does not affect. deed: the words of the link to where something is done about it.
    """

    title: str
    spared: str
    todo: str
    deed: str
    tone: str = "bad"
    icon: str = "error"


_OTHERS = "other providers and other apps go on."

INCIDENTS: Mapping[str, IncidentWords] = {
    "credential": IncidentWords(
        "{provider} refuses the credential of {app}",
        f"Nothing is lost and no device is switched off: {{waiting}}; {_OTHERS}",
        "Enter a working credential, or, if you have mended it with the provider, resume.",
        "Mend it",
        icon="vpn_key_alert",
    ),
    # Another credential of the app with this provider, or other push services, still work.
    "credential_in_part": IncidentWords(
        "{provider} refuses a part of what {app} sends",
        "Nothing is lost and no device is switched off: only what is refused waits, the rest goes on.",
        "Look at the provider's words, and mend the credential they speak of.",
        "Look at it",
        "warn",
        "vpn_key_alert",
    ),
    "circuit": IncidentWords(
        "{provider} does not take the messages of {app}",
        f"Nothing is lost: {{waiting}}; {_OTHERS}",
        "Nothing, as a rule: one message is tried every minute, and with the first that gets through all go on. "
        "If it lasts, look at the provider's status page and at your network.",
        "Look at it",
        "warn",
        "cloud_off",
    ),
    "quota": IncidentWords(
        "{provider}'s quota for {app} is used up",
        f"Nothing is lost: {{waiting}}; {_OTHERS}",
        "Nothing, as a rule: it goes on by itself as soon as the provider lets it. If it happens often, send more "
        "slowly, or ask the provider for a larger quota.",
        "Look at it",
        "warn",
        "speed",
    ),
    "retirements": IncidentWords(
        "{provider} says that unusually many devices of {app} are gone",
        "Nothing is lost: {waiting} in its campaigns there; the devices stay as they are until you have decided. "
        f"Single messages, {_OTHERS}",
        "Find out whether it is true. A wrong credential, bundle id or project looks the same: compare them with the "
        "app's before you decide.",
        "Decide",
        icon="phonelink_erase",
    ),
    "ledger": IncidentWords(
        "The counts of a notification of {app} do not add up",
        "Sending goes on.",
        "Tell those who run this installation: `manage.py verify_ledger` says what is missing.",
        "Look at it",
        icon="calculate",
    ),
}
