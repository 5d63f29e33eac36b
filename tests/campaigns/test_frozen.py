"""A run's segments are frozen at its launch, for all of its stages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from campaigns import runs
from campaigns.models import Campaign, Stage
from devices import segments
from devices.models import Segment, SegmentSnapshot
from tests.conftest import Tenant


def test_all_stages_have_the_same_snapshots(shop: Tenant, make_campaign: Callable[..., Campaign]) -> None:
    for slug, country in (("germans", "DE"), ("austrians", "AT")):
        rules = {"field": "subscriber.country", "is": "equal", "value": country}
        segments.save(Segment(application=shop.application, slug=slug, name=slug, rules=rules))
    campaign = make_campaign(
        audience={"segments": ["germans"], "not_segments": ["austrians"]}, safety={"canary": 10}
    )
    run = runs.make(campaign, timezone.now(), by="anna", devices=1000)
    stages = list(Stage.objects.filter(run=run).select_related("notification"))
    assert len(stages) > 1
    frozen = [stage.notification.audience["frozen"] for stage in stages if stage.notification]
    assert len(frozen) == len(stages)
    assert all(one == frozen[0] and set(one) == {"germans", "austrians"} for one in frozen)
    # A campaign that is launched just then takes them over.
    other = make_campaign(name="Other", audience={"segments": ["germans"]})
    again = runs.make(other, timezone.now(), by="anna", devices=1000)
    (stage,) = again.stages.all()
    assert stage.notification
    assert stage.notification.audience["frozen"] == {"germans": frozen[0]["germans"]}
    assert SegmentSnapshot.objects.count() == 2


def test_without_segments_nothing_is_frozen(shop: Tenant, make_campaign: Callable[..., Campaign]) -> None:
    run = runs.make(make_campaign(), timezone.now(), by="anna", devices=1000)
    assert all("frozen" not in one.audience for one in runs.notified(run))
    assert not SegmentSnapshot.objects.exists()


def test_the_remainder_goes_by_the_launch_not_by_the_day_of_the_winner(
    shop: Tenant, make_campaign: Callable[..., Campaign]
) -> None:
    rules = {"field": "subscriber.country", "is": "equal", "value": "DE"}
    segments.save(Segment(application=shop.application, slug="germans", name="Germans", rules=rules))
    variants = [{"key": key, "content": {"title": key, "body": "b"}, "share": 50} for key in "AB"]
    campaign = make_campaign(audience={"segments": ["germans"]}, variants=variants, experiment={"test": 20})
    run = runs.make(campaign, timezone.now(), by="anna", devices=1000)
    SegmentSnapshot.objects.update(as_of=timezone.now() - timedelta(days=13))
    rest = runs.send_rest(campaign, run, "B", by="anna")
    assert rest
    assert rest.notification
    first = run.stages.exclude(pk=rest.pk).first()
    assert first
    assert first.notification
    assert rest.notification.audience["frozen"] == first.notification.audience["frozen"]
