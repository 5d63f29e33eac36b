"""The two providers that reach nobody: memory for tests, console for a first look."""

from __future__ import annotations

import logging

from notifications.providers.base import Credential, Outcome, Target, Verdict
from notifications.providers.console import Console
from notifications.providers.memory import Memory

from .conftest import NOTIFICATION, Tokens, message

NOBODY = Credential(1, "memory", {}, "")


async def test_memory_keeps_what_it_was_given_in_order():
    memory = Memory()
    session = memory.open(NOBODY, Tokens())
    given = message(body="World")
    for device in (1, 2):
        await session.send(memory.render(given), Target(device, f"token-{device}"))
    assert memory.sent == [(given, Target(1, "token-1")), (given, Target(2, "token-2"))]


async def test_memory_answers_as_told():
    gone, later = Verdict(Outcome.UNREGISTERED, "gone"), Verdict(Outcome.RETRY, "later", 5.0)
    memory = Memory(answers={2: gone}, default=lambda message, target: later if target.attempt == 1 else gone)
    session = memory.open(NOBODY, Tokens())
    rendered = memory.render(message())
    results = [await session.send(rendered, target) for target in (Target(1, "a"), Target(2, "b"))]
    assert [(one.device_id, one.outcome, one.retry_after) for one in results] == [
        (1, Outcome.RETRY, 5.0),
        (2, Outcome.UNREGISTERED, None),
    ]


async def test_console_writes_a_line_that_tells_nothing_private(caplog):
    caplog.set_level(logging.INFO)
    console = Console()
    session = console.open(NOBODY, Tokens())
    await session.send(console.render(message(title="Sesame")), Target(7, "token-of-the-device"))
    (record,) = caplog.records
    assert record.getMessage().startswith(f"notification {NOTIFICATION} to device 7, title of 6 characters")
    assert "token-of-the-device" not in caplog.text
