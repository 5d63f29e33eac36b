"""A credential that is stored is checked by the running workers within seconds."""

from __future__ import annotations

import time

from tests.e2e.conftest import Product

CHECKED = "SELECT provider, check_result, check_detail FROM tenants_credential ORDER BY provider"


def test_stored_credentials_are_checked_by_themselves(product: Product) -> None:
    deadline = time.monotonic() + 30
    while not all(result for _, result, _ in product.rows(CHECKED)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert product.rows(CHECKED) == [("apns", "ok", ""), ("fcm", "ok", ""), ("webpush", "ok", "")]
