"""Test messages: the saved version to a few people's own phones, whatever they have agreed to, counted in no report.

They go out as messages of a category of their own, critical and always on, so neither consent nor quiet hours nor
caps hold them. Pickers of categories leave it out (`Category.TESTS`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Q

from campaigns import contents, history
from campaigns.checking import NotReady
from campaigns.document import Content, Plan, Variant
from campaigns.models import Campaign, Tester, TestSend
from config.problems import InvalidField
from devices import selectors as devices
from devices.models import Category, Device, Subscriber
from notifications import lanes, reasons
from notifications import selectors as notifications
from notifications import services as sending
from notifications.content import LONGEST_TEXT
from notifications.models import Batch, Delivery, Notification
from notifications.pipeline.accept import Draft
from tenants import keys
from tenants import selectors as tenants
from tenants.models import ApiKey, Application

MARK = "[Test] "
MOST_PEOPLE = 20
LIFETIME_SECONDS = 15 * 60  # a test that comes an hour later confuses


class NobodyToTest(ValueError):
    """In words: who is meant cannot be sent to. Nothing was sent."""


# --- who ----------------------------------------------------------------------------------------


def testers(application_id: int) -> list[Tester]:
    """Each with `device_count`, their active devices."""
    active = Count("subscriber__devices", filter=Q(subscriber__devices__retired_at__isnull=True))
    found = Tester.objects.filter(application_id=application_id).select_related("subscriber", "user")
    return list(found.annotate(device_count=active))


def person(application_id: int, who: str) -> Subscriber:
    """By external id, else by e-mail address. Raises NobodyToTest."""
    who = who.strip()
    found = devices.subscriber(application_id, who)
    if found is None and "@" in who:
        found = devices.subscribers(application_id).filter(email__iexact=who).order_by("id").first()
    if found is None:
        raise NobodyToTest(f"Nobody of this app has the id or e-mail address “{who}”.")
    return found


def add(subscriber: Subscriber, *, name: str = "", user: User | None = None) -> Tester:
    """May be called twice. user: whose own phone it is."""
    tester, _ = Tester.objects.get_or_create(
        application_id=subscriber.application_id,
        subscriber=subscriber,
        defaults={"name": (name or subscriber.email or subscriber.external_id)[:120], "user": user},
    )
    if user and tester.user_id is None:
        tester.user = user
        tester.save(update_fields=["user"])
    return tester


def own_id(user: User) -> str:
    """The id under which a member of the staff registers a phone to test with."""
    return f"tester-{user.get_username()}"[:255]


def adopt(application: Application, user: User) -> Tester | None:
    """Who has registered as `own_id` is a tester of theirs from then on."""
    subscriber = devices.subscriber(application.pk, own_id(user))
    if subscriber is None or not subscriber.devices.filter(retired_at__isnull=True).exists():
        return None
    return add(subscriber, name=f"{user.get_full_name() or user.get_username()}’s device", user=user)


class Registration(NamedTuple):
    """How to register a first device. is_trial: any token will do, nothing leaves this server."""

    external_id: str
    curl: str
    key_prefix: str
    is_trial: bool


def registration(application: Application, user: User, *, url: str) -> Registration:
    """url: of PUT /v1/devices. The client key itself is known to nobody: it is to be put in."""
    external_id = own_id(user)
    is_trial = application.is_sandbox or not tenants.configured_providers(application.pk).isdisjoint(
        lanes.STAND_INS
    )
    token = secrets.token_hex(32) if is_trial else "TOKEN_FROM_YOUR_APP"
    signature = keys.signature(application.identity_secret, external_id)
    key = ApiKey.objects.filter(
        application=application, kind=ApiKey.Kind.CLIENT, revoked_at__isnull=True
    ).first()
    curl = (
        f"curl -X PUT {url} \\\n"
        f"  -H 'Authorization: Bearer YOUR_CLIENT_KEY' \\\n"
        f"  -H 'X-Subscriber-Signature: {signature}' \\\n"
        f"  -H 'Content-Type: application/json' \\\n"
        f'  -d \'{{"platform": "ios", "token": "{token}", "subscriber": "{external_id}"}}\''
    )
    return Registration(external_id, curl, f"{key.prefix}…" if key else "", is_trial)


# --- sending ------------------------------------------------------------------------------------


def category(application: Application) -> Category:
    """Critical: no cap counts it. Always on: whoever is a tester gets it."""
    found, _ = Category.objects.get_or_create(
        application=application,
        slug=Category.TESTS,
        defaults={
            "name": "Test messages",
            "kind": Category.Kind.CRITICAL,
            "default": Category.Default.FORCED,
            "crash_rule": Category.CrashRule.RESEND,
        },
    )
    return found


def send(
    campaign: Campaign,
    to: Sequence[Subscriber],
    *,
    by: User,
    variant: str = "A",
    is_marked: bool = True,
    seen_as: Subscriber | None = None,
    locale: str = "",
) -> TestSend:
    """The saved version's variant, now. is_marked: its title begins with “[Test]”.

    seen_as, locale: everybody gets it as this person, or in this language, would; else as they are themselves.

    Raises NobodyToTest, NotReady; then nothing is sent.
    """
    people, plan = _people(to), campaign.document
    number = next((n for n, one in enumerate(plan.variants) if one.key == variant), 0)
    said = plan.variants[number]
    if seen_as or locale:
        said = _as_seen(campaign, plan, said, seen_as, locale)
    said = _marked(said) if is_marked else said
    with transaction.atomic():
        sent = _accepted(campaign, said, number, people, requested_by=f"staff:{by.get_username()}")
        history.keep(campaign, "test")
        return TestSend.objects.create(
            campaign=campaign,
            version=campaign.version,
            variant=said.key,
            notification_id=sent.id,
            sent_by=by,
        )


def _accepted(
    campaign: Campaign, said: Variant, number: int, people: list[str], *, requested_by: str
) -> Draft:
    """On its way to them. number: the variant's place in the plan, for faults. Raises NotReady."""
    draft = Draft(
        category(campaign.application),
        {},
        {"subscribers": people},
        ttl_seconds=LIFETIME_SECONDS,
        priority="high",
    )
    _check(campaign.document, said, draft, number)
    draft = contents.drafted(
        campaign.document,
        said,
        draft,
        application_id=campaign.application_id,
        slug=f"campaign-{campaign.pk}-test-{draft.id.hex[-12:]}",
        by=requested_by,
    )
    sending.accept([draft], application_id=campaign.application_id, requested_by=requested_by[:80])
    return draft


