"""Our HTTP/2 connection against a scripted peer: what the RFC allows a server, and what it does not."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hpack import Encoder, NeverIndexedHeaderTuple

from notifications.providers import http2, http2_origin, transport
from notifications.providers.transport import NoAnswer, NotSent, Transport

from . import frames
from .frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Line,
    Peer,
    block,
    frame,
)

PREPARED = transport.headers({"authorization": "bearer abc", "apns-topic": "com.example.app"})
PATH = "/3/device/" + "ab" * 32
WINDOWS = {INITIAL_WINDOW_SIZE: (1 << 31) - 1}


@pytest.fixture
async def peer(certificates):
    peer = Peer()
    await peer.start(certificates)
    yield peer
    await peer.stop()


@pytest.fixture
async def client(certificates):
    client = Transport(ca_file=certificates.authority, timeout=1.0, streams=10, connections=2)
    yield client
    await client.close()


def post(client: Transport, peer: Peer, body: bytes = b"{}") -> asyncio.Task[transport.Answer]:
    async def one() -> transport.Answer:
        return await client.origin(peer.url).post(PATH, PREPARED, body, (("apns-id", "ef" * 18),))

    return asyncio.ensure_future(one())


async def opened(client: Transport, peer: Peer, values: dict[int, int] | None = None) -> Line:
    """A connection whose first request was answered."""
    first = post(client, peer)
    line = await peer.accept(values)
    line.answer((await line.asked()).stream)
    assert (await first).status == 200
    return line


async def failure(sent: asyncio.Task[transport.Answer]) -> Exception:
    (error,) = await asyncio.wait_for(asyncio.gather(sent, return_exceptions=True), 3)
    assert isinstance(error, NotSent | NoAnswer), error
    return error


class TestWhatWeSay:
    async def test_the_first_words(self, client, peer):
        sent = post(client, peer)
        line = await peer.accept()
        first, more, acknowledged = await line.read(), await line.read(), await line.read()
        assert dict(struct.iter_unpack(">HL", first.payload)) == {1: 0, 2: 0, 4: 1 << 20, 6: 65_536}
        assert (more.kind, 65_535 + int.from_bytes(more.payload, "big")) == (WINDOW_UPDATE, http2.WINDOW)
        assert (acknowledged.kind, acknowledged.flags) == (SETTINGS, ACK)
        line.answer((await line.asked()).stream)
        await sent

    async def test_the_headers_of_a_request(self, client, peer):
        sent = post(client, peer, b'{"aps":{}}')
        line = await peer.accept()
        asked = await line.asked()
        line.answer(asked.stream)
        await sent
        assert [tuple(pair) for pair in asked.headers] == [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", peer.url.removeprefix("https://")),
            (":path", PATH),
            ("apns-topic", "com.example.app"),
            ("user-agent", "carillon"),
            ("authorization", "bearer abc"),
            ("content-length", "10"),
            ("apns-id", "ef" * 18),
        ]
        assert asked.body == b'{"aps":{}}'
        secret = {pair[0] for pair in asked.headers if isinstance(pair, NeverIndexedHeaderTuple)}
        assert secret == {":path", "authorization", "apns-id"}

    async def test_the_peers_table_holds_what_requests_share_and_no_more(self, client, peer):
        line = await opened(client, peer)
        origin, connection = client.origin(peer.url), client.origin(peer.url)._current
        every = [
            {"authorization": f"bearer {n}", "apns-topic": f"com.example.{n % 3}", "apns-expiration": str(n)}
            for n in range(9)
        ]
        for values in every:
            sent = asyncio.ensure_future(origin.post(PATH, transport.headers(values), b"{}"))
            asked = await line.asked()
            assert values.items() <= {tuple(pair) for pair in asked.headers}
            line.answer(asked.stream)
            await sent
        table = line.decoder.header_table
        names = sorted(name for name, _ in table.dynamic_entries)
        assert names == [b":authority", *[b"apns-topic"] * 4, b"user-agent"]
        assert table._current_size == 4_096 - connection._table._room

    async def test_a_full_table_loses_nothing(self, client, peer):
        line = await opened(client, peer)
        origin = client.origin(peer.url)
        every = [{"apns-topic": f"com.example.{n % 60}.{'x' * 80}"} for n in range(150)]
        for values in every:
            sent = asyncio.ensure_future(origin.post(PATH, transport.headers(values), b"{}"))
            asked = await line.asked()
            assert values.items() <= {tuple(pair) for pair in asked.headers}
            line.answer(asked.stream)
            await sent
        table = line.decoder.header_table
        assert table._current_size <= 4_096
        assert (b"user-agent", b"carillon") in table.dynamic_entries, "the first are still there"

    async def test_a_smaller_table_is_acknowledged_in_the_next_block(self, client, peer):
        line = await opened(client, peer)
        await line.say(frames.settings({frames.HEADER_TABLE_SIZE: 100}))
        line.decoder.max_allowed_table_size = 100
        for _ in range(3):
            sent = post(client, peer)
            line.answer((await line.asked()).stream)
            assert (await sent).status == 200
        assert not line.decoder.header_table.dynamic_entries

    async def test_requests_of_one_turn_leave_together(self, client, peer):
        line = await opened(client, peer)
        before = line.reads
        sent = [post(client, peer) for _ in range(10)]
        for _ in sent:
            line.answer((await line.asked()).stream)
        assert {answer.status for answer in await asyncio.gather(*sent)} == {200}
        assert line.reads == before + 1

    @pytest.mark.parametrize("value", ["two\r\nlines", "nul\0", " padded ", "naïve"])
    def test_what_no_header_may_hold(self, value):
        with pytest.raises(ValueError, match="apns-topic"):
            transport.headers({"apns-topic": value})

    def test_headers_too_long_for_a_frame(self):
        with pytest.raises(ValueError, match="too long"):
            transport.headers({"authorization": "x" * 17_000})


class TestSettings:
    async def test_fewer_streams_than_are_open(self, client, peer):
        line = await opened(client, peer)
        sent = [post(client, peer) for _ in range(4)]
        asked = [await line.asked() for _ in sent]
        await line.say(frames.settings({MAX_CONCURRENT_STREAMS: 2}))
        late = post(client, peer)
        other = await peer.accept({MAX_CONCURRENT_STREAMS: 0})  # the load asks for a second connection
        for one in asked[:2]:
            line.answer(one.stream)
        assert await line.silent(HEADERS)
        line.answer(asked[2].stream)
        line.answer((await line.asked()).stream)
        line.answer(asked[3].stream)
        assert {answer.status for answer in await asyncio.gather(*sent, late)} == {200}
        assert other.frames.empty() or await other.silent(HEADERS)

    async def test_no_streams_at_all_then_some(self, client, peer):
        line = await opened(client, peer)
        await line.say(frames.settings({MAX_CONCURRENT_STREAMS: 0}))
        sent = post(client, peer)
        await peer.accept({MAX_CONCURRENT_STREAMS: 0})
        assert await line.silent(HEADERS)
        line.write(frames.settings({MAX_CONCURRENT_STREAMS: 1}))
        line.answer((await line.asked()).stream)
        assert (await sent).status == 200

    async def test_no_stream_in_time_is_not_sent(self, client, peer):
        line = await opened(client, peer)
        await line.say(frames.settings({MAX_CONCURRENT_STREAMS: 0}))
        sent = post(client, peer)
        await peer.accept({MAX_CONCURRENT_STREAMS: 0})
        assert isinstance(await failure(sent), NotSent)

    async def test_a_frame_size_larger_than_ours_is_no_obligation(self, client, peer):
        line = await opened(client, peer, {MAX_FRAME_SIZE: 1 << 20, **WINDOWS})
        sent = post(client, peer, b"x" * 40_000)
        sizes = [len((await line.read(DATA)).payload) for _ in range(3)]
        assert sizes == [16_384, 16_384, 40_000 - 32_768]
        line.answer(3)
        await sent


class TestWindows:
    async def test_a_body_waits_for_its_streams_window(self, client, peer):
        line = await opened(client, peer, {INITIAL_WINDOW_SIZE: 4})
        sent = post(client, peer, b"0123456789")
        assert (await line.read(DATA)).payload == b"0123"
        line.write(frame(WINDOW_UPDATE, 0, 3, (3).to_bytes(4, "big")))
        assert (await line.read(DATA)).payload == b"456"
        line.write(frame(WINDOW_UPDATE, 0, 3, (99).to_bytes(4, "big")))
        last = await line.read(DATA)
        assert (last.payload, last.flags) == (b"789", END_STREAM)
        line.answer(3)
        assert (await sent).status == 200

    async def test_a_change_of_the_first_window_reaches_open_streams(self, client, peer):
        line = await opened(client, peer, {INITIAL_WINDOW_SIZE: 4})
        sent = post(client, peer, b"0123456789")
        assert (await line.read(DATA)).payload == b"0123"
        line.write(frames.settings({INITIAL_WINDOW_SIZE: 1}))  # three below nothing
        line.write(frame(WINDOW_UPDATE, 0, 3, (4).to_bytes(4, "big")))
        assert (await line.read(DATA)).payload == b"4"
        line.write(frames.settings({INITIAL_WINDOW_SIZE: 100}))
        assert (await line.read(DATA)).payload == b"56789"
        line.answer(3)
        assert (await sent).status == 200

    async def test_a_body_waits_for_the_connections_window(self, client, peer):
        line = await opened(client, peer)  # two of its 65 535 bytes are used
        sent = [post(client, peer, b"x" * 40_000) for _ in range(2)]
        came = 0
        while came < 65_533:
            came += len((await line.read(DATA)).payload)
        assert await line.silent(DATA)
        line.write(frame(WINDOW_UPDATE, 0, 0, (80_000).to_bytes(4, "big")))
        while came < 80_000:
            came += len((await line.read(DATA)).payload)
        for stream in (3, 5):
            line.answer(stream)
        assert {answer.status for answer in await asyncio.gather(*sent)} == {200}

    async def test_an_empty_body_needs_no_window(self, client, peer):
        line = await opened(client, peer)
        await line.say(frames.settings({INITIAL_WINDOW_SIZE: 0}))
        sent = post(client, peer, b"")
        line.answer((await line.asked()).stream)
        assert (await sent).status == 200

    async def test_an_answer_before_the_body_was_taken_ends_the_stream(self, client, peer):
        line = await opened(client, peer, {INITIAL_WINDOW_SIZE: 4})
        sent = post(client, peer, b"0123456789")
        await line.read(DATA)
        line.answer(3, 413, b"too much")
        assert (await sent).status == 413
        assert (await line.read(RST_STREAM)).stream == 3

    async def test_what_was_read_is_given_back(self, client, peer, monkeypatch):
        monkeypatch.setattr(http2, "WINDOW", 70_000)
        line = await opened(client, peer)
        for _ in range(40):
            sent = post(client, peer)
            line.answer((await line.asked()).stream, 400, b"x" * 1_000)
            assert len((await sent).body) == 1_000
        given = [int.from_bytes(one.payload, "big") for one in line.seen if one.kind == WINDOW_UPDATE]
        assert given == [70_000 - 65_535, 36_000]

    async def test_late_data_of_a_closed_stream_is_ignored_and_given_back(self, client, peer, monkeypatch):
        monkeypatch.setattr(http2, "WINDOW", 70_000)
        line = await opened(client, peer)
        sent = post(client, peer)
        await line.asked()
        sent.cancel()
        assert (await line.read(RST_STREAM)).stream == 3
        line.write(frame(HEADERS, END_HEADERS, 3, block()))
        for _ in range(3):
            line.write(frame(DATA, 0, 3, b"x" * 16_000))
        assert int.from_bytes((await line.read(WINDOW_UPDATE)).payload, "big") == 48_000

    async def test_thousands_of_refusals_on_one_connection(self, client, service, monkeypatch):
        """Without credit for the connection's window, the 656th would be the last (aioapns A1)."""
        monkeypatch.setattr(http2, "WINDOW", 66_000)
        service.says(400, b'{"reason":"BadDeviceToken"}' + b" " * 73)
        origin = client.origin(service.url)
        for _ in range(40):
            answers = await asyncio.gather(*[origin.post(PATH, PREPARED, b"{}") for _ in range(50)])
            assert {len(answer.body) for answer in answers} == {100}
        assert len(service.requests) == 2_000


