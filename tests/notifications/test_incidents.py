"""What people do about incidents by hand: resume, and the word on devices a provider calls gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Device
from notifications import incidents
from notifications.ids import uuid7
from notifications.models import Batch, Incident, RetirementCount, SuspendedRetirement
from notifications.pipeline import retire, wake
from notifications.providers.base import Outcome, Verdict
from tenants import services as tenants
from tenants.models import Credential
from tests.conftest import Tenant
from tests.notifications.pipeline.conftest import Pipeline, pipeline

__all__ = ["pipeline"]

Cause = Incident.Cause
Open = Callable[..., Incident]


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(wake, "lanes", names.extend)
    return names


@pytest.fixture
def open_incident(shop: Tenant) -> Open:
    def make(cause: str = Cause.CREDENTIAL, **fields: Any) -> Incident:
        fields = {"application": shop.application, "provider": "apns", **fields}
        return Incident.objects.create(cause=cause, **fields)

    return make


@pytest.fixture
def make_batch(shop: Tenant) -> Callable[..., Batch]:
    def make(lane: str = "apns.campaign", *, tenant: Tenant = shop, size: int = 3, **fields: Any) -> Batch:
        later = timezone.now() + timedelta(minutes=10)
        fields = {"status": "waiting", "due_at": later, "turn_at": later, **fields}
        ids = list(range(1, size + 1))
        return Batch.objects.create(
            application_id=tenant.id, notification_id=uuid7(), lane=lane, device_ids=ids, **fields
        )

    return make


def fresh(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


def is_due(batch: Batch) -> bool:
    return fresh(batch).due_at <= timezone.now()


def seen(days: int) -> datetime:
    return timezone.now() - timedelta(days=days)


class TestResume:
    def test_lets_what_waits_for_its_first_attempt_go_at_once(
        self,
        open_incident: Open,
        make_batch: Callable[..., Batch],
        woken: list[str],
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        first = [make_batch("apns.campaign"), make_batch("apns.transactional")]
        others = [
            make_batch("apns.campaign", attempt=2),
            make_batch("apns.campaign", slot_at=timezone.now() + timedelta(minutes=5)),
            make_batch("fcm.campaign"),
        ]
        with django_capture_on_commit_callbacks(execute=True):
            assert incidents.resume(open_incident(Cause.CIRCUIT), by="anna")
        assert all(map(is_due, first))
        assert not any(map(is_due, others))
        assert set(woken) == {"apns.transactional", "apns.campaign"}

    def test_says_who_and_when_once(self, open_incident: Open) -> None:
        incident = open_incident(Cause.QUOTA)
        assert incidents.resume(incident, by="anna")
        closed = fresh(incident)
        assert closed.closed_by == "anna"
        assert not incidents.resume(incident, by="bob")
        assert fresh(incident).closed_by == "anna"
        assert fresh(incident).closed_at == closed.closed_at

    def test_leaves_other_applications_alone(
        self,
        open_incident: Open,
        make_batch: Callable[..., Batch],
        rival: Tenant,
    ) -> None:
        theirs = open_incident(application=rival.application)
        blocked = Credential.objects.create(
            application=rival.application, provider="apns", blocked_at=timezone.now(), blocked_reason="no"
        )
        batch = make_batch(tenant=rival)
        assert incidents.resume(open_incident(), by="anna")
        assert fresh(theirs).closed_at is None
        assert fresh(blocked).blocked_at
        assert not is_due(batch)

    def test_tries_a_refused_credential_anew(self, open_incident: Open, shop: Tenant) -> None:
        credential = tenants.store_credential(shop.application, provider="apns", public={}, secret="s")
        Credential.objects.filter(id=credential.id).update(blocked_at=timezone.now(), blocked_reason="no")
        incidents.resume(open_incident(), by="anna")
        tried = fresh(credential)
        assert tried.blocked_at is None
        # Senders take refusals of the session they had for what they are: of the past.
        assert tried.updated_at > credential.updated_at
        assert tried.secret == "s"

    @pytest.mark.parametrize("cause", [Cause.RETIREMENTS, Cause.LEDGER])
    def test_is_not_for_what_needs_a_decision(self, open_incident: Open, cause: str) -> None:
        incident = open_incident(cause)
        assert not incidents.resume(incident, by="anna")
        assert fresh(incident).closed_at is None


class TestWhatNeedsPeople:
    @pytest.mark.parametrize(
        ("cause", "seconds", "expected"),
        [
            (Cause.CREDENTIAL, 0, True),
            (Cause.RETIREMENTS, 0, True),
            (Cause.LEDGER, 0, True),
            (Cause.CIRCUIT, 59, False),
            (Cause.CIRCUIT, 61, True),
            (Cause.QUOTA, 59, False),
            (Cause.QUOTA, 61, True),
        ],
    )
    def test_is_said_at_once_unless_it_mostly_ends_by_itself(
        self, open_incident: Open, cause: str, seconds: int, expected: bool
    ) -> None:
        now = timezone.now()
        incident = open_incident(cause, opened_at=now - timedelta(seconds=seconds))
        assert incidents.needs_people(incident, now) is expected
        assert Incident.objects.filter(incidents.needing_people(now)).exists() is expected
        Incident.objects.update(closed_at=now)
        assert not incidents.needs_people(fresh(incident), now)
        assert not Incident.objects.filter(incidents.needing_people(now)).exists()

    def test_is_read_by_one_query_for_one_application_or_all(
        self, open_incident: Open, shop: Tenant, rival: Tenant
    ) -> None:
        ours = open_incident()
        theirs = open_incident(application=rival.application)
        open_incident(Cause.QUOTA, closed_at=timezone.now())
        refused = Credential.objects.create(
            application=shop.application, provider="apns", blocked_at=timezone.now()
        )
        with CaptureQueriesContext(connection) as captured:
            found = [(i.pk, i.application.name, i.credential_id) for i in incidents.open_ones()]  # type: ignore[attr-defined]
        assert found == [(ours.pk, "Shop", refused.pk), (theirs.pk, "Rival", None)]
        assert len(captured) == 1
        assert [incident.pk for incident in incidents.open_ones(rival.id)] == [theirs.pk]

    def test_is_said_with_what_waits(
        self, open_incident: Open, make_batch: Callable[..., Batch], rival: Tenant
    ) -> None:
        make_batch("apns.campaign", size=5)
        make_batch("apns.transactional", status="sending")
        make_batch("fcm.campaign")
        make_batch("apns.campaign", tenant=rival)
        said = incidents.said(open_incident(words="invalid_provider_token:\nInvalidProviderToken"))
        assert said.waiting == 8
        assert said.title == "Apple refuses the credential of Shop"
        assert "8 messages wait; other providers" in said.spared
        assert said.provider_words == "invalid_provider_token: InvalidProviderToken"
        assert incidents.said(open_incident(Cause.RETIREMENTS, lane_kind="campaign")).waiting == 5
        assert "nothing waits" in incidents.said(open_incident(Cause.QUOTA, provider="webpush")).spared

    @pytest.mark.parametrize("secret", ["a1" * 32, "fGxT:APA91b" + "x_Y-" * 30, "eyJhbGciOiJFUzI1NiJ9" * 3])
    def test_is_said_without_anything_like_a_token(self, open_incident: Open, secret: str) -> None:
        said = incidents.said(open_incident(words=f"bad_topic: {secret} is not for com.example.shop"))
        assert said.provider_words == "bad_topic: … is not for com.example.shop"

    @pytest.mark.parametrize("cause", Cause.values)
    @pytest.mark.parametrize("stops_lanes", [True, False])
    def test_has_words_for_every_cause(self, open_incident: Open, cause: str, stops_lanes: bool) -> None:
        said = incidents.said(open_incident(cause, stops_lanes=stops_lanes))
        assert "Shop" in said.title
        assert said.spared
        assert said.todo
        assert "{" not in said.title + said.spared + said.todo


class TestDevicesCalledGone:
    @pytest.fixture
    def incident(self, open_incident: Open) -> Incident:
        return open_incident(Cause.RETIREMENTS, lane_kind="campaign")

    @pytest.fixture
    def suspend(self, shop: Tenant, make_device: Any) -> Callable[..., Device]:
        """A device, and a verdict on it that waits for a decision."""

        def make(*, tenant: Tenant = shop, provider: str = "apns", **fields: Any) -> Device:
            before = fields.pop("before", timezone.now())
            device: Device = make_device(tenant, **{"last_seen_at": seen(30), **fields})
            SuspendedRetirement.objects.create(
                device_id=device.pk,
                application_id=tenant.id,
                provider=provider,
                reason="unregistered",
                before=before,
            )
            return device

        return make

    @pytest.fixture
    def retire(self, shop: Tenant, make_device: Any) -> Callable[..., Device]:
        def make(reason: str = "unregistered", *, tenant: Tenant = shop, **fields: Any) -> Device:
            fields = {"retired_at": timezone.now(), "retired_reason": reason, **fields}
            return make_device(tenant, **fields)  # type: ignore[no-any-return]

        return make

    def test_that_are_really_gone_are_switched_off(
        self, incident: Incident, suspend: Callable[..., Device]
    ) -> None:
        gone, imported = suspend(), suspend(last_seen_at=None)
        back = suspend(last_seen_at=timezone.now(), before=seen(1))
        assert incidents.release_retirements(incident, by="anna", really_gone=True) == 2
        for device in (gone, imported):
            assert fresh(device).retired_at
            assert fresh(device).retired_reason == "unregistered"
        assert fresh(back).retired_at is None  # its app has been heard of since
        assert not SuspendedRetirement.objects.exists()
        assert fresh(incident).closed_by == "anna"

    def test_are_switched_off_once(self, incident: Incident, suspend: Callable[..., Device]) -> None:
        suspend()
        assert incidents.release_retirements(incident, by="anna", really_gone=True) == 1
        later = suspend()
        for really_gone in (True, False):
            assert incidents.release_retirements(incident, by="bob", really_gone=really_gone) is None
        assert fresh(later).retired_at is None
        assert SuspendedRetirement.objects.count() == 1
        assert fresh(incident).closed_by == "anna"

    def test_by_mistake_are_kept_and_those_of_the_hour_revived(
        self, incident: Incident, suspend: Callable[..., Device], retire: Callable[..., Device]
    ) -> None:
        kept = suspend()
        switched_off = [retire(), retire("bad_device_token", platform="macos")]
        assert incidents.release_retirements(incident, by="anna", really_gone=False) == 2
        for device in (kept, *switched_off):
            assert fresh(device).retired_at is None
            assert fresh(device).retired_reason == ""
        assert not SuspendedRetirement.objects.exists()
        assert incidents.release_retirements(incident, by="anna", really_gone=False) is None

    def test_by_others_or_before_stay_switched_off(
        self, incident: Incident, retire: Callable[..., Device], rival: Tenant
    ) -> None:
        an_hour_before = fresh(incident).opened_at - timedelta(hours=1)
        stay = [
            retire("by_staff"),
            retire("unregistered_by_app"),
            retire("replaced"),
            retire(platform="android"),  # Google's word, not Apple's
            retire(retired_at=an_hour_before - timedelta(seconds=1)),
            retire(tenant=rival),
        ]
        assert incidents.release_retirements(incident, by="anna", really_gone=False) == 0
        assert all(fresh(device).retired_at for device in stay)

    def test_never_share_an_address_when_revived(
        self, incident: Incident, retire: Callable[..., Device], shop: Tenant, make_device: Any
    ) -> None:
        """The app has registered again meanwhile, as another installation."""
        old = retire(token="a" * 64)
        make_device(shop, token="a" * 64)
        twice = [retire(token="b" * 64), retire(token="b" * 64)]
        assert incidents.release_retirements(incident, by="anna", really_gone=False) == 1
        assert fresh(old).retired_at
        assert [fresh(device).retired_at is None for device in twice] == [False, True]

    @pytest.mark.django_db(transaction=True)
    def test_stay_off_when_their_address_is_taken_at_that_moment(
        self, incident: Incident, retire: Callable[..., Device], shop: Tenant, make_device: Any
    ) -> None:
        taken, other = retire(token="a" * 64), retire()
        is_taken = threading.Event()

        def register() -> None:
            try:
                with transaction.atomic():
                    make_device(shop, token="a" * 64)
                    is_taken.set()
                    time.sleep(0.5)
            finally:
                connection.close()

        thread = threading.Thread(target=register)
        thread.start()
        is_taken.wait(5)
        assert incidents.release_retirements(incident, by="anna", really_gone=False) == 1
        thread.join()
        assert fresh(taken).retired_at
        assert fresh(other).retired_at is None

    def test_of_other_applications_and_providers_are_not_decided_about(
        self, incident: Incident, suspend: Callable[..., Device], rival: Tenant
    ) -> None:
        others = [suspend(tenant=rival), suspend(provider="fcm", platform="android")]
        assert incidents.release_retirements(incident, by="anna", really_gone=True) == 0
        assert not any(fresh(device).retired_at for device in others)
        assert SuspendedRetirement.objects.count() == 2

    @pytest.mark.parametrize("really_gone", [True, False])
    def test_are_counted_anew_afterwards(
        self, incident: Incident, shop: Tenant, rival: Tenant, really_gone: bool
    ) -> None:
        hour = fresh(incident).opened_at.replace(minute=0, second=0, microsecond=0)
        for tenant, at in ((shop, hour), (shop, hour - timedelta(hours=1)), (rival, hour)):
            RetirementCount.objects.create(
                application_id=tenant.id, provider="apns", hour=at, slot=3, count=100
            )
        incidents.release_retirements(incident, by="anna", really_gone=really_gone)
        left = RetirementCount.objects.values_list("application_id", "hour")
        assert set(left) == {(rival.id, hour)}

    def test_let_campaigns_go_on(
        self, incident: Incident, woken: list[str], django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            incidents.release_retirements(incident, by="anna", really_gone=True)
        assert woken == ["apns.campaign"]

    def test_cost_the_same_for_many_as_for_few(
        self, open_incident: Open, suspend: Callable[..., Device]
    ) -> None:
        costs = []
        for number in (1, 40):
            incident = open_incident(Cause.RETIREMENTS)
            for _ in range(number):
                suspend()
            with CaptureQueriesContext(connection) as captured:
                assert incidents.release_retirements(incident, by="anna", really_gone=True) == number
            costs.append(len(captured))
        assert costs[0] == costs[1]

    @pytest.mark.django_db(transaction=True)
    def test_are_decided_about_by_one_of_two(
        self, incident: Incident, suspend: Callable[..., Device]
    ) -> None:
        for _ in range(20):
            suspend()
        answers: list[int | None] = []
        start = threading.Barrier(2)

        def decide(really_gone: bool) -> None:
            start.wait()
            try:
                answers.append(incidents.release_retirements(incident, by="x", really_gone=really_gone))
            finally:
                connection.close()

        threads = [threading.Thread(target=decide, args=(word,)) for word in (True, False)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers.count(None) == 1
        assert Device.objects.filter(retired_at__isnull=False).count() in (0, 20)
        assert not SuspendedRetirement.objects.exists()


class TestWithTheSenders:
    """The whole way: a sender opens it, a person ends it, a sender goes on."""

    def test_what_waited_for_a_credential_goes_out_when_resumed(
        self, pipeline: Pipeline, make_device: Any
    ) -> None:
        for name in ("ada", "bob", "cem"):
            make_device(pipeline.tenant, name)
        pipeline.provider.default = Verdict(Outcome.BLOCKED, "invalid_provider_token")
        notification = pipeline.accept({"subscribers": ["ada", "bob", "cem"]})
        pipeline.send()
        incident = incidents.open_ones(pipeline.tenant.id).get()
        assert (incident.cause, incident.stops_lanes) == (Cause.CREDENTIAL, True)
        assert incidents.said(incident).waiting == 3

        pipeline.provider.default = Verdict(Outcome.ACCEPTED, "")
        assert incidents.resume(incident, by="anna")
        pipeline.send()
        assert {lines[-1] for lines in pipeline.ledger(notification).values()} == {("accepted", "")}
        pipeline.assert_sum(notification.id)
        assert not incidents.open_ones().exists()

    @pytest.mark.parametrize(("really_gone", "expected"), [(True, 60), (False, 0)])
    def test_a_decision_on_devices_lets_the_campaign_go_on(
        self, pipeline: Pipeline, make_device: Any, monkeypatch: Any, really_gone: bool, expected: int
    ) -> None:
        monkeypatch.setattr(retire, "ALWAYS_ALLOWED", 10)
        monkeypatch.setattr(retire, "_allowed", {})
        now = timezone.now()
        for _ in range(60):
            make_device(pipeline.tenant, last_seen_at=now - timedelta(days=3))
        pipeline.provider.default = Verdict(Outcome.UNREGISTERED, "unregistered")
        notification = pipeline.accept({"all": True}, category="critical")
        pipeline.resolve(notification)
        pipeline.send()
        # Each decision begins a new count, which may be too much again.
        while found := list(incidents.open_ones(pipeline.tenant.id)):
            for incident in found:
                assert incident.cause == Cause.RETIREMENTS
                assert incidents.suspended(incident)
                incidents.release_retirements(incident, by="anna", really_gone=really_gone)
            pipeline.send()
        pipeline.assert_sum(notification.id)
        assert not Batch.objects.exists()
        assert not SuspendedRetirement.objects.exists()
        assert Device.objects.filter(retired_at__isnull=False).count() == expected
