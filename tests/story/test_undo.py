"""A launch that is taken back within its minute: nobody got anything."""

from __future__ import annotations

import time

from tests.e2e.conftest import Product
from tests.story import pages
from tests.story.conftest import Visit
from tests.story.pages import Walk


def test_within_the_minute_a_launch_is_undone_and_nothing_was_sent(product: Product, visit: Visit) -> None:
    product.database.execute("UPDATE tenants_application SET approval_above = NULL")
    page, before = visit("mara"), pages.accepted(product)
    walk = Walk(page)
    campaign = pages.compose(walk, name="Too early", title="Tomorrow only", body="Everything half price.")
    pages.review(walk)
    pages.launch(walk, "2,940")
    page.get_by_text("Nothing has left yet.").wait_for()
    time.sleep(2)  # two ticks of the clock
    walk.click(page.get_by_role("button", name="Undo send"))
    page.wait_for_url("**/change/")
    page.locator("#composer[data-ready]").wait_for()
    assert product.rows("SELECT status FROM campaigns_campaign WHERE id = %s", campaign) == [("draft",)]
    time.sleep(2)
    assert pages.accepted(product) == before
    walk.report("launch and undo", 60)