class TestAnswers:
    """Whatever the RFC lets a server write, it is one answer."""

    async def ask(self, client: Transport, peer: Peer, *answer: bytes) -> transport.Answer:
        line = await opened(client, peer)
        sent = post(client, peer)
        stream = (await line.asked()).stream
        for part in answer:
            kind, flags, payload = part[0], part[1], part[2:]
            line.write(frame(kind, flags, 0 if kind == PING else stream, payload))
        return await asyncio.wait_for(sent, 2)

    @staticmethod
    def part(kind: int, flags: int, payload: bytes) -> bytes:
        return bytes((kind, flags)) + payload

    async def test_no_body(self, client, peer):
        head = self.part(HEADERS, END_HEADERS | END_STREAM, block(503))
        assert (await self.ask(client, peer, head))[::2] == (503, b"")

    async def test_an_empty_last_frame(self, client, peer):
        head = self.part(HEADERS, END_HEADERS, block(400))
        answer = await self.ask(
            client, peer, head, self.part(DATA, 0, b"one"), self.part(DATA, END_STREAM, b"")
        )
        assert answer[::2] == (400, b"one")

    async def test_padding_and_priority(self, client, peer):
        head = self.part(
            HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, b"\3" + b"\0\0\0\0\1" + block(410) + b"\0" * 3
        )
        body = self.part(DATA, END_STREAM | PADDED, b"\2body\0\0")
        assert (await self.ask(client, peer, head, body))[::2] == (410, b"body")

    async def test_a_header_block_in_parts(self, client, peer):
        whole = block(429, ("retry-after", "7"), ("apns-id", "ab" * 18))
        answer = await self.ask(
            client,
            peer,
            self.part(HEADERS, END_STREAM, whole[:3]),
            self.part(CONTINUATION, 0, whole[3:20]),
            self.part(CONTINUATION, END_HEADERS, whole[20:]),
        )
        assert (answer.status, answer.headers.get("Retry-After")) == (429, "7")
        assert answer.headers.get("apns-id") == "ab" * 18
        assert answer.headers.get("location") is None

    async def test_informational_headers_first(self, client, peer):
        answer = await self.ask(
            client,
            peer,
            self.part(HEADERS, END_HEADERS, block(103, ("link", "</x>"))),
            self.part(HEADERS, END_HEADERS | END_STREAM, block(200)),
        )
        assert answer.status == 200

    async def test_trailers(self, client, peer):
        answer = await self.ask(
            client,
            peer,
            self.part(HEADERS, END_HEADERS, block(200)),
            self.part(DATA, 0, b"{}"),
            self.part(HEADERS, END_HEADERS | END_STREAM, b"\0\4late\3yes"),
        )
        assert answer[::2] == (200, b"{}")

    async def test_frames_that_say_nothing(self, client, peer):
        answer = await self.ask(
            client,
            peer,
            self.part(PRIORITY, 0, b"\0\0\0\0\7"),
            self.part(0xAA, 0xFF, b"of another age"),
            self.part(PING, 0, b"12345678"),
            self.part(HEADERS, END_HEADERS | END_STREAM, block(200)),
        )
        assert answer.status == 200

    @pytest.mark.parametrize("status", [200, 201, 400, 404, 500, 599])
    async def test_huffman_and_long_values(self, client, peer, status):
        encoder = Encoder()
        encoder.header_table_size = 0
        fields = [(":status", str(status)), ("x-long", "long " * 100), ("date", "today")]
        answer = await self.ask(
            client, peer, self.part(HEADERS, END_HEADERS | END_STREAM, bytes(encoder.encode(fields)))
        )
        assert (answer.status, answer.headers.get("date")) == (status, "today")
        assert answer.headers.get("X-Long") == "long " * 100

    async def test_a_table_used_before_our_settings_were_acknowledged(self, client, peer):
        sent = [post(client, peer) for _ in range(2)]
        line = await peer.arrive()
        line.write(frames.settings({}))
        encoder, fields = Encoder(), [(":status", "421"), ("x-word", "remembered")]
        for _ in range(2):
            stream = (await line.asked()).stream
            line.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, bytes(encoder.encode(fields))))
        answers = await asyncio.gather(*sent)
        line.write(frame(SETTINGS, ACK))
        encoder.header_table_size = 0
        sent = [post(client, peer)]
        stream = (await line.asked()).stream
        line.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, bytes(encoder.encode(fields))))
        answers += await asyncio.gather(*sent)
        assert [(a.status, a.headers.get("x-word")) for a in answers] == [(421, "remembered")] * 3

    async def test_a_body_without_end_is_cut_and_the_stream_closed(self, client, peer):
        line = await opened(client, peer)
        sent = post(client, peer)
        await line.asked()
        line.write(frame(HEADERS, END_HEADERS, 3, block(400)))
        for _ in range(5):
            line.write(frame(DATA, 0, 3, b"x" * 16_384))
        assert (await sent).body == b"x" * transport.BODY_LIMIT
        assert (await line.read(RST_STREAM)).payload == (8).to_bytes(4, "big")
        again = post(client, peer)
        line.answer((await line.asked()).stream)
        assert (await again).status == 200


