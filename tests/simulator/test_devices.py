"""Addresses are computed, alike in Python and in SQL, and lead back to their index."""

from __future__ import annotations

import base64
import time

from hypothesis import given
from hypothesis import strategies as st

from simulator import devices, faults

INDEXES = st.integers(min_value=0, max_value=2**47)


@given(INDEXES, st.sampled_from([devices.PRODUCTION, devices.SANDBOX]))
def test_an_apns_token_leads_back(index: int, environment: str) -> None:
    token = devices.apns_token(index, environment)
    assert len(bytes.fromhex(token)) == 32
    assert devices.apns_index(token) == (environment, index)


@given(INDEXES)
def test_an_fcm_token_and_fid_lead_back(index: int) -> None:
    assert devices.fcm_index(devices.fcm_token(index)) == index
    assert devices.fcm_index(devices.fcm_fid(index)) == index
    assert len(devices.fcm_token(index)) == 163
    assert devices.fcm_token(index).startswith(devices.fcm_fid(index) + ":APA91b")


@given(INDEXES, st.sampled_from([devices.STANDARD, devices.APPLE]))
def test_a_subscription_leads_back(index: int, flavour: str) -> None:
    subscription = devices.web_subscription(index, "https://localhost", flavour, "BAAA")
    known = devices.web_index(subscription.endpoint.removeprefix("https://localhost/wp/"))
    assert known == (flavour, index, devices.key_digest(b"\x04\0\0"))
    assert len(base64.urlsafe_b64decode(subscription.p256dh + "=")) == 65
    assert len(base64.urlsafe_b64decode(subscription.auth + "==")) == 16


@given(st.text(max_size=200))
def test_other_addresses_lead_nowhere(text: str) -> None:
    assert devices.apns_index(text) is None
    assert devices.fcm_index(text) is None
    assert devices.web_index(text) is None


def test_a_million_tokens_take_about_a_second() -> None:
    started = time.process_time()
    assert sum(1 for _ in devices.apns_tokens(0, 1_000_000)) == 1_000_000
    assert time.process_time() - started < 3


def test_dead_tokens_are_evenly_spread() -> None:
    for tokens in (devices.apns_tokens(0, 50_000), devices.fcm_tokens(0, 50_000)):
        dead = sum(faults.is_dead(token, 0.02) for token in tokens)
        assert 850 < dead < 1150


def test_the_sql_forms_quote_nothing_foreign() -> None:
    assert devices.apns_token(255) == devices.APNS_TOKEN_SQL["production"].split("'")[1] + f"{255:016x}"
    assert devices.fcm_token(255).endswith(devices.FCM_TOKEN_SQL.split("'")[-2])
