"""People are told of an incident once when it opens and once when it is over, whatever fails in between."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notifications import alarms
from notifications.models import Incident
from tests.conftest import Tenant

SECRET = "between us"
TOKEN = "a1b2" * 16

IN_TRANSACTION = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%'
"""


class Receiver:
    """A real HTTP server. `status` is what it answers; `got` what it was sent; `meanwhile` what happens then."""

    def __init__(self) -> None:
        self.status = 204
        self.got: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?team=push"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), body))
                receiver.got.append(json.loads(body))
                receiver.meanwhile()
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", receiver.url)
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Not into the test's output."""

        return Handler

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        yield self
        self.server.shutdown()
        self.server.server_close()
        thread.join()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with Receiver().running() as running:
        settings.ALARM_WEBHOOK_URL, settings.ALARM_WEBHOOK_SECRET = running.url, SECRET
        settings.ALARM_EMAILS, settings.BASE_URL = [], "https://push.example.com"
        yield running


@pytest.fixture
def mailbox(settings: Any, receiver: Receiver) -> list[Any]:
    """Anna reads mail; without this fixture there is the webhook only."""
    settings.ALARM_EMAILS = ["anna@example.com", "night@example.com"]
    return mail.outbox  # type: ignore[no-any-return,attr-defined]


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    cache.clear()


@pytest.fixture
def open_incident(shop: Tenant) -> Callable[..., Incident]:
    def make(cause: str = "credential", **fields: Any) -> Incident:
        said = {"application": shop.application, "provider": "apns", "words": f"bad_topic: not for {TOKEN}"}
        return Incident.objects.create(cause=cause, **{**said, **fields})

    return make


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def close(incident: Incident, by: str = "") -> None:
    Incident.objects.filter(id=incident.id).update(closed_at=timezone.now(), closed_by=by)


def let_a_minute_pass(incident: Incident) -> None:
    incident.refresh_from_db()
    assert incident.told_at
    Incident.objects.filter(id=incident.id).update(told_at=incident.told_at - timedelta(seconds=61))


def test_an_incident_is_told_once_and_so_is_its_end(
    open_incident: Callable[..., Incident], receiver: Receiver, mailbox: list[Any]
) -> None:
    incident = open_incident()
    for _ in range(3):
        alarms.tell()
    assert [said["event"] for said in receiver.got] == ["incident.opened"]
    assert len(mailbox) == 1
    close(incident, by="anna")
    for _ in range(3):
        alarms.tell()
    assert [said["event"] for said in receiver.got] == ["incident.opened", "incident.closed"]
    assert len(mailbox) == 2


def test_the_webhook_says_all_there_is_to_know_and_is_signed(
    open_incident: Callable[..., Incident], receiver: Receiver
) -> None:
    incident = open_incident()
    alarms.tell()
    ((path, headers, body),) = receiver.requests
    assert path == "/hook?team=push"
    assert headers["Content-Type"] == "application/json"
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Carillon-Signature"] == f"sha256={signature}"
    (said,) = receiver.got
    opened_at = said.pop("opened_at")
    assert opened_at == incident.opened_at.isoformat()
    assert said == {
        "event": "incident.opened",
        "id": incident.id,
        "application": "shop",
        "provider": "apns",
        "cause": "credential",
        "words": "bad_topic: not for …",
        "closed_at": None,
        "waiting": 0,
        "url": f"https://push.example.com/admin/notifications/incident/{incident.id}/change/",
    }


def test_without_a_secret_nothing_is_signed(
    open_incident: Callable[..., Incident], receiver: Receiver, settings: Any
) -> None:
    settings.ALARM_WEBHOOK_SECRET = ""
    open_incident()
    alarms.tell()
    assert "X-Carillon-Signature" not in receiver.requests[0][1]


def test_a_mail_says_what_happened_what_did_not_and_what_to_do(
    open_incident: Callable[..., Incident], mailbox: list[Any], shop: Tenant
) -> None:
    shop.application.name = "Shop\nBcc: everybody@example.com"
    shop.application.save()
    incident = open_incident()
    alarms.tell()
    (message,) = mailbox
    assert message.subject == "[Carillon] Apple refuses the credential of Shop Bcc: everybody@example.com"
    assert message.to == ["anna@example.com", "night@example.com"]
    for words in (
        "In so many words: bad_topic: not for …",
        "Nothing is lost and no device is switched off",
        "Enter a working credential",
        f"https://push.example.com/admin/notifications/incident/{incident.id}/change/",
    ):
        assert words in message.body
    assert TOKEN not in message.body
    close(incident, by="anna")
    alarms.tell()
    assert mailbox[1].subject.startswith("[Carillon] Over: Apple refuses")
    assert "Ended by anna" in mailbox[1].body


@pytest.mark.parametrize("cause", ["circuit", "quota"])
def test_what_mostly_ends_by_itself_is_told_after_a_minute_only(
    open_incident: Callable[..., Incident], receiver: Receiver, cause: str
) -> None:
    incident = open_incident(cause, opened_at=ago(50))
    alarms.tell()
    assert receiver.got == []
    Incident.objects.update(opened_at=ago(61))
    alarms.tell()
    assert [said["id"] for said in receiver.got] == [incident.id]