class TestFaultsOfAStream:
    @pytest.mark.parametrize("code", [code for code in (*range(14), 99) if code != http2.REFUSED_STREAM])
    async def test_a_reset(self, client, peer, code):
        line = await opened(client, peer)
        sent = post(client, peer)
        stream = (await line.asked()).stream
        line.write(frame(RST_STREAM, 0, stream, code.to_bytes(4, "big")))
        assert type(await failure(sent)) is NoAnswer

    async def test_a_refused_one_goes_again_some_times(self, client, peer):
        line = await opened(client, peer)
        sent = [post(client, peer), post(client, peer)]
        refusals = 0
        while not all(one.done() for one in sent):
            asked = await line.asked()
            if asked.stream == 3:
                line.answer(3)
            else:
                refusals += 1
                line.write(frame(RST_STREAM, 0, asked.stream, http2.REFUSED_STREAM.to_bytes(4, "big")))
                await asyncio.sleep(0.02)
        assert (await sent[0]).status == 200
        assert repr(await failure(sent[1])) == repr(NotSent("stream refused"))
        assert refusals == 1 + http2_origin.MOST_REFUSALS

    @pytest.mark.parametrize(
        ("kind", "flags", "payload"),
        [
            (WINDOW_UPDATE, 0, b"\0\0\0\0"),
            (DATA, 0, b"before the headers"),
            (HEADERS, END_HEADERS | END_STREAM, block(100)),
            (HEADERS, END_HEADERS | END_STREAM, b"\0\4late\3yes"),
            (HEADERS, END_HEADERS | END_STREAM, b""),
        ],
    )
    async def test_costs_that_stream_alone(self, client, peer, kind, flags, payload):
        line = await opened(client, peer, {INITIAL_WINDOW_SIZE: 4})
        good, bad = post(client, peer, b"{}"), post(client, peer, b"0123456789")
        await line.read(DATA)
        await line.read(DATA)
        line.write(frame(kind, flags, 5, payload))
        assert isinstance(await failure(bad), NoAnswer)
        assert (await line.read(RST_STREAM)).stream == 5
        line.answer(3)
        assert (await good).status == 200

    async def test_a_window_above_what_can_be_told(self, client, peer):
        line = await opened(client, peer, WINDOWS)
        sent = post(client, peer, b"x" * 70_000)  # the connection's window holds it back
        await line.read(DATA)
        line.write(frame(WINDOW_UPDATE, 0, 3, b"\x7f\xff\xff\xff"))
        assert isinstance(await failure(sent), NoAnswer)
        assert (await line.read(RST_STREAM)).payload == (3).to_bytes(4, "big")

    async def test_trailers_that_do_not_end_it(self, client, peer):
        line = await opened(client, peer)
        sent = post(client, peer)
        stream = (await line.asked()).stream
        line.write(frame(HEADERS, END_HEADERS, stream, block()) * 2)
        assert isinstance(await failure(sent), NoAnswer)


