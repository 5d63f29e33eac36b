"""Pages in a real Chromium: one browser for a module, a fresh context for each test.

A module says `pytestmark = browser.MARKS`, and its folder's conftest takes the fixtures from here. Whatever goes
wrong in a page, an error in a script or its console, a request that fails, fails the test.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from tests.chromium import CHROMIUM, FLAGS

MARKS = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # In CI it must be there: what is missing is skipped at home only.
    pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="no Chromium here"),
]
AXE = Path(__file__).parent / "vendor/axe/axe.min.js"

# Rules of axe that do not hold everywhere, each with the reason; selectors of what unfold draws.
NOT_OURS: dict[str, str] = {}


class Faults:
    """What went wrong in a page; `expect` names what a test provokes."""

    def __init__(self, page: Any) -> None:
        self.found: list[str] = []
        self._expected: list[str] = []
        page.on("pageerror", lambda error: self._note(f"script: {error}"))
        page.on("console", lambda said: said.type == "error" and self._note(f"console: {_said(said)}"))
        page.on("requestfailed", self._note_failed)
        page.on("response", lambda answer: answer.status >= 400 and self._note_answer(answer))

    def expect(self, *patterns: str) -> None:
        """Regular expressions; from now on what matches one of them is no fault."""
        self._expected += patterns

    def _note(self, words: str) -> None:
        if not any(re.search(pattern, words) for pattern in self._expected):
            self.found.append(words)

    def _note_failed(self, request: Any) -> None:
        # A page that is left gives up what it was asking for.
        if "ERR_ABORTED" not in (request.failure or ""):
            self._note(f"request: {request.method} {request.url} {request.failure}")

    def _note_answer(self, answer: Any) -> None:
        self._note(f"answer: {answer.status} {answer.request.method} {answer.url}")


def _said(message: Any) -> str:
    return f"{message.text} {(message.location or {}).get('url', '')}".strip()


@pytest.fixture(scope="module")
def chromium(django_db_setup: None) -> Iterator[Any]:
    """While it runs, Playwright's loop runs in this thread: a module has either browsers or async tests."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with pytest.MonkeyPatch.context() as patched:
        # Django would take the thread for that of an async view.
        patched.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            yield browser
            browser.close()
            connections.close_all()  # this thread has others inside Playwright's loop than outside it


@pytest.fixture
def context(chromium: Any, live_server: Any) -> Iterator[Any]:
    """A visitor of the console, 1280 wide, not signed in."""
    context = chromium.new_context(base_url=live_server.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    context.base_url = live_server.url
    yield context
    context.close()


@pytest.fixture
def faults(context: Any) -> Iterator[Faults]:
    """Of the page of this test."""
    page = context.new_page()
    faults = Faults(page)
    yield faults
    assert not faults.found, "\n".join(faults.found)


@pytest.fixture
def page(context: Any, faults: Faults, anna: User) -> Any:
    """Anna's, who may do everything."""
    sign_in(context, anna)
    return context.pages[0]


def sign_in(context: Any, user: User) -> None:
    """As if they had filled in the form: the context's pages are theirs from now on."""
    client = Client()
    client.force_login(user)
    session = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": context.base_url}])


def assert_accessible(page: Any, *, without: tuple[str, ...] = ()) -> None:
    """No serious or critical violation of axe's rules on the page as it is now. without: selectors."""
    found = violations(page, without=without)
    assert not found, "\n".join(found)


def violations(page: Any, *, without: tuple[str, ...] = ()) -> list[str]:
    page.evaluate(f"window.axe || (() => {{ {_axe()} }})()")
    options = {"resultTypes": ["violations"], "rules": {rule: {"enabled": False} for rule in NOT_OURS}}
    found = page.evaluate(
        "([without, options]) => axe.run({exclude: without.map((one) => [one])}, options).then((r) => r.violations)",
        [list(without), options],
    )
    return [
        f"{one['impact']} {one['id']}: {node['html'][:160]} ({' '.join(node['failureSummary'].split())[:200]})"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@functools.cache
def _axe() -> str:
    return AXE.read_text()
