"""Sending: one notification or a thousand, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from config import problems, rest
from config.json import decoded
from config.openapi import documented
from config.problems import InvalidField, Problem
from devices import selectors as devices
from notifications import explain, requests, selectors, services
from notifications.models import Delivery, Notification
from notifications.requests import Send, SendMany, SendManyDocumented
from notifications.services import Accepted, Draft, IdempotencyConflict
from notifications.shapes import (
    AcceptedRow,
    BatchResult,
    DeliveryRow,
    DryRun,
    Explanation,
    NotificationRow,
    Page,
)

READ, WRITE = ("notifications:read",), ("notifications:write",)

LONGEST_KEY = 255
# Items of a batch take the batch's key and their number.
LONGEST_BATCH_KEY = LONGEST_KEY - len("#999")
IDEMPOTENCY_KEY = {
    "Idempotency-Key": "The same key with the same body gives the same notification; with another body, 409."
}


class Notifications(rest.Endpoint):
    scopes = {"GET": READ, "POST": WRITE}

    @documented(
        "List notifications, newest first", responses={200: Page[NotificationRow]}, query=("cursor", "limit")
    )
    def get(self, request: HttpRequest) -> HttpResponse:
        return rest.page(
            request, selectors.notifications(rest.key(request).application_id), represented=many_shown
        )

    @documented(
        "Send a notification",
        request=Send,
        responses={202: AcceptedRow, 200: (AcceptedRow, DryRun)},
        headers=IDEMPOTENCY_KEY,
        statuses={409: "The Idempotency-Key was used for another body"},
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        key = rest.key(request)
        send = rest.body(request, Send)
        draft = requests.draft(
            send,
            application_id=key.application_id,
            now=timezone.now(),
            idempotency_key=idempotency_key(request, LONGEST_KEY),
        )
        services.check_draft(draft)
        if send.dry_run:
            return rest.answer(services.dry_run(draft, application_id=key.application_id))
        try:
            (accepted,) = services.accept([draft], application_id=key.application_id, requested_by=key.prefix)
        except IdempotencyConflict as error:
            raise conflict() from error
        if accepted.is_replay:
            return rest.answer(accepted_row(accepted), 200, {"Idempotent-Replay": "true"})
        return rest.answer(accepted_row(accepted), 202)


class Batch(rest.Endpoint):
    scopes = {"POST": WRITE}

    @documented(
        "Send up to 1000 notifications; good ones are kept",
        request=SendManyDocumented,
        responses={200: BatchResult},
        headers=IDEMPOTENCY_KEY,
    )
    def post(self, request: HttpRequest) -> HttpResponse:
        key = rest.key(request)
        items = rest.body(request, SendMany).notifications
        batch_key = idempotency_key(request, LONGEST_BATCH_KEY)
        drafts = self._drafts(items, key.application_id, batch_key)
        good = [draft for draft in drafts if isinstance(draft, Draft)]
        answers = iter(services.accept_each(good, application_id=key.application_id, requested_by=key.prefix))
        results = [next(answers) if isinstance(draft, Draft) else draft for draft in drafts]
        return rest.answer({"results": [_item(index, result) for index, result in enumerate(results)]})

    def _drafts(
        self, items: Sequence[msgspec.Raw], application_id: int, batch_key: str | None
    ) -> list[Draft | Problem]:
        now = timezone.now()
        checked = services.Checked()
        drafts: list[Draft | Problem] = []
        for index, item in enumerate(items):
            try:
                drafts.append(_draft_of(item, application_id, now, batch_key, index, checked))
            except (Problem, InvalidField) as error:
                problem = problems.of(error)
                assert problem
                drafts.append(problem)
        return drafts


def _draft_of(
    item: msgspec.Raw,
    application_id: int,
    now: Any,
    batch_key: str | None,
    index: int,
    checked: services.Checked,
) -> Draft:
    send = decoded(item, Send)
    if send.dry_run:
        raise InvalidField("/dry_run", "not in a batch")
    draft = requests.draft(
        send,
        application_id=application_id,
        now=now,
        idempotency_key=f"{batch_key}#{index}" if batch_key else None,
    )
    services.check_draft(draft, checked)
    return draft


def _item(index: int, result: Accepted | Problem | IdempotencyConflict) -> dict[str, Any]:
    if isinstance(result, Accepted):
        return {"index": index, "status": "replayed" if result.is_replay else "accepted", "id": result.id}
    problem = result if isinstance(result, Problem) else conflict()
    return {"index": index, "status": "error", "problem": problem.body()}


class OneNotification(rest.Endpoint):
    scopes = {"GET": READ}

    @documented("Show a notification and its counts", responses={200: NotificationRow})
    def get(self, request: HttpRequest, id: UUID) -> HttpResponse:
        rest.query(request)
        return rest.answer(shown(found(request, id)))


class Cancel(rest.Endpoint):
    scopes = {"POST": WRITE}

    @documented(
        "Cancel what is not sent yet",
        responses={200: NotificationRow},
        statuses={409: "It is done: there is nothing left to cancel"},
    )
    def post(self, request: HttpRequest, id: UUID) -> HttpResponse:
        notification = services.cancel(found(request, id))
        if notification.status != Notification.Status.CANCELLED:
            raise Problem(409, "Conflict", "This notification is done: there is nothing left to cancel.")
        return rest.answer(shown(notification))


class Pause(rest.Endpoint):
    scopes = {"POST": WRITE}

    @documented(
        "Hold what is not sent yet",
        responses={200: NotificationRow},
        statuses={409: "It is done or cancelled: there is nothing left to hold"},
    )
    def post(self, request: HttpRequest, id: UUID) -> HttpResponse:
        notification = services.pause(found(request, id))
        if not notification.paused_at:
            raise Problem(409, "Conflict", "This notification is over: there is nothing left to hold.")
        return rest.answer(shown(notification))


class Resume(rest.Endpoint):
    scopes = {"POST": WRITE}

    @documented(
        "Let a paused one go on; one that is not paused stays as it is", responses={200: NotificationRow}
    )
    def post(self, request: HttpRequest, id: UUID) -> HttpResponse:
        return rest.answer(shown(services.resume(found(request, id))))


class Deliveries(rest.Endpoint):
    scopes = {"GET": READ}

    @documented(
        "The ledger of a notification, newest line first",
        responses={200: Page[DeliveryRow]},
        query=("cursor", "limit", "outcome"),
    )
    def get(self, request: HttpRequest, id: UUID) -> HttpResponse:
        application_id = rest.key(request).application_id
        rows = selectors.deliveries(application_id, found(request, id).id)
        if outcome := rest.query(request, "cursor", "limit", "outcome").get("outcome"):
            if outcome not in Delivery.Outcome.values:
                raise rest.invalid_parameter(
                    "outcome", f"expected one of {', '.join(Delivery.Outcome.values)}"
                )
            rows = rows.filter(outcome=outcome)
        return rest.page(
            request, rows, "outcome", represented=lambda lines: selectors.ledger_lines(application_id, lines)
        )


class Explain(rest.Endpoint):
    scopes = {"GET": READ}

    @documented("Why a person did, did not, or will get it", responses={200: Explanation})
    def get(self, request: HttpRequest, external_id: str, id: UUID) -> HttpResponse:
        rest.query(request)
        subscriber = devices.subscriber(rest.key(request).application_id, external_id)
        if subscriber is None:
            raise Problem(404, "Not found", "There is no such subscriber.")
        notification = found(request, id)
        return rest.answer(
            {
                "notification": notification.id,
                "subscriber": subscriber.external_id,
                **selectors.explanation(notification, subscriber),
                "rules": explain.rules(notification, subscriber),
            }
        )


def found(request: HttpRequest, id: UUID) -> Notification:
    notification = selectors.notification(rest.key(request).application_id, id)
    if notification is None:
        raise Problem(404, "Not found", "There is no such notification.")
    return notification


def idempotency_key(request: HttpRequest, longest: int) -> str | None:
    key: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", key) or len(key) > longest:
        detail = f"expected 1 to {longest} printable ASCII characters"
        raise Problem(
            422,
            "Invalid request",
            f"Idempotency-Key: {detail}",
            errors=[{"header": "Idempotency-Key", "detail": detail}],
        )
    return key


def conflict() -> Problem:
    return Problem(409, "Conflict", "This Idempotency-Key was used before for another body.")


def accepted_row(accepted: Accepted) -> dict[str, Any]:
    return {"id": accepted.id, "status": accepted.status, "created_at": accepted.created_at}


def shown(notification: Notification) -> dict[str, Any]:
    return many_shown([notification])[0]


def many_shown(notifications: Sequence[Notification]) -> list[dict[str, Any]]:
    counts = selectors.counts(notifications)
    return [_shown(notification, counts[notification.id]) for notification in notifications]


def _shown(notification: Notification, counts: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": notification.id,
        "status": selectors.status(notification, counts),
        "category": notification.category.slug,
        "to": notification.audience,
        "content": notification.content,
        "priority": notification.priority,
        "collapse_key": notification.collapse_key or None,
        "ttl_seconds": notification.ttl_seconds,
        "send_at": notification.send_at,
        "throttle_per_second": notification.throttle_per_second,
        "local_time": notification.local_time or None,
        "send_window": notification.send_window,
        "deadline": notification.deadline,
        "template": notification.template_version.template.slug if notification.template_version else None,
        "variables": notification.variables,
        "overrides": notification.overrides,
        "created_at": notification.created_at,
        "finished_at": notification.finished_at,
        "counts": counts,
    }