class TestFaultsOfTheConnection:
    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), 1),
            (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), 3),
            (frame(WINDOW_UPDATE, 0, 9, b"\0\0\0\1"), 1),
            (frame(WINDOW_UPDATE, 0, 0, b"\1"), 6),
            (frames.settings({INITIAL_WINDOW_SIZE: 1 << 31}), 3),
            (frames.settings({MAX_FRAME_SIZE: 16_383}), 1),
            (frames.settings({frames.ENABLE_PUSH: 1}), 1),
            (frame(SETTINGS, 0, 3), 1),
            (frame(SETTINGS, 0, 0, b"12345"), 6),
            (frame(SETTINGS, ACK, 0, b"123456"), 6),
            (frame(PUSH_PROMISE, END_HEADERS, 3, b"\0\0\0\2" + block()), 1),
            (frame(PING, 0, 3, b"12345678"), 1),
            (frame(PING, 0, 0, b"1234567"), 6),
            (frame(GOAWAY, 0, 3, b"12345678"), 1),
            (frame(GOAWAY, 0, 0, b"1234567"), 6),
            (frame(RST_STREAM, 0, 3, b"1"), 6),
            (frame(RST_STREAM, 0, 9, b"1234"), 1),
            (frame(DATA, 0, 0, b"no stream"), 1),
            (frame(DATA, 0, 2, b"an even one"), 1),
            (frame(DATA, 0, 99, b"never opened"), 1),
            (frame(HEADERS, END_HEADERS, 99, block()), 1),
            (frame(HEADERS, END_HEADERS | PADDED, 3, b"\xff" + block()), 1),
            (frame(HEADERS, END_HEADERS | PADDED, 3), 1),
            (frame(HEADERS, END_HEADERS | HAS_PRIORITY, 3, b"\0\0"), 1),
            (frame(HEADERS, END_HEADERS, 3, b"\xbe"), 9),  # the first entry of a table we do not keep
            (frame(HEADERS, END_HEADERS, 3, b"\x88\0\4half"), 9),
            (frame(CONTINUATION, END_HEADERS, 3, block()), 1),
            (frame(HEADERS, 0, 3, block()) + frame(DATA, 0, 3, b"x"), 1),
            (frame(HEADERS, 0, 3, block()) + frame(CONTINUATION, 0, 5, b""), 1),
            (frame(HEADERS, 0, 3, block()) + frame(CONTINUATION, 0, 3, b""), 11),
            (frame(HEADERS, 0, 3, block()) + frame(CONTINUATION, 0, 3, b"\0" * 16_384) * 4, 11),
            (b"\xff" * 64, 6),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", 6),
        ],
    )
    async def test_end_it_and_leave_what_was_sent_unanswered(self, client, peer, data, code):
        line = await opened(client, peer)
        sent = [post(client, peer) for _ in range(3)]
        for _ in sent:
            await line.asked()
        line.write(data)
        assert {type(await failure(one)) for one in sent} == {NoAnswer}
        assert int.from_bytes((await line.read(GOAWAY)).payload[4:8], "big") == code
        await opened(client, peer)  # another one takes over

    async def test_a_server_that_does_not_begin_with_settings(self, client, peer):
        sent = post(client, peer)
        line = await peer.arrive()
        line.write(frame(PING, 0, 0, b"12345678"))
        assert isinstance(await failure(sent), NotSent)

    async def test_a_server_that_never_sends_settings(self, certificates, peer):
        client = Transport(ca_file=certificates.authority, timeout=2.0, connect_timeout=0.2)
        sent = post(client, peer)
        line = await peer.arrive()
        assert isinstance(await failure(sent), NotSent)
        await asyncio.wait_for(line.gone.wait(), 1)
        await client.close()

    @pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
    async def test_a_server_without_http_2_is_not_sent_to(self, client, certificates, alpn):
        peer = Peer()
        await peer.start(certificates, alpn)
        error = await failure(post(client, peer))
        assert (type(error), str(error)) == (NotSent, "the server does not speak HTTP/2")
        await peer.stop()

    async def test_an_http_url_is_not_sent_to(self, client):
        with pytest.raises(NotSent):
            await client.origin("http://localhost:1").post(PATH, PREPARED, b"{}")


