"""Arrivals are counted by device, receipts kept in bounds, statistics told."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from simulator import devices
from simulator.arrivals import Book, Counts
from simulator.client import Simulation, SimulationError
from simulator.receipts import Receipts, notification_id
from tests.simulator.senders import ApnsSender, FcmSender, WebSender


async def test_duplicates_are_listed_by_device(simulation: Simulation, apns: ApnsSender) -> None:
    for index in (1, 2, 2, 5):
        await apns(devices.apns_token(index))
    await apns("ab" * 32)
    await apns("ab" * 32)
    summary = simulation.arrivals("apns")
    assert (summary["accepted"], summary["accepted_devices"]) == (6, 4)
    assert summary["duplicates"] == {devices.apns_token(2): 2, "ab" * 32: 2}
    assert simulation.arrivals("apns", missing="0-6")["missing"] == [0, 3, 4]
    assert simulation.arrivals("apns", token=devices.apns_token(2)) == {"accepted": 2, "faulted": 0}
    assert simulation.counts("apns")[:6] == bytes([0, 1, 2, 0, 0, 1])


async def test_a_refused_request_is_no_arrival(simulation: Simulation, apns: ApnsSender) -> None:
    await apns(headers={"apns-priority": "7"})
    await apns(devices.apns_token(1, devices.SANDBOX))
    assert simulation.arrivals("apns")["accepted"] == 0
    assert simulation.stats()["apns"]["answers"] == {"400 BadPriority": 1, "400 BadDeviceToken": 1}


async def test_environments_are_counted_apart(simulation: Simulation, apns: ApnsSender) -> None:
    await apns(devices.apns_token(1))
    await apns(devices.apns_token(1, devices.SANDBOX), sandbox=True)
    totals = simulation.arrivals()
    assert (totals["apns"]["accepted"], totals["apns_sandbox"]["accepted"]) == (1, 1)


async def test_a_token_and_its_fid_are_one_device(simulation: Simulation, fcm: FcmSender) -> None:
    await fcm({"token": devices.fcm_token(7)})
    await fcm({"fid": devices.fcm_fid(7)})
    assert simulation.arrivals("fcm")["duplicates"] == {devices.fcm_token(7): 2}


async def test_notifications_are_counted(
    simulation: Simulation, apns: ApnsSender, fcm: FcmSender, web: WebSender
) -> None:
    await apns(body=b'{"aps":{},"carillon":{"id":"a","url":"https://example.com"}}')
    await fcm(fcm.message(data={"carillon": '{"id":"a"}'}))
    await web(text=b'{"notification":{"title":"t","data":{"carillon":{"id":"a"}}}}')
    for book in ("apns", "fcm", "webpush"):
        assert simulation.arrivals(book, notification="a") == {"accepted": 1}


async def test_receipts_tell_when_a_notification_first_came(simulation: Simulation, apns: ApnsSender) -> None:
    before = time.time_ns()
    await apns()
    await apns()
    (receipt,) = simulation.receipts("n1")
    assert before < receipt["at"] < time.time_ns()
    assert (receipt["provider"], receipt["device"]) == ("apns", devices.apns_token(1))
    assert simulation.receipts(since=receipt["at"]) == []


async def test_watched_notifications_are_kept_whatever_their_priority(
    simulation: Simulation, apns: ApnsSender
) -> None:
    simulation.watch(["w"], high_priority=False, limit=2)
    for index in range(4):
        body = b'{"aps":{},"carillon":"w"}'
        await apns(devices.apns_token(index), {"apns-priority": "5"}, body=body)
    assert len(simulation.receipts("w")) == 2


async def test_counting_can_be_switched_off(simulation: Simulation, apns: ApnsSender) -> None:
    simulation.set(count_arrivals=False)
    assert (await apns()).status == 200
    assert simulation.arrivals("apns")["accepted"] == 0
    assert simulation.stats()["apns"]["accepted"] == 1


async def test_reset_forgets_what_came_and_keeps_credentials(
    simulation: Simulation, apns: ApnsSender
) -> None:
    simulation.set_faults("apns", dead_share=1.0)
    await apns()
    simulation.reset()
    assert simulation.stats()["apns"]["received"] == 0
    assert (await apns()).status == 200


@pytest.mark.parametrize("path", ["nothing", "arrivals/none", "faults/none"])
def test_unknown_control_paths_are_refused(simulation: Simulation, path: str) -> None:
    with pytest.raises(SimulationError):
        simulation._call("GET", path)


def test_two_million_devices_fit_in_little_memory() -> None:
    tracemalloc.start()
    counts = Counts()
    for index in range(0, 2_000_000, 7):
        counts.add(index, "")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 8_000_000
    assert counts.devices() == counts.total == len(range(0, 2_000_000, 7))


def test_counts_saturate() -> None:
    counts = Counts()
    for _ in range(300):
        counts.add(4, "")
    assert (counts.total, counts.get(4, "")) == (300, 255)


def test_a_book_forgets_the_oldest_notification() -> None:
    book = Book(devices.fcm_token, devices.fcm_index)
    for number in range(10_001):
        book.accept(1, "", f"n{number}")
    assert "n0" not in book.by_notification
    assert len(book.by_notification) == 10_000


def test_receipts_are_bounded() -> None:
    receipts = Receipts()
    receipts.watch([], True, 10)
    for number in range(10_000):
        receipts.add("apns", str(number), "n", number % 2 == 0)
    assert (len(receipts.kept), receipts.dropped) == (10, 4_990)
    assert len(list(receipts.find())) == 10 + 5_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "a"),
        ('{"id":"a"}', "a"),
        ({"id": "a"}, "a"),
        ({"notification_id": "a", "url": "x"}, "a"),
        ({"id": 3}, ""),
        ("{broken", "{broken"),
        (None, ""),
        (7, ""),
    ],
)
def test_a_notifications_id_is_found_in_several_shapes(value: object, expected: str) -> None:
    assert notification_id(value) == expected
