"""Templates and locales on their way out: to each their own text, each text rendered once, nobody harmed by another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.utils import timezone

from devices.models import Device, Subscriber
from notifications import template_versions
from notifications.models import Notification, Template
from notifications.pipeline import load
from notifications.providers.base import Message, Outcome, Verdict
from notifications.providers.memory import Memory, Rendered
from notifications.template_versions import Said
from tests.conftest import Tenant, apns_token
from tests.notifications.pipeline.conftest import Pipeline

TEXTS = {
    "content": {"title": "Hello {{ subscriber.attributes.name }}", "body": "{{ variables.what }} for you"},
    "locales": {
        "de": {"title": "Hallo {{ subscriber.attributes.name }}", "body": "{{ variables.what }} für dich"},
        "de-AT": {"title": "Servus {{ subscriber.attributes.name }}"},
    },
}


@dataclass
class Counting(Memory):
    """Counts what it is asked to render."""

    rendered: list[Message] = field(default_factory=list)

    def render(self, message: Message) -> Rendered:
        self.rendered.append(message)
        return super().render(message)


@pytest.fixture
def counting(pipeline: Pipeline) -> Counting:
    pipeline.provider = Counting()
    return pipeline.provider


def make_template(tenant: Tenant, **said: Any) -> Template:
    return template_versions.create(
        tenant.id, "welcome", msgspec.convert({**TEXTS, "missing": "skip", **said}, Said), by="test"
    )


def people(tenant: Tenant, *known: dict[str, Any]) -> list[Device]:
    """One device each."""
    subscribers = Subscriber.objects.bulk_create(
        Subscriber(application=tenant.application, external_id=f"p{number:03}", **fields)
        for number, fields in enumerate(known)
    )
    now = timezone.now()
    return Device.objects.bulk_create(
        Device(
            application=tenant.application,
            subscriber=subscriber,
            platform="android",
            token=apns_token(),
            registered_at=now,
            last_seen_at=now,
        )
        for subscriber in subscribers
    )


def send(
    pipeline: Pipeline, audience: dict[str, Any] | None = None, *, template: Template, **variables: Any
) -> Notification:
    assert template.current
    notification = pipeline.accept(
        audience or {"all": True},
        template_version_id=template.current.pk,
        variables={"what": "News", **variables},
    )
    pipeline.resolve(notification)
    pipeline.send()
    pipeline.assert_sum(notification.id)
    return notification


def said(provider: Memory) -> dict[int, tuple[str, str]]:
    return {target.device_id: (message.title, message.body) for message, target in provider.sent}


def outcomes(pipeline: Pipeline, notification: Notification) -> dict[int | None, tuple[str, str]]:
    return {device: lines[-1] for device, lines in pipeline.ledger(notification).items()}


def test_two_hundred_people_in_three_locales_each_get_their_own_text(
    pipeline: Pipeline, counting: Counting
) -> None:
    locales = ("en-GB", "de", "de_AT")
    hello = {"en-GB": "Hello", "de": "Hallo", "de_AT": "Servus"}
    devices = people(
        pipeline.tenant,
        *({"locale": locales[i % 3], "attributes": {"name": f"N{i % 100}", "other": i}} for i in range(200)),
    )
    notification = send(pipeline, template=make_template(pipeline.tenant))
    expected = {
        device.id: (
            f"{hello[locales[i % 3]]} N{i % 100}",
            "News for you" if i % 3 == 0 else "News für dich",
        )
        for i, device in enumerate(devices)
    }
    assert said(counting) == expected
    assert set(outcomes(pipeline, notification).values()) == {("accepted", "")}
    # A hundred names and three locales meet in two hundred pairs, none twice.
    assert len(counting.rendered) == len({(m.title, m.body) for m in counting.rendered}) == 200


def test_people_who_get_the_same_text_share_one_rendering(pipeline: Pipeline, counting: Counting) -> None:
    names = [{"attributes": {"name": name, "last_order": i}} for i, name in enumerate("ABAB" * 10)]
    people(pipeline.tenant, *names)
    send(pipeline, template=make_template(pipeline.tenant))
    assert len(counting.sent) == 40
    assert sorted(message.title for message in counting.rendered) == ["Hello A", "Hello B"]


def test_a_template_that_says_the_same_to_all_is_rendered_once_per_locale(
    pipeline: Pipeline, counting: Counting
) -> None:
    people(pipeline.tenant, *({"locale": locale} for locale in ("de", "de-CH", "fr", "", "en") * 8))
    same = {"title": "{{ variables.what }}", "body": "for all"}
    template = make_template(pipeline.tenant, content=same, locales={"de": {"body": "für alle"}})
    send(pipeline, template=template)
    assert sorted(message.body for message in counting.rendered) == ["for all", "für alle"]
    assert len(counting.sent) == 40


def test_literal_content_is_said_in_each_ones_locale(pipeline: Pipeline, counting: Counting) -> None:
    devices = people(pipeline.tenant, {"locale": "de-AT"}, {"locale": "fr"}, {})
    Device.objects.filter(id=devices[2].id).update(locale="de")
    content = {"title": "{{ literal }}", "body": "Hi", "locales": {"de": {"body": "Servus"}}}
    (accepted,) = pipeline_accept(pipeline, content)
    pipeline.resolve(accepted)
    pipeline.send()
    bodies = {target.device_id: (m.title, m.body) for m, target in counting.sent}
    assert bodies == {
        devices[0].id: ("{{ literal }}", "Servus"),
        devices[1].id: ("{{ literal }}", "Hi"),
        devices[2].id: ("{{ literal }}", "Servus"),
    }
    assert len(counting.rendered) == 2


def pipeline_accept(pipeline: Pipeline, content: dict[str, Any]) -> tuple[Notification]:
    from notifications import services

    draft = services.Draft(
        category=pipeline.category("transactional"), content=content, audience={"all": True}
    )
    (accepted,) = services.accept([draft], application_id=pipeline.tenant.id, requested_by="test")
    return (Notification.objects.get(id=accepted.id),)


def test_a_person_without_what_is_needed_is_skipped_and_recorded(
    pipeline: Pipeline, counting: Counting
) -> None:
    known, unknown, empty = people(
        pipeline.tenant, {"attributes": {"name": "Ann"}}, {}, {"attributes": {"name": None}}
    )
    stranger = people_without_subscriber(pipeline.tenant)
    notification = send(pipeline, template=make_template(pipeline.tenant))
    assert outcomes(pipeline, notification) == {
        known.id: ("accepted", ""),
        unknown.id: ("suppressed", "missing_variable"),
        empty.id: ("suppressed", "missing_variable"),
        stranger.id: ("suppressed", "missing_variable"),
    }


def people_without_subscriber(tenant: Tenant) -> Device:
    now = timezone.now()
    return Device.objects.create(
        application=tenant.application,
        platform="android",
        token=apns_token(),
        registered_at=now,
        last_seen_at=now,
    )


@pytest.mark.parametrize(
    ("missing", "defaults", "expected"),
    [
        ("default", {}, "Hello "),
        ("default", {"subscriber.attributes.name": "friend"}, "Hello friend"),
        ("skip", {"subscriber.attributes.name": "friend"}, "Hello friend"),
        ("fail", {"subscriber.attributes.name": "friend"}, "Hello friend"),
    ],
)
def test_a_default_stands_in_for_what_is_missing(
    pipeline: Pipeline, counting: Counting, missing: str, defaults: dict[str, str], expected: str
) -> None:
    people(pipeline.tenant, {})
    send(pipeline, template=make_template(pipeline.tenant, missing=missing, defaults=defaults))
    assert [message.title for message, _ in counting.sent] == [expected]


def test_what_does_not_go_with_one_person_harms_no_other(pipeline: Pipeline, counting: Counting) -> None:
    content = {
        "title": "{{ subscriber.attributes.born | date: 'long' }}",
        "body": "{{ subscriber.attributes.story | default: 'short' }}",
        "url": "{{ subscriber.attributes.link | default: 'https://example.com' }}",
    }
    good, no_date, too_long, bad_link, in_bounds = people(
        pipeline.tenant,
        {"attributes": {"born": "1999-12-31"}},
        {"attributes": {"born": "long ago"}},
        {"attributes": {"born": "1999-12-31", "story": "x" * 5000}},
        {"attributes": {"born": "1999-12-31", "link": "javascript:alert(1)"}},
        {"attributes": {"born": "1999-12-31", "story": "x" * 3000}},
    )
    notification = send(pipeline, template=make_template(pipeline.tenant, content=content, locales={}))
    assert outcomes(pipeline, notification) == {
        good.id: ("accepted", ""),
        no_date.id: ("rejected", "not_renderable"),
        too_long.id: ("rejected", "payload_too_large"),
        bad_link.id: ("rejected", "not_renderable"),
        in_bounds.id: ("accepted", ""),
    }
    assert said(counting)[good.id] == ("December 31, 1999", "short")


def test_a_retry_says_what_its_version_said_whatever_the_template_says_now(
    pipeline: Pipeline, counting: Counting
) -> None:
    (device,) = people(pipeline.tenant, {"attributes": {"name": "Ann"}})
    template = make_template(pipeline.tenant)
    counting.answers[device.id] = Verdict(Outcome.RETRY, "unavailable", retry_after=60)
    notification = send(pipeline, template=template)
    new = {"title": "Something else", "body": "entirely"}
    template_versions.change(template, msgspec.convert({"content": new}, Said), by="test")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE notifications_batch SET due_at = now()")
    counting.answers.clear()
    pipeline.send()
    assert [m.title for m, _ in counting.sent][-1] == "Hello Ann"
    assert outcomes(pipeline, notification) == {device.id: ("accepted", "")}


def test_what_a_deleted_template_said_is_not_said_again(pipeline: Pipeline, counting: Counting) -> None:
    (device,) = people(pipeline.tenant, {"attributes": {"name": "Ann"}})
    template = make_template(pipeline.tenant)
    notification = send(pipeline, template=template)
    Notification.objects.filter(id=notification.id).update(status="done")
    template_versions.delete(template)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO notifications_batch (application_id, notification_id, lane, status, device_ids, attempt,"
            " due_at, turn_at) VALUES (%s, %s, 'memory.campaign', 'ready', %s, 1, now(), now())",
            [pipeline.tenant.id, notification.id, [device.id]],
        )
    pipeline.send()
    assert pipeline.ledger(notification)[device.id][-1] == ("rejected", "template_deleted")
    assert len(counting.sent) == 1


def test_plain_content_reads_nothing_of_people() -> None:
    plain = load.STATEMENTS[False, False, False]
    assert "devices_subscriber s" not in plain and "attributes" not in plain
    assert "s.attributes" not in load.STATEMENTS[True, True, False]