class TestGoaway:
    async def test_streams_up_to_the_last_run_to_their_end(self, client, peer):
        line = await opened(client, peer)
        sent = [post(client, peer) for _ in range(3)]
        for _ in sent:
            await line.asked()
        line.goaway(5)
        later = post(client, peer)
        other = await peer.accept()
        for _ in range(2):
            other.answer((await other.asked()).stream)
        assert [(await one).status for one in (sent[2], later)] == [200, 200]
        line.answer(3)
        line.answer(5, 400, b"no")
        assert [(await one).status for one in sent[:2]] == [200, 400]
        await asyncio.wait_for(line.gone.wait(), 3)

    async def test_those_it_hands_back_go_first_in_their_order_within_their_time(self, client, peer):
        line = await opened(client, peer, {MAX_CONCURRENT_STREAMS: 3})
        sent = [post(client, peer, f"{n}".encode()) for n in range(4)]
        for _ in range(3):
            await line.asked()
        line.goaway(1)
        other = await peer.accept({MAX_CONCURRENT_STREAMS: 1})
        for n in range(3):
            asked = await other.asked()
            assert asked.body == f"{n}".encode()
            other.answer(asked.stream)
        await other.asked()
        assert [(await one).status for one in sent[:3]] == [200] * 3
        assert isinstance(await failure(sent[3]), NoAnswer)

    async def test_what_every_connection_hands_back_is_not_sent(self, client, peer):
        line = await opened(client, peer)
        sent = post(client, peer)
        await line.asked()
        line.goaway(1)
        other = await peer.accept()
        await other.asked()
        other.goaway(0, 0, b'{"reason":"Shutdown"}' + b"." * 500)
        error = await failure(sent)
        assert isinstance(error, NotSent)
        assert str(error).startswith('GOAWAY (0) {"reason":"Shutdown"}')
        assert len(str(error)) <= 220

    async def test_a_second_one_lowers_the_last(self, client, peer):
        line = await opened(client, peer)
        sent = [post(client, peer) for _ in range(2)]
        for _ in sent:
            await line.asked()
        line.goaway((1 << 31) - 1)
        await asyncio.sleep(0.05)
        assert not any(one.done() for one in sent)
        line.goaway(3)
        other = await peer.accept()
        other.answer((await other.asked()).stream, 400)
        line.answer(3)
        assert [(await one).status for one in sent] == [200, 400]

    async def test_one_that_comes_with_the_end_of_the_connection(self, client, peer):
        line = await opened(client, peer)
        sent = [post(client, peer) for _ in range(2)]
        for _ in sent:
            await line.asked()
        line.goaway(3, 2)
        line.transport.close()
        assert [type(await failure(one)) for one in sent] == [NoAnswer, NotSent]

    async def test_who_waits_takes_the_next_connection(self, client, peer):
        line = await opened(client, peer, {MAX_CONCURRENT_STREAMS: 1})
        first = post(client, peer)
        await line.asked()
        line.goaway(3)
        waiting = post(client, peer)
        other = await peer.accept()
        other.answer((await other.asked()).stream)
        assert (await waiting).status == 200
        line.answer(3)
        assert (await first).status == 200

    async def test_stream_numbers_run_out(self, client, peer):
        line = await opened(client, peer)
        connection = client.origin(peer.url)._current
        connection._next = (1 << 31) - 1
        last = post(client, peer)
        assert (await line.asked()).stream == (1 << 31) - 1
        later = post(client, peer)
        other = await peer.accept()
        assert (await other.asked()).stream == 1
        other.answer(1)
        line.answer((1 << 31) - 1)
        assert [(await last).status, (await later).status] == [200, 200]


