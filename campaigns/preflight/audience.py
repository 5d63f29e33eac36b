"""Whether there is anybody, and whether anything can be brought to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from django.urls import reverse

from campaigns.preflight.check import Check, Situation, devices, listed
from campaigns.words import PLATFORMS
from notifications import lanes, reasons
from notifications import services as notifications
from tenants import selectors as tenants
from tenants.models import Credential


def reachable(at: Situation) -> Iterator[Check]:
    reach = at.reach
    if reach.reachable:
        words = f"{devices(reach.reachable, about=reach.is_estimate)} of {reach.devices:,} will get it."
        yield Check("audience", "ok", words)
    elif reach.devices:
        why = max(reach.held_back, key=lambda reason: reach.held_back[reason])
        yield Check(
            "audience",
            "block",
            f"Nobody would get it: {reasons.words(why).means}",
            reasons.words(why).todo or "Choose another audience or category.",
            at.place("/audience"),
        )
    else:
        yield Check(
            "audience",
            "block",
            "Nobody is in this audience: no active device matches it.",
            "Choose another audience, or register a device first.",
            at.place("/audience"),
        )


# --- credentials ------------------------------------------------------------------------------


class CredentialState(NamedTuple):
    state: Literal["ok", "refused", "unchecked"]
    provider: str
    name: str
    words: str
    url: str


def credential_states(application_id: int) -> list[CredentialState]:
    """Of the active ones. As `notifications.services.credential_states` has checked them, where it does."""
    checked = getattr(notifications, "credential_states", None)
    if checked is not None:
        return [_read(one) for one in checked(application_id)]
    rows = Credential.objects.filter(application_id=application_id, is_active=True).order_by("id")
    return [_stored(credential) for credential in rows]


def _stored(credential: Credential) -> CredentialState:
    state: Literal["ok", "refused", "unchecked"] = "ok" if credential.checked_at else "unchecked"
    return CredentialState(
        "refused" if credential.blocked_at else state,
        credential.provider,
        str(credential),
        reasons.repeatable(credential.blocked_reason),
        reverse("admin:tenants_credential_change", args=[credential.pk]),
    )


def _read(one: Any) -> CredentialState:
    """credential, and whether and how it was refused when it was checked last."""
    stored = _stored(one.credential)
    words = str(getattr(one, "words", "") or stored.words)
    said = str(getattr(one, "state", stored.state))
    if said in ("refused", "blocked") or one.credential.blocked_at:
        return stored._replace(state="refused", words=words)
    return stored._replace(state="ok" if said == "ok" else "unchecked", words=words)


def credentials(at: Situation) -> Iterator[Check]:
    """Of the platforms the audience is on."""
    application_id = at.campaign.application_id
    add = f"{reverse('admin:tenants_credential_add')}?application={application_id}"
    reach, states = at.reach, credential_states(application_id)
    if not states:
        yield Check(
            "credentials",
            "block",
            "No provider is connected: nothing can leave this server.",
            "Connect one.",
            add,
        )
        return
    waiting = sum(reach.waiting.values())
    if waiting:
        names = listed(PLATFORMS.get(platform, platform) for platform in reach.waiting)
        level: Literal["block", "warn"] = "block" if waiting == reach.reachable else "warn"
        yield Check(
            "credentials_missing",
            level,
            f"No credential for {names}: {devices(waiting)} would wait for one.",
            "Connect it, or leave the platform out.",
            add,
        )
    yield from _connected(at, states)


def _connected(at: Situation, states: Sequence[CredentialState]) -> Iterator[Check]:
    lane_of = lanes.lanes_of(lanes.CAMPAIGN, tenants.configured_providers(at.campaign.application_id))
    wanted = {lanes.provider_of(lane_of[platform]) for platform in at.reach.platforms if platform in lane_of}
    used = [one for one in states if one.provider in wanted]
    for one in used:
        if one.state == "refused":
            yield Check(
                f"credential_refused_{one.provider}",
                # Another credential of that provider may do.
                "warn" if _others_work(one, used) else "block",
                f"{reasons.PROVIDERS.get(one.provider, one.provider)} refuses “{one.name}”"
                + (f": {one.words}" if one.words else "."),
                "Enter a working credential.",
                one.url,
            )
    unchecked = [one for one in used if one.state == "unchecked" and one.provider not in lanes.STAND_INS]
    if unchecked:
        yield Check(
            "credentials_unchecked",
            "note",
            f"{listed(f'“{one.name}”' for one in unchecked)}: never checked with the provider yet.",
            "A test message shows whether it works.",
            unchecked[0].url,
        )
    if used and not unchecked and all(one.state == "ok" or one.provider in lanes.STAND_INS for one in used):
        yield Check("credentials", "ok", f"Connected: {listed(one.name for one in used)}.")


def _others_work(one: CredentialState, used: Sequence[CredentialState]) -> bool:
    return any(other.provider == one.provider and other.state != "refused" for other in used)


# --- where it goes ----------------------------------------------------------------------------


def environments(at: Situation) -> Iterator[Check]:
    """Development builds among an audience of the store's."""
    if at.seen is None or not at.seen.environments:
        return
    sandbox = at.seen.environments.get("sandbox", 0)
    if not sandbox:
        yield Check("environments", "ok", "All Apple devices are of the production environment.")
        return
    apple = sum(at.seen.environments.values())
    count = devices(at.about(at.seen.share(sandbox)), about=not at.seen.is_all)
    yield Check(
        "environments",
        "warn",
        f"{'All' if sandbox == apple else count.capitalize()} on Apple's platforms are development builds"
        + ("." if sandbox == apple else ", the others are not."),
        "Send to testers by a test message, and leave development builds out of the audience.",
        at.place("/audience"),
    )


def rehearsal(at: Situation) -> Iterator[Check]:
    application = at.campaign.application
    if application.is_sandbox:
        yield Check(
            "rehearsal",
            "note",
            f"{application} is in rehearsal: everything happens but the call to the provider.",
            "Switch rehearsal off when it is meant for people.",
            reverse("admin:tenants_application_change", args=[application.pk]),
        )
