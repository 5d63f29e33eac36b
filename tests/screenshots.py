"""`make screenshots`: the main pages of a demo that is running, light, dark and on a phone, into docs/screenshots/.

Everything on them happened: a shop with simulated phones, campaigns that were launched, an experiment under way. Only
the thirty days before today are made up, for the charts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import sync_playwright

from simulator import demo
from simulator.stack import ROOT, Stack, running
from tests.chromium import CHROMIUM, FLAGS

FOLDER = ROOT / "docs" / "screenshots"
DEVICES = 40_000
WIDE, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


class Shot(NamedTuple):
    """url: below /admin/, with the names of `PREPARE`'s answer. phone: also at a phone's width."""

    name: str
    url: str
    phone: bool = False


SHOTS = (
    Shot("dashboard", "", phone=True),
    Shot("campaigns", "campaigns/campaign/"),
    Shot("calendar", "campaigns/campaign/calendar/"),
    Shot("composer", "campaigns/campaign/{draft}/change/", phone=True),
    Shot("review", "campaigns/campaign/{draft}/review/", phone=True),
    Shot("live", "campaigns/campaign/{running}/live/", phone=True),
    Shot("results", "campaigns/campaign/{experiment}/live/"),
    Shot("segment", "devices/segment/{segment}/change/"),
    Shot("explain", "explain/?person=user-98&notification={notification}"),
    Shot("credentials", "credentials/health/"),
)

PREPARE = (Path(__file__).parent / "screenshots_prepare.py").read_text()


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="carillon-shots-") as folder:
        data_dir = Path(folder)
        with running(data_dir) as stack:
            simulator = data_dir / "simulator"
            login = json.loads(
                stack.manage("seed_demo", "--simulator", str(simulator), "--devices", str(DEVICES))
            )
            stack.run("readers", *demo.readers(stack, login))
            made = json.loads(stack.manage("shell", "--no-imports", "-c", PREPARE).splitlines()[-1])
            time.sleep(100)  # charts count minutes that are over
            with _pages(stack, login) as pages:
                for shot in SHOTS:
                    _take(pages, shot, shot.url.format(**made))
    return 0


@contextmanager
def _pages(stack: Stack, login: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Signed in: light, dark, phone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        pages = {}
        for name, scheme, size in (("", "light", WIDE), ("-dark", "dark", WIDE), ("-phone", "light", PHONE)):
            context = browser.new_context(
                base_url=stack.url,
                viewport=size,
                color_scheme=scheme,
                device_scale_factor=2 if "phone" in name else 1,
            )
            page = context.new_page()
            page.goto("/admin/login/")
            page.fill("[name=username]", login["username"])
            page.fill("[name=password]", login["password"])
            page.keyboard.press("Enter")
            page.wait_for_url("**/admin/")
            pages[name] = page
        yield pages
        browser.close()


def _take(pages: dict[str, Any], shot: Shot, url: str) -> None:
    for suffix, page in pages.items():
        if suffix == "-phone" and not shot.phone:
            continue
        answer = page.goto(f"/admin/{url}")
        assert answer.ok, (shot.name, answer.status)
        page.wait_for_timeout(1500)  # what is fetched after the first paint; pages that move are never idle
        page.screenshot(path=FOLDER / f"{shot.name}{suffix}.png")
        print(f"{shot.name}{suffix}.png", flush=True)


if __name__ == "__main__":
    sys.exit(main())
