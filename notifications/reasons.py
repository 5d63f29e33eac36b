"""Every reason a ledger line may carry and every cause of an incident, in a marketer's words: what it means and
what to do about it.

A reason nobody foresaw is shown by its own name; its line then asks for the provider's words in the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Words(NamedTuple):
    """title: for a table. means: what happened. todo: what to do, "" for nothing."""

    title: str
    means: str
    todo: str = ""


_GONE = "Normal. The device was switched off here and is not tried again."
_LATER = "Nothing: it is tried again by itself, and given up only when the message expires."
_DEVELOPER = "Show this line to your developer."
_CREDENTIAL = "Open the credential, enter a working one, and what waits goes out by itself."

CATALOGUE: Mapping[str, Words] = {
    # Held back by policy, before anything was sent
    "not_opted_in": Words(
        "Not opted in",
        "This category is sent only to people who said yes, and they have not.",
        "Ask for consent inside the app, or choose a category that is on by default.",
    ),
    "opted_out": Words("Opted out", "They switched this category off.", "Nothing: respect it."),
    "unsubscribed": Words(
        "Unsubscribed from marketing", "They want no marketing at all.", "Nothing: respect it."
    ),
    "channel_not_allowed": Words(
        "Channel not allowed",
        "This category may not be sent by push.",
        "Allow push for the category, or choose another one.",
    ),
    "quiet_hours": Words(
        "Quiet hours",
        "It was night or quiet for them, and this category is not sent then.",
        "Send earlier, or let the category wait for the end of quiet hours.",
    ),
    "quiet_hours_inbox_only": Words(
        "Quiet hours: inbox only",
        "It was night or quiet for them, and this category then goes to the inbox only.",
    ),
    "held_past_deadline": Words(
        "Too late after quiet hours",
        "Quiet hours or the send window would have held it beyond its deadline or lifetime.",
        "Send earlier, or give it a longer lifetime.",
    ),
    "local_time_past_deadline": Words(
        "Local time after the deadline",
        "Where they live, the time it was meant for comes after its deadline.",
        "Choose an earlier time or a later deadline.",
    ),
    "never_in_send_window": Words(
        "No time left",
        "Their quiet hours and the send window leave no time at all.",
        "Widen the send window.",
    ),
    "capped": Words(
        "Enough for now",
        "They already get as many messages of this kind as the limits allow for that day or week.",
        "Send it on another day, with higher priority, or raise the limit.",
    ),
    "holdout": Words(
        "Held out to compare",
        "By lot they are among those who do not get this campaign, so that its effect can be seen.",
        "Nothing: it is part of the experiment.",
    ),
    "global_holdout": Words(
        "Held out of marketing",
        "By lot they are among the few who get no marketing at all, so that its effect as a whole can be seen.",
        "Nothing: the share is in the application's settings.",
    ),
    "permission_denied": Words(
        "Notifications switched off",
        "Notifications are off for the app in the phone's or browser's settings.",
        "Ask for permission at a better moment inside the app.",
    ),
    "device_retired": Words("Device gone", "The app was removed or the device has not been in touch.", _GONE),
    "device_erased": Words("Person erased", "The person's data was deleted while the message was waiting."),
    "unknown_subscriber": Words(
        "Unknown person",
        "No subscriber has this id in this application.",
        "Check the id, and that the app calls registration after login.",
    ),
    "unknown_device": Words("Unknown device", "No device has this id in this application.", "Check the id."),
    "no_device": Words(
        "No device",
        "The person is known and has no active device.",
        "Nothing until they sign in on a device again.",
    ),
    "missing_variable": Words(
        "Something to say was missing",
        "The template needs something that is not known of them, such as a first name.",
        "Give it a default in the template, or collect what is missing.",
    ),
    # The address is gone
    "unregistered": Words(
        "App removed from the device", "The provider says this address is no longer in use.", _GONE
    ),
    "expired_token": Words("Address expired", "The provider says this address has expired.", _GONE),
    "bad_device_token": Words(
        "Address not valid",
        "The provider does not know this address. Often: a development build.",
        "If there are many, compare the app's environment with the credential's.",
    ),
    "device_token_not_for_topic": Words(
        "Address of another app",
        "The address belongs to another bundle id.",
        "Compare the credential's bundle id with the app's.",
    ),
    "sender_id_mismatch": Words(
        "Address of another project",
        "The address was registered with another Firebase project.",
        "Compare the credential's project with the app's.",
    ),
    "invalid_registration_token": Words(
        "Address not valid", "Google does not take this for an address.", _DEVELOPER
    ),
    **dict.fromkeys(
        ("subscription_gone", "gone", "not_found"),
        Words("Browser unsubscribed", "The browser gave the subscription up.", _GONE),
    ),
    "vapid_key_mismatch": Words(
        "Subscribed with another key",
        "The browser subscribed with another public key than the credential's.",
        "Compare the credential's public key with the one your pages subscribe with.",
    ),
    # The message was refused
    "payload_too_large": Words(
        "Message too large", "The provider refused the message for its size.", "Shorten the text or the data."
    ),
    "not_renderable": Words(
        "Text could not be made",
        "The template does not go with what is known of them: a date that is none, or it all grows too long.",
        "Look at the template's preview for one of them.",
    ),
    "template_deleted": Words(
        "Template deleted",
        "The template it was made from was deleted after the message was done.",
        "Send a new message.",
    ),
    "invalid_argument": Words("Message refused", "The provider did not understand the message.", _DEVELOPER),
    "expired": Words(
        "Came too late",
        "The message expired before it could be sent.",
        "Give it a longer life, or look at what held it up.",
    ),
    "internal_error": Words("Internal error", "Something failed on our side while sending.", _DEVELOPER),
    "environment_not_covered": Words(
        "Other environment",
        "The device belongs to Apple's other environment (development or production).",
        "Add a credential that covers both environments.",
    ),
    # Our credential
    "credential_blocked": Words(
        "Credential refused", "The provider refuses the credential, so nothing was sent.", _CREDENTIAL
    ),
    "no_credential": Words(
        "No credential",
        "No provider is connected for this platform.",
        "Connect a provider: what waits goes out by itself.",
    ),
    "invalid_provider_token": Words("Credential refused", "Apple refuses the key.", _CREDENTIAL),
    "third_party_auth_error": Words(
        "Credential refused", "Google could not sign in with Apple or the browser's service.", _CREDENTIAL
    ),
    **dict.fromkeys(
        (
            "bad_certificate",
            "bad_certificate_environment",
            "bad_environment_key_in_token",
            "bad_jwt_token",
            "bad_vapid_public_key",
            "forbidden",
            "missing_provider_token",
            "unauthorized",
            "unrelated_key_id_in_token",
        ),
        Words("Credential refused", "The provider refuses the key.", _CREDENTIAL),
    ),
    **dict.fromkeys(
        ("bad_topic", "missing_topic", "topic_disallowed"),
        Words(
            "Bundle id refused",
            "Apple does not let this key send to the bundle id.",
            "Compare the credential's bundle id with the app's.",
        ),
    ),
    "service_disabled": Words(
        "Messaging switched off",
        "Cloud Messaging is switched off in the Google project.",
        "Switch it on in Google's console, then resume.",
    ),
    "project_not_found": Words(
        "Project not found", "Google does not know the project of the service account.", _CREDENTIAL
    ),
    # Nobody's fault
    "too_many_requests": Words("Too fast for the provider", "The provider asked for a slower pace.", _LATER),
    "quota_exceeded": Words("Quota used up", "The provider's quota for this minute was used up.", _LATER),
    "device_quota_exceeded": Words(
        "Too many for one device",
        "The provider limits messages per device.",
        "Send less often to the same people.",
    ),
    "unavailable": Words("Provider not available", "The provider could not take the message.", _LATER),
    "service_unavailable": Words(
        "Provider not available", "The provider could not take the message.", _LATER
    ),
    "internal": Words("Provider error", "The provider failed inside.", _LATER),
    "internal_server_error": Words("Provider error", "The provider failed inside.", _LATER),
    "not_connected": Words(
        "No connection",
        "The provider could not be reached.",
        "If it lasts, ask your operator about the network.",
    ),
    # Nobody knows
    "no_answer": Words(
        "No answer",
        "It was sent and no answer came: it may have arrived.",
        "Nothing: marketing messages are not sent twice.",
    ),
    "sender_died": Words(
        "Interrupted",
        "The sender stopped between sending and writing it down: it may have arrived.",
        "Nothing: marketing messages are not sent twice.",
    ),
    "cancelled": Words("Cancelled", "The message was cancelled before it was sent to them."),
}

# Failures every large audience has: they leave a campaign "Finished", not "Finished with problems".
ORDINARY = frozenset(reason for reason, words in CATALOGUE.items() if words.todo == _GONE)


def words(reason: str) -> Words:
    """Of a reason, or of a provider's words that begin with one: "bad_topic: BadTopic"."""
    if known := explained(reason):
        return known
    title = reason.replace("_", " ").capitalize() or "No reason given"
    return Words(title, "The provider's own word for it.", "Open the list to see the provider's answers.")


def explained(said: str) -> Words | None:
    return next((CATALOGUE[word] for word in said.split(": ") if word in CATALOGUE), None)


# --- Incidents --------------------------------------------------------------------------------

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

# Tokens, keys, subscriptions: nothing a provider says about us in words is that long in one piece.
_UNSPEAKABLE = re.compile(r"[\w:=+-]{40,}")


def repeatable(said: str) -> str:
    """A provider's words, fit for a page or a mail: one line, and whatever looks like a token taken out (law 9)."""
    return _UNSPEAKABLE.sub("…", " ".join(said.split()))
