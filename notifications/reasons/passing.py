"""Nobody's fault, or nobody knows: what is tried again, and what is left because it may have arrived."""

from __future__ import annotations

from .entry import DEVELOPER, LATER, Words, sparing

_UNAVAILABLE = Words("Provider not available", "The provider could not take the message.", LATER)
_ERROR = Words("Provider error", "The provider failed inside.", LATER)
_UNANSWERED = "Nothing: marketing messages are not sent twice."

PASSING = sparing(
    "The device stays switched on; other providers and other apps are not slowed down.",
    {
        "too_many_requests": Words(
            "Too fast for the provider", "The provider asked for a slower pace.", LATER
        ),
        "throttled": Words(
            "Too fast for the provider", "It had to wait for its turn at a slower pace.", LATER
        ),
        "too_many_provider_token_updates": Words(
            "Signed too often",
            "Apple saw more than one new signature of the key within 20 minutes: often two installations share a key.",
            "Nothing, as a rule: it goes on within 20 minutes. Give each installation a key of its own.",
        ),
        "quota_exceeded": Words("Quota used up", "The provider's quota for this minute was used up.", LATER),
        "device_quota_exceeded": Words(
            "Too many for one device",
            "The provider limits messages per device.",
            "Send less often to the same people.",
        ),
        **dict.fromkeys(
            ("unavailable", "service_unavailable", "bad_gateway", "gateway_timeout"), _UNAVAILABLE
        ),
        **dict.fromkeys(("internal", "internal_server_error", "unspecified_error"), _ERROR),
        **dict.fromkeys(
            ("idle_timeout", "shutdown"),
            Words(
                "Connection ended", "The provider closed the connection before it took the message.", LATER
            ),
        ),
        "expired_provider_token": Words(
            "Signature renewed", "Apple wanted a newer signature; one was made.", LATER
        ),
        "token_unavailable": Words(
            "Sign-in not available",
            "Google's sign-in, which each message needs, did not answer as it should.",
            "Nothing, as a rule: it is tried again by itself. If it lasts, ask your operator about the network.",
        ),
        "not_connected": Words(
            "No connection",
            "The provider could not be reached.",
            "If it lasts, ask your operator about the network.",
        ),
        "not_loaded": Words("Not ready in time", "What it takes to send could not be read in time.", LATER),
        **dict.fromkeys(
            ("stopped", "stopping"),
            Words("Put back", "Sending stopped before its turn came; it was not sent.", LATER),
        ),
        "no_answer": Words("No answer", "It was sent and no answer came: it may have arrived.", _UNANSWERED),
        "sender_died": Words(
            "Interrupted",
            "The sender stopped between sending and writing it down: it may have arrived.",
            _UNANSWERED,
        ),
        "internal_error": Words(
            "Internal error", "Something failed on our side while sending: it may have arrived.", DEVELOPER
        ),
    },
)
