"""Whether there is anybody, and whether anything can be brought to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from django.urls import reverse

from campaigns.preflight.check import Check, Situation, devices, listed
from campaigns.words import PLATFORMS, reached
from config import estimates
from notifications import lanes, reasons
from notifications import services as notifications
from notifications.credential_states import CredentialState, State
from tenants import selectors as tenants


def reachable(at: Situation) -> Iterator[Check]:
    reach = at.reach
    if reach.reachable:
        whole = estimates.said(reach.devices, is_estimate=reach.is_estimate)
        yield Check("audience", "ok", f"{reached(reach, is_first=True)} of {whole} will get it.")
    elif reach.is_estimate:
        words = f"It reaches {reached(reach)}: none of a sample. They are counted when it is launched."
        yield Check("audience", "note", words)
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


def credentials(at: Situation) -> Iterator[Check]:
    """Of the platforms the audience is on."""
    application_id = at.campaign.application_id
    add = f"{reverse('admin:tenants_credential_add')}?application={application_id}"
    reach, states = at.reach, notifications.credential_states(application_id)
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
            f"No credential for {names}: {devices(waiting, about=reach.is_estimate)} would wait for one.",
            "Connect it, or leave the platform out.",
            add,
        )
    yield from _connected(at, states)


def _connected(at: Situation, states: Sequence[CredentialState]) -> Iterator[Check]:
    lane_of = lanes.lanes_of(lanes.CAMPAIGN, tenants.configured_providers(at.campaign.application_id))
    wanted = {lanes.provider_of(lane_of[platform]) for platform in at.reach.platforms if platform in lane_of}
    used = [one for one in states if one.provider in wanted]
    for one in used:
        if one.state in (State.REFUSED, State.TROUBLE):
            is_refused = one.state is State.REFUSED and not _others_work(one, used)
            yield Check(
                f"credential_{one.state}_{one.provider}",
                "block" if is_refused else "warn",
                f"“{one.label}”: {one.words}",
                one.todo or "Enter a working credential.",
                _place(one),
            )
    unchecked = [one for one in used if one.state is State.UNKNOWN and one.provider not in lanes.STAND_INS]
    if unchecked:
        yield Check(
            "credentials_unchecked",
            "note",
            f"{listed(f'“{one.label}”' for one in unchecked)}: not known yet whether it works.",
            "Check it, or send a test message.",
            _place(unchecked[0]),
        )
    if used and all(one.state is State.OK or one.provider in lanes.STAND_INS for one in used):
        yield Check("credentials", "ok", f"Connected: {listed(one.label for one in used)}.")


def _others_work(one: CredentialState, used: Sequence[CredentialState]) -> bool:
    return any(other.provider == one.provider and other.state is not State.REFUSED for other in used)


def _place(one: CredentialState) -> str:
    return reverse("admin:tenants_credential_change", args=[one.credential_id])


# --- where it goes ----------------------------------------------------------------------------


def environments(at: Situation) -> Iterator[Check]:
    """Development builds among an audience of the store's."""
    if at.seen is None or not at.seen.environments:
        return
    sandbox = at.seen.environments.get("sandbox", 0)
    if not sandbox:
        words = f"All Apple devices{at.sampled} are of the production environment."
        yield Check("environments", "ok", words)
        return
    apple = sum(at.seen.environments.values())
    count = at.share(at.seen.share(sandbox))
    yield Check(
        "environments",
        "warn",
        f"{f'All{at.sampled}' if sandbox == apple else count.capitalize()} on Apple's platforms are development builds"
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
