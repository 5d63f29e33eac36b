"""What every provider promises the pipeline, whatever the platform."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, is_dataclass, replace

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from notifications.providers import aes128gcm, registry, webpush
from notifications.providers.base import (
    Backoff,
    Credential,
    Outcome,
    PayloadTooLarge,
    Provider,
    Result,
    Target,
    Verdict,
)

from .conftest import APNS_TOKEN, NOTIFICATION, message, pem
from .wire import Reply

NAMES = ("apns", "console", "fcm", "memory", "webpush")
LIMITS = {"apns": 4096, "fcm": 4096, "webpush": 3993, "memory": 4096, "console": 4096}


@pytest.fixture
def providers(endpoints):
    return registry.load(endpoints)


@pytest.fixture(params=NAMES)
def provider(request, providers) -> Provider:
    return providers[request.param]


@pytest.fixture
def credential(provider, apns_credential, fcm_credential) -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    public = {"subject": "mailto:push@example.com", "public_key": webpush.public_key(key)}
    return {
        "apns": apns_credential,
        "fcm": fcm_credential,
        "webpush": Credential(3, "webpush", public, pem(key)),
    }.get(provider.name, Credential(4, provider.name, {}, ""))


@pytest.fixture
def targets(provider, service) -> list[Target]:
    if provider.name == "webpush":
        point = aes128gcm.unb64(webpush.public_key(ec.generate_private_key(ec.SECP256R1())), "p256dh")
        keys = {"p256dh": aes128gcm.b64(point), "auth": aes128gcm.b64(os.urandom(16))}
        return [Target(number, f"{service.url}/wp/{number}", **keys) for number in (11, 12)]
    return [Target(number, f"{number:02x}" + APNS_TOKEN, environment="production") for number in (11, 12)]


@pytest.fixture
async def session(provider, credential, tokens, service):
    service.answer = lambda request: (
        Reply(200, b'{"access_token":"ya29","expires_in":3599}')
        if request.path == "/token"
        else Reply(201 if request.path.startswith("/wp/") else 200)
    )
    session = provider.open(credential, tokens)
    yield session
    await session.close()


def test_the_registry_names_them_all(providers):
    assert tuple(sorted(providers)) == NAMES
    assert all(name == provider.name for name, provider in providers.items())


def test_it_says_what_the_pipeline_asks(provider):
    assert provider.platforms <= {"ios", "macos", "android", "web"}
    assert provider.limit == LIMITS[provider.name]
    assert isinstance(provider.BACKOFF, Backoff)
    assert provider.BACKOFF.attempts >= 2
    assert provider.BACKOFF.ceiling(1) == provider.BACKOFF.base
    assert provider.BACKOFF.ceiling(500) == provider.BACKOFF.cap
    assert issubclass(provider.Options, msgspec.Struct)
    assert provider.Options.__struct_config__.forbid_unknown_fields


def test_its_table_is_made_of_verdicts(provider):
    for (status, code), verdict in provider.OUTCOMES.items():
        assert isinstance(verdict, Verdict)
        assert 200 <= status < 600
        assert isinstance(code, str)
        assert verdict.reason == verdict.reason.lower().replace("-", "_").replace(" ", "_")
        assert bool(verdict.reason) != (verdict.outcome is Outcome.ACCEPTED)
        assert (verdict.retry_after is not None) == (verdict.outcome is Outcome.RETRY)


def test_no_code_that_is_about_us_costs_a_device(provider):
    costly = {row for row, verdict in provider.OUTCOMES.items() if verdict.outcome is Outcome.UNREGISTERED}
    assert not {status for status, _ in costly} - {400, 403, 404, 410}
    assert (401, "") not in costly


async def test_two_devices_each_get_their_result(provider, session, targets):
    rendered = provider.render(message(data={"order": "12"}))
    results = await asyncio.gather(*[session.send(rendered, target) for target in targets])
    assert all(isinstance(result, Result) for result in results)
    assert [(result.device_id, result.outcome) for result in results] == [
        (11, Outcome.ACCEPTED),
        (12, Outcome.ACCEPTED),
    ]


async def test_nothing_it_is_given_is_changed(provider, session, targets, credential):
    data, overrides, actions = {"order": "12"}, {}, ({"id": "open", "title": "Open"},)
    given = message(data=data, overrides=overrides, actions=actions)
    before, public = repr(given), dict(credential.public)
    first = provider.render(given)
    pieces = repr(first)
    for target in targets:
        await session.send(first, target)
    assert (repr(given), repr(first), credential.public) == (before, pieces, public)
    assert provider.render(given) == first, "render is pure"


def test_what_is_rendered_cannot_be_changed(provider):
    rendered = provider.render(message())
    assert is_dataclass(rendered)
    with pytest.raises(FrozenInstanceError):
        rendered.size = 0


def test_a_message_too_large_is_refused_with_the_bytes(provider):
    with pytest.raises(PayloadTooLarge) as error:
        provider.render(message(body="x" * 5000))
    assert (error.value.provider, error.value.limit) in {(provider.name, provider.limit), ("memory", 4096)}
    assert error.value.size > 5000


def test_the_limit_counts_bytes_not_characters(provider):
    provider.render(message(body="x" * 3000))
    with pytest.raises(PayloadTooLarge):
        provider.render(message(body="é" * 3000))


def test_an_unknown_option_is_named(provider):
    if provider.name in ("memory", "console"):
        pytest.skip("takes no overrides")
    with pytest.raises(ValueError, match="colour_of_money"):
        provider.render(message(overrides={"colour_of_money": 1}))


def test_the_notification_id_travels(provider):
    assert NOTIFICATION in repr(provider.render(message()))


async def test_it_may_be_closed_twice_and_before_use(provider, credential, tokens):
    session = provider.open(credential, tokens)
    await session.close()
    await session.close()


async def test_a_warm_up_changes_nothing_seen(provider, session, targets):
    await session.warm_up()
    result = await session.send(provider.render(message()), targets[0])
    assert result.outcome is Outcome.ACCEPTED


async def test_a_strange_device_is_a_result_not_an_exception(provider, session, targets):
    rendered = provider.render(message())
    for token in ("", "x" * 10_000, "\x00", "https://", "../..", "é", "\ud800"):
        result = await session.send(rendered, replace(targets[0], token=token))
        assert result.device_id == 11
        assert result.outcome in Outcome


async def test_logs_hold_neither_token_nor_text(provider, session, targets, caplog):
    caplog.set_level(0)
    await session.send(provider.render(message(title="Sesame", body="open")), targets[0])
    # hpack is the push service's, in this same process.
    text = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("hpack"))
    assert targets[0].token not in text
    assert "Sesame" not in text


def test_providers_know_neither_django_nor_the_database():
    script = (
        "import sys; from notifications.providers import registry; registry.load(registry.Endpoints());"
        "print(sorted({'django', 'psycopg', 'redis', 'celery'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
