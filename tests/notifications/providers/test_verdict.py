"""The rules shared by all tables: unknown codes, Retry-After, backoff, what may be quoted."""

from __future__ import annotations

import pytest

from notifications.providers import verdict
from notifications.providers.base import Backoff, Outcome, Target, Verdict

TABLE = {(400, "Bad"): Verdict(Outcome.UNREGISTERED, "bad"), (404, ""): Verdict(Outcome.UNREGISTERED, "gone")}
TARGET = Target(7, "token-of-the-device")


@pytest.mark.parametrize(
    ("status", "code", "outcome", "reason"),
    [
        (400, "Bad", Outcome.UNREGISTERED, "bad"),
        (400, "Worse", Outcome.REJECTED, "worse"),
        (404, "Anything", Outcome.UNREGISTERED, "gone"),
        (401, "", Outcome.BLOCKED, "http_401"),
        (403, "NewReason", Outcome.BLOCKED, "new_reason"),
        (407, "", Outcome.BLOCKED, "http_407"),
        (408, "", Outcome.RETRY, "http_408"),
        (421, "", Outcome.RETRY, "http_421"),
        (425, "", Outcome.RETRY, "http_425"),
        (429, "", Outcome.RETRY, "http_429"),
        (451, "", Outcome.REJECTED, "http_451"),
        (500, "", Outcome.RETRY, "http_500"),
        (599, "", Outcome.RETRY, "http_599"),
        (307, "", Outcome.RETRY, "http_307"),
        (204, "", Outcome.ACCEPTED, ""),
    ],
)
def test_the_table_first_then_one_rule_for_the_rest(status, code, outcome, reason):
    judged = verdict.of(TABLE, status, code)
    assert (judged.outcome, judged.reason) == (outcome, reason)


def test_nothing_unknown_ever_costs_a_device():
    outcomes = {verdict.unknown(status, code).outcome for status in range(100, 600) for code in ("", "Gone")}
    assert Outcome.UNREGISTERED not in outcomes


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("Thu, 01 Jan 1970 00:17:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("99999999", verdict.LONGEST_WAIT),
        ("inf", verdict.LONGEST_WAIT),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Thu, 99 Foo 1970", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert verdict.retry_after(value, now=1000.0) == seconds


def test_the_answers_own_wait_goes_before_the_tables():
    judged = Verdict(Outcome.RETRY, "later", 60.0)
    assert verdict.result(judged, TARGET).retry_after == 60
    assert verdict.result(judged, TARGET, wait=5.0).retry_after == 5


def test_only_a_retry_has_a_wait():
    assert verdict.result(Verdict(Outcome.REJECTED, "no"), TARGET, wait=5.0).retry_after is None


def test_an_answer_may_deserve_fewer_attempts_than_the_provider_allows():
    judged = Verdict(Outcome.RETRY, "odd", 1.0, attempts=2)
    assert verdict.result(judged, TARGET).outcome is Outcome.RETRY
    assert verdict.result(judged, Target(7, "t", attempt=2)).outcome is Outcome.REJECTED


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Invalid token-of-the-device here", "Invalid … here"),
        ('Invalid value "secret text" at x', "Invalid value … at x"),
        ('Unclosed "secret', "Unclosed …"),
        ("see https://example.com/t/abc now", "see … now"),
        ("token " + "A1b2" * 20, "token …"),
        ("two\r\n lines", "two lines"),
        ("w " * 300, ("w " * 100).strip() + " "),
    ],
)
def test_the_detail_quotes_neither_token_nor_payload(said, kept):
    assert verdict.result(Verdict(Outcome.REJECTED, "no"), TARGET, detail=said).detail == kept


@pytest.mark.parametrize(
    ("code", "snake"),
    [
        ("BadDeviceToken", "bad_device_token"),
        ("QUOTA_EXCEEDED", "quota_exceeded"),
        ("a-b c", "a_b_c"),
        ("é", ""),
        ("", ""),
        ("A" * 100, "a" * 60),
    ],
)
def test_codes_become_stable_words(code, snake):
    assert verdict.snake(code) == snake


@pytest.mark.parametrize("body", [b"", b"7", b"null", b"[]", b"{", b"\xff", b'"x"'])
def test_what_is_no_json_object_is_an_empty_one(body):
    assert verdict.json_object(body) == {}


def test_backoff_doubles_up_to_its_cap():
    backoff = Backoff(base=10, cap=60, attempts=5)
    assert [backoff.ceiling(attempt) for attempt in (1, 2, 3, 4, 5000)] == [10, 20, 40, 60, 60]