class TestTime:
    async def test_too_late_is_no_answer_and_frees_the_stream(self, certificates, peer):
        client = Transport(ca_file=certificates.authority, timeout=0.4, streams=1, connections=1)
        line = await opened(client, peer)
        first = post(client, peer)
        await line.asked()
        await asyncio.sleep(0.2)
        second = post(client, peer)
        line.write(frame(PING, 0, 0, b"12345678"))  # not dead, only slow
        assert isinstance(await failure(first), NoAnswer)
        reset = await line.read(RST_STREAM)
        assert (reset.stream, reset.payload) == (3, (8).to_bytes(4, "big"))
        line.answer((await line.asked()).stream)
        assert (await second).status == 200
        await client.close()

    async def test_a_connection_that_fell_silent_is_left(self, certificates, peer):
        client = Transport(ca_file=certificates.authority, timeout=0.3, streams=10)
        line = await opened(client, peer)
        sent = post(client, peer)
        await line.asked()
        await failure(sent)
        await opened(client, peer)
        await client.close()

    async def test_giving_up_frees_the_stream(self, certificates, peer):
        client = Transport(ca_file=certificates.authority, timeout=2, streams=1, connections=1)
        line = await opened(client, peer)
        first, second, third = (post(client, peer) for _ in range(3))
        await line.asked()
        second.cancel()
        first.cancel()
        assert (await line.read(RST_STREAM)).stream == 3
        asked = await line.asked()
        line.answer(3)  # nobody wants it any more
        line.answer(asked.stream, 400)
        assert (await third).status == 400
        assert first.cancelled()
        assert second.cancelled()
        await client.close()

    async def test_a_cancelled_send_in_the_midst_of_a_read_costs_no_other(self, client, peer):
        """aioapns A2: the answers of one read are not lost with the first that nobody awaits."""
        line = await opened(client, peer)
        sent = [post(client, peer) for _ in range(5)]
        for _ in sent:
            await line.asked()
        sent[0].cancel()
        line.write(b"".join(frame(HEADERS, END_HEADERS | END_STREAM, n, block()) for n in (3, 5, 7, 9, 11)))
        assert [(await one).status for one in sent[1:]] == [200] * 4

    async def test_an_idle_connection_is_pinged(self, client, peer, monkeypatch):
        monkeypatch.setattr(http2, "PING_AFTER", 0.05)
        monkeypatch.setattr(http2, "PING_WITHIN", 0.3)
        line = await opened(client, peer)
        ping = await line.read(PING)
        line.write(frame(PING, ACK, 0, ping.payload))
        await line.read(PING)
        await asyncio.wait_for(line.gone.wait(), 3)

    async def test_a_ping_is_answered(self, client, peer):
        line = await opened(client, peer)
        line.write(frame(PING, 0, 0, b"12345678"))
        assert (await line.read(PING))[1:] == (ACK, 0, b"12345678")

    async def test_an_idle_connection_is_closed(self, client, peer, monkeypatch):
        monkeypatch.setattr(http2, "IDLE_SECONDS", 0.1)
        line = await opened(client, peer)
        await line.read(GOAWAY)
        await asyncio.wait_for(line.gone.wait(), 3)
        await opened(client, peer)


