"""One running product for the stories: web server, workers, clock, services, simulator; and a browser to visit it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config import embedded
from simulator.stack import Stack, running
from tests.browser import Faults
from tests.chromium import CHROMIUM, FLAGS
from tests.e2e.conftest import Product

DEVICES = 3_000
PASSWORD = "a long password"

# Who works at the shop: name → role. Root may do everything everywhere.
PEOPLE = {"mara": "marketer", "axel": "approver"}

HIRE = """
import json, sys
from django.contrib.auth.models import User
from tenants.models import Application, Membership
said = json.load(sys.stdin)
for name, role in said["people"].items():
    user = User.objects.create_user(name, password=said["password"], is_staff=True, is_superuser=not role)
    for application in Application.objects.filter(slug=said["application"]):
        Membership.objects.create(user=user, application=application, role=role)
"""

Visit = Callable[[str], Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs an installation without an application comes first."""
    is_missing = not CHROMIUM and not os.environ.get("CI")
    places = [place for place, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    own = [items[place] for place in places]
    for place, item in zip(places, sorted(own, key=_needs_product), strict=True):
        item.add_marker(pytest.mark.browser)
        item.add_marker(pytest.mark.skipif(is_missing, reason="no Chromium here"))
        items[place] = item


def _needs_product(item: pytest.Item) -> bool:
    return "product" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """As after `manage.py createsuperuser`, until somebody makes something."""
    with running(tmp_path_factory.mktemp("story")) as stack:
        _hire(stack, {"root": ""})
        yield stack


@pytest.fixture(scope="package")
def product(stack: Stack) -> Iterator[Product]:
    made = stack.create_application("Acme Shop", devices=DEVICES)
    _hire(stack, PEOPLE, made["application"])
    with psycopg.connect(embedded.ensure(stack.data_dir).database_url, autocommit=True) as database:
        yield Product(stack, made["application"], made["server_key"], made["client_key"], database)
    embedded.release(stack.data_dir)


def _hire(stack: Stack, people: dict[str, str], application: str = "") -> None:
    said = {"people": people, "password": PASSWORD, "application": application}
    stack.manage("shell", "--no-imports", "-c", HIRE, given=json.dumps(said))


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visitors(chromium: Any) -> Iterator[Callable[[str, str], Any]]:
    """(address of an installation, name) → a page of theirs, signed in. A fault in any of these fails the test."""
    contexts, faults = [], []

    def visitor(url: str, name: str) -> Any:
        context = chromium.new_context(base_url=url, viewport={"width": 1280, "height": 900})
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        faults.append(Faults(page))
        page.goto("/admin/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/admin/")
        return page

    yield visitor
    for context in contexts:
        context.close()
    found = [words for one in faults for words in one.found]
    assert not found, "\n".join(found)


@pytest.fixture
def visit(product: Product, visitors: Callable[[str, str], Any]) -> Visit:
    return lambda name: visitors(product.stack.url, name)


@pytest.fixture(autouse=True)
def without_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "product" in request.fixturenames:
        for provider in ("apns", "fcm", "webpush"):
            request.getfixturevalue("product").stack.simulation.set_faults(provider)
