"""One campaign from its first letter to its last number: written, tested, approved, sent, paused, read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Product
from tests.story import pages
from tests.story.conftest import Visit
from tests.story.pages import LIST, Walk

GOLD, REACHED = 600, 570  # of 3,000 people a fifth; 5 % of them never said yes to marketing
PER_SECOND = 60


def test_a_campaign_from_the_first_letter_to_the_last_number(product: Product, visit: Visit) -> None:
    product.database.execute("UPDATE tenants_application SET approval_above = 100")
    before = pages.accepted(product)
    mara, axel = visit("mara"), visit("axel")
    walk = Walk(mara)

    campaign = _write(walk)
    _choose_audience(walk)
    _choose_pace(walk)
    _test(walk, product)
    _ask(walk, campaign)
    _approve(axel)
    _launch(walk, campaign)
    _pause_and_resume(mara, product, before)
    _read(mara, product, campaign)

    assert pages.accepted(product) - before == REACHED + 1
    walk.report("compose, test, ask, launch, read", 15 * 60)


def _write(walk: Walk) -> int:
    page = walk.page
    campaign = pages.compose(
        walk,
        name="Gold sale",
        title="Dear ",
        body="Up to 40 % off until Sunday.",
        url="https://shop.example/sale",
    )
    walk.click(page.locator('[data-tag="k-title"]'))
    walk.choose(page.locator("#k-pop select"), "subscriber.attributes.first_name")
    walk.type(page.locator("#k-tag-default"), "friend")
    walk.click(page.get_by_role("button", name="Insert", exact=True))
    walk.type(page.locator("#k-person"), "user-3")
    walk.click(page.get_by_role("option", name="user-3").first)
    page.locator(".k-ios-note").get_by_text("Dear Liam").wait_for()
    return campaign


def _choose_audience(walk: Walk) -> None:
    page = walk.page
    pages.go(walk, "audience")
    walk.click(page.get_by_role("button", name="New segment"))
    sheet = page.get_by_role("dialog")
    walk.type(sheet.get_by_label("Name", exact=True), "Gold")
    walk.click(sheet.get_by_role("button", name="Rule", exact=True))
    walk.type(sheet.get_by_label("Name of the attribute"), "plan")
    walk.type(sheet.get_by_label("Value", exact=True), "gold")
    sheet.get_by_text(f"{GOLD} people with {GOLD} devices").wait_for()
    walk.click(sheet.get_by_role("button", name="Save and use it"))
    page.locator("[data-reach]").get_by_text(f"of {GOLD} devices will get it").wait_for()
    assert page.locator("[data-reach-count]").first.inner_text() == str(REACHED)


def _choose_pace(walk: Walk) -> None:
    pages.go(walk, "schedule")
    pages.pace(walk, PER_SECOND)
    pages.without_undo(walk)
    pages.review(walk)


def _test(walk: Walk, product: Product) -> None:
    page, before = walk.page, pages.accepted(product)
    walk.click(page.get_by_role("button", name="Send a test…"))
    drawer = page.get_by_role("dialog", name="Send a test")
    walk.type(drawer.get_by_label("Or one person, by id or e-mail"), "user-3")
    walk.click(drawer.get_by_label("Keep as a tester"))
    walk.click(drawer.get_by_role("button", name="Send the test"))
    drawer.get_by_text("Accepted by Apple").wait_for()
    assert pages.accepted(product) == before + 1
    page.keyboard.press("Escape")


def _ask(walk: Walk, campaign: int) -> None:
    page = walk.page
    walk.click(page.get_by_role("button", name="Ask for approval").first)
    dialog = page.get_by_role("dialog")
    walk.type(dialog.get_by_label("A word to them"), "Please before noon.")
    walk.click(dialog.get_by_role("button", name="Ask for approval"))
    page.get_by_role("heading", name="Waiting for approval").wait_for()
    assert page.get_by_role("button", name="Approve").count() == 0
    assert _approves_all_the_same(page, campaign) == 403


def _approves_all_the_same(page: Any, campaign: int) -> int:
    """The answer to who writes the form by hand."""
    token = page.locator("[name=csrfmiddlewaretoken]").first.get_attribute("value")
    version = page.locator("[name=version]").first.get_attribute("value")
    address = f"{LIST}{campaign}/approve/"
    form = {"csrfmiddlewaretoken": token, "version": version}
    answer = page.context.request.post(address, form=form, headers={"Referer": page.url}, max_redirects=0)
    return int(answer.status)


def _approve(page: Any) -> None:
    page.reload()
    page.locator("#h-needs").get_by_role("link").first.click()
    page.wait_for_url("**/review/")
    page.get_by_text("Please before noon.").wait_for()
    page.get_by_label("A word to the author").fill("Fine.")
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("Approved by axel").first.wait_for()


def _launch(walk: Walk, campaign: int) -> None:
    walk.page.goto(f"{LIST}{campaign}/review/")
    walk.page.get_by_text("Approved by axel").first.wait_for()
    pages.launch(walk, str(REACHED))


def _pause_and_resume(page: Any, product: Product, before: int) -> None:
    page.evaluate("window.isTheSame = true")
    pages.wait(lambda: 10 < pages.settled(page) < 100)
    assert page.evaluate("window.isTheSame") is True
    seconds = pages.seconds_to_silence(product, page.get_by_role("button", name="Pause"))
    assert pages.accepted(product) - before < REACHED
    assert seconds < 5
    print(json.dumps({"walk": "pause: sends until", "seconds": seconds, "gate_seconds": 5}), flush=True)

    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.evaluate("window.isTheSame = true")
    pages.wait_over(page)
    assert pages.settled(page) == 100
    assert page.locator("#sum-accepted .c-sum-num").inner_text() == str(REACHED)
    assert page.evaluate("window.isTheSame") is True


def _read(page: Any, product: Product, campaign: int) -> None:
    ((_, _, notification),) = pages.stages(product, campaign)
    pages.tell(product, notification, received=0.9, opened=0.3)
    page.reload()
    funnel = page.locator(".l-funnel").inner_text()
    assert f"{round(REACHED * 0.9)}" in funnel
    assert f"{round(REACHED * 0.3)}" in funnel
    with page.expect_download() as download:
        page.get_by_role("button", name="Recipients (CSV)").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("at,run,")
    assert len(lines) - 1 == GOLD
