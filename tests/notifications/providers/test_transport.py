"""What the wire can do to a request, and which of the two failures it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import pytest

from notifications.providers import transport
from notifications.providers.transport import NoAnswer, NotSent, Transport

from . import wire
from .wire import PushService, Reply

HEADERS = {"content-type": "application/json"}


@pytest.fixture
async def client(certificates: wire.Certificates):
    client = Transport(ca_file=certificates.authority, timeout=1.0, streams=100)
    yield client
    await client.close()


async def post(client: Transport, url: str, body: bytes = b"{}") -> transport.Answer:
    return await client.origin(url).post("/3/device/" + "ab" * 32, transport.headers(HEADERS), body)


async def test_an_answer_carries_status_headers_and_body(client: Transport, service: PushService):
    service.says(410, b'{"reason":"Unregistered"}', retry_after="7")
    status, headers, body = await post(client, service.url)
    assert (status, headers.get("Retry-After"), body) == (410, "7", b'{"reason":"Unregistered"}')


@pytest.mark.parametrize("how", [wire.RESET, wire.HANG, wire.DROP, wire.CUT])
async def test_a_request_that_left_and_was_not_answered_is_no_answer(client, service, how):
    service.answer = lambda request: how
    with pytest.raises(NoAnswer):
        await post(client, service.url)
    assert len(service.requests) == 1, "one attempt"


@pytest.mark.parametrize("how", [wire.REFUSE, wire.GOAWAY])
async def test_a_refused_stream_is_not_sent(client, service, how):
    service.answer = lambda request: how
    with pytest.raises(NotSent):
        await post(client, service.url)
    assert len(service.requests) == 1, "one attempt"


async def test_the_request_after_a_goaway_takes_a_new_connection(client, service):
    service.answer = lambda request: wire.GOAWAY if request.connection == 1 else Reply()
    with pytest.raises(NotSent):
        await post(client, service.url)
    assert (await post(client, service.url)).status == 200


@pytest.mark.parametrize("goodbye", [wire.GOAWAY, wire.FAREWELL])
async def test_a_goaway_tells_what_was_processed_from_what_was_not(client, service, goodbye):
    await post(client, service.url)
    service.answer = lambda request: {b"first": wire.HANG, b"second": goodbye}[request.body]
    first = asyncio.create_task(post(client, service.url, b"first"))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(post(client, service.url, b"second"))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [NoAnswer, NotSent]
    bodies = [request.body for request in service.requests]
    assert (bodies.count(b"first"), bodies.count(b"second")) == (1, 2), (
        "what was not processed is tried once more"
    )


async def test_nobody_listening_is_not_sent(client):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://localhost:{unused.getsockname()[1]}"
    with pytest.raises(NotSent):
        await post(client, url)


async def test_an_unknown_host_is_not_sent(client):
    with pytest.raises(NotSent):
        await post(client, "https://nowhere.invalid")


async def test_an_untrusted_certificate_is_not_sent(service):
    stranger = Transport(timeout=1.0)
    with pytest.raises(NotSent):
        await post(stranger, service.url)
    assert service.requests == []
    await stranger.close()


async def test_a_server_that_accepts_and_says_nothing_is_not_sent(certificates):
    client = Transport(ca_file=certificates.authority, timeout=1.0, connect_timeout=0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(NotSent):
        await post(client, f"https://localhost:{silent.getsockname()[1]}")
    await client.close()


async def test_no_error_tells_the_token(client, service):
    service.answer = lambda request: wire.RESET
    with pytest.raises(NoAnswer) as error:
        await post(client, service.url)
    assert "abab" not in str(error.value)


async def test_redirects_are_not_followed(client, service):
    service.says(302, location=service.url + "/elsewhere")
    assert (await post(client, service.url)).status == 302
    assert len(service.requests) == 1


async def test_the_environments_proxy_is_not_used(certificates, service, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = Transport(ca_file=certificates.authority, timeout=1.0)
    assert (await post(client, service.url)).status == 200
    await client.close()


@pytest.mark.parametrize("bounded", [False, True])
async def test_a_long_body_is_cut(certificates, service, bounded):
    service.says(400, b"x" * 100_000)
    client = Transport(ca_file=certificates.authority, timeout=1.0, bounded=bounded)
    assert (await post(client, service.url)).body == b"x" * transport.BODY_LIMIT
    assert (await post(client, service.url)).status == 400, "and the connection goes on"
    await client.close()


async def test_one_request_alone_opens_a_connection(client, service):
    service.answer = lambda request: Reply(after=0.05)
    answers = await asyncio.gather(*[post(client, service.url) for _ in range(50)])
    assert {answer.status for answer in answers} == {200}
    assert (service.connections, service.streams_before_first_answer) == (1, 1)
    assert service.most_streams > 1


async def test_who_waits_for_a_connection_that_fails_was_not_sent(client, service):
    service.answer = lambda request: wire.DROP
    results = await asyncio.gather(*[post(client, service.url) for _ in range(20)], return_exceptions=True)
    kinds = [type(result) for result in results]
    assert (kinds.count(NoAnswer), kinds.count(NotSent)) == (1, 19)
    assert len(service.requests) == 1


async def test_a_lost_connection_is_opened_by_one_request_again(client, service):
    await post(client, service.url)
    service.answer = lambda request: wire.DROP
    with pytest.raises(NoAnswer):
        await post(client, service.url)
    service.answer = lambda request: Reply(after=0.05)
    await asyncio.gather(*[post(client, service.url) for _ in range(20)])
    assert service.streams_before_first_answer == 1


async def test_load_above_the_streams_of_one_connection_opens_more(certificates, service):
    service.answer = lambda request: Reply(after=0.1)
    client = Transport(ca_file=certificates.authority, timeout=2.0, streams=10, connections=3)
    await asyncio.gather(*[post(client, service.url) for _ in range(45)])
    assert service.connections == 3
    await client.close()


async def test_a_cancelled_opener_lets_the_next_one_open(client, service):
    service.answer = lambda request: wire.HANG if len(service.requests) == 1 else Reply()
    first = asyncio.create_task(post(client, service.url))
    second = asyncio.create_task(post(client, service.url))
    await asyncio.sleep(0.1)
    first.cancel()
    assert (await second).status == 200


async def test_renewed_connections_carry_the_next_request(client, service):
    await post(client, service.url)
    client.renew()
    client.renew()
    await post(client, service.url)
    assert [request.connection for request in service.requests] == [1, 2]


async def test_a_service_that_speaks_http_1_only_is_served_if_asked_for(certificates):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 201 Created\r\nlocation: /m/1\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        gone.set()

    gone = asyncio.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    client = Transport(ca_file=certificates.authority, timeout=1.0, http2_only=False)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        answered = await post(client, f"https://localhost:{server.sockets[0].getsockname()[1]}")
        await client.close()
        await asyncio.wait_for(gone.wait(), 5)
    assert (answered.status, answered.headers.get("location")) == (201, "/m/1")


async def test_a_closed_transport_may_be_closed_again(client, service):
    origin = client.origin(service.url)
    await post(client, service.url)
    await client.close()
    await client.close()
    with pytest.raises(NotSent):
        await origin.post("/3/device/ab", transport.headers(HEADERS), b"{}")
    with pytest.raises(NotSent):
        await post(client, service.url)
