"""FCM HTTP v1: `POST /v1/projects/<project>/messages:send`, with errors in Google's JSON form."""

from __future__ import annotations

import itertools
import re
import time
from http import HTTPStatus
from typing import Any

import msgspec
import orjson

from simulator import devices
from simulator.answers import JSON, Answer, Headers, Refusal, json_answer
from simulator.faults import Injection
from simulator.fcm_message import AndroidNotification, Message, Notification, Request
from simulator.oauth import Accounts
from simulator.receipts import KEY, notification_id
from simulator.service import Arrival, Service

LIMIT, TOPIC_LIMIT = 4096, 2048
MAX_TTL = 2_419_200  # 28 days
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
# errorCode of FcmError -> google.rpc status
RPC_STATUS = {
    "INVALID_ARGUMENT": "INVALID_ARGUMENT",
    "UNREGISTERED": "NOT_FOUND",
    "SENDER_ID_MISMATCH": "PERMISSION_DENIED",
    "QUOTA_EXCEEDED": "RESOURCE_EXHAUSTED",
    "THIRD_PARTY_AUTH_ERROR": "UNAUTHENTICATED",
    "INTERNAL": "INTERNAL",
    "UNAVAILABLE": "UNAVAILABLE",
    "UNSPECIFIED_ERROR": "UNKNOWN",
}
# Codes that come without an FcmError, from the API front end.
FRONT_END = frozenset(
    ("UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "SERVICE_DISABLED", "FIELD_VIOLATION")
)
USUAL = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "SENDER_ID_MISMATCH", 404: "UNREGISTERED",
         429: "QUOTA_EXCEEDED", 500: "INTERNAL", 503: "UNAVAILABLE"}  # fmt: skip
MESSAGES = {
    "UNREGISTERED": "Requested entity was not found.",
    "INVALID_ARGUMENT": "The registration token is not a valid FCM registration token",
    "SENDER_ID_MISMATCH": "SenderId mismatch",
    "QUOTA_EXCEEDED": "Quota exceeded for quota metric 'Messages sent' and limit 'Messages sent per minute'.",
    "THIRD_PARTY_AUTH_ERROR": "Auth error from APNS or Web Push Service",
    "INTERNAL": "Internal error encountered.",
    "UNAVAILABLE": "The service is currently unavailable.",
    "SERVICE_DISABLED": "Firebase Cloud Messaging API has not been used in project before or it is disabled.",
}

_PATH = re.compile(r"/v1/projects/([^/]+)/messages:send")
_TTL = re.compile(r"([0-9]{1,9})(?:\.[0-9]{1,9})?s", re.ASCII)
_TOPIC = re.compile(r"[a-zA-Z0-9\-_.~%]{1,900}", re.ASCII)
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$\.?(.*)`)?")
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
# Free-form maps: their keys are the user's own.
_OPAQUE = frozenset(("data", "headers", "payload"))
_decoder = msgspec.json.Decoder(Request)


class Fcm(Service):
    platform = "android"

    def __init__(self, accounts: Accounts, *rest: Any) -> None:
        super().__init__(*rest)
        self.accounts = accounts
        self._paths: dict[str, str] = {}  # path -> project
        self._names = itertools.count(int(time.time() * 1e6))

    def examine(self, method: str, path: str, headers: Headers, body: bytes) -> Arrival:
        project = self._project(method, path)
        self._examine_account(project, headers.get("authorization"))
        message, validate_only = _decode(body)
        address = _target(message)
        _examine_message(message, len(body))
        notification = message.data.get(KEY, "")
        if notification.startswith("{"):
            notification = notification_id(notification)
        android = message.android
        high = android is not None and android.priority in ("HIGH", "high")
        return Arrival(
            address, devices.fcm_index(address), notification, high, message, (project, validate_only)
        )

    def _project(self, method: str, path: str) -> str:
        project = self._paths.get(path)
        if project is None:
            match = _PATH.fullmatch(path)
            if match is None:
                raise Refusal(404, "NOT_FOUND", "The requested URL was not found on this server.")
            if len(self._paths) > 1000:
                self._paths.clear()
            project = self._paths[path] = match[1]
        if method != "POST":
            raise Refusal(404, "NOT_FOUND", "The requested URL was not found on this server.")
        return project

    def _examine_account(self, project: str, authorization: str | None) -> None:
        account = self.accounts.of(authorization)
        if account is None or (self.faults.active and self.faults.is_revoked(account.client_email)):
            raise Refusal(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
                "or other valid authentication credential.",
            )
        if account.project_id != project:
            if project not in self.accounts.projects():
                raise Refusal(404, "NOT_FOUND", f"Project '{project}' not found.")
            raise Refusal(
                403,
                "PERMISSION_DENIED",
                f"Permission 'cloudmessaging.messages.create' denied on resource '//cloudresourcemanager."
                f"googleapis.com/projects/{project}' (or it may not exist).",
            )

    def _accept(self, arrival: Arrival) -> None:
        if not arrival.detail[1]:  # one that is only validated arrives nowhere
            super()._accept(arrival)

    def acceptance(self, arrival: Arrival, headers: Headers) -> Answer:
        project, validate_only = arrival.detail
        name = (
            "fake_message_id"
            if validate_only
            else f"0:{next(self._names)}%{arrival.notification[:8] or 0:0>8}"
        )
        return Answer(200, [JSON], f'{{"name":"projects/{project}/messages/{name}"}}'.encode())

    def refusal(self, refusal: Refusal, headers: Headers) -> Answer:
        return json_answer(refusal.status, {"error": _error(refusal)})

    def dead(self) -> Injection:
        return Injection(status=404, code="UNREGISTERED")

    def usual_code(self, status: int) -> str:
        return USUAL.get(status, "UNSPECIFIED_ERROR")

    def shown(self, payload: Any) -> dict[str, Any]:
        specific = payload.android.notification if payload.android else None
        for part in (specific, payload.notification):
            if part is not None and (part.title or part.body):
                return {"title": part.title, "body": part.body, "image": part.image}
        data = payload.data
        return {"title": data.get("title", ""), "body": data.get("body", ""), "image": data.get("image", "")}


def field_violation(field: str, description: str) -> Refusal:
    return Refusal(400, "FIELD_VIOLATION", description, field)


def _error(refusal: Refusal) -> dict[str, Any]:
    code, status = refusal.code, refusal.status
    message = MESSAGES.get(code, refusal.message) if refusal.message == code else refusal.message
    if code == "FIELD_VIOLATION":
        detail: dict[str, Any] = {
            "@type": BAD_REQUEST,
            "fieldViolations": [{"field": refusal.field, "description": message}],
        }
        return {"code": status, "message": message, "status": "INVALID_ARGUMENT", "details": [detail]}
    if code in FRONT_END:
        rpc = "PERMISSION_DENIED" if code == "SERVICE_DISABLED" else code
        error = {"code": status, "message": message, "status": rpc}
        if code != "NOT_FOUND":
            reason = "ACCESS_TOKEN_TYPE_UNSUPPORTED" if code == "UNAUTHENTICATED" else code
            error["details"] = [{"@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com"}]
        return error
    rpc = RPC_STATUS.get(code) or HTTPStatus(status).name
    return {
        "code": status,
        "message": message,
        "status": rpc,
        "details": [{"@type": FCM_ERROR, "errorCode": code}],
    }


def _decode(body: bytes) -> tuple[Message, bool]:
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError as error:
        request = _decode_camel_case(body, error)
    except msgspec.DecodeError as error:
        raise field_violation("", f"Invalid JSON payload received. {error}") from None
    return request.message, request.validate_only


def _decode_camel_case(body: bytes, first: msgspec.ValidationError) -> Request:
    try:
        return msgspec.convert(_snake_case(orjson.loads(body)), Request)
    except msgspec.ValidationError as error:
        raise _schema_violation(str(error)) from first
    except orjson.JSONDecodeError:
        raise _schema_violation(str(first)) from None


def _snake_case(value: Any) -> Any:
    if isinstance(value, list):
        return [_snake_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        _CAMEL.sub(r"_\1", name).lower(): inner if name in _OPAQUE else _snake_case(inner)
        for name, inner in value.items()
    }


def _schema_violation(text: str) -> Refusal:
    if match := _UNKNOWN_FIELD.match(text):
        place = match[2] or ""
        where = f" at '{place}'" if place else ""
        message = f'Invalid JSON payload received. Unknown name "{match[1]}"{where}: Cannot find field.'
        return field_violation(place, message)
    problem, _, place = text.partition(" - at `$")
    field = place.strip("`.")
    return field_violation(field, f"Invalid value at '{field}': {problem}")


