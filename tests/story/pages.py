"""The console's pages as the stories walk through them: what is clicked and what is typed, counted."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.e2e.conftest import Product

QUIET_SECONDS = 2.5  # without a message: it has stopped
LIST = "/admin/campaigns/campaign/"


class Walk:
    """A person on a page. Counts what costs them something, and how long the product took."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.clicks = self.fields = self.letters = 0
        self._began = time.monotonic()

    def click(self, locator: Any) -> None:
        self.clicks += 1
        locator.click()

    def type(self, locator: Any, words: str) -> None:
        """Counts the click into the field as well."""
        self.clicks += 1
        self.fields += 1
        self.letters += len(words)
        locator.fill(words)

    def choose(self, locator: Any, value: Any) -> None:
        """From a select: one click opens it, another chooses."""
        self.clicks += 2
        locator.select_option(**value if isinstance(value, dict) else {"value": value})

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def report(self, what: str, gate_seconds: float, **more: float) -> dict[str, Any]:
        """Prints one JSON line. by_hand_seconds: what the product took, and for a person 3 seconds to find and hit
        each target and 0.3 for each letter (the keystroke-level model's average typist)."""
        took = round(self.seconds, 1)
        by_hand = round(took + 3 * self.clicks + 0.3 * self.letters)
        said = {
            "walk": what,
            "seconds": took,
            "clicks": self.clicks,
            "fields": self.fields,
            "letters": self.letters,
            "by_hand_seconds": by_hand,
            "gate_seconds": gate_seconds,
            **more,
        }
        print(json.dumps(said), flush=True)
        return said


def compose(walk: Walk, *, name: str, title: str, body: str, url: str = "") -> int:
    """A new draft's first step, saved; its number."""
    page = walk.page
    page.goto(f"{LIST}add/")
    page.locator("#composer[data-ready]").wait_for()
    walk.type(page.locator("#k-name"), name)
    walk.type(page.locator("#k-title"), title)
    walk.type(page.locator("#k-body"), body)
    if url:
        walk.type(page.locator("#k-url"), url)
    page.wait_for_url("**/change/")
    wait_saved(page)
    return int(re.search(r"/(\d+)/change/", page.url)[1])  # type: ignore[index]


def wait_saved(page: Any) -> None:
    page.locator('#k-state[data-state="saved"]').wait_for()


def go(walk: Walk, step: str) -> None:
    walk.click(walk.page.locator(f'[data-go="{step}"]'))


def pace(walk: Walk, per_second: int) -> None:
    """Of the step “Schedule”."""
    walk.click(walk.page.locator("#p-speed-on"))
    walk.type(walk.page.locator("#p-speed"), str(per_second))


def without_undo(walk: Walk) -> None:
    walk.click(walk.page.locator("#p-undo"))


def review(walk: Walk) -> None:
    wait_saved(walk.page)
    walk.click(walk.page.locator("[data-review]").first)
    walk.page.wait_for_url("**/review/")
    walk.page.wait_for_load_state("networkidle")


def launch(walk: Walk, devices: str) -> None:
    """From the review to the page of what is sent. devices: as the button says it."""
    page = walk.page
    walk.click(page.get_by_role("button", name=f"Send to {devices} devices").first)
    dialog = page.get_by_role("dialog")
    assert "{{" not in dialog.inner_text()
    reason = dialog.get_by_label("Why send it all the same?")
    if reason.count():
        walk.type(reason, "Only a rehearsal.")
    walk.click(dialog.get_by_role("button", name=f"Send to {devices} devices"))
    page.wait_for_url("**/live/")


def settled(page: Any) -> int:
    """Per cent of the recipients whose outcome is known, as the page says it."""
    return int(page.locator("#live [role=progressbar]").first.get_attribute("aria-valuenow"))


def wait_over(page: Any) -> None:
    """Until the page says by itself that nothing is open any more."""
    page.locator("#live:not([data-live])").wait_for(timeout=60_000)


def accepted(product: Product) -> int:
    """By all that the simulator stands for."""
    books = product.stack.simulation.stats()
    return sum(books[book]["accepted"] for book in ("apns", "fcm", "webpush"))


def seconds_to_silence(product: Product, pause: Any) -> float:
    """Clicks it; seconds until the last message arrived after the click."""
    arrived = [(time.monotonic(), accepted(product))]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            if (now := accepted(product)) != arrived[-1][1]:
                arrived.append((time.monotonic(), now))

    watcher = threading.Thread(target=watch)
    watcher.start()
    clicked = time.monotonic()
    pause.click()
    while time.monotonic() < max(clicked, arrived[-1][0]) + QUIET_SECONDS:
        time.sleep(0.05)
    is_over.set()
    watcher.join()
    return round(max(0.0, arrived[-1][0] - clicked), 2)


def stages(product: Product, campaign: int) -> list[tuple[Any, ...]]:
    """(kind, variant, notification) of its runs."""
    return product.rows(
        "SELECT s.kind, s.variant, s.notification_id FROM campaigns_stage s JOIN campaigns_run r ON r.id = s.run_id"
        " WHERE r.campaign_id = %s ORDER BY r.number, s.position",
        campaign,
    )


def tell(product: Product, notification: Any, **shares: float) -> None:
    """Devices report. shares: name of the event → of those it was accepted for."""
    devices = product.rows(
        "SELECT d.public_id FROM notifications_delivery l JOIN devices_device d ON d.id = l.device_id"
        " WHERE l.notification_id = %s AND l.outcome = 'accepted' ORDER BY l.id",
        notification,
    )
    events = [
        {"name": name, "notification": str(notification), "device": str(device)}
        for name, share in shares.items()
        for (device,) in devices[: round(len(devices) * share)]
    ]
    for start in range(0, len(events), 1000):
        status, answer = product.call("POST", "/v1/events", {"events": events[start : start + 1000]})
        assert status == 200 and answer["accepted"] == len(events[start : start + 1000]), answer


def wait(holds: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
