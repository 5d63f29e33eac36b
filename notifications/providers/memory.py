"""Keeps what it was given, and answers as told. For tests and for rehearsing without a simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from .base import (
    Backoff,
    Credential,
    Message,
    Outcome,
    PayloadTooLarge,
    Provider,
    Result,
    Session,
    Target,
    TokenStore,
    Verdict,
)

ACCEPTED = Verdict(Outcome.ACCEPTED, "")
Answer = Verdict | Callable[[Message, Target], Verdict]


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    payload: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Rendered:
    message: Message
    size: int


@dataclass
class Memory(Provider):
    """`answers` by device id, else `default`. `sent` is a list per process, in order."""

    sent: list[tuple[Message, Target]] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)
    default: Answer = ACCEPTED

    name = "memory"
    platforms = frozenset({"ios", "macos", "android", "web"})
    limit = 4096
    Options = Options
    BACKOFF = Backoff(base=1, cap=60, attempts=3)
    OUTCOMES = {(200, ""): Verdict(Outcome.ACCEPTED, "")}

    def check_credential(self, public: Mapping[str, Any], secret: str) -> tuple[dict[str, Any], str]:
        return dict(public), secret

    def render(self, message: Message) -> Rendered:
        shown = {"title": message.title, "body": message.body, "data": dict(message.data)}
        size = len(orjson.dumps({**shown, "carillon": message.notification_id}))
        if size > self.limit:
            raise PayloadTooLarge(self.name, size, self.limit)
        return Rendered(message, size)

    def open(self, credential: Credential, tokens: TokenStore) -> Session:
        return MemorySession(self)


class MemorySession(Session):
    def __init__(self, provider: Memory) -> None:
        self._provider = provider

    async def send(self, rendered: Rendered, target: Target) -> Result:
        provider = self._provider
        provider.sent.append((rendered.message, target))
        answer = provider.answers.get(target.device_id, provider.default)
        told = answer if isinstance(answer, Verdict) else answer(rendered.message, target)
        return Result(target.device_id, told.outcome, told.reason, str(len(provider.sent)), told.retry_after)
