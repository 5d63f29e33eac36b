"""The demo's people report what they receive, as apps would."""

from __future__ import annotations

import time

from tests.e2e.conftest import Product


def test_what_arrives_is_reported_by_those_it_came_to(product: Product) -> None:
    product.stack.run(
        "readers",
        "simulate_readers",
        product.application,
        "--url",
        product.stack.url,
        "--key",
        product.client_key,
    )
    readers = product.stack.processes["readers"]
    try:
        time.sleep(3)  # it starts; what came before is none of theirs
        id = product.send(
            {"to": {"all": True}, "category": "marketing", "content": {"title": "Hi", "body": "there"}}
        )
        deadline = time.monotonic() + 60
        counts = {"received": 0}
        while time.monotonic() < deadline and counts["received"] < 1000:
            time.sleep(0.5)
            counts = product.call("GET", f"/v1/notifications/{id}")[1]["counts"]
        assert 1000 <= counts["received"] <= counts["accepted"]
        assert readers.poll() is None
    finally:
        readers.terminate()
        readers.wait(30)
        del product.stack.processes["readers"]
