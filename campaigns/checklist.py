"""The way of a new installation to its first campaign; gone once that is launched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import QuerySet
from django.urls import reverse

from campaigns.models import Campaign, TestSend
from campaigns.scopes import Scope
from devices.models import Device
from tenants.models import Credential


class Step(NamedTuple):
    """url: "" where its reader may not do it."""

    what: str
    how: str
    deed: str
    url: str
    is_done: bool = False
    is_next: bool = False


def steps(scope: Scope, user: AbstractBaseUser | AnonymousUser) -> list[Step]:
    """Nothing once all have been walked."""
    own = Campaign.objects.filter(**scope.narrowed)
    if own.filter(launched_at__isnull=False).exists():
        return []
    walk = [*_setting_up(scope, user), *_sending(own, user)]
    following = next(index for index, step in enumerate(walk) if not step.is_done)
    found = [step._replace(is_next=index == following) for index, step in enumerate(walk)]
    # Without an app nothing else can be done.
    return found if scope.applications else [found[0], *(step._replace(url="") for step in found[1:])]


def _setting_up(scope: Scope, user: AbstractBaseUser | AnonymousUser) -> Iterator[Step]:
    yield Step(
        "Create an app",
        "It stands for your app on all its platforms. You get its keys.",
        "Create it",
        _if(user, "tenants.add_application", "tenants_application_add"),
        bool(scope.applications),
    )
    yield Step(
        "Connect a provider",
        "Apple, Google or the web: whoever brings the message to the device. It takes about four minutes.",
        "Connect it",
        _if(user, "tenants.add_credential", "tenants_credential_add"),
        Credential.objects.filter(is_active=True, **scope.narrowed).exists(),
    )
    yield Step(
        "Register the first device",
        "Your app does it with the client key; the API’s pages show how. Your own phone is a good first.",
        "See the API",
        "/v1/docs",
        Device.objects.filter(retired_at__isnull=True, **scope.narrowed).exists(),
    )


def _sending(own: QuerySet[Campaign], user: AbstractBaseUser | AnonymousUser) -> Iterator[Step]:
    draft = own.filter(archived_at=None, status__in=Campaign.EDITABLE).first()
    yield Step(
        "Send yourself a test",
        "Write a draft, choose “Test” and see it on a real phone before anybody else does.",
        "Write a draft" if draft is None else "Open the draft",
        _writing(user, draft),
        TestSend.objects.filter(campaign__in=own).exists(),
    )
    yield Step(
        "Launch the first campaign",
        "Review says how many it reaches and what to mend. Nothing goes out before you launch.",
        "Write a draft" if draft is None else "Review it",
        _writing(user, draft),
    )


def _if(user: AbstractBaseUser | AnonymousUser, permission: str, name: str) -> str:
    return reverse(f"admin:{name}") if user.has_perm(permission) else ""  # type: ignore[union-attr]


def _writing(user: AbstractBaseUser | AnonymousUser, draft: Campaign | None) -> str:
    if draft is None:
        return _if(user, "campaigns.add_campaign", "campaigns_campaign_add")
    return reverse("admin:campaigns_campaign_review", args=[draft.pk])
