"""A push service at the wire: HTTP/2 over TLS, which answers, stalls, resets or vanishes as told."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int  # 1 for the first connection, 2 for the next


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    after: float = 0.0  # seconds


RESET = "reset"  # RST_STREAM INTERNAL_ERROR after the request
REFUSE = "refuse"  # RST_STREAM REFUSED_STREAM
HANG = "hang"  # no answer, ever
DROP = "drop"  # the connection is cut
GOAWAY = "goaway"  # this stream is above the last one processed
FAREWELL = "farewell"  # the same, for an error, and the connection is cut a moment later
CUT = "cut"  # headers, then the connection is cut in the body

Answer = Reply | str


@dataclass
class PushService:
    """Every request is kept in `requests`; `answer` is called for each."""

    answer: Callable[[Request], Answer] = lambda request: Reply()
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    streams: int = 0  # open now
    most_streams: int = 0
    streams_before_first_answer: int = 0
    max_concurrent_streams: int = 1000
    url: str = ""
    _server: Any = None
    _open: set[Any] = field(default_factory=set)

    async def start(self, certificates: Certificates) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.chain, certificates.key)
        context.set_alpn_protocols(["h2"])
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, ssl=context)
        self.url = f"https://localhost:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        for connection in list(self._open):
            connection.transport.abort()
        for _ in range(3):  # the transports let go of their sockets in the loop's next turns
            await asyncio.sleep(0)

    def says(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer everything with this."""
        pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        self.answer = lambda request: Reply(status, body, pairs)


class _Connection(asyncio.Protocol):
    def __init__(self, service: PushService) -> None:
        self.service, self.answered = service, False
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.pending: dict[int, tuple[dict[str, str], bytearray]] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.service._open.add(self)
        self.service.connections += 1
        self.number = self.service.connections
        self.h2.local_settings.update(
            {SettingCodes.MAX_CONCURRENT_STREAMS: self.service.max_concurrent_streams}
        )
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.service._open.discard(self)
        self.service.streams -= len(self.pending)

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except ProtocolError:
            self.transport.abort()
            return
        for event in events:
            if isinstance(event, RequestReceived):
                self.pending[event.stream_id] = (dict(event.headers), bytearray())
                self.service.streams += 1
                self.service.most_streams = max(self.service.most_streams, self.service.streams)
                if not self.answered:
                    self.service.streams_before_first_answer = max(
                        self.service.streams_before_first_answer, len(self.pending)
                    )
            elif isinstance(event, DataReceived):
                self.pending[event.stream_id][1].extend(event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.take(event.stream_id)
        self.flush()

    def take(self, stream: int) -> None:
        headers, body = self.pending[stream]
        request = Request(headers[":path"], headers, bytes(body), self.number)
        self.service.requests.append(request)
        answer = self.service.answer(request)
        if isinstance(answer, Reply) and answer.after:
            asyncio.get_running_loop().call_later(answer.after, self.reply, stream, answer)
        elif isinstance(answer, Reply):
            self.reply(stream, answer)
        elif answer != HANG:
            self.misbehave(stream, answer)

    def reply(self, stream: int, reply: Reply) -> None:
        if self.transport.is_closing():
            return
        self.done(stream)
        head = [(":status", str(reply.status)), *reply.headers]
        self.h2.send_headers(stream, head, end_stream=not reply.body)
        for start in range(0, len(reply.body), 16_000):
            self.h2.send_data(stream, reply.body[start : start + 16_000])
        if reply.body:
            self.h2.end_stream(stream)
        self.flush()

    def misbehave(self, stream: int, how: str) -> None:
        self.done(stream)
        if how == RESET:
            self.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        elif how == REFUSE:
            self.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        elif how == GOAWAY:
            self.h2.close_connection(ErrorCodes.NO_ERROR, last_stream_id=max(0, stream - 2))
        elif how == CUT:
            self.h2.send_headers(stream, [(":status", "200"), ("content-length", "900")])
        elif how == FAREWELL:
            self.h2.close_connection(ErrorCodes.INTERNAL_ERROR, b'{"reason":"Shutdown"}', max(0, stream - 2))
            asyncio.get_running_loop().call_later(0.1, self.transport.close)
        self.flush()
        if how in (DROP, CUT):
            self.transport.close()

    def done(self, stream: int) -> None:
        self.pending.pop(stream, None)
        self.service.streams -= 1
        self.answered = True

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())


@dataclass(frozen=True)
class Certificates:
    authority: str
    chain: str
    key: str


def certificates(folder: Path) -> Certificates:
    """A small authority and a certificate for localhost: an end-entity one of its own would be refused."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Carillon test authority")])
    authority = _certificate(authority_name, authority_name, authority_key, authority_key, authority=True)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    leaf = _certificate(name, authority_name, key, authority_key, authority=False)
    paths = Certificates(str(folder / "ca.pem"), str(folder / "chain.pem"), str(folder / "key.pem"))
    Path(paths.authority).write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    Path(paths.chain).write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    Path(paths.key).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def _certificate(subject: Any, issuer: Any, key: Any, signer: Any, *, authority: bool) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())
