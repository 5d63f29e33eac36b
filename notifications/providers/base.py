"""The contract between the pipeline and a provider: plain values in, one `Result` per device out.

Nothing here, nor in any provider, knows Django or the database. A provider sends and says what the
answer means; the pipeline decides what follows (retire, retry, block, record).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec


class Outcome(StrEnum):
    """What an attempt came to. Docs: docs/architecture.md, "Outcomes"."""

    ACCEPTED = "accepted"  # the provider took the message; not proof of display
    UNREGISTERED = "unregistered"  # the address is gone for good: retire the device
    REJECTED = "rejected"  # this message can never succeed; the device is fine
    RETRY = "retry"  # nobody's fault; not before retry_after
    BLOCKED = "blocked"  # our credential or configuration is wrong: stop the lane, retire nothing
    UNCERTAIN = "uncertain"  # sent, no answer


class Verdict(NamedTuple):
    """One line of a provider's `OUTCOMES` table.

    reason: stable snake_case word, shown in counts and reports.
    retry_after: least seconds before the next attempt when the answer itself names none (RETRY only).
    attempts: how many attempts this answer deserves when fewer than the provider's `BACKOFF` allows;
    the last one comes back REJECTED (RETRY only).
    """

    outcome: Outcome
    reason: str
    retry_after: float | None = None
    attempts: int | None = None


class Backoff(NamedTuple):
    """How a provider wants RETRY spread: full jitter below a ceiling that doubles with each attempt."""

    base: float  # seconds: the ceiling after the first attempt
    cap: float  # seconds: the highest ceiling
    attempts: int  # attempts in all, the first included

    def ceiling(self, attempt: int) -> float:
        """Seconds within which the attempt after number `attempt` (from 1) falls due."""
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 30))


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be shown, the same for every device of a notification in one locale."""

    notification_id: str  # UUID, lower case
    title: str
    body: str
    category: str = ""  # slug
    image: str = ""  # https URL
    url: str = ""  # opened on tap
    data: Mapping[str, str] = field(default_factory=dict)
    actions: tuple[Mapping[str, str], ...] = ()  # {"id", "title", "url"?}
    priority: str = "normal"  # high | normal
    expires_at: int | None = None  # unix seconds; None: the provider's own default
    collapse_key: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)  # this provider's `Options`, as JSON


@dataclass(frozen=True, slots=True)
class Target:
    """One device's address as this provider needs it."""

    device_id: int
    token: str  # APNs/FCM token; Web Push: the endpoint
    environment: str = ""  # apns: production | sandbox | "" (not known)
    fid: str = ""  # fcm: Firebase installation id, preferred to the token
    p256dh: str = ""  # webpush: base64url
    auth: str = ""  # webpush: base64url
    attempt: int = 1  # which attempt this is, from 1; some answers deserve fewer than others


class Result(NamedTuple):
    """What came of one message to one device. Carries its device id: never paired by position."""

    device_id: int
    outcome: Outcome
    reason: str
    provider_id: str = ""  # apns-id, FCM message name, Web Push Location
    retry_after: float | None = None  # seconds from now
    retired_since: float | None = None  # unix seconds: retire only if registered before this (APNs 410)
    detail: str = ""  # the provider's own words, ≤ 200 characters, never a token or payload
    environment: str = ""  # apns: where the token was found to live, when the target did not say
    scope: str = ""  # BLOCKED or throttled for this part only (webpush: the push service's host); "": for all


class CheckResult(StrEnum):
    """What a live check of a credential came to."""

    OK = "ok"  # the provider lets it in
    REFUSED = "refused"  # the provider does not
    UNABLE = "unable"  # it could not be asked, or could not say: that says nothing about the credential


class Check(NamedTuple):
    """reason: stable snake_case word, as in a Result. detail: whose words, and which host and port it is about."""

    result: CheckResult
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """A decrypted credential. `public` is shown in the admin, `secret` never."""

    id: int
    provider: str
    public: Mapping[str, Any]
    secret: str = field(repr=False)


