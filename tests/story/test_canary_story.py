"""A provider refuses a campaign's first devices: the others wait, the page says why, and a person lets it go on."""

from __future__ import annotations

import re

from tests import browser
from tests.e2e.conftest import Product
from tests.story import pages
from tests.story.conftest import Visit
from tests.story.pages import Walk


def test_a_canary_that_fails_holds_the_others_until_somebody_resumes(product: Product, visit: Visit) -> None:
    product.database.execute("UPDATE tenants_application SET approval_above = NULL")
    simulation = product.stack.simulation
    simulation.set_faults("apns", errors=[{"status": 400, "code": "BadMessageId", "share": 0.8}])
    page, before = visit("mara"), pages.accepted(product)
    walk = Walk(page)

    pages.compose(walk, name="New collection", title="It is here", body="Come and see.")
    pages.go(walk, "schedule")
    walk.click(page.locator("#p-canary-on"))
    walk.type(page.locator("#p-canary"), "300")
    pages.without_undo(walk)
    pages.review(walk)
    pages.launch(walk, "2,940")

    stop = page.locator("#stop")
    stop.wait_for()
    assert "Of the first devices" in stop.inner_text()
    assert "The others wait." in stop.inner_text()
    assert re.search(r"about 2,[67]\d\d\s+more wait", page.locator("#live").inner_text())
    assert page.locator("#h-problems").is_visible()
    browser.assert_accessible(page)
    assert pages.accepted(product) - before < 300

    simulation.set_faults("apns")
    walk.click(page.get_by_role("button", name="Resume anyway"))
    pages.wait_over(page)
    assert pages.settled(page) == 100
    failed = int(page.locator("#sum-failed .c-sum-num").inner_text())
    assert 30 < failed < 200
    assert pages.accepted(product) - before == 2_940 - failed
    walk.report("canary: compose, launch, resume", 10 * 60)
