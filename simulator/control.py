"""The control API and the wall, on a plain-HTTP port of their own.

GET  /_control/stats                    PUT  /_control/faults/<provider>      (a Plan; {} ends every fault)
GET  /_control/arrivals                 GET  /_control/faults/<provider>
GET  /_control/arrivals/<book>          POST /_control/reset
GET  /_control/arrivals/<book>/counts   PUT  /_control/settings
GET  /_control/receipts                 PUT  /_control/watch
POST /_control/credentials/apns|fcm     PUT  /_control/subscriptions/<id>
GET  /wall, /wall/events                GET  /_control/health
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import orjson

from simulator.answers import Answer, json_answer
from simulator.apns import Key
from simulator.app import Simulator
from simulator.faults import Plan
from simulator.oauth import ServiceAccount
from simulator.webpush import Subscription

STATIC = Path(__file__).parent / "static"
EVENTS = "/wall/events"


class Settings(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Every setting may be left out; what is left out stays as it is."""

    apns_token_updates: int | None = None  # new provider tokens allowed per key and window
    apns_token_update_seconds: float | None = None
    oauth_expires_in: int | None = None
    decrypt_share: float | None = None  # of Web Push bodies
    count_arrivals: bool | None = None


class Watch(msgspec.Struct, forbid_unknown_fields=True):
    notifications: list[str] = []
    high_priority: bool = True
    limit: int = 200_000


class NotFound(LookupError):
    pass


class Control:
    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.details: dict[str, Any] = {}  # simulator.json
        self._routes: dict[tuple[str, str], Callable[..., Any]] = {
            ("GET", "health"): lambda: self.details,
            ("GET", "stats"): self._stats,
            ("GET", "arrivals"): self._arrivals,
            ("GET", "receipts"): self._receipts,
            ("GET", "faults"): self._faults,
            ("PUT", "faults"): self._set_faults,
            ("POST", "reset"): self._reset,
            ("PUT", "settings"): self._set_settings,
            ("PUT", "watch"): self._set_watch,
            ("POST", "credentials"): self._add_credential,
            ("PUT", "subscriptions"): self._set_subscription,
        }

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.path == EVENTS:
            await self._stream(protocol)
            return
        body = await protocol()
        query = {name: values[-1] for name, values in parse_qs(scope.query_string).items()}
        answer = self.answer(scope.method, scope.path, query, body)
        protocol.response_bytes(answer.status, answer.headers, answer.body)

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        parts = path.strip("/").split("/")
        if parts[0] != "_control":
            return _page(path)
        try:
            route = self._routes.get((method, parts[1] if len(parts) > 1 else "health"))
            if route is None:
                raise NotFound(f"{method} {path}")
            arguments = [
                *parts[2:],
                *([query] if query else []),
                *([body] if method != "GET" and body else []),
            ]
            result = route(*arguments)
        except (NotFound, KeyError) as error:
            return json_answer(404, {"error": f"not found: {error}"})
        except (ValueError, TypeError) as error:  # msgspec's errors are ValueErrors
            return json_answer(400, {"error": str(error)})
        return result if isinstance(result, Answer) else json_answer(200, result)

    def _stats(self) -> dict[str, Any]:
        books = {name: stats.summary() for name, stats in self.simulator.stats.items()}
        return {**books, "oauth": {"issued": self.simulator.accounts.issued}}

    def _arrivals(self, book: str = "", view: Any = "", query: dict[str, str] | None = None) -> Any:
        if isinstance(view, dict):
            view, query = "", view
        if not book:
            return {name: each.summary() for name, each in self.simulator.books.items()}
        return _view(self.simulator.books[book], view, query or {})

    def _receipts(self, query: dict[str, str] | None = None) -> Answer:
        query = query or {}
        found = self.simulator.receipts.find(query.get("notification", ""), int(query.get("since", 0)))
        lines = b"".join(
            orjson.dumps(receipt._asdict(), option=orjson.OPT_APPEND_NEWLINE) for receipt in found
        )
        return Answer(200, [("content-type", "application/x-ndjson")], lines)

    def _faults(self, provider: str) -> Answer:
        return _encoded(self.simulator.faults[provider].plan)

    def _set_faults(self, provider: str, body: bytes = b"{}") -> Answer:
        self.simulator.faults[provider].set(msgspec.json.decode(body, type=Plan))
        return self._faults(provider)

    def _reset(self) -> dict[str, Any]:
        self.simulator.reset()
        return {}

    def _set_settings(self, body: bytes = b"{}") -> dict[str, Any]:
        wanted = msgspec.json.decode(body, type=Settings)
        simulator = self.simulator
        if wanted.apns_token_updates is not None:
            simulator.keys.updates_allowed = wanted.apns_token_updates
        if wanted.apns_token_update_seconds is not None:
            simulator.keys.update_seconds = wanted.apns_token_update_seconds
        if wanted.oauth_expires_in is not None:
            simulator.accounts.expires_in = wanted.oauth_expires_in
        if wanted.decrypt_share is not None:
            simulator.webpush.decrypt_share = wanted.decrypt_share
        if wanted.count_arrivals is not None:
            for book in simulator.books.values():
                book.enabled = wanted.count_arrivals
        return msgspec.to_builtins(wanted)

    def _set_watch(self, body: bytes = b"{}") -> dict[str, Any]:
        wanted = msgspec.json.decode(body, type=Watch)
        self.simulator.receipts.watch(wanted.notifications, wanted.high_priority, wanted.limit)
        return msgspec.to_builtins(wanted)

    def _add_credential(self, provider: str, body: bytes = b"{}") -> dict[str, Any]:
        if provider == "apns":
            self.simulator.keys.register(msgspec.json.decode(body, type=Key))
        elif provider == "fcm":
            self.simulator.accounts.register(msgspec.json.decode(body, type=ServiceAccount))
        else:
            raise NotFound(f"credentials of {provider}")
        return {}

    def _set_subscription(self, identifier: str, body: bytes = b"{}") -> dict[str, Any]:
        self.simulator.webpush.register(identifier, msgspec.json.decode(body, type=Subscription))
        return {"endpoint": f"{self.simulator.webpush.origin}/wp/{identifier}"}

    async def _stream(self, protocol: Any) -> None:
        headers = [("content-type", "text/event-stream"), ("cache-control", "no-store")]
        transport = protocol.response_stream(200, headers)
        async for message in self.simulator.wall.watch():
            try:
                await transport.send_bytes(message)
            except Exception:
                return


