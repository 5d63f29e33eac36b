"""The preference centre, as a person's browser, a mail program and a link scanner meet it."""

from __future__ import annotations

import gettext
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from devices import links, selectors
from devices.models import Category, ConsentChange, Subscriber
from tests.conftest import Tenant


@pytest.fixture
def ada(shop: Tenant) -> Subscriber:
    return Subscriber.objects.create(application=shop.application, external_id="ada")


@pytest.fixture
def path(ada: Subscriber) -> str:
    return urlsplit(links.url(ada)).path


@pytest.fixture
def browser() -> Client:
    """It would be refused wherever a CSRF token is asked for."""
    return Client(enforce_csrf_checks=True, raise_request_exception=False)


def said(browser: Client, path: str, **headers: str) -> str:
    return browser.get(path, headers=headers).content.decode()


def shown(page: str) -> list[str]:
    return re.findall(r'name="shown" value="([^"]+)"', page)


def is_on(page: str, name: str) -> bool:
    (attributes,) = re.findall(rf'name="on" value="{name}"([^>]*)>', page)
    return "checked" in attributes


def is_unsubscribed(person: Subscriber) -> bool:
    person.refresh_from_db()
    return person.unsubscribed_at is not None


def save(browser: Client, path: str, on: list[str], shown: list[str]) -> Any:
    return browser.post(path, {"on": on, "shown": shown}, follow=True)


def test_what_is_chosen_is_saved_and_said(browser: Client, path: str, ada: Subscriber) -> None:
    page = said(browser, path)
    assert "Shop" in page
    assert (is_on(page, "marketing/push"), is_on(page, "transactional/push")) == (False, True)
    answer = save(browser, path, ["marketing/push", "transactional/push"], shown(page))
    assert answer.redirect_chain == [(f"{path}?done=saved", 303)]
    page = answer.content.decode()
    assert "Saved." in page
    assert is_on(page, "marketing/push")
    # Only what differed from before is a word of theirs.
    changes = ConsentChange.objects.values_list("category__slug", "is_allowed", "source", "actor", "address")
    assert list(changes) == [("marketing", True, "centre", "subscriber", "127.0.0.1")]
    save(browser, path, ["marketing/push", "transactional/push"], shown(page))
    assert ConsentChange.objects.count() == 1


def test_what_is_always_on_has_no_switch(browser: Client, path: str, ada: Subscriber) -> None:
    page = said(browser, path)
    assert "Always on" in page
    assert "critical/push" not in page
    save(browser, path, [], ["critical/push", "nope/push", "transactional/pigeon"])
    assert selectors.preferences(ada)["critical"] == {"push": True}
    assert not ConsentChange.objects.exists()


def test_a_category_that_was_not_on_the_page_is_left_alone(
    browser: Client, path: str, ada: Subscriber
) -> None:
    page = said(browser, path)
    Category.objects.create(
        application=ada.application,
        slug="late",
        name="Late",
        kind="transactional",
        default="on",
        crash_rule="leave",
    )
    save(browser, path, ["transactional/push"], shown(page))
    assert selectors.preferences(ada)["late"] == {"push": True}


def test_unsubscribing_from_all_and_its_undo(browser: Client, path: str, ada: Subscriber) -> None:
    save(browser, path, ["marketing/push", "transactional/push"], ["marketing/push", "transactional/push"])
    page = browser.post(f"{path}/unsubscribe", follow=True).content.decode()
    assert "sends you no more marketing" in page
    assert is_unsubscribed(ada)
    assert not is_on(page, "marketing/push")
    assert shown(page) == ["transactional/push"]
    # A page that was open from before cannot speak for what is off altogether.
    save(browser, path, ["marketing/push"], ["marketing/push", "transactional/push"])
    assert is_unsubscribed(ada)
    page = browser.post(f"{path}/subscribe", follow=True).content.decode()
    assert "earlier choices hold again" in page
    assert not is_unsubscribed(ada)
    assert is_on(page, "marketing/push")


