"""The first save of a new draft. A page whose answer was lost sends it again: that must not make a second draft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from campaigns import services
from campaigns.models import Campaign
from tenants import calls
from tenants.models import Application


def create(
    application: Application, *, by: User, key: str, fields: Mapping[str, Any]
) -> tuple[Campaign, bool]:
    """As services.create; and whether it is new. key: made by the page, "" for none. One that this person has used
    stands for the draft that was made then, which is answered as it is now, `fields` unused.

    Raises InvalidField, Problem.
    """
    if not key:
        return services.create(application, by=by, fields=fields), True
    noted = f" draft:{by.pk}:{key}"  # no key of the API begins with a space
    call = calls.known(application.pk, noted)
    if call is None:
        try:
            with transaction.atomic():
                campaign = services.create(application, by=by, fields=fields)
                calls.note(application.pk, noted, campaign.pk.to_bytes(8))
            return campaign, True
        except calls.Known as error:  # both came at once; ours is rolled back
            call = error.call
    # What such a call asked for is of no account, so the draft it made is kept in that place.
    made = Campaign.objects.select_related("application", "category", "updated_by")
    found = made.filter(pk=int.from_bytes(bytes(call.fingerprint)), application=application).first()
    # Deleted since: who still writes on it begins anew.
    return (found, False) if found else (services.create(application, by=by, fields=fields), True)
