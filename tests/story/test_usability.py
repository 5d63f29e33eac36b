"""How long it takes to get there, measured: each walk prints one JSON line with its clicks and fields."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulator import devices as virtual
from simulator.stack import Stack, request
from tests import browser
from tests.e2e.conftest import Product
from tests.story import pages
from tests.story.conftest import Visit
from tests.story.pages import Walk

SAID = {
    "name": "Everybody",
    "variants": [{"content": {"title": "The sale is on", "body": "Until Sunday."}}],
}


def test_from_an_empty_installation_to_the_first_test_push(
    stack: Stack, visitors: Callable[[str, str], Any]
) -> None:
    page = visitors(stack.url, "root")
    walk = Walk(page)
    client_key = _create_app(walk)
    _connect(walk, stack)
    walk.click(page.get_by_role("link", name="Overview").first)
    walk.click(page.get_by_role("link", name="Write a draft").first)
    page.locator("#composer[data-ready]").wait_for()
    walk.type(page.locator("#k-name"), "First")
    walk.type(page.locator("#k-title"), "Hello")
    page.wait_for_url("**/change/")
    pages.wait_saved(page)
    walk.click(page.locator("#k-test"))
    drawer = page.get_by_role("dialog", name="Send a test")
    walk.click(drawer.get_by_text("No tester has a device yet"))
    _register(drawer.get_by_label("Command").inner_text(), client_key)
    walk.click(drawer.get_by_role("button", name="Look again"))
    drawer.get_by_label(re.compile("^Me:")).wait_for()
    walk.click(drawer.get_by_role("button", name="Send the test"))
    drawer.get_by_text("Accepted by Apple").wait_for()
    assert stack.simulation.stats()["apns"]["accepted"] == 1
    assert walk.report("first test push from nothing", 180)["by_hand_seconds"] < 180


def _create_app(walk: Walk) -> str:
    """Its client key, as the page shows it once."""
    page = walk.page
    walk.click(page.get_by_role("link", name="Create it"))
    walk.type(page.get_by_label("Name"), "Shop")
    page.get_by_label("Name").press("Tab")
    walk.click(page.get_by_role("button", name="Save", exact=True))
    key = str(page.locator("#secret-2").inner_text())
    walk.click(page.locator('[data-copies="secret-2"]'))
    walk.click(page.get_by_role("link", name="I have copied them"))
    return key


def _connect(walk: Walk, stack: Stack) -> None:
    page, apns = walk.page, stack.simulation.credentials["apns"]
    walk.click(page.get_by_role("link", name="Overview").first)
    walk.click(page.get_by_role("link", name="Connect it"))
    walk.click(page.get_by_role("link", name="Apple"))
    walk.type(page.get_by_label("Team ID"), apns["team_id"])
    walk.type(page.get_by_label("Key ID"), apns["key_id"])
    walk.type(page.get_by_label("Bundle ID"), apns["bundle_id"])
    walk.type(page.locator("textarea[name=secret]"), Path(apns["secret_file"]).read_text())
    walk.letters -= len(Path(apns["secret_file"]).read_text())  # pasted
    walk.click(page.get_by_role("button", name="Save", exact=True))
    page.wait_for_load_state("networkidle")


def _register(command: str, client_key: str) -> None:
    """What the drawer says to call, with the key and a token put in."""
    words = shlex.split(command.replace("\\\n", " "))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    signature = headers["X-Subscriber-Signature"]
    body = words[words.index("-d") + 1].replace("TOKEN_FROM_YOUR_APP", virtual.apns_token(1))
    sent = {**json.loads(body), "environment": "production"}
    url = next(word for word in words if word.startswith("http"))
    status, answer = request("PUT", url, sent, key=client_key, headers={"X-Subscriber-Signature": signature})
    assert status == 201, answer


def test_why_one_person_got_nothing(product: Product, visit: Visit) -> None:
    campaign = _launched(product)
    pages.wait(lambda: product.call("GET", f"/v1/campaigns/{campaign}")[1]["status"] == "finished", 60)
    page = visit("mara")
    walk = Walk(page)
    walk.click(page.get_by_role("link", name="Explain", exact=False).first)
    walk.type(page.get_by_label("Person"), "user-98")
    page.keyboard.press("Enter")
    page.get_by_text("Now choose the message").wait_for()
    walk.choose(page.get_by_label("Message", exact=True), {"index": 1})
    walk.click(page.get_by_role("button", name="Explain"))
    page.get_by_role("heading", name="Not sent: not opted in.").wait_for()
    assert walk.report("why one person got nothing", 30)["by_hand_seconds"] < 30


def test_a_running_campaign_is_paused_from_the_overview(product: Product, visit: Visit) -> None:
    page = visit("mara")
    campaign = _launched(product, per_second=100)
    page.goto("/admin/")
    pages.wait(lambda: page.locator(f"#pause-{campaign}").is_visible())
    browser.assert_accessible(page)
    walk = Walk(page)
    walk.click(page.locator(f"#pause-{campaign}"))
    page.get_by_role("button", name="Resume").wait_for()
    report = walk.report("pause a running campaign", 3)
    assert report["seconds"] < 3
    assert report["clicks"] == 1
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the rest").click()
    page.get_by_role("button", name="Resume").wait_for(state="detached")


def _launched(product: Product, **schedule: Any) -> int:
    product.database.execute("UPDATE tenants_application SET approval_above = NULL")
    status, made = product.call("POST", "/v1/campaigns", {**SAID, "schedule": {"undo": False, **schedule}})
    assert status == 201, made
    _, reach = product.call("GET", f"/v1/campaigns/{made['id']}/reach")
    order = {
        "version": made["version"],
        "expected_devices": reach["reachable"],
        "reason": "Only a rehearsal.",
    }
    status, answer = product.call("POST", f"/v1/campaigns/{made['id']}/launch", order)
    assert status == 200, answer
    return int(made["id"])
