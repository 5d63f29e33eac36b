"""Writes a line for each message instead of sending it: never a token, never what the message says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from .base import (
    Backoff,
    Credential,
    Message,
    Outcome,
    Provider,
    Result,
    Session,
    Target,
    TokenStore,
    Verdict,
)
from .memory import Memory, Options, Rendered

logger = logging.getLogger(__name__)


class Console(Provider):
    name = "console"
    platforms = Memory.platforms
    limit = Memory.limit
    Options = Options
    BACKOFF = Backoff(base=1, cap=60, attempts=3)
    OUTCOMES = {(200, ""): Verdict(Outcome.ACCEPTED, "")}

    def check_credential(self, public: Mapping[str, Any], secret: str) -> tuple[dict[str, Any], str]:
        return dict(public), secret

    def render(self, message: Message) -> Rendered:
        return Memory().render(message)

    def open(self, credential: Credential, tokens: TokenStore) -> Session:
        return ConsoleSession()


class ConsoleSession(Session):
    async def send(self, rendered: Rendered, target: Target) -> Result:
        logger.info(
            "notification %s to device %d, title of %d characters, %d bytes",
            rendered.message.notification_id,
            target.device_id,
            len(rendered.message.title),
            rendered.size,
            extra={"action": "console.sent"},
        )
        return Result(target.device_id, Outcome.ACCEPTED, "")
