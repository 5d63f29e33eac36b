"""Of many devices the review shows an estimate; a launch counts, once, and is not refused for the difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone

from campaigns import approving, preflight, review, selectors
from campaigns.models import Approval, Campaign, Run
from devices.models import Device, Segment, SegmentMember, Subscriber
from notifications import audience_sample, reach, sample
from simulator.management import seed
from tests.conftest import Tenant

Make = Callable[..., Campaign]
DEVICES = 3_000


@pytest.fixture
def crowd(shop: Tenant, console_credential: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 000 devices of which 98 of 100 opted in, where a sample of a tenth is all there is time for."""
    seed.devices(shop.id, DEVICES, web_origin="https://push.example.com")
    monkeypatch.setattr(sample, "STRATA", 50)
    monkeypatch.setattr(reach, "EXACT_UP_TO", 1_000)
    monkeypatch.setattr(reach, "QUICK_SAMPLE", 300)
    monkeypatch.setattr(audience_sample, "LOOKED_AT", 300)
    monkeypatch.setattr(audience_sample, "FEW", 1)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Each count of an audience: whether an estimate would have done."""
    found: list[bool] = []
    count = selectors.reach_now

    def counted(campaign: Campaign, *, is_quick: bool = False) -> reach.Reach:
        found.append(is_quick)
        return count(campaign, is_quick=is_quick)

    monkeypatch.setattr(selectors, "reach_now", counted)
    return found


def url(campaign: Campaign, name: str) -> str:
    return f"/admin/campaigns/campaign/{campaign.pk}/{name}/"


def launch(client: Client, campaign: Campaign, **said: Any) -> Any:
    form = {"version": campaign.version, "warnings": "test", "reason": "Urgent", **said}
    return client.post(url(campaign, "launch"), form)


@pytest.fixture
def roughly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate of few is rough, and there is no time to count them either."""
    monkeypatch.setattr(reach, "ROUGH_PATIENCE", "1ms")
    slow = "count(*) + 0 * (SELECT count(pg_sleep(0.02)))"
    monkeypatch.setattr(reach, "COUNT", reach.COUNT.replace("count(*)", slow, 1))


def test_the_page_estimates_and_the_launch_counts_once(
    admin: Client, crowd: None, roughly: None, counts: list[bool], make_campaign: Make
) -> None:
    campaign = make_campaign()
    found = selectors.reach(campaign)
    assert found.is_estimate
    assert abs(found.reachable - 2_940) <= found.margin < 600
    page = admin.get(url(campaign, "review")).content.decode()
    assert f"Send to about {found.said:,} devices" in page
    assert f'name="devices" value="{found.said}"' in page
    assert "in a sample of 29" in page
    assert admin.get(url(campaign, "preflight")).status_code == 200
    assert set(counts) == {True}
    counts.clear()
    assert launch(admin, campaign, devices=found.said)["Location"] == url(campaign, "live")
    assert counts.count(False) == 1
    assert Run.objects.get().devices == DEVICES


def test_the_error_of_an_estimate_refuses_no_launch_but_what_is_beyond_it_does(
    admin: Client, crowd: None, roughly: None, make_campaign: Make
) -> None:
    campaign = make_campaign()
    margin = selectors.reach(campaign).margin
    assert margin > 0.1 * 2_940
    answer = launch(admin, campaign, devices=2_940 - margin - 10)
    assert "It reaches 2,940 devices by now" in answer.content.decode()
    # What was counted is shown from then on, and has no error.
    assert "Send to 2,940 devices" in answer.content.decode()
    assert "Send to 2,940 devices" in admin.get(url(campaign, "review")).content.decode()
    answer = launch(admin, campaign, devices=2_940 - margin + 10)
    assert "It reaches 2,940 devices by now" in answer.content.decode()
    assert launch(admin, campaign, devices=2_940).status_code == 302


def test_the_number_said_is_the_one_to_type(
    admin: Client, crowd: None, roughly: None, make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign()
    found = selectors.reach(campaign)
    # It may be more, so it is asked for.
    monkeypatch.setattr(review, "TYPED_ABOVE", found.reachable + 1)
    page = admin.get(url(campaign, "review")).content.decode()
    assert f'data-must-equal="{found.said}"' in page
    assert "to confirm" in launch(admin, campaign, devices=found.said, typed="7").content.decode()
    monkeypatch.setattr(review, "TYPED_ABOVE", 100)
    assert "to confirm" in launch(admin, campaign, devices=found.said).content.decode()
    assert not Run.objects.exists()
    assert launch(admin, campaign, devices=found.said, typed=f"{found.said:,}").status_code == 302


def test_a_yes_is_to_what_was_counted_and_no_estimate_takes_it_back(
    admin: Client, crowd: None, roughly: None, shop: Tenant, make_campaign: Make
) -> None:
    shop.application.approval_above = 2_000
    shop.application.save()
    campaign = make_campaign()
    assert f"it may go to about {selectors.reach(campaign).said:,} devices" in (
        admin.get(url(campaign, "review")).content.decode()
    )
    admin.post(url(campaign, "ask"), {"version": 1})
    approval = Approval.objects.get()
    assert approval.devices == 2_940
    eve = User.objects.create_superuser("eve")
    approving.decide(campaign, by=eve, is_granted=True)
    # As if fewer had been approved: still within the estimate's error, but not of a count.
    Approval.objects.update(devices=2_600)
    cache.clear()
    found = selectors.reach(campaign)
    assert not approving.is_needed(campaign, found.reachable, found.margin)
    assert approving.is_needed(campaign, 2_940)
    assert "approval" in launch(admin, campaign, devices=found.said).content.decode()
    assert not Run.objects.exists()


def test_a_small_segment_is_counted_and_one_a_sample_has_not_met_blocks_nothing(
    admin: Client, crowd: None, shop: Tenant, make_campaign: Make, request: pytest.FixtureRequest
) -> None:
    segment = Segment.objects.create(application=shop.application, slug="few", name="Few", kind="list")
    people = Subscriber.objects.filter(application=shop.application).order_by("id")
    met = set(_sampled(shop))
    unmet = Device.objects.filter(application=shop.application).exclude(id__in=met).values("subscriber")
    SegmentMember.objects.bulk_create(
        SegmentMember(segment_id=segment.pk, subscriber_id=one.pk) for one in people.filter(id__in=unmet)[3:7]
    )
    campaign = make_campaign(audience={"segments": ["few"]})
    found = selectors.reach(campaign)
    assert (found.reachable, found.is_estimate) == (4, False)
    request.getfixturevalue("roughly")
    found = selectors.reach(campaign, is_fresh=True)
    assert (found.reachable, found.is_estimate) == (0, True)
    checks = {check.key: check for check in preflight.of(campaign, timezone.now(), reach=found)}
    assert checks["audience"].level == "note"
    assert "none of a sample" in checks["audience"].words
    page = admin.get(url(campaign, "review")).content.decode()
    assert f"Send to fewer than {found.margin:,} devices" in page
    assert launch(admin, campaign, devices=0).status_code == 302


def _sampled(shop: Tenant) -> list[int]:
    some = sample.of(shop.id, 300)
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {some.cte} SELECT id FROM sampled", {**some.parameters, "application": shop.id})
        return [id for (id,) in cursor.fetchall()]
