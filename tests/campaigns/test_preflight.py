"""The checklist before a launch: what blocks, what warns, and whom the link check never asks."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone

from campaigns import preflight
from campaigns.models import Campaign
from campaigns.preflight import links
from campaigns.preflight.check import Check
from tenants.models import Credential
from tests.conftest import Tenant

Make = Callable[..., Campaign]


@pytest.fixture
def audience(shop: Tenant, make_device: Any, opt_in: Any, console_credential: None) -> None:
    make_device(shop, "ada")
    opt_in(shop, "ada")


def found(campaign: Campaign) -> dict[str, Check]:
    return {check.key: check for check in preflight.of(campaign, timezone.now())}


def test_a_good_campaign_lacks_only_a_test(audience: None, make_campaign: Make) -> None:
    report = preflight.report(make_campaign(), timezone.now())
    assert not report.blocks
    assert [check.key for check in report.warnings] == ["test"]
    assert "0 blocking" in report.summary


def test_nobody_to_send_to_blocks(
    console_credential: None, make_campaign: Make, make_device: Any, shop: Tenant
) -> None:
    assert found(make_campaign())["audience"].level == "block"
    make_device(shop, "bob")  # who did not opt in
    blocked = found(make_campaign(audience={"platforms": ["ios"]}))["audience"]
    assert blocked.level == "block"
    assert "Nobody would get it" in blocked.words


def test_a_refused_credential_blocks_and_says_where_to_mend_it(audience: None, make_campaign: Make) -> None:
    credential = Credential.objects.get()
    Credential.objects.update(blocked_at=timezone.now(), blocked_reason="invalid_credentials")
    check = found(make_campaign())["credential_refused_console"]
    assert check.level == "block"
    assert check.url == f"/admin/tenants/credential/{credential.pk}/change/"


def test_no_credential_blocks(shop: Tenant, make_device: Any, opt_in: Any, make_campaign: Make) -> None:
    make_device(shop, "ada")
    opt_in(shop, "ada")
    assert found(make_campaign())["credentials"].level == "block"


def test_development_and_production_builds_together_are_warned_of(
    audience: None, shop: Tenant, make_device: Any, opt_in: Any, make_campaign: Make
) -> None:
    make_device(shop, "bob", environment="sandbox")
    opt_in(shop, "bob")
    check = found(make_campaign())["environments"]
    assert (check.level, check.words) == (
        "warn",
        "1 device on Apple's platforms are development builds, the others are not.",
    )


def test_what_people_lack_is_counted(audience: None, make_campaign: Make) -> None:
    said = {"title": "Hi {{ subscriber.attributes.name }}"}
    assert found(make_campaign(content=said, missing="default"))["variables"].level == "warn"
    assert found(make_campaign(content=said, missing="skip"))["variables"].level == "note"
    with_default = make_campaign(content=said, defaults={"subscriber.attributes.name": "you"})
    assert found(with_default).get("variables", Check("", "ok", "")).level == "ok"


@pytest.mark.parametrize(
    ("title", "level"), [("x" * 35, "ok"), ("x" * 36, "warn"), ("{{ subscriber.country }}", "")]
)
def test_a_title_that_is_cut_is_warned_of(
    audience: None, make_campaign: Make, title: str, level: str
) -> None:
    check = found(make_campaign(content={"title": title})).get("title")
    assert (check.level if check else "") == level


def test_a_moment_that_is_over_blocks(audience: None, make_campaign: Make) -> None:
    campaign = make_campaign(schedule={"kind": "at", "starts": "2020-01-01T09:00"})
    assert found(campaign)["plan"].level == "block"
    assert found(campaign)["plan"].url.endswith("#/schedule/starts")


def test_a_message_too_large_blocks(audience: None, make_campaign: Make) -> None:
    campaign = make_campaign(content={"body": "é" * 2_000, "url": "https://example.com/" + "x" * 1_000})
    assert preflight.report(campaign, timezone.now(), may_ask=False).blocks


# --- links --------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Something only this machine can reach, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            code, place = (302, "http://169.254.169.254/") if self.path == "/away" else (200, "")
            code = 404 if self.path == "/gone" else code
            self.send_response(code)
            if place:
                self.send_header("Location", place)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("::127.0.0.1", "::ffff:0:7f00:1", "fec0::1", "2001:db8::1", "192.0.0.8"),
    ],
)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not links.is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are(address: str) -> None:
    assert links.is_public(address)


def test_a_server_that_drips_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte begins a socket's timeout anew; the whole of it has an end all the same."""
    monkeypatch.setattr(links, "is_public", lambda address: True)
    monkeypatch.setattr(links, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            caller, _ = server.accept()
            with caller, contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\n" + b"X" * 100:
                    caller.sendall(bytes([byte]))
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        begun = time.monotonic()
        answer = links._ask(f"http://127.0.0.1:{server.getsockname()[1]}/", False)
        assert answer.fault
        assert time.monotonic() - begun < 2


def test_a_private_address_is_never_asked(server: tuple[str, list[str]]) -> None:
    base, asked = server
    port = base.rpartition(":")[2]
    urls = [base, f"http://localhost:{port}/", f"http://2130706433:{port}/", f"http://[::1]:{port}/"]
    assert all(
        "not on the public internet" in answer.fault for answer in links.ask(urls, is_image=False).values()
    )
    assert asked == []


def test_a_redirect_to_a_private_address_is_not_followed(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, asked = server
    judged = links.is_public
    monkeypatch.setattr(links, "is_public", lambda address: address == "127.0.0.1" or judged(address))
    answers = links.ask([f"{base}/away", f"{base}/gone", f"{base}/"], is_image=False)
    assert "not on the public internet" in answers[f"{base}/away"].fault
    assert answers[f"{base}/gone"].fault == "the server answers 404"
    assert not answers[f"{base}/"].fault
    # What is known is not asked again, until it is forgotten.
    before = len(asked)
    links.ask([f"{base}/"], is_image=False)
    assert len(asked) == before
    links.forget([f"{base}/"], is_image=False)
    links.ask([f"{base}/"], is_image=False)
    assert len(asked) == before + 1


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "is_public", lambda address: True)
    monkeypatch.setattr(links, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert "no answer" in links.ask([url], is_image=False)[url].fault


def test_a_broken_link_is_a_warning(audience: None, make_campaign: Make) -> None:
    report = preflight.report(make_campaign(content={"url": "http://127.0.0.1/sale"}), timezone.now())
    assert [check.key for check in report.warnings] == ["links_1", "test"]
    assert not report.blocks


def test_a_platforms_own_link_is_looked_at_like_any(audience: None, make_campaign: Make) -> None:
    overrides = {"apns": {"url": "shop://sale"}, "webpush": {"navigate": "http://127.0.0.1/sale"}}
    checks = found(make_campaign(variants=[{"content": {"title": "Hi"}, "overrides": overrides}]))
    assert checks["deep_links"].words.startswith("shop://sale: opened by the app.")
    assert checks["links_1"].url.endswith("#/variants/0/overrides/webpush/navigate")


@pytest.mark.parametrize("url", ["http://[", "https://[::1/sale"])
def test_a_link_that_cannot_be_read_is_a_warning(audience: None, make_campaign: Make, url: str) -> None:
    assert found(make_campaign(content={"url": url}))["links_1"].level == "warn"


def test_warnings_need_a_reason_given_for_them(audience: None, make_campaign: Make) -> None:
    report = preflight.report(make_campaign(), timezone.now())
    with pytest.raises(preflight.NotCleared, match="say why"):
        preflight.overridden(report, reason="  ", seen=["test"])
    with pytest.raises(preflight.NotCleared, match="new warning"):
        preflight.overridden(report, reason="It is urgent.", seen=["links_1"])
    assert preflight.overridden(report, reason="It is  urgent.", seen=["test"]) == {"test": "It is urgent."}
