"""Each fault does what its plan says, and the arrivals tell what was accepted regardless."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError

from simulator import devices, faults
from simulator.client import Simulation, SimulationError
from tests.simulator.senders import ApnsSender, FcmSender, WebSender, http2_client


async def test_a_dead_token_is_dead_at_every_send(simulation: Simulation, apns: ApnsSender) -> None:
    simulation.set_faults("apns", dead_share=0.3)
    tokens = [devices.apns_token(index) for index in range(100)]
    dead = {token for token in tokens if faults.is_dead(token, 0.3)}
    assert 15 < len(dead) < 45
    for _ in range(2):
        replies = await asyncio.gather(*map(apns, tokens))
        gone = {token for token, reply in zip(tokens, replies, strict=True) if reply.status == 410}
        assert gone == dead
    counts = simulation.arrivals("apns")
    assert (counts["accepted_devices"], counts["faulted_devices"]) == (100 - len(dead), len(dead))


async def test_a_dead_token_is_named_in_the_vendors_words(
    simulation: Simulation, apns: ApnsSender, fcm: FcmSender, web: WebSender
) -> None:
    for provider in ("apns", "fcm", "webpush"):
        simulation.set_faults(provider, dead_share=1.0)
    reply = await apns()
    assert (reply.status, reply.json["reason"]) == (410, "Unregistered")
    assert abs(reply.json["timestamp"] / 1000 - time.time()) < 60
    reply = await fcm()
    assert (reply.status, reply.json["error"]["status"]) == (404, "NOT_FOUND")
    assert reply.json["error"]["details"] == [
        {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"}
    ]
    assert (await web()).status == 410


async def test_when_a_token_died_may_be_set(simulation: Simulation, apns: ApnsSender) -> None:
    simulation.set_faults("apns", dead_share=1.0, dead_since=1_700_000_000)
    assert (await apns()).json["timestamp"] == 1_700_000_000_000


async def test_single_tokens_may_be_declared(simulation: Simulation, fcm: FcmSender) -> None:
    mismatch = {"status": 403, "code": "SENDER_ID_MISMATCH"}
    plan = {devices.fcm_token(1): mismatch, devices.fcm_token(2): "alive"}
    simulation.set_faults("fcm", dead_share=1.0, tokens=plan)
    statuses = [(await fcm(fcm.message(index))).status for index in (1, 2, 3)]
    assert statuses == [403, 200, 404]


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (401, "THIRD_PARTY_AUTH_ERROR", "UNAUTHENTICATED"),
        (403, "SENDER_ID_MISMATCH", "PERMISSION_DENIED"),
        (429, "QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL", "INTERNAL"),
        (503, "UNAVAILABLE", "UNAVAILABLE"),
    ],
)
async def test_fcm_errors_carry_an_error_code(
    simulation: Simulation, fcm: FcmSender, status: int, code: str, error: str
) -> None:
    simulation.set_faults("fcm", errors=[{"share": 1, "status": status, "code": code, "retry_after": 7}])
    reply = await fcm()
    answer = reply.json["error"]
    assert (reply.status, answer["code"], answer["status"]) == (status, status, error)
    assert answer["details"][0]["errorCode"] == code
    assert reply.headers["retry-after"] == "7"


async def test_fcm_errors_of_the_front_end_carry_none(simulation: Simulation, fcm: FcmSender) -> None:
    simulation.set_faults("fcm", errors=[{"share": 1, "status": 403, "code": "SERVICE_DISABLED"}])
    error = (await fcm()).json["error"]
    assert error["status"] == "PERMISSION_DENIED"
    assert "errorCode" not in error["details"][0]


async def test_errors_come_in_their_shares(simulation: Simulation, apns: ApnsSender) -> None:
    errors = [{"share": 0.2, "status": 429}, {"share": 0.3, "status": 503, "code": "Shutdown"}]
    simulation.set_faults("apns", errors=errors, seed=7)
    replies = await asyncio.gather(*(apns(devices.apns_token(index)) for index in range(300)))
    reasons = [reply.json["reason"] if reply.body else "" for reply in replies]
    assert 40 < reasons.count("TooManyRequests") < 80
    assert 60 < reasons.count("Shutdown") < 120
    assert simulation.stats()["apns"]["answers"]["503 Shutdown"] == reasons.count("Shutdown")


async def test_web_push_throttles_in_its_own_way(simulation: Simulation, web: WebSender) -> None:
    simulation.set_faults("webpush", errors=[{"share": 1, "status": 406, "retry_after": "3"}])
    reply = await web()
    assert (reply.status, reply.headers["retry-after"]) == (406, "3")


@pytest.mark.parametrize("latency", [0.2, {"median": 0.2, "p99": 0.2}])
async def test_answers_take_their_time(simulation: Simulation, apns: ApnsSender, latency: Any) -> None:
    simulation.set_faults("apns", latency=latency)
    started = time.monotonic()
    await asyncio.gather(*(apns() for _ in range(20)))
    assert 0.2 <= time.monotonic() - started < 3  # one after the other: 4 s


async def test_a_stalled_stream_is_never_answered_and_not_accepted(
    simulation: Simulation, apns: ApnsSender
) -> None:
    simulation.set_faults("apns", stall_share=1.0)
    async with http2_client(simulation).timeout(timedelta(seconds=0.3)).build() as impatient:
        with pytest.raises(RequestTimeoutError):
            await ApnsSender(simulation, impatient)()
        simulation.set_faults("apns")
        assert (await ApnsSender(simulation, impatient)()).status == 200  # the connection lives on
    assert simulation.arrivals("apns")["accepted"] == 1


@pytest.mark.parametrize("share", ["reset_share", "reset_stream_share"])
async def test_a_reset_accepts_nothing(simulation: Simulation, apns: ApnsSender, share: str) -> None:
    simulation.set_faults("apns", **{share: 1.0})
    with pytest.raises(PyreqwestError):
        await apns()
    assert simulation.arrivals("apns")["accepted"] == 0
    simulation.set_faults("apns")
    assert (await apns()).status == 200


async def test_a_lost_answer_was_accepted(simulation: Simulation, apns: ApnsSender) -> None:
    simulation.set_faults("apns", lost_answer_share=1.0)
    with pytest.raises(PyreqwestError):
        await apns()
    assert simulation.arrivals("apns", token=devices.apns_token(1)) == {"accepted": 1, "faulted": 0}


async def test_an_outage_begins_and_ends(simulation: Simulation, fcm: FcmSender) -> None:
    outage = {"start": 0.3, "seconds": 0.5, "status": 503, "retry_after": 1}
    simulation.set_faults("fcm", outages=[outage])
    assert (await fcm()).status == 200
    await asyncio.sleep(0.4)
    reply = await fcm()
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    await asyncio.sleep(0.6)
    assert (await fcm()).status == 200


async def test_a_revoked_credential_is_refused(
    simulation: Simulation, apns: ApnsSender, fcm: FcmSender, web: WebSender
) -> None:
    simulation.set_faults("apns", revoked=[apns.credential["key_id"]])
    simulation.set_faults("fcm", revoked=True)
    simulation.set_faults("webpush", revoked=[web.public_key])
    assert (await apns()).json == {"reason": "InvalidProviderToken"}
    assert (await fcm()).status == 401
    assert (await web()).json["reason"] == "BadJwtToken"
    simulation.set_faults("apns", revoked=["ANOTHERKEY"])
    assert (await apns()).status == 200


async def test_goaway_loses_nothing(simulation: Simulation, apns: ApnsSender) -> None:
    """What came above the last stream is sent again by the client, and nothing below it twice."""
    simulation.set_faults("apns", goaway_every=50)
    slots = asyncio.Semaphore(16)

    async def send(index: int) -> int:
        async with slots:
            return (await apns(devices.apns_token(index))).status

    assert await asyncio.gather(*map(send, range(500))) == [200] * 500
    summary = simulation.arrivals("apns")
    assert (summary["accepted"], summary["duplicate_devices"]) == (500, 0)


async def test_faults_of_one_provider_leave_the_others_alone(
    simulation: Simulation, apns: ApnsSender, fcm: FcmSender, web: WebSender
) -> None:
    simulation.set_faults("apns", errors=[{"share": 1, "status": 500}])
    statuses = (await apns()).status, (await fcm()).status, (await web()).status
    assert statuses == (500, 200, 201)


async def test_an_empty_plan_ends_every_fault(simulation: Simulation, apns: ApnsSender) -> None:
    simulation.set_faults("apns", errors=[{"share": 1, "status": 500}], dead_share=1.0)
    simulation.set_faults("apns")
    assert (await apns()).status == 200


@pytest.mark.parametrize("plan", [{"deadshare": 1}, {"errors": [{"share": 1}]}, {"latency": "slow"}])
def test_a_plan_with_a_mistake_is_refused(simulation: Simulation, plan: dict[str, Any]) -> None:
    with pytest.raises(SimulationError):
        simulation.set_faults("apns", **plan)
