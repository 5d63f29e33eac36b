"""Our credential or configuration is refused: nothing is sent until it is mended, and nothing is lost."""

from __future__ import annotations

from .entry import CREDENTIAL, Words, sparing

_CLOCK = "Ask those who run this installation to set its clock (NTP); then resume."

OURS = sparing(
    "Nothing is lost and no device is switched off: what is refused waits. Other providers and other apps go on.",
    {
        "credential_blocked": Words(
            "Credential refused", "The provider refuses the credential, so nothing was sent.", CREDENTIAL
        ),
        "no_credential": Words(
            "No credential",
            "No provider is connected for this platform.",
            "Connect a provider: what waits goes out by itself.",
        ),
        "not_usable": Words(
            "Credential not usable",
            "What is stored cannot be used to sign in: it was changed or stored by other means.",
            CREDENTIAL,
        ),
        # Apple
        "invalid_provider_token": Words(
            "Key refused",
            "Apple does not know the key, or it was revoked, or it belongs to another team.",
            "Compare key id and team with Apple's developer pages, and enter a key that is active there.",
        ),
        "missing_provider_token": Words(
            "Key refused", "Apple says no key came with the message.", CREDENTIAL
        ),
        "unrelated_key_id_in_token": Words(
            "Two keys on one line",
            "Apple wants each key on connections of its own and saw two.",
            "Resume: new connections are opened. If it comes back, report it.",
        ),
        "bad_environment_key_in_token": Words(
            "Key of the other environment",
            "The key may be used with Apple's other environment only (development or production).",
            "Choose the key's environment in the credential, or enter a key for both.",
        ),
        "provider_token_refused_fresh": Words(
            "Clock is wrong",
            "Apple calls a signature that is minutes old expired: the clock here and Apple's differ.",
            _CLOCK,
        ),
        **dict.fromkeys(
            ("bad_certificate", "bad_certificate_environment"),
            Words("Certificate refused", "Apple refuses the certificate.", CREDENTIAL),
        ),
        **dict.fromkeys(
            ("bad_topic", "missing_topic", "topic_disallowed"),
            Words(
                "Bundle id refused",
                "Apple does not let this key send to the bundle id.",
                "Compare the credential's bundle id with the app's.",
            ),
        ),
        # Google
        "project_permission_denied": Words(
            "Service account may not send",
            "The service account has no right to send messages in its Google project.",
            "Give it the role “Firebase Cloud Messaging API Admin” in Google's console, then resume.",
        ),
        "service_disabled": Words(
            "Messaging switched off",
            "Cloud Messaging is switched off in the Google project.",
            "Switch it on in Google's console, then resume.",
        ),
        "project_not_found": Words(
            "Project not found", "Google does not know the project of the service account.", CREDENTIAL
        ),
        "third_party_auth_error": Words(
            "Google's own key refused",
            "Google could not sign in with Apple or the browser's service: the key stored in Firebase is no good.",
            "Mend the key in the Firebase project's settings, then resume.",
            "Android devices go on; nothing is lost and no device is switched off.",
        ),
        "access_token_refused": Words(
            "Sign-in refused",
            "Google does not take the access it has just given out.",
            "If it lasts: see whether the service account was deleted or disabled, and enter a working one.",
        ),
        "invalid_grant": Words(
            "Service account refused",
            "Google does not take the service account's signature: its key was deleted, or the clock here is wrong.",
            "See in Google's console whether the key still exists; enter a new one, or have the clock set.",
        ),
        **dict.fromkeys(
            ("invalid_client", "unauthorized_client", "invalid_scope", "access_denied", "disabled_client"),
            Words(
                "Service account refused",
                "Google does not let the service account sign in: it was deleted or disabled, or a rule of the "
                "organisation forbids it.",
                "Look at the account in Google's console, and enter one that works.",
            ),
        ),
        # Browsers, and all
        "bad_jwt_token": Words(
            "Signature refused",
            "The browser's push service does not take our signature. Apple refuses made-up contact addresses, too.",
            "See that the credential's contact is a real address of yours, and that the clock here is right.",
        ),
        "bad_vapid_public_key": Words(
            "Key refused", "The browser's push service does not take the public key.", CREDENTIAL
        ),
        **dict.fromkeys(
            ("forbidden", "unauthorized"),
            Words("Credential refused", "The provider refuses the key.", CREDENTIAL),
        ),
    },
)