def test_one_click_from_a_mail_program(browser: Client, path: str, ada: Subscriber) -> None:
    """RFC 8058, section 3.2: a POST without cookies, which may come twice, as a form of either kind."""
    body = "List-Unsubscribe=One-Click"
    for _ in range(2):
        answer = browser.post(f"{path}/unsubscribe", body, content_type="application/x-www-form-urlencoded")
        assert answer.status_code == 200
    assert is_unsubscribed(ada)
    assert browser.post(f"{path}/unsubscribe", {"List-Unsubscribe": "One-Click"}).status_code == 200
    (change,) = ConsentChange.objects.all()
    assert (change.source, change.actor, change.category, change.is_allowed) == (
        "one_click",
        "subscriber",
        None,
        False,
    )


@pytest.mark.parametrize("method", ["get", "head"])
def test_looking_changes_nothing(browser: Client, path: str, ada: Subscriber, method: str) -> None:
    Subscriber.objects.filter(id=ada.pk).update(unsubscribed_at=timezone.now())
    for deed in ("", "/unsubscribe", "/subscribe"):
        assert getattr(browser, method)(f"{path}{deed}?List-Unsubscribe=One-Click").status_code == 200
    assert is_unsubscribed(ada)
    assert not ConsentChange.objects.exists()


def test_other_methods_are_not_taken(browser: Client, path: str) -> None:
    for method in (browser.put, browser.delete, browser.options):
        assert method(f"{path}/unsubscribe").status_code == 405


def test_the_page_keeps_itself_to_itself(browser: Client, path: str) -> None:
    for answer in (browser.get(path), browser.get(f"{path}x"), browser.post(f"{path}/unsubscribe")):
        headers = answer.headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Robots-Tag"] == "noindex, nofollow"
        assert headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "script-src" not in headers["Content-Security-Policy"]
        assert "Vary" not in headers or "Cookie" not in headers["Vary"]
        assert not answer.cookies
    page = said(browser, path)
    assert "<script" not in page
    assert "style=" not in page
    assert re.findall(r'(?:src|href|action)="(?:https?:)?//', page) == []


# --- The link ---------------------------------------------------------------------------------


def test_the_link_by_api(browser: Client, shop: Tenant, ada: Subscriber) -> None:
    answer = shop.server.get("subscribers/ada/preference-link")
    link = answer.json()
    assert link["unsubscribe_url"] == f"{link['url']}/unsubscribe"
    assert link["url"].startswith(f"{settings.BASE_URL}/p/")
    assert answer.headers["Cache-Control"] == "no-store"
    assert browser.get(urlsplit(link["url"]).path).status_code == 200
    assert len(link["url"]) < 120


def test_a_link_that_is_not_ours_opens_nothing(browser: Client, path: str, shop: Tenant) -> None:
    bob = Subscriber.objects.create(application=shop.application, external_id="bob")
    *_, application, subscriber, signature = re.split("[/.]", path)
    for token in (
        f"{application}.{bob.pk}.{signature}",
        f"{application}.{subscriber}.{signature[:-1]}",
        f"{application}.{subscriber}.{'A' * 43}",
        f"{application}.{subscriber}.9999999999.{signature}",
        f"{application}.99999999999999999999.{signature}",
        f"٣.{subscriber}.{signature}",
        "x",
    ):
        for deed in ("", "/unsubscribe"):
            answer = browser.post(f"/p/{token}{deed}", {"List-Unsubscribe": "One-Click"})
            assert answer.status_code == 404
            assert "no longer works" in answer.content.decode()
    assert not ConsentChange.objects.exists()