def test_what_was_over_before_anybody_was_told_is_never_told(
    open_incident: Callable[..., Incident], receiver: Receiver
) -> None:
    close(open_incident("circuit", opened_at=ago(50)))
    alarms.tell()
    assert receiver.got == []


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_fails_is_tried_again_after_a_minute(
    open_incident: Callable[..., Incident], receiver: Receiver, status: int
) -> None:
    incident = open_incident()
    receiver.status = status
    for _ in range(3):
        alarms.tell()
    assert len(receiver.got) == 1
    receiver.status = 200
    let_a_minute_pass(incident)
    alarms.tell()
    alarms.tell()
    assert [said["event"] for said in receiver.got] == ["incident.opened"] * 2


def test_a_mail_is_not_repeated_because_the_webhook_fails(
    open_incident: Callable[..., Incident], receiver: Receiver, mailbox: list[Any]
) -> None:
    incident = open_incident()
    receiver.status = 500
    alarms.tell()
    let_a_minute_pass(incident)
    receiver.status = 200
    alarms.tell()
    assert len(receiver.got) == 2
    assert len(mailbox) == 1


def test_a_webhook_that_nobody_answers_keeps_no_mail_from_going(
    open_incident: Callable[..., Incident], mailbox: list[Any], settings: Any
) -> None:
    settings.ALARM_WEBHOOK_URL = "http://127.0.0.1:9/nobody"
    open_incident()
    alarms.tell()
    assert len(mailbox) == 1


def test_one_that_cannot_be_told_keeps_no_other_from_it(
    open_incident: Callable[..., Incident], receiver: Receiver
) -> None:
    first, second = open_incident(), open_incident(provider="fcm")
    receiver.status = 500
    alarms.tell()
    receiver.status = 200
    alarms.tell()
    assert [said["id"] for said in receiver.got] == [first.id, second.id]


def test_a_teller_that_died_is_followed_by_another(
    open_incident: Callable[..., Incident], receiver: Receiver
) -> None:
    class Killed(BaseException):
        """Whatever ends a process between its claim and its word."""

    def die(*_: Any) -> None:
        raise Killed

    incident = open_incident()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alarms, "_post", die)
        with pytest.raises(Killed):
            alarms.tell()
    alarms.tell()
    assert receiver.got == []
    let_a_minute_pass(incident)
    alarms.tell()
    assert len(receiver.got) == 1


def test_nobody_to_tell_costs_nothing(
    open_incident: Callable[..., Incident], settings: Any, db: None
) -> None:
    settings.ALARM_EMAILS, settings.ALARM_WEBHOOK_URL = [], None
    open_incident()
    with CaptureQueriesContext(connection) as captured:
        alarms.tell()
    assert len(captured) == 0


def test_nothing_to_tell_costs_two_small_queries(
    open_incident: Callable[..., Incident], receiver: Receiver
) -> None:
    close(open_incident())
    with CaptureQueriesContext(connection) as captured:
        alarms.tell()
    statements = [query["sql"] for query in captured if "SAVEPOINT" not in query["sql"]]
    assert len(statements) == 2


def test_logs_name_the_row_and_not_the_address(
    open_incident: Callable[..., Incident], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    incident = open_incident()
    alarms.tell()
    assert f"'incident': {incident.id}" in caplog.text
    for secret in (SECRET, TOKEN, "team=push"):
        assert secret not in caplog.text


@pytest.mark.django_db(transaction=True)
class TestBesideOthers:
    def test_four_tellers_tell_once(
        self, open_incident: Callable[..., Incident], receiver: Receiver, rival: Tenant
    ) -> None:
        for provider in ("apns", "fcm", "webpush"):
            open_incident(provider=provider)
            open_incident(provider=provider, application=rival.application)
        start = threading.Barrier(4)

        def tell() -> None:
            start.wait()
            try:
                alarms.tell()
            finally:
                connection.close()

        threads = [threading.Thread(target=tell) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said["id"] for said in receiver.got) == sorted(
            Incident.objects.values_list("id", flat=True)
        )

    def test_an_incident_that_ends_while_it_is_told_is_told_to_be_over(
        self, open_incident: Callable[..., Incident], receiver: Receiver
    ) -> None:
        incident = open_incident()

        def end() -> None:
            Incident.objects.filter(id=incident.id, closed_at__isnull=True).update(closed_at=Now())
            connection.close()

        receiver.meanwhile = end
        alarms.tell()
        alarms.tell()
        assert [said["event"] for said in receiver.got] == ["incident.opened", "incident.closed"]

    def test_no_transaction_is_open_while_the_network_is_asked(
        self, open_incident: Callable[..., Incident], receiver: Receiver
    ) -> None:
        incident = open_incident()
        seen: list[Any] = []

        def look() -> None:
            """From another connection: the claim is committed, and nothing is locked."""
            seen.append(Incident.objects.get(id=incident.id).told_at)
            with connection.cursor() as cursor:
                cursor.execute(IN_TRANSACTION)
                seen.append(cursor.fetchone()[0])
            connection.close()

        receiver.meanwhile = look
        alarms.tell()
        assert seen[0] is not None
        assert seen[1] == 0