class TestEnds:
    async def test_what_never_left_was_not_sent(self, certificates, peer):
        """The peer stops reading: we stop writing, and know what is still here when it is gone."""
        client = Transport(ca_file=certificates.authority, timeout=10, streams=2_000)
        line = await opened(client, peer, WINDOWS)
        await line.say(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
        line.transport.pause_reading()
        sent = []
        for _ in range(20):
            sent += [post(client, peer, b"x" * 16_000) for _ in range(50)]
            await asyncio.sleep(0.02)
        line.transport.abort()
        kinds = [type(await failure(one)) for one in sent]
        left = kinds.index(NotSent)
        assert 50 <= left <= 950
        assert kinds == [NoAnswer] * left + [NotSent] * (1_000 - left)
        await client.close()

    async def test_writing_goes_on_when_the_peer_reads_again(self, certificates, peer):
        client = Transport(ca_file=certificates.authority, timeout=10, streams=2_000)
        line = await opened(client, peer, WINDOWS)
        await line.say(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
        line.transport.pause_reading()
        sent = []
        for _ in range(12):
            sent += [post(client, peer, b"x" * 16_000) for _ in range(50)]
            await asyncio.sleep(0.02)
        line.transport.resume_reading()
        for _ in sent:
            line.answer((await line.asked()).stream)
        assert {answer.status for answer in await asyncio.gather(*sent)} == {200}
        await client.close()

    async def test_a_server_that_asks_and_does_not_read_is_left(self, client, peer, monkeypatch):
        monkeypatch.setattr(http2, "UNREAD_LIMIT", 100)
        line = await opened(client, peer, WINDOWS)
        await line.say(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
        line.transport.pause_reading()
        sent = post(client, peer, b"x" * 6_000_000)
        connection = client.origin(peer.url)._current
        while not connection.is_closed:
            line.write(frame(PING, 0, 0, b"12345678") * 100)
            await asyncio.sleep(0.01)
        assert isinstance(await failure(sent), NoAnswer)

    async def test_closing_ends_everything_soon(self, certificates, peer):
        client = Transport(ca_file=certificates.authority, timeout=10, streams=1, connections=1)
        line = await opened(client, peer)
        sent, waiting = post(client, peer), post(client, peer)
        await line.asked()
        line.transport.pause_reading()
        await asyncio.wait_for(client.close(), http2_origin.CLOSE_SECONDS + 1)
        assert [type(await failure(one)) for one in (sent, waiting)] == [NoAnswer, NotSent]

    async def test_closing_while_connecting(self, certificates, peer):
        client = Transport(ca_file=certificates.authority)
        sent = post(client, peer)
        await asyncio.sleep(0)
        await client.close()
        assert isinstance(await failure(sent), NotSent)

    async def test_one_connection_more_that_cannot_be_opened_costs_nobody(self, certificates, peer):
        client = Transport(ca_file=certificates.authority, timeout=2, streams=1, connections=4)
        line = await opened(client, peer)
        await peer.stop_listening()
        sent = [post(client, peer) for _ in range(3)]
        for _ in sent:
            line.answer((await line.asked()).stream)
        assert {answer.status for answer in await asyncio.gather(*sent)} == {200}
        await client.close()