def test_a_link_ends_with_the_person_with_the_secret_and_in_time(
    browser: Client, shop: Tenant, ada: Subscriber
) -> None:
    now = timezone.now()
    paths = {days: urlsplit(links.url(ada, expires_at=now + timedelta(days=days))).path for days in (-1, 1)}
    assert {days: browser.get(path).status_code for days, path in paths.items()} == {-1: 404, 1: 200}
    application = shop.application
    old, application.identity_secret = application.identity_secret, "another"
    application.save()
    assert browser.get(paths[1]).status_code == 404
    application.identity_secret = old
    application.save()
    assert browser.get(paths[1]).status_code == 200
    shop.server.delete("subscribers/ada")
    assert browser.get(paths[1]).status_code == 404


def test_no_link_is_ever_logged(
    browser: Client, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError

    def broken(*_: Any) -> None:
        raise RuntimeError("a mistake of ours")

    for step, status in ((away, 503), (broken, 500)):
        monkeypatch.setattr(selectors, "choices", step)
        assert browser.get(path).status_code == status
    assert browser.get(f"{path}x").status_code == 404
    assert browser.put(path).status_code == 405
    assert caplog.records
    assert path.removeprefix("/p/") not in caplog.text


# --- Languages --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "locale", "default", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.5", "", "en", "de"),
        ("fr", "de", "en", "fr"),
        ("es,fr;q=0.2", "de", "en", "fr"),
        ("es", "de_CH", "fr", "de"),
        ("", "", "fr-CA", "fr"),
        ("*", "es", "es", "en"),
        ("\x00;q=x," + "a" * 5000, "", "en", "en"),
    ],
)
def test_the_language(
    browser: Client, path: str, ada: Subscriber, header: str, locale: str, default: str, language: str
) -> None:
    Subscriber.objects.filter(id=ada.pk).update(locale=locale)
    ada.application.default_locale = default
    ada.application.save()
    answer = browser.get(path, headers={"Accept-Language": header})
    assert answer.headers["Content-Language"] == language
    assert f'<html lang="{language}">' in answer.content.decode()


def test_a_language_that_was_chosen_stays(browser: Client, path: str) -> None:
    page = said(browser, f"{path}?lang=fr", Accept_Language="de")
    assert "Enregistrer" in page
    assert f'action="{path}?lang=fr"' in page
    answer = browser.post(f"{path}/unsubscribe?lang=fr", headers={"Accept-Language": "de"})
    assert answer.headers["Location"] == f"{path}?lang=fr&done=unsubscribed"
    assert '<html lang="de">' in said(browser, f"{path}?lang=%22%3E", Accept_Language="de")


@pytest.mark.parametrize("language", ["de", "fr"])
def test_no_english_is_left_in_a_translation(browser: Client, path: str, language: str) -> None:
    for query in ("", "done=saved"):
        texts = [
            set(re.findall(r">\s*([^<>]*[a-z][^<>]*?)\s*<", said(browser, f"{path}?lang={spoken}&{query}")))
            for spoken in ("en", language)
        ]
        ours = {"Shop", "Marketing", "Transactional", "Critical", "English", "Deutsch", "Français"}
        assert len(texts[0]) > 10
        assert texts[0] & texts[1] <= ours
    assert said(browser, "/p/x", Accept_Language=language) != said(browser, "/p/x", Accept_Language="en")


@pytest.mark.parametrize("language", ["de", "fr"])
def test_the_compiled_catalogue_is_the_written_one(language: str) -> None:
    folder = Path(settings.LOCALE_PATHS[0]) / language / "LC_MESSAGES"
    with (folder / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    written = re.findall(r'^msgid "(.+)"\nmsgstr "(.*)"$', (folder / "django.po").read_text(), re.MULTILINE)
    assert len(written) > 20
    assert {text: compiled.gettext(text) for text, _ in written} == dict(written)
    assert all(translated and translated != text for text, translated in written)


def test_names_are_shown_as_they_are(browser: Client, path: str, ada: Subscriber) -> None:
    ada.application.name = "<b>Ben & Jerry's</b>"
    ada.application.save()
    Category.objects.filter(slug="marketing").update(name="<script>")
    page = said(browser, path)
    assert "&lt;b&gt;Ben &amp; Jerry&#x27;s&lt;/b&gt;" in page
    assert "<script" not in page
