"""The provider says the address is no good: the device is retired (docs/architecture.md, "Outcomes")."""

from __future__ import annotations

from .entry import GONE, Words, sparing

ADDRESSES = sparing(
    "The person's other devices, and everybody else. If suddenly many are called gone, they stay switched on until "
    "somebody has decided.",
    {
        "unregistered": Words(
            "App removed from the device", "The provider says this address is no longer in use.", GONE
        ),
        "expired_token": Words("Address expired", "The provider says this address has expired.", GONE),
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
            "Address not valid",
            "Google does not take this for an address. The device is switched off only if the same message has got "
            "through to another one, so that it cannot be the message's fault.",
            "If there are many, show this line to your developer: the app may register something else.",
        ),
        **dict.fromkeys(
            ("gone", "not_found"),
            Words("Browser unsubscribed", "The browser gave the subscription up.", GONE),
        ),
        "vapid_key_mismatch": Words(
            "Subscribed with another key",
            "The browser subscribed with another public key than the credential's.",
            "Compare the credential's public key with the one your pages subscribe with.",
        ),
    },
)