def _people(to: Sequence[Subscriber]) -> list[str]:
    """External ids, each once. Raises NobodyToTest."""
    people = list(dict.fromkeys(one.external_id for one in to))
    if not people:
        raise NobodyToTest("Choose who gets it.")
    if len(people) > MOST_PEOPLE:
        raise NobodyToTest(f"A test goes to {MOST_PEOPLE} people at most.")
    return people


def _as_seen(
    campaign: Campaign, plan: Plan, variant: Variant, person: Subscriber | None, locale: str
) -> Variant:
    """With the texts one person would get, literally. Raises NotReady."""
    try:
        found = contents.preview(
            plan, variant, application=campaign.application, subscriber=person, locale=locale or None
        )
        seen = msgspec.structs.replace(variant, content=msgspec.convert(dict(found.content), Content))
    except (InvalidField, msgspec.ValidationError) as error:
        raise NotReady([contents.Fault("/variants", str(error))]) from error
    if not contents.is_literal(seen):  # a value that looks like a variable would be filled in once more
        raise NotReady([contents.Fault("/variants", "a value of this person contains “{{” or “{%”")])
    return seen


def _check(plan: Plan, said: Variant, draft: Draft, number: int) -> None:
    """Only what is said: a draft without a time or an audience can be tested."""
    alone = msgspec.structs.replace(plan, variants=[said])
    if found := contents.faults(alone, draft):
        raise NotReady(
            [
                contents.Fault(fault.pointer.replace("/variants/0", f"/variants/{number}", 1), fault.detail)
                for fault in found
            ]
        )


def _marked(variant: Variant) -> Variant:
    content = variant.content
    field = "title" if content.title else "body"
    locales = {name: _marked_texts(texts, field) for name, texts in content.locales.items()}
    changed = {field: _mark(getattr(content, field)), "locales": locales}
    return msgspec.structs.replace(variant, content=msgspec.structs.replace(content, **changed))


def _marked_texts(texts: Any, field: str) -> Any:
    said = getattr(texts, field)
    return msgspec.structs.replace(texts, **{field: _mark(said)}) if isinstance(said, str) and said else texts


