"""The connection itself, with h2 as an independent client, and HTTP/1.1 for those that want it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from simulator import devices
from simulator.client import Simulation
from tests.simulator.senders import ApnsSender

BODY = b'{"aps":{"alert":"hello"}}'


class Wire:
    """One TLS connection driven frame by frame."""

    def __init__(self, simulation: Simulation) -> None:
        url = urlsplit(simulation.apns)
        context = ssl.create_default_context(cafile=simulation.ca_file)
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection((url.hostname, url.port), timeout=5)
        self.socket = context.wrap_socket(plain, server_hostname=url.hostname)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.authority = url.netloc
        self.events: list[Any] = []

    def start(self, **settings: int) -> None:
        self.h2.initiate_connection()
        if settings:
            names = h2.settings.SettingCodes
            self.h2.update_settings({names[name.upper()]: value for name, value in settings.items()})
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def open(self, headers: list[tuple[str, str]], body: bytes = BODY, **more: Any) -> int:
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", self.authority)]
        path = more.pop("path", f"/3/device/{devices.apns_token(stream)}")
        self.h2.send_headers(stream, [*pseudo, (":path", path), *headers], end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True, pad_length=more.pop("pad_length", None))
        return stream

    def read(self, until: type) -> list[Any]:
        """Every event up to the first of a type, or to the end of the connection."""
        while not any(isinstance(event, until) for event in self.events):
            data = self.socket.recv(65_536)
            if not data:
                break
            self.events += self.h2.receive_data(data)
        found, self.events = self.events, []
        return found


@pytest.fixture
def wire(simulation: Simulation) -> Iterator[Wire]:
    wire = Wire(simulation)
    with wire.socket:
        yield wire


@pytest.fixture
def headers(apns: ApnsSender) -> list[tuple[str, str]]:
    return [
        ("authorization", apns.authorization),
        ("apns-topic", apns.bundle),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
    ]


def of(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def statuses(events: list[Any]) -> dict[int, str]:
    return {e.stream_id: dict(e.headers)[":status"] for e in of(events, h2.events.ResponseReceived)}


def test_settings_and_ping_are_answered(wire: Wire) -> None:
    wire.start()
    wire.h2.ping(b"12345678")
    wire.flush()
    events = wire.read(h2.events.PingAckReceived)
    settings = of(events, h2.events.RemoteSettingsChanged)[0].changed_settings
    assert settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS].new_value == 1000


def test_padding_priorities_and_continuations_are_understood(
    wire: Wire, headers: list[tuple[str, str]]
) -> None:
    wire.start()
    wire.h2.prioritize(1, weight=7)
    stream = wire.open([*headers, ("x-long", "y" * 20_000)], pad_length=100)  # more than one frame of headers
    wire.flush()
    assert statuses(wire.read(h2.events.StreamEnded)) == {stream: "200"}


def test_a_body_in_pieces_is_put_together(wire: Wire, headers: list[tuple[str, str]]) -> None:
    wire.start()
    stream = wire.open(headers, b"")  # ends at once: an empty payload
    wire.flush()
    assert statuses(wire.read(h2.events.StreamEnded)) == {stream: "400"}
    stream = wire.h2.get_next_available_stream_id()
    pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/3/device/abcd")]
    wire.h2.send_headers(stream, [*pseudo, *headers])
    for byte in range(len(BODY)):
        wire.h2.send_data(stream, BODY[byte : byte + 1])
        wire.flush()
    wire.h2.end_stream(stream)
    wire.flush()
    assert statuses(wire.read(h2.events.StreamEnded)) == {stream: "200"}


def test_a_header_sent_twice_is_refused(wire: Wire, headers: list[tuple[str, str]]) -> None:
    wire.start()
    wire.open([*headers, ("apns-topic", "com.example.other")])
    wire.flush()
    events = wire.read(h2.events.StreamEnded)
    assert json.loads(of(events, h2.events.DataReceived)[0].data) == {"reason": "DuplicateHeaders"}


def test_bodies_wait_for_the_clients_window(wire: Wire, headers: list[tuple[str, str]]) -> None:
    wire.start(initial_window_size=0)
    stream = wire.open([*headers, ("apns-id", "bad")])
    wire.flush()
    assert statuses(wire.read(h2.events.ResponseReceived)) == {stream: "400"}
    wire.h2.increment_flow_control_window(1000, stream)
    wire.flush()
    events = wire.read(h2.events.StreamEnded)
    assert json.loads(of(events, h2.events.DataReceived)[0].data) == {"reason": "BadMessageId"}


def test_a_client_that_never_acknowledges_runs_dry(wire: Wire, headers: list[tuple[str, str]]) -> None:
    """65 535 bytes of error bodies fill a connection, as they do at APNs."""
    wire.start()
    answered = 0
    for _ in range(30):
        for _ in range(100):
            wire.open([*headers, ("apns-id", "bad")])
        wire.flush()
        wire.h2.ping(b"x" * 8)
        wire.flush()
        answered += len(of(wire.read(h2.events.PingAckReceived), h2.events.StreamEnded))
        if answered % 100:
            break
    assert answered == 65_535 // len(b'{"reason":"BadMessageId"}')


def test_goaway_names_the_last_stream_and_later_ones_are_not_processed(
    simulation: Simulation, wire: Wire, headers: list[tuple[str, str]]
) -> None:
    simulation.set_faults("apns", goaway_every=3)
    wire.start()
    streams = [wire.open(headers) for _ in range(5)]
    wire.flush()
    events = wire.read(type(None))  # to the end of the connection
    (goaway,) = of(events, h2.events.ConnectionTerminated)
    assert (goaway.last_stream_id, goaway.error_code) == (streams[2], 0)
    assert json.loads(goaway.additional_data) == {"reason": "Shutdown"}
    assert list(statuses(events)) == streams[:3]
    assert simulation.arrivals("apns")["accepted"] == 3


@pytest.mark.parametrize(("share", "code"), [("reset_stream_share", 2), ("refuse_share", 7)])
def test_a_stream_is_reset_with_its_code(
    simulation: Simulation, wire: Wire, headers: list[tuple[str, str]], share: str, code: int
) -> None:
    simulation.set_faults("apns", **{share: 1.0})
    wire.start()
    wire.open(headers)
    wire.flush()
    assert of(wire.read(h2.events.StreamReset), h2.events.StreamReset)[0].error_code == code


def test_a_new_connection_may_be_held_to_one_stream(
    simulation: Simulation, headers: list[tuple[str, str]]
) -> None:
    simulation.set_faults("apns", single_stream_first=True)
    strict = Wire(simulation)
    with strict.socket:
        strict.start()
        strict.h2.ping(b"x" * 8)
        strict.flush()
        strict.read(h2.events.PingAckReceived)
        assert strict.h2.remote_settings.max_concurrent_streams == 1
        strict.open(headers)
        strict.flush()
        strict.read(h2.events.StreamEnded)
        assert strict.h2.remote_settings.max_concurrent_streams == 1000


def test_a_cut_connection_is_a_tcp_reset(
    simulation: Simulation, wire: Wire, headers: list[tuple[str, str]]
) -> None:
    simulation.set_faults("apns", reset_share=1.0)
    wire.start()
    wire.open(headers)
    wire.flush()
    # TLS would report a mere end of file.
    with socket.socket(fileno=os.dup(wire.socket.fileno())) as plain, pytest.raises(ConnectionResetError):
        drain(plain)


def drain(plain: socket.socket) -> None:
    plain.settimeout(5)
    while plain.recv(65_536):
        pass


def test_a_late_answer_to_a_stream_given_up_is_not_sent(
    simulation: Simulation, wire: Wire, headers: list[tuple[str, str]]
) -> None:
    simulation.set_faults("apns", latency=0.2)
    wire.start()
    wire.h2.reset_stream(wire.open(headers))
    other = wire.open(headers)
    wire.flush()
    assert list(statuses(wire.read(h2.events.StreamEnded))) == [other]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\x00\x05\x01\x04\x00\x00\x00\x02" + b"\x82" * 5,  # even stream
        b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\xff",  # HPACK cut short
        b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x82",  # CONTINUATION of nothing
        b"\x00\xff\xff\x00\x00\x00\x00\x00\x01",  # longer than SETTINGS_MAX_FRAME_SIZE
    ],
)
def test_broken_frames_end_the_connection_alone(simulation: Simulation, wire: Wire, frame: bytes) -> None:
    wire.start()
    wire.socket.sendall(frame)
    (goaway,) = of(wire.read(type(None)), h2.events.ConnectionTerminated)
    assert goaway.error_code != 0
    assert simulation.stats()["apns"]["received"] == 0


def test_http_1_1_is_served_too(simulation: Simulation, headers: list[tuple[str, str]]) -> None:
    url = urlsplit(simulation.apns)
    context = ssl.create_default_context(cafile=simulation.ca_file)
    connection = http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=5)
    path = f"/3/device/{devices.apns_token(1)}"
    for body, chunked in ((BODY, False), (iter([BODY[:5], BODY[5:]]), True), (BODY, False)):
        more = {"transfer-encoding": "chunked"} if chunked else {}
        connection.request("POST", path, body, {**dict(headers), **more}, encode_chunked=chunked)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
    connection.request("GET", "/nowhere")
    assert connection.getresponse().status == 404
    connection.close()
