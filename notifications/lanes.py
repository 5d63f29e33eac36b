"""Lanes: one queue of batches per provider and class, so that neither delays the other (law 8)."""

from __future__ import annotations

from collections.abc import Mapping

TRANSACTIONAL, CAMPAIGN = "transactional", "campaign"

PROVIDER_OF_PLATFORM: Mapping[str, str] = {"ios": "apns", "macos": "apns", "android": "fcm", "web": "webpush"}
# Stand-ins, used for a platform whose own provider has no credential.
STAND_INS = ("console", "memory")
PROVIDERS = (*dict.fromkeys(PROVIDER_OF_PLATFORM.values()), *STAND_INS)
LANES = tuple(f"{provider}.{kind}" for provider in PROVIDERS for kind in (TRANSACTIONAL, CAMPAIGN))


# `provider_of` in SQL, of a column `lane`.
PROVIDER = "split_part(lane, '.', 1)"


def provider_of(lane: str) -> str:
    return lane.partition(".")[0]


def is_transactional(lane: str) -> bool:
    return lane.endswith(TRANSACTIONAL)


def kind_of(*, category_kind: str, is_mass: bool) -> str:
    """Marketing, and anything to an audience that is not listed by name, never shares a lane with a one-off."""
    return CAMPAIGN if is_mass or category_kind == "marketing" else TRANSACTIONAL


def lanes_of(kind: str, configured: set[str]) -> dict[str, str]:
    """Platform → lane, given the providers an application has active credentials for.

    A platform without its provider's credential falls to a stand-in if there is one, else to its own
    lane, where the work waits for the credential.
    """
    stand_in = next((name for name in STAND_INS if name in configured), None)
    return {
        platform: f"{natural if natural in configured or stand_in is None else stand_in}.{kind}"
        for platform, natural in PROVIDER_OF_PLATFORM.items()
    }
