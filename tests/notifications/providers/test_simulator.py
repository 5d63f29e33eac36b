"""All three platforms against the strict simulator: it refuses what Apple, Google and browsers would."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from notifications.providers import registry
from notifications.providers.base import Credential, Endpoints, Outcome, Target

from .conftest import Tokens, message

client = pytest.importorskip("simulator.client")
devices = pytest.importorskip("simulator.devices")

MANY = 400


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    with client.Simulation.start(
        tmp_path_factory.mktemp("simulator"), "--apns-token-updates", "50"
    ) as simulation:
        yield simulation


@pytest.fixture
def providers(simulation):
    simulation.reset()
    for provider in ("apns", "fcm", "webpush"):
        simulation.set_faults(provider)
    return registry.load(
        Endpoints(
            apns_url=simulation.apns,
            apns_sandbox_url=simulation.apns_sandbox,
            fcm_url=simulation.fcm,
            ca_file=simulation.ca_file,
            webpush_allowed_hosts=(simulation.webpush.removeprefix("https://"),),
            timeout=5.0,
        )
    )


def credential(name, providers, simulation) -> Credential:
    if name == "webpush":
        public, secret = providers[name].check_credential({"subject": "mailto:push@example.com"}, "")
        return Credential(3, name, public, secret)
    known = dict(simulation.credentials[name])
    secret = Path(known.pop("secret_file")).read_text()
    public, secret = providers[name].check_credential(known, secret)
    return Credential(1, name, public, secret)


def targets(name, simulation, public_key="") -> list[Target]:
    if name == "apns":
        return [Target(index, devices.apns_token(index), "production") for index in range(MANY)]
    if name == "fcm":
        return [Target(index, devices.fcm_token(index)) for index in range(MANY)]
    flavours = (devices.STANDARD, devices.APPLE)
    subscriptions = [
        devices.web_subscription(index, simulation.webpush, flavours[index % 2], public_key)
        for index in range(MANY)
    ]
    return [
        Target(index, one.endpoint, p256dh=one.p256dh, auth=one.auth)
        for index, one in enumerate(subscriptions)
    ]


@pytest.fixture(params=["apns", "fcm", "webpush"])
async def run(request, providers, simulation):
    name = request.param
    given = credential(name, providers, simulation)
    session = providers[name].open(given, Tokens())

    async def send(**changes):
        rendered = providers[name].render(message(**changes))
        everyone = targets(name, simulation, given.public.get("public_key", ""))
        return await asyncio.gather(*[session.send(rendered, target) for target in everyone])

    send.name = name
    yield send
    await session.close()


async def test_every_message_is_accepted_once(run, simulation):
    results = await run(
        data={"order": "12"}, url="https://example.com", collapse_key="odd key, with spaces", priority="high"
    )
    assert Counter(result.outcome for result in results) == {Outcome.ACCEPTED: MANY}
    assert {result.device_id for result in results} == set(range(MANY))
    assert simulation.stats()[run.name]["accepted"] == MANY
    assert all(result.provider_id for result in results)


async def test_dead_tokens_retire_their_devices(run, simulation):
    simulation.set_faults(run.name, dead_share=0.2)
    results = await run()
    outcomes = Counter(result.outcome for result in results)
    assert set(outcomes) == {Outcome.ACCEPTED, Outcome.UNREGISTERED}
    assert 0.1 * MANY < outcomes[Outcome.UNREGISTERED] < 0.3 * MANY


@pytest.mark.parametrize("share", ["reset_share", "reset_stream_share", "refuse_share", "lost_answer_share"])
async def test_trouble_on_the_wire_is_told_as_what_it_was(run, simulation, share):
    simulation.set_faults(run.name, **{share: 0.1})
    results = await run()
    outcomes = Counter(result.outcome for result in results)
    assert set(outcomes) <= {Outcome.ACCEPTED, Outcome.RETRY, Outcome.UNCERTAIN}
    told, accepted = outcomes[Outcome.ACCEPTED], simulation.stats()[run.name]["accepted"]
    assert told <= accepted <= told + outcomes[Outcome.UNCERTAIN], "what is to be retried was not accepted"


async def test_goaways_lose_nothing(run, simulation):
    simulation.set_faults(run.name, goaway_every=50)
    results = await run()
    outcomes = Counter(result.outcome for result in results)
    accepted = simulation.stats()[run.name]["accepted"]
    assert outcomes[Outcome.ACCEPTED] <= accepted <= outcomes[Outcome.ACCEPTED] + outcomes[Outcome.UNCERTAIN]
    assert outcomes[Outcome.ACCEPTED] >= 50, "the rest is to be tried again"
    assert set(outcomes) <= {Outcome.ACCEPTED, Outcome.RETRY, Outcome.UNCERTAIN}


async def test_a_stall_is_uncertain(providers, simulation):
    simulation.set_faults("apns", stall_share=1.0)
    apns = registry.load(Endpoints(apns_url=simulation.apns, ca_file=simulation.ca_file, timeout=0.5))["apns"]
    session = apns.open(credential("apns", providers, simulation), Tokens())
    result = await session.send(apns.render(message()), targets("apns", simulation)[0])
    assert result.outcome is Outcome.UNCERTAIN
    await session.close()


async def test_an_outage_is_retried_and_a_wait_obeyed(run, simulation):
    simulation.set_faults(run.name, errors=[{"status": 503, "share": 1.0, "retry_after": 33}])
    results = await run()
    assert {(result.outcome, result.retry_after) for result in results} == {(Outcome.RETRY, 33.0)}


async def test_a_revoked_credential_blocks_and_retires_nothing(run, simulation):
    simulation.set_faults(run.name, revoked=True)
    results = await run()
    assert {result.outcome for result in results} == {Outcome.BLOCKED}


async def test_an_unknown_environment_is_found(providers, simulation):
    session = providers["apns"].open(credential("apns", providers, simulation), Tokens())
    target = Target(1, devices.apns_token(1, devices.SANDBOX))
    result = await session.send(providers["apns"].render(message()), target)
    assert (result.outcome, result.environment) == (Outcome.ACCEPTED, "sandbox")
    await session.close()


@pytest.mark.parametrize(
    "push_type",
    [
        "alert",
        "background",
        "voip",
        "complication",
        "fileprovider",
        "location",
        "pushtotalk",
        "widgets",
        "controls",
    ],
)
async def test_every_push_type_passes(providers, simulation, push_type):
    session = providers["apns"].open(credential("apns", providers, simulation), Tokens())
    rendered = providers["apns"].render(message(overrides={"push_type": push_type}))
    result = await session.send(rendered, targets("apns", simulation)[0])
    assert (result.outcome, result.detail) == (Outcome.ACCEPTED, "")
    await session.close()


async def test_a_fid_is_an_address(providers, simulation):
    session = providers["fcm"].open(credential("fcm", providers, simulation), Tokens())
    target = Target(1, "", fid=devices.fcm_fid(1))
    result = await session.send(providers["fcm"].render(message()), target)
    assert result.outcome is Outcome.ACCEPTED
    await session.close()


async def test_another_projects_key_is_refused(providers, simulation, rsa_key):
    known = json.loads(credential("fcm", providers, simulation).secret)
    stranger = Credential(9, "fcm", {}, json.dumps({**known, "private_key": rsa_key}))
    session = providers["fcm"].open(stranger, Tokens())
    result = await session.send(providers["fcm"].render(message()), targets("fcm", simulation)[0])
    assert result.outcome is Outcome.BLOCKED
    await session.close()