_TARGETS = ("token", "fid", "topic", "condition")


def _target(message: Message) -> str:
    given = [name for name in _TARGETS if getattr(message, name)]
    if len(given) > 1:
        raise field_violation(
            "message",
            f"Invalid value at 'message' (oneof), oneof field 'target' is already set. Cannot set '{given[1]}' "
            f"({given[0]} is set)",
        )
    if not given:
        raise field_violation("message", "Recipient of the message is not set.")
    name = given[0]
    address: str = getattr(message, name)
    if name in ("token", "fid"):
        if len(address) > 4096 or not address.isascii() or " " in address:
            raise Refusal(400, "INVALID_ARGUMENT")
        return address
    if name == "topic" and not _TOPIC.fullmatch(address):
        raise field_violation("message.topic", "Malformed topic name")
    return f"{name}:{address}"


def _examine_message(message: Message, length: int) -> None:
    data = message.data
    if data:
        _examine_data("message.data", data)
    android = message.android
    if android is not None:
        if android.data:
            _examine_data("message.android.data", android.data)
        if android.ttl:
            _examine_ttl(android.ttl)
    limit = TOPIC_LIMIT if message.topic or message.condition else LIMIT
    # The whole request is longer than what counts, so a short one needs no measuring.
    if length > limit and _size(message) > limit:
        raise field_violation(
            "message", f"Message too big: the payload is larger than the limit of {limit} bytes."
        )


def _examine_data(field: str, data: dict[str, str]) -> None:
    for key in data:
        if key == "from" or key == "message_type" or key.startswith(("google", "gcm")):
            raise field_violation(f"{field}[{key}]", f"Invalid data payload key: {key}")


def _examine_ttl(ttl: str) -> None:
    match = _TTL.fullmatch(ttl)
    if match is None:
        raise field_violation(
            "message.android.ttl", f"Illegal duration format; duration must end with 's': {ttl}"
        )
    if int(match[1]) > MAX_TTL:
        raise field_violation(
            "message.android.ttl", "Invalid value: ttl must be between 0 and 2419200 seconds"
        )


def _size(message: Message) -> int:
    """Bytes of data and of what is shown, keys included; a platform's own block replaces the common one."""
    android = message.android
    data = android.data if android is not None and android.data else message.data
    notification: Notification | AndroidNotification | None = message.notification
    if android is not None and android.notification is not None:
        notification = android.notification
    size = sum(len(key.encode()) + len(value.encode()) for key, value in data.items())
    if notification is not None:
        size += len(msgspec.json.encode(notification))
    if message.apns is not None:
        size = max(size, len(orjson.dumps(message.apns.payload)))
    return size
