"""The composer in a real browser: what only JavaScript does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image

from campaigns import presence, services
from campaigns.models import Campaign
from devices.models import Subscriber
from tests import browser
from tests.conftest import Tenant

pytestmark = browser.MARKS
ADD = "/admin/campaigns/campaign/add/"


def opened(page: Any, url: str) -> None:
    page.goto(url)
    page.locator("#composer[data-ready]").wait_for()


def composer(page: Any, campaign: Campaign) -> None:
    opened(page, f"/admin/campaigns/campaign/{campaign.pk}/change/")


def wait_saved(page: Any) -> None:
    page.locator('#k-state[data-state="saved"]').wait_for()


@pytest.fixture
def ada(shop: Tenant, make_device: Any, opt_in: Any) -> None:
    make_device(shop, "ada")
    opt_in(shop, "ada")
    Subscriber.objects.filter(external_id="ada").update(attributes={"name": "Ada"}, locale="de")


def test_a_new_campaign_is_saved_from_its_first_letter_and_previewed(page: Any, ada: None) -> None:
    opened(page, ADD)
    page.fill("#k-name", "Autumn")
    page.fill("#k-title", "Warm coats")
    page.fill("#k-body", "Up to 40 % off")
    assert page.locator(".k-ios-note .k-strong").inner_text() == "Warm coats"  # at once
    wait_saved(page)
    campaign = Campaign.objects.get()
    assert page.url.endswith(f"/campaign/{campaign.pk}/change/")
    page.locator("#k-sizes").get_by_text("of 4,096 bytes").first.wait_for()
    page.get_by_text("Android, opened").click()
    assert page.locator(".k-droid-note").get_by_text("Up to 40 % off").is_visible()
    page.reload()
    assert page.input_value("#k-title") == "Warm coats"
    assert page.input_value("#k-name") == "Autumn"
    page.locator("[data-review]").first.click()
    page.wait_for_url("**/review/")


def test_review_goes_to_what_is_missing_first(page: Any, shop: Tenant) -> None:
    opened(page, ADD)
    page.locator("[data-review]").first.click()
    page.get_by_text("Write a title or a text").first.wait_for()
    assert page.evaluate("document.activeElement.id") == "k-title"
    page.fill("#k-title", "Warm coats")
    wait_saved(page)
    page.locator("[data-review]").first.click()
    page.get_by_text("Give it a name, for your team.").first.wait_for()
    assert page.evaluate("document.activeElement.id") == "k-name"


def test_a_personal_field_needs_a_stand_in_and_shows_its_holes(
    page: Any, ada: None, make_campaign: Callable[..., Campaign]
) -> None:
    composer(page, make_campaign())
    page.locator('[data-tag="k-title"]').click()
    page.get_by_role("button", name="Insert", exact=True).click()
    assert page.get_by_text("Say what people without a value read instead.").is_visible()
    page.fill("#k-tag-default", "you")
    page.get_by_role("button", name="Insert", exact=True).click()
    assert page.input_value("#k-title").endswith("{{ subscriber.attributes.name }}")
    page.locator(".k-ios-note").get_by_text("The sale is onAda").wait_for()
    wait_saved(page)
    assert Campaign.objects.get().plan["defaults"] == {"subscriber.attributes.name": "you"}
    page.fill("#k-body", "Dear {{ subscriber.attributes.nmae }}")
    page.get_by_text("Did you mean “name”?").wait_for()
    page.locator(".k-hole").get_by_text("nmae").wait_for()
    page.locator("#k-person-words").get_by_text("has no nmae").wait_for()


def test_languages_fall_back_and_versions_differ(
    page: Any, ada: None, make_campaign: Callable[..., Campaign]
) -> None:
    composer(page, make_campaign())
    page.locator("#k-add-language").click()
    page.fill("#k-language", "de")
    page.keyboard.press("Enter")
    page.get_by_text("Missing here: title, text. It falls back to English.").wait_for()
    page.fill("#k-title", "Der Ausverkauf beginnt")
    assert page.get_by_text("Missing here: text.").is_visible()
    page.locator("#k-add-variant").click()
    page.get_by_role("tab", name="English").click()
    page.fill("#k-title", "Last chance")
    assert page.get_by_role("tab", name=re.compile("B 50%.*differs from A")).is_visible()
    page.get_by_role("tab", name=re.compile("^A ")).click()
    assert page.input_value("#k-title") == "The sale is on"
    wait_saved(page)
    one, other = Campaign.objects.get().plan["variants"]
    assert one["content"]["locales"] == {"de": {"title": "Der Ausverkauf beginnt"}}
    assert (other["key"], other["content"]["title"]) == ("B", "Last chance")
    page.get_by_role("tab", name=re.compile("^B ")).click()
    page.locator("#k-remove-variant").click()
    page.get_by_role("button", name="Undo", exact=True).click()
    assert page.get_by_role("tab", name=re.compile("^B ")).is_visible()


def test_buttons_and_options_of_platforms_are_stored_as_the_api_takes_them(
    page: Any, ada: None, make_campaign: Callable[..., Campaign]
) -> None:
    composer(page, make_campaign())
    page.locator("#k-add-action").click()
    page.get_by_label("Button 1: its words").fill("Shop now")
    page.get_by_text("iPhone, iPad and Mac").click()
    page.get_by_label("Number on the icon").first.fill("3")
    page.get_by_text("As JSON").click()
    raw = page.locator("#k-raw")
    assert '"badge": 3' in raw.input_value()
    raw.fill('{"apns": {"badge": ')
    page.get_by_text("Not JSON yet").wait_for()
    raw.fill('{"fcm": {"channel_id": "sale"}}')
    wait_saved(page)
    variant = Campaign.objects.get().plan["variants"][0]
    assert variant["overrides"] == {"fcm": {"channel_id": "sale"}}
    assert variant["content"]["actions"] == [{"id": "button-1", "title": "Shop now"}]


def test_each_platform_may_open_a_link_of_its_own(
    page: Any, ada: None, make_campaign: Callable[..., Campaign]
) -> None:
    campaign = make_campaign(content={"url": "https://example.com/sale"})
    composer(page, campaign)
    page.locator("#k-opens").get_by_text("A tap opens https://example.com/sale").wait_for()
    page.locator("#k-platforms summary", has_text="Links").click()
    assert page.get_by_label("Link on iPhone").get_attribute("placeholder") == "as above"
    page.get_by_label("Link on iPhone").fill("sale")
    page.get_by_text("Expected a web address or an app's own link.").first.wait_for()
    page.get_by_label("Link on iPhone").fill("shop://sale")
    page.get_by_label("Link on Android").fill("shop://sale?a")
    page.get_by_label("Link in browsers").fill("https://example.com/web")
    page.locator("summary").get_by_text("3 changes").wait_for()
    browser.assert_accessible(page)
    wait_saved(page)
    campaign.refresh_from_db()
    overrides = {
        "apns": {"url": "shop://sale"},
        "fcm": {"url": "shop://sale?a"},
        "webpush": {"navigate": "https://example.com/web"},
    }
    assert campaign.plan["variants"][0]["overrides"] == overrides
    page.reload()
    page.locator("#k-opens").get_by_text("A tap opens shop://sale", exact=True).wait_for()
    page.locator(".k-surfaces").get_by_text("Windows").click()
    page.locator("#k-opens").get_by_text("A tap opens https://example.com/web").wait_for()
    page.locator("#k-platforms summary", has_text="Links").click()
    page.get_by_label("Link on Android").fill("")
    wait_saved(page)
    campaign.refresh_from_db()
    assert "fcm" not in campaign.plan["variants"][0]["overrides"]


@pytest.mark.parametrize(
    ("pointer", "field"),
    [
        ("/variants/0/overrides/webpush/navigate", "k-webpush-navigate"),
        ("/variants/0/content/body", "k-body"),
        ("/schedule/starts", "p-starts"),
    ],
)
def test_the_checklist_leads_to_the_field(
    page: Any, shop: Tenant, make_campaign: Callable[..., Campaign], pointer: str, field: str
) -> None:
    campaign = make_campaign(schedule={"kind": "at", "starts": "2020-01-01T09:00"})
    opened(page, f"/admin/campaigns/campaign/{campaign.pk}/change/#{pointer}")
    page.wait_for_function("id => document.activeElement.id === id", arg=field)
    assert page.locator(f"#{field}").is_visible()


def test_two_people_who_write_the_same_draft_choose_part_by_part(
    page: Any, faults: browser.Faults, shop: Tenant, make_campaign: Callable[..., Campaign]
) -> None:
    faults.expect("409")
    campaign = make_campaign()
    composer(page, campaign)
    ben = User.objects.create_user("ben")
    theirs = {"variants": [{"content": {"title": "Ben's words", "body": "Until Sunday."}}], "name": "Winter"}
    services.save(campaign, theirs, version=campaign.version, by=ben)
    page.fill("#k-title", "My words")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("ben changed this draft").wait_for()
    assert dialog.get_by_text("My words").is_visible()
    assert dialog.get_by_text("Ben's words").is_visible()
    browser.assert_accessible(page)
    dialog.get_by_role("button", name="Keep what is chosen").click()
    wait_saved(page)
    campaign.refresh_from_db()
    assert campaign.plan["variants"][0]["content"]["title"] == "My words"
    assert campaign.name == page.input_value("#k-name") == "Winter"  # not touched here: theirs


def test_a_lost_connection_costs_no_text(
    page: Any, faults: browser.Faults, make_campaign: Callable[..., Campaign], shop: Tenant
) -> None:
    faults.expect("save/", "compose/", "ERR_FAILED")
    campaign = make_campaign()
    composer(page, campaign)
    page.route("**/save/", lambda route: route.abort())
    page.fill("#k-title", "Written in a tunnel")
    page.get_by_text("Not saved, text kept in this browser.").wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.get_by_role("button", name="Bring it back").click()
    assert page.input_value("#k-title") == "Written in a tunnel"
    page.get_by_text("Not saved, text kept in this browser.").wait_for()
    page.unroute("**/save/")
    page.get_by_role("button", name="Retry").click()
    wait_saved(page)
    campaign.refresh_from_db()
    assert campaign.plan["variants"][0]["content"]["title"] == "Written in a tunnel"
    page.reload()
    page.locator("#composer[data-ready]").wait_for()
    assert not page.get_by_role("button", name="Bring it back").is_visible()


def begin_in_vain(page: Any, faults: browser.Faults) -> None:
    """A new draft is made, and the answer gets lost."""

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    faults.expect("create/", "ERR_FAILED")
    opened(page, ADD)
    page.route("**/create/", lose)
    page.fill("#k-title", "Warm coats")
    page.get_by_text("Not saved, text kept in this browser.").wait_for()


def test_a_first_save_whose_answer_is_lost_makes_one_draft(
    page: Any, faults: browser.Faults, shop: Tenant
) -> None:
    begin_in_vain(page, faults)
    assert Campaign.objects.count() == 1
    page.fill("#k-title", "Warmer coats")
    page.fill("#k-name", "Autumn")
    page.unroute("**/create/")
    page.get_by_role("button", name="Retry").click()
    wait_saved(page)
    campaign = Campaign.objects.get()
    assert (campaign.name, campaign.plan["variants"][0]["content"]["title"]) == ("Autumn", "Warmer coats")
    assert page.url.endswith(f"/campaign/{campaign.pk}/change/")


def test_the_key_of_a_first_save_is_kept_with_its_text(
    page: Any, faults: browser.Faults, shop: Tenant
) -> None:
    begin_in_vain(page, faults)
    page.unroute("**/create/")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.get_by_role("button", name="Bring it back").click()
    wait_saved(page)
    assert Campaign.objects.get().plan["variants"][0]["content"]["title"] == "Warm coats"


def test_two_who_have_a_draft_open_see_each_other(
    page: Any,
    chromium: Any,
    context: Any,
    make_campaign: Callable[..., Campaign],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "BEAT", 1)
    monkeypatch.setattr(presence, "GONE", 5)
    campaign = make_campaign()
    composer(page, campaign)
    title = page.title()
    theirs = chromium.new_context(base_url=context.base_url)
    theirs.base_url = context.base_url
    browser.sign_in(theirs, User.objects.create_superuser("mia<b>"))
    other = theirs.new_page()
    composer(other, campaign)
    other.locator("#k-others", has_text="anna has this open too, since").wait_for()
    page.locator("#k-others", has_text="mia<b> has this open too, since").wait_for()
    assert page.locator("#k-others").get_attribute("aria-live") == "polite"
    assert page.title() == f"mia<b> too · {title}"
    browser.assert_accessible(page)
    page.fill("#k-title", "My words")  # it keeps nobody from saving
    wait_saved(page)
    theirs.close()
    page.wait_for_function("document.getElementById('k-others').textContent === ''")
    assert page.title() == title


def test_a_picture_is_uploaded_and_seen_as_somebody_else_gets_it(
    page: Any,
    faults: browser.Faults,
    ada: None,
    make_device: Any,
    shop: Tenant,
    make_campaign: Callable[..., Campaign],
    tmp_path: Path,
) -> None:
    faults.expect("compose/picture/")
    make_device(shop, "bob")
    file = tmp_path / "coat.png"
    Image.new("RGB", (40, 20), "teal").save(file)
    campaign = make_campaign()
    composer(page, campaign)
    page.set_input_files("#k-file", file)
    page.get_by_text("40 × 20 pixels.").wait_for()
    page.locator(".k-ios-note img").wait_for()
    page.fill("#k-person", "bo")
    page.get_by_role("option", name="bob").wait_for()
    page.keyboard.press("Enter")
    assert page.input_value("#k-person") == "bob"
    wait_saved(page)
    campaign.refresh_from_db()
    assert "/pictures/" in campaign.plan["variants"][0]["content"]["image"]
    (tmp_path / "note.png").write_text("no picture")
    with page.expect_response("**/compose/picture/") as answer:
        page.set_input_files("#k-file", tmp_path / "note.png")
    assert answer.value.status == 422
    page.get_by_text("Not a JPEG, PNG, GIF or WebP picture.").wait_for()


def test_keys_save_and_close(page: Any, make_campaign: Callable[..., Campaign], shop: Tenant) -> None:
    campaign = make_campaign()
    composer(page, campaign)
    page.locator('[data-emoji="k-body"]').click()
    page.locator("emoji-picker").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("emoji-picker").count() == 0
    page.fill("#k-name", "Renamed")
    with page.expect_response("**/save/"):
        page.keyboard.press("Control+s")


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_every_width_fits_and_is_accessible(
    page: Any, ada: None, make_campaign: Callable[..., Campaign], width: int
) -> None:
    title = "Hello {{ subscriber.attributes.name }}"
    campaign = make_campaign(name="A name that goes on " * 5, content={"title": title * 4})
    page.set_viewport_size({"width": width, "height": 780})
    composer(page, campaign)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for step in ("content", "audience", "schedule", "review"):
            page.locator(f'[data-go="{step}"]').click()
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (step, width)
        page.locator('[data-go="content"]').click()
        page.evaluate("document.querySelectorAll('.k-platform').forEach((one) => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
        browser.assert_accessible(page)
    if width == 360:
        page.locator("#k-show-preview").click()
        assert page.locator("#k-stage").is_visible()
        browser.assert_accessible(page)
        page.keyboard.press("Escape")
        assert not page.locator("#k-stage").is_visible()
