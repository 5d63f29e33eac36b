"""Credentials are checked with their providers by the clock, once each; what was found is on record, and in words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.db import connection
from django.utils import timezone

from notifications import checks, credential_states, services, tasks
from notifications.models import BearerToken, Incident
from notifications.pipeline import build, wake
from notifications.providers.base import Check, CheckResult
from simulator.client import Simulation
from tenants.models import Credential
from tests.conftest import Tenant


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    with Simulation.start(tmp_path_factory.mktemp("simulator")) as simulation:
        yield simulation


@pytest.fixture
def pointed(simulation: Simulation, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """The providers, pointed at the simulator."""
    simulation.reset()
    for provider in ("apns", "fcm"):
        simulation.set_faults(provider)
    settings.APNS_URL, settings.APNS_SANDBOX_URL = simulation.apns, simulation.apns_sandbox
    settings.FCM_URL, settings.PROVIDER_CA_FILE = simulation.fcm, simulation.ca_file
    build.providers.cache_clear()
    monkeypatch.setattr(wake, "checks", lambda: None)
    yield simulation
    build.providers.cache_clear()


def store(shop: Tenant, name: str, simulation: Simulation) -> Credential:
    given: dict[str, Any] = {"webpush": {"subject": "mailto:push@example.com"}}
    known = dict(given.get(name) or simulation.credentials[name])
    secret = Path(known.pop("secret_file")).read_text() if "secret_file" in known else ""
    public, secret = services.check_credential(name, known, secret)
    return services.store_credential(shop.application, provider=name, public=public, secret=secret)


def fresh(credential: Credential) -> Credential:
    return Credential.objects.get(pk=credential.pk)


@pytest.mark.django_db(transaction=True)
def test_each_credential_is_checked_when_stored_and_every_five_minutes(
    shop: Tenant, pointed: Simulation
) -> None:
    apple, google, web = (store(shop, name, pointed) for name in ("apns", "fcm", "webpush"))
    assert [one.state for one in services.credential_states(shop.id)] == ["unknown"] * 3
    tasks.check_credentials()
    for one in map(fresh, (apple, google, web)):
        assert (one.check_result, one.check_detail) == ("ok", "")
        assert one.checked_at and one.check_since
        assert timedelta(minutes=4) < one.check_due_at - timezone.now() <= timedelta(minutes=5)
        assert one.updated_at == Credential.objects.get(pk=one.pk).updated_at  # sessions are kept
    assert checks.run() == 0  # not due
    # Nobody was reached.
    assert not any(pointed.stats()[name]["accepted"] for name in ("apns", "apns_sandbox", "fcm"))

    # Revoked: the next check says so, with the same provider token as before.
    pointed.set_faults("apns", revoked=True)
    pointed.set_faults("fcm", revoked=True)
    before = fresh(apple)
    assert checks.ask_again(Credential.objects.all()) == 3
    assert checks.run() == 3
    assert fresh(apple).check_detail == "invalid_provider_token"
    assert fresh(google).check_detail.startswith("invalid_grant: ")
    assert fresh(apple).check_since > before.check_since  # type: ignore[operator]
    assert BearerToken.objects.filter(key__startswith="apns:").count() == 1
    # It stops nothing.
    assert not Incident.objects.exists() and fresh(apple).blocked_at is None
    states = services.credential_states(shop.id)
    assert [(one.provider, one.state) for one in states] == [
        ("apns", "refused"),
        ("fcm", "refused"),
        ("webpush", "ok"),
    ]
    assert states[0].reason == "invalid_provider_token" and "revoked" in states[0].words
    assert states[0].todo and states[0].since == fresh(apple).check_since

    # Still so: since when does not move. Replaced: unknown, and due at once.
    since = fresh(apple).check_since
    checks.ask_again(Credential.objects.all())
    checks.run()
    assert fresh(apple).check_since == since
    replaced = services.store_credential(
        shop.application, provider="apns", public=apple.public, secret=apple.secret, credential=apple
    )
    assert (replaced.check_result, replaced.checked_at) == ("", None)
    pointed.set_faults("apns")
    assert checks.run() == 1
    assert fresh(apple).check_result == "ok"

    # The provider is down: that is not the key.
    pointed.set_faults("apns", outages=[{"seconds": 60}])
    checks.ask_again(Credential.objects.filter(pk=apple.pk))
    checks.run()
    (state,) = [one for one in services.credential_states(shop.id) if one.provider == "apns"]
    assert state.state == "unknown" and state.words.startswith("The check could not run")
    assert pointed.apns.removeprefix("https://") in state.words


@pytest.mark.django_db(transaction=True)
def test_a_check_holds_no_transaction_and_is_bounded(
    shop: Tenant, pointed: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = store(shop, "apns", pointed)
    held: list[Any] = []

    class Silent:
        async def check(self) -> Check:
            held.append(connection.in_atomic_block)
            await asyncio.sleep(60)
            raise AssertionError

        async def close(self) -> None:
            held.append("closed")

    monkeypatch.setattr(checks, "SECONDS", 0.2)
    monkeypatch.setattr(type(build.providers()["apns"]), "open", lambda *_: Silent())
    checks.run()
    assert held == [False, "closed"]
    assert fresh(credential).check_result == "unable"
    assert fresh(credential).check_detail.startswith("no_answer: no answer within")
    # Two who run at once: the second finds it taken.
    checks.ask_again(Credential.objects.all())
    assert [one.pk for one in checks._claim()] == [credential.pk]
    assert checks._claim() == []


@pytest.mark.django_db
def test_a_check_of_what_was_replaced_meanwhile_is_dropped(shop: Tenant) -> None:
    old = services.store_credential(shop.application, provider="memory", public={}, secret="")
    services.store_credential(
        shop.application, provider="memory", public={}, secret="", credential=fresh(old)
    )
    checks._record(old, Check(CheckResult.REFUSED, "forbidden"))
    assert fresh(old).check_result == ""
    checks._record(fresh(old), Check(CheckResult.OK))
    assert fresh(old).check_result == "ok"


@pytest.mark.django_db
def test_states_say_the_worst_first_and_why(
    shop: Tenant, rival: Tenant, django_assert_num_queries: Any
) -> None:
    def stored(provider: str, owner: Tenant = shop, **fields: Any) -> Credential:
        return Credential.objects.create(application=owner.application, provider=provider, **fields)

    now = timezone.now()
    well = stored("memory", check_result="ok", checked_at=now)
    stored("console", is_active=False)
    stored("apns", rival, blocked_at=now)
    partly = stored(
        "apns", check_result="ok", check_detail="sandbox: bad_environment_key_in_token", checked_at=now
    )
    waits = stored("fcm", check_result="ok", checked_at=now)
    refused = stored(
        "webpush", blocked_at=now, blocked_reason="bad_jwt_token: BadJwtToken", check_result="ok"
    )
    incident = Incident.objects.create(application=shop.application, provider="fcm", cause="circuit")
    with django_assert_num_queries(2):
        states = credential_states.of_application(shop.id)
    assert [(one.credential_id, one.state) for one in states] == [
        (refused.pk, "refused"),
        (waits.pk, "trouble"),
        (well.pk, "ok"),
        (partly.pk, "ok"),
    ]
    assert (states[0].reason, states[0].since) == ("bad_jwt_token", now)
    assert states[1].incident_id == incident.pk and "does not take messages" in states[1].words
    assert states[2].words == "The memory provider accepts it."
    assert states[3].words == (
        "Apple accepts it. Not everywhere, though: sandbox: Key of the other environment."
    )
    assert states[3].reason == "bad_environment_key_in_token"


def test_the_clock_asks() -> None:
    assert project.CELERY_BEAT_SCHEDULE["credentials"]["task"] == tasks.check_credentials.name
