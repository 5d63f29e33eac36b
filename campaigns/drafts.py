"""Taking away what was never sent."""

from __future__ import annotations

from django.db import transaction

from campaigns.models import Campaign
from campaigns.transitions import NotAllowed


def delete(campaign: Campaign) -> None:
    """A draft without a run. Raises NotAllowed; then it stays."""
    with transaction.atomic():
        locked = Campaign.objects.select_for_update().get(id=campaign.id)
        if locked.status not in Campaign.EDITABLE or locked.latest_run_id:
            raise NotAllowed("Only a draft that was never launched can be deleted.")
        locked.delete()
