"""Two versions compared among half of the people; the rest gets the better one: by hand, and by the rule."""

from __future__ import annotations

from tests import browser
from tests.e2e.conftest import Product
from tests.story import pages
from tests.story.conftest import Visit
from tests.story.pages import LIST, Walk


def test_the_better_of_two_versions_goes_to_the_rest(product: Product, visit: Visit) -> None:
    product.database.execute("UPDATE tenants_application SET approval_above = NULL")
    page, before = visit("mara"), pages.accepted(product)
    walk = Walk(page)
    campaign = pages.compose(walk, name="Which words", title="Autumn sale", body="Until Sunday.")
    walk.click(page.locator("#k-add-variant"))
    walk.type(page.locator("#k-title"), "40 % off until Sunday")
    pages.go(walk, "audience")
    _compare_among_half(walk)
    pages.go(walk, "schedule")
    pages.without_undo(walk)
    pages.review(walk)
    pages.launch(walk, "2,940")

    compared = _wait_compared(product, campaign)
    for variant, opened in (("A", 0.1), ("B", 0.3)):
        pages.tell(product, compared[variant], received=0.9, opened=opened)
    page.reload()
    page.get_by_role("heading", name="Results of the experiment").wait_for()
    assert page.locator("#send-winner").is_disabled()
    _let_the_time_be_over(product, campaign)
    page.goto(f"{LIST}{campaign}/live/")
    walk.click(page.get_by_role("button", name="Send B to the rest"))
    page.get_by_text("B goes to the remainder: decided by mara").wait_for()
    pages.wait_over(page)

    variant, rest = _rest(product, campaign)
    assert variant == "B"
    sent = {key: _accepted(product, id) for key, id in (*compared.items(), ("rest", rest))}
    assert sum(sent.values()) == 2_940 == pages.accepted(product) - before
    assert 0.4 < sent["rest"] / 2_940 < 0.6
    walk.report("experiment: compose, launch, decide", 15 * 60)


def test_the_rule_finds_the_better_version_and_nobody_clicks(product: Product, visit: Visit) -> None:
    product.database.execute("UPDATE tenants_application SET approval_above = NULL")
    page, before = visit("mara"), pages.accepted(product)
    walk = Walk(page)
    campaign = pages.compose(walk, name="Left to the rule", title="Autumn sale", body="Until Sunday.")
    walk.click(page.locator("#k-add-variant"))
    walk.type(page.locator("#k-title"), "40 % off until Sunday")
    pages.go(walk, "audience")
    _compare_among_half(walk)
    walk.click(page.get_by_text("By itself", exact=True))
    walk.type(page.get_by_label("Hours to wait for the result"), "1")
    pages.go(walk, "schedule")
    pages.without_undo(walk)
    pages.review(walk)
    pages.launch(walk, "2,940")

    compared = _wait_compared(product, campaign)
    for variant, opened in (("A", 0.04), ("B", 0.24)):
        pages.tell(product, compared[variant], received=0.9, opened=opened)
    page.reload()
    results = page.locator("#results")
    results.get_by_text("No result yet:").wait_for()
    assert _rest(product, campaign) == ("", None)
    # The shortest comparison lasts an hour. Instead of sitting it out, its beginning is put back in the database; the
    # clock that notices, the test of the two shares and the sending of the rest are the running product's own.
    _let_the_time_be_over(product, campaign, hours=2)
    results.get_by_text("B goes to the remainder: decided by the rule").wait_for(timeout=30_000)
    assert page.locator("#send-winner").count() == 0
    assert results.get_by_role("row", name="B better").is_visible()
    browser.assert_accessible(page)
    pages.wait_over(page)

    variant, notification = _rest(product, campaign)
    assert variant == "B"
    sent = {key: _accepted(product, id) for key, id in (*compared.items(), ("rest", notification))}
    assert sum(sent.values()) == 2_940 == pages.accepted(product) - before
    assert 0.4 < sent["rest"] / 2_940 < 0.6
    walk.report("experiment: compose, launch, decided by the rule", 15 * 60)


def _rest(product: Product, campaign: int) -> tuple[str, str | None]:
    """Version and notification of who waited for the winner."""
    ((variant, id),) = [
        (variant, id) for kind, variant, id in pages.stages(product, campaign) if kind == "rest"
    ]
    return variant, id


def _compare_among_half(walk: Walk) -> None:
    share = walk.page.get_by_label("Compare among")
    share.scroll_into_view_if_needed()
    walk.type(share, "50")
    walk.page.locator("[data-rest]").wait_for()


def _wait_compared(product: Product, campaign: int) -> dict[str, str]:
    """version → notification, once all of those compared have been sent theirs."""
    pages.wait(lambda: not _pending(product, campaign))
    return {variant: id for kind, variant, id in pages.stages(product, campaign) if kind == "send"}


def _pending(product: Product, campaign: int) -> int:
    ids = [id for _, _, id in pages.stages(product, campaign) if id]
    ((count,),) = product.rows(
        "SELECT count(*) FROM notifications_notification WHERE id = ANY(%s) AND status <> 'done'", ids
    )
    return int(count)


def _accepted(product: Product, notification: str | None) -> int:
    ((count,),) = product.rows(
        "SELECT count(*) FROM notifications_delivery WHERE notification_id = %s AND outcome = 'accepted'",
        notification,
    )
    return int(count)


def _let_the_time_be_over(product: Product, campaign: int, hours: int = 25) -> None:
    product.database.execute(
        "UPDATE campaigns_run SET due_at = due_at - make_interval(hours => %s) WHERE campaign_id = %s",
        [hours, campaign],
    )