def _mark(words: str) -> str:
    return f"{MARK}{words}" if len(words) + len(MARK) <= LONGEST_TEXT else words


# --- what becomes of it -------------------------------------------------------------------------

State = Literal["waiting", "accepted", "held_back", "failed", "uncertain"]
ICONS: dict[State, tuple[str, str]] = {
    "waiting": ("hourglass_top", "run"),
    "accepted": ("check_circle", "good"),
    "held_back": ("block", "warn"),
    "failed": ("error", "bad"),
    "uncertain": ("help", "warn"),
}
_ACCEPTED_BY = {"apns": "Apple", "fcm": "Google", "webpush": "the browser’s push service"}
_FAILED = {"unregistered", "rejected", "failed"}


class Line(NamedTuple):
    """One device, or one person without any."""

    person: str
    device: str
    state: State
    words: str
    todo: str = ""

    @property
    def icon(self) -> str:
        return ICONS[self.state][0]

    @property
    def tone(self) -> str:
        return ICONS[self.state][1]


@dataclass(frozen=True, slots=True)
class Result:
    lines: list[Line]
    received: int
    opened: int
    is_open: bool


def result(test: TestSend) -> Result:
    """Of each device, from the ledger and what is still open."""
    lines = _lines(test.notification)
    counts = notifications.counts([test.notification])[test.notification_id]
    return Result(
        lines,
        counts["received"],
        counts["opened"],
        any(line.state == "waiting" for line in lines) or not lines,
    )


def _lines(notification: Notification) -> list[Line]:
    ledger = list(notifications.deliveries(notification.application_id, notification.id).order_by("id")[:500])
    pending = list(Batch.objects.filter(notification_id=notification.id))
    open_ids = [id for batch in pending for id in batch.device_ids]
    known = {
        device.pk: device
        for device in Device.objects.filter(
            application_id=notification.application_id,
            id__in={*open_ids, *(line.device_id for line in ledger if line.device_id)},
        ).select_related("subscriber")
    }
    people = dict(
        Subscriber.objects.filter(
            application_id=notification.application_id, id__in={line.subscriber_id for line in ledger}
        ).values_list("id", "external_id")
    )
    latest = {(line.device_id, line.subscriber_id or line.detail): line for line in ledger}
    found = [
        _line(known.get(line.device_id or 0), people.get(line.subscriber_id or 0, line.detail), line)
        for line in latest.values()
        if line.device_id not in open_ids
    ]
    tries = {line.device_id: line for line in ledger if line.outcome in Delivery.NOT_FINAL}
    return [*found, *(_waiting(known.get(id), tries.get(id)) for id in open_ids)]


def _line(device: Device | None, who: str, line: Delivery) -> Line:
    name = described(device)
    words = reasons.words(line.reason)
    if line.outcome == Delivery.Outcome.ACCEPTED:
        by = _ACCEPTED_BY.get(lanes.provider_of(line.lane), f"the {lanes.provider_of(line.lane)} provider")
        return Line(who, name, "accepted", f"Accepted by {by}. It should be there.")
    if line.outcome == Delivery.Outcome.SUPPRESSED:
        return Line(who, name, "held_back", words.means, words.todo)
    if line.outcome in _FAILED:
        return Line(who, name, "failed", words.means, words.todo)
    return Line(who, name, "uncertain", words.means or "No answer came: it may have arrived.", words.todo)


def _waiting(device: Device | None, tried: Delivery | None) -> Line:
    who = device.subscriber.external_id if device and device.subscriber else ""
    if tried is None:
        return Line(who, described(device), "waiting", "On its way…")
    words = reasons.words(tried.reason)
    return Line(who, described(device), "waiting", words.means, words.todo)


def described(device: Device | None) -> str:
    if device is None:
        return ""
    return " ".join(filter(None, (device.model or device.get_platform_display(), device.os_version)))


def is_worth_watching(test: TestSend, found: Result, *, age_seconds: float) -> bool:
    """Whether something may still change soon: an outcome, or somebody who opens it."""
    everybody = sum(line.state == "accepted" for line in found.lines)
    return found.is_open or (age_seconds < 300 and found.opened < everybody)


def subscribers(ids: Iterable[int], application_id: int) -> list[Subscriber]:
    """Of these testers."""
    return [
        tester.subscriber
        for tester in Tester.objects.filter(id__in=ids, application_id=application_id).select_related(
            "subscriber"
        )
    ]
