"""Addresses are computed, alike in Python and in SQL, and lead back to their index."""

from __future__ import annotations

import base64
import time

import pytest
from django.db import connection
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


@pytest.mark.django_db
@pytest.mark.parametrize("index", [0, 1, 511, 512, 999_999, 2**40])
def test_the_database_computes_the_same_addresses(index: int) -> None:
    forms = [
        *devices.APNS_TOKEN_SQL.values(),
        devices.FCM_FID_SQL,
        devices.FCM_TOKEN_SQL,
        devices.WEB_AUTH_SQL,
    ]
    columns = ", ".join(form.format("n") for form in forms)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM (VALUES (%s)) AS given (n)", [index])
        row = cursor.fetchone()
    assert row == (
        devices.apns_token(index, devices.PRODUCTION),
        devices.apns_token(index, devices.SANDBOX),
        devices.fcm_fid(index),
        devices.fcm_token(index),
        devices.web_subscription(index, "").auth,
    )