def _view(book: Any, view: str, query: dict[str, str]) -> Any:
    """`counts`: a byte per device index. Otherwise JSON: ?token=…, ?missing=START-STOP, ?duplicates=LIMIT."""
    if view == "counts":
        which = book.faulted if query.get("of") == "faulted" else book.accepted
        return Answer(200, [("content-type", "application/octet-stream")], bytes(which.by_index))
    if view:
        raise NotFound(view)
    if "token" in query:
        return book.lookup(query["token"])
    if "notification" in query:
        return {"accepted": book.by_notification.get(query["notification"], 0)}
    if "missing" in query:
        start, stop = map(int, query["missing"].split("-"))
        return {"missing": list(book.accepted.missing(start, stop))}
    return {
        **book.summary(int(query.get("duplicates", 100))),
        "by_address": book.accepted.by_address if "addresses" in query else {},
        "by_notification": book.by_notification,
    }


def _encoded(value: Any) -> Answer:
    return Answer(200, [("content-type", "application/json")], msgspec.json.encode(value))


def _page(path: str) -> Answer:
    if path == "/":
        return Answer(302, [("location", "/wall")])
    name = "wall.html" if path == "/wall" else path.removeprefix("/static/")
    file = (STATIC / name).resolve()
    if file.parent != STATIC.resolve() or not file.is_file():
        return json_answer(404, {"error": "not found"})
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return Answer(200, [("content-type", kind), ("cache-control", "no-cache")], file.read_bytes())