class InvalidCredential(ValueError):
    """A credential that cannot work, refused on entry. `field` names the setting at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class PayloadTooLarge(ValueError):
    """The rendered message passes the platform's limit; raised at acceptance, never met at the provider."""

    def __init__(self, provider: str, size: int, limit: int) -> None:
        super().__init__(f"{provider} payload is {size} bytes, the limit is {limit}")
        self.provider, self.size, self.limit = provider, size, limit


REFRESH_AHEAD = 300.0  # seconds before `expires_at` from which a TokenStore mints anew


class Token(NamedTuple):
    """A bearer token shared by the whole fleet (APNs provider token, Google access token)."""

    value: str
    minted_at: float  # unix seconds
    expires_at: float  # unix seconds; due REFRESH_AHEAD before it, usable until it


class TokenStore(Protocol):
    """Shares bearer tokens between processes: one mint per key for the whole fleet."""

    async def get(self, key: str, mint: Callable[[], Awaitable[Token]]) -> Token:
        """The current token of `key`; calls `mint` in one process only when there is none or it is due."""
        ...

    async def drop(self, key: str, value: str) -> None:
        """Forget `value` if it is still the current token of `key` (the provider refused it)."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the providers live: the vendors by default, a simulator in tests and rehearsals."""

    apns_url: str = "https://api.push.apple.com"
    apns_sandbox_url: str = "https://api.sandbox.push.apple.com"
    fcm_url: str = "https://fcm.googleapis.com"
    ca_file: str = ""  # PEM file of an extra certificate authority
    webpush_allowed_hosts: tuple[str, ...] = ()  # extra hosts, "host" or "host:port"
    timeout: float = 15.0  # seconds for a whole request, connecting included


class Rendered(Protocol):
    """A provider's own prepared form of a Message: everything that does not differ between devices."""

    size: int  # payload bytes as the platform counts them


class Session(ABC):
    """A provider opened with one credential inside one worker process (one event loop)."""

    @abstractmethod
    async def send(self, rendered: Any, target: Target) -> Result:
        """One message to one device. Never raises for a message; makes one attempt.

        A second request inside the call is allowed only where the first was definitely refused and
        PROTOCOLS names the second as the cure (other APNs host, Web Push without Topic).
        """

    async def warm_up(self) -> None:  # noqa: B027 (optional)
        """Called once before many sends; opens connections and fetches tokens."""

    async def check(self) -> Check:
        """Ask the provider whether it lets this credential in, without reaching anybody. One attempt; never raises.

        Where there is nobody to ask, what can be seen from here is all there is.
        """
        return Check(CheckResult.OK)

    async def close(self) -> None:  # noqa: B027 (optional)
        """Release what the session holds. May be called twice."""


class Provider(ABC):
    """One way to reach a device. Stateless; see docs/adding-a-provider.md."""

    name: ClassVar[str]
    platforms: ClassVar[frozenset[str]]  # device platforms it serves
    limit: ClassVar[int]  # payload bytes
    Options: ClassVar[type[msgspec.Struct]]  # what `overrides.<name>` of the send API may hold
    OUTCOMES: ClassVar[Mapping[tuple[int, str], Verdict]]  # (status, provider's code or "")
    BACKOFF: ClassVar[Backoff]
    QUOTA: ClassVar[frozenset[str]] = frozenset()  # reasons of RETRY that mean the whole credential's pace

    @abstractmethod
    def check_credential(self, public: Mapping[str, Any], secret: str) -> tuple[dict[str, Any], str]:
        """Public settings and secret as they are to be stored, completed with what can be derived or made.

        Raises InvalidCredential naming the setting. No network.
        """

    @abstractmethod
    def render(self, message: Message) -> Any:
        """Pure: the prepared form. Raises PayloadTooLarge, or ValueError naming the field."""

    @abstractmethod
    def open(self, credential: Credential, tokens: TokenStore) -> Session:
        """A session for this credential; called inside the running loop."""
