"""The message was refused, here or by the provider, or came too late: it is not tried again as it is."""

from __future__ import annotations

from .entry import DEVELOPER, Words, sparing

_OVERRIDES = "Look at the provider's part of the message (overrides), or show this line to your developer."
_OURS = Words(
    "Request not understood",
    "The provider did not understand how it was asked. That is our mistake, not yours.",
    "Report it, with the provider's words.",
)

MESSAGES = sparing(
    "The device stays switched on and gets the next message; nobody else is held up.",
    {
        "payload_too_large": Words(
            "Message too large",
            "The message is larger than the provider takes, once what is known of them is filled in.",
            "Shorten the text or the data.",
        ),
        "payload_empty": Words(
            "Message empty", "The provider found nothing to show in the message.", _OVERRIDES
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
        "invalid_argument": Words(
            "Message refused", "The provider did not understand the message.", DEVELOPER
        ),
        "bad_request": Words(
            "Message refused", "The browser's push service did not understand the message.", DEVELOPER
        ),
        "invalid_push_type": Words(
            "Push type refused", "Apple does not take this push type for what the message holds.", _OVERRIDES
        ),
        "bad_collapse_id": Words(
            "Collapse key refused",
            "Apple takes collapse keys of at most 64 bytes.",
            "Choose a shorter collapse key.",
        ),
        "bad_expiration_date": Words(
            "Lifetime refused",
            "Apple does not take the moment until which the message is worth delivering.",
            "Choose another lifetime.",
        ),
        "bad_ttl": Words(
            "Lifetime refused",
            "The browser's push service does not take the message's lifetime.",
            "Choose a shorter lifetime.",
        ),
        "bad_priority": Words(
            "Priority refused", "Apple does not take this priority for this kind of message.", _OVERRIDES
        ),
        "bad_urgency": Words(
            "Priority refused", "The browser's push service does not take this urgency.", _OVERRIDES
        ),
        "bad_web_push_topic": Words(
            "Collapse key refused",
            "The browser's push service does not take the collapse key, nor the message without it.",
            "Choose a collapse key of at most 32 letters and digits.",
        ),
        **dict.fromkeys(
            (
                "bad_message_id",
                "bad_path",
                "duplicate_headers",
                "method_not_allowed",
                "missing_device_token",
            ),
            _OURS,
        ),
        "malformed_token": Words(
            "Address not readable",
            "What the device registered does not look like an address of this provider; the provider was not asked.",
            "Ask your developer what the app registers.",
        ),
        "endpoint_not_allowed": Words(
            "Unknown push service",
            "The browser's address is not on a push service this installation knows; it was not asked.",
            "If it is yours, ask those who run this installation to allow it (WEBPUSH_ALLOWED_HOSTS).",
        ),
        "bad_subscription_keys": Words(
            "Keys not readable",
            "The keys the browser registered cannot be used to encrypt a message.",
            "Ask your developer whether the page sends p256dh and auth unchanged.",
        ),
        "environment_not_covered": Words(
            "Other environment",
            "The device belongs to Apple's other environment (development or production).",
            "Add a credential that covers both environments.",
        ),
        "expired": Words(
            "Came too late",
            "The message expired before it could be sent.",
            "Give it a longer life, or look at what held it up.",
        ),
        "cancelled": Words(
            "Cancelled",
            "The message was cancelled before it was sent to them.",
            spared="Whoever had got it before keeps it; what is with a provider cannot be recalled.",
        ),
        "rehearsal": Words(
            "Rehearsal",
            "The application only rehearses: everything was done but the call to the provider.",
            "Switch rehearsal off in the application to send for real.",
            "Nobody was sent anything.",
        ),
    },
)
