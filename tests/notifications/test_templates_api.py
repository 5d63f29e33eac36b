"""Templates over REST: kept as versions, previewed, sent by name, refused where they cannot work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from devices.models import Device, Subscriber
from notifications.models import Notification, Template, TemplateVersion
from tests.conftest import Tenant

WELCOME = {
    "slug": "welcome",
    "name": "Welcome",
    "content": {
        "title": "Hello {{ subscriber.attributes.name }}",
        "body": "Order {{ variables.order }} is on its way",
    },
    "locales": {"de": {"body": "Bestellung {{ variables.order }} ist unterwegs"}},
    "missing": "fail",
}


@pytest.fixture
def welcome(shop: Tenant) -> dict[str, Any]:
    response = shop.server.post("templates", WELCOME)
    assert response.status_code == 201, response.content
    return response.json()


@pytest.fixture
def ann(shop: Tenant, make_device: Callable[..., Device]) -> Subscriber:
    device = make_device(shop, "ann")
    assert device.subscriber
    Subscriber.objects.filter(pk=device.subscriber.pk).update(attributes={"name": "Ann"}, locale="de-AT")
    return device.subscriber


def send(tenant: Tenant, **fields: Any) -> Any:
    body = {"to": {"subscribers": ["ann"]}, "template": "welcome", "variables": {"order": 7}, **fields}
    return tenant.server.post("notifications", body)


def error(response: Any, status: int = 422) -> tuple[str, str]:
    assert response.status_code == status, response.content
    first = response.json()["errors"][0]
    return first["pointer"], first["detail"]


# --- templates --------------------------------------------------------------------------------


def test_a_template_is_shown_with_what_it_reads_and_its_versions(
    shop: Tenant, welcome: dict[str, Any]
) -> None:
    shown = shop.server.get("templates/welcome").json()
    assert shown == welcome
    assert shown["content"] == WELCOME["content"]
    assert shown["variables"] == shown["needed"] == ["subscriber.attributes.name", "variables.order"]
    assert [version["number"] for version in shown["versions"]] == [1]
    (row,) = shop.server.get("templates").json()["results"]
    assert (row["slug"], row["version"]) == ("welcome", 1)


def test_a_change_is_a_new_version_and_no_change_is_none(shop: Tenant, welcome: dict[str, Any]) -> None:
    said = {name: value for name, value in WELCOME.items() if name != "slug"}
    assert shop.server.put("templates/welcome", said).json()["version"] == 1
    said["content"] = {"title": "Hi", "body": ""}
    changed = shop.server.put("templates/welcome", said)
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    assert [version["number"] for version in changed.json()["versions"]] == [2, 1]
    assert TemplateVersion.objects.get(number=1).content == WELCOME["content"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"content": {"title": "{{ x"}}, "/content/body"),
        ({"content": {"title": "a\n{{ x", "body": ""}}, "/content/title"),
        ({"content": {"title": "", "body": ""}}, "/content"),
        ({"locales": {"de": {"title": "{{ x"}}}, "/locales/de/title"),
        ({"locales": {"pt_BR": {}, "pt-br": {}}}, "/locales/pt-br"),
        ({"locales": {"deutsch!": {}}}, "/locales"),
        ({"defaults": {"nonsense": "x"}}, "/defaults/nonsense"),
        ({"missing": "shrug"}, "/missing"),
        ({"content": {"title": "", "body": "", "extra": 1}}, "/content/extra"),
    ],
)
def test_a_template_that_cannot_work_is_refused_and_nothing_is_kept(
    shop: Tenant, change: dict[str, Any], pointer: str
) -> None:
    assert error(shop.server.post("templates", {**WELCOME, **change}))[0] == pointer
    assert not Template.objects.exists()


def test_a_name_is_taken_once_per_application(shop: Tenant, rival: Tenant, welcome: dict[str, Any]) -> None:
    assert shop.server.post("templates", WELCOME).status_code == 409
    assert rival.server.post("templates", WELCOME).status_code == 201


def test_another_application_sees_changes_and_sends_nothing_of_it(
    shop: Tenant, rival: Tenant, welcome: dict[str, Any], make_device: Callable[..., Device]
) -> None:
    make_device(rival, "ann")
    assert rival.server.get("templates").json()["results"] == []
    assert rival.server.get("templates/welcome").status_code == 404
    assert rival.server.delete("templates/welcome").status_code == 404
    assert rival.server.put("templates/welcome", {"content": WELCOME["content"]}).status_code == 404
    assert rival.server.post("templates/welcome/preview", {}).status_code == 404
    assert error(send(rival)) == ("/template", "there is no such template")
    preview = shop.server.post("templates/welcome/preview", {"subscriber": "of-rival"})
    assert error(preview)[0] == "/subscriber"


def test_a_client_key_may_not_touch_templates(shop: Tenant, welcome: dict[str, Any]) -> None:
    assert shop.client.get("templates").status_code == 403
    assert shop.client.post("templates", WELCOME).status_code == 403


def test_a_template_is_deleted_only_when_no_message_waits_for_it(
    shop: Tenant, welcome: dict[str, Any], ann: Subscriber
) -> None:
    id = send(shop).json()["id"]
    assert shop.server.delete("templates/welcome").status_code == 409
    Notification.objects.filter(id=id).update(status="done")
    assert shop.server.delete("templates/welcome").status_code == 204
    assert shop.server.get("templates/welcome").status_code == 404
    kept = Notification.objects.get(id=id)
    assert (kept.template_version, kept.variables) == (None, {"order": 7})


def test_a_preview_shows_what_a_person_would_get_and_its_size(
    shop: Tenant, welcome: dict[str, Any], ann: Subscriber
) -> None:
    wish = {"subscriber": "ann", "variables": {"order": 7}}
    preview = shop.server.post("templates/welcome/preview", wish).json()
    assert preview["content"] == {"title": "Hello Ann", "body": "Bestellung 7 ist unterwegs"}
    assert (preview["locale"], preview["missing"]) == ("de", [])
    assert all(fit["fits"] and 0 < fit["bytes"] < fit["limit"] for fit in preview["sizes"].values())
    nobody = shop.server.post("templates/welcome/preview", {"locale": "fr"}).json()
    assert nobody["content"] == {"title": "Hello ", "body": "Order  is on its way"}
    assert nobody["missing"] == ["subscriber.attributes.name", "variables.order"]
    long = shop.server.post("templates/welcome/preview", {"variables": {"order": "x" * 5000}}).json()
    assert {fit["fits"] for fit in long["sizes"].values()} == {False}


# --- sending ----------------------------------------------------------------------------------


def test_a_call_by_template_is_kept_with_the_version_of_that_moment(
    shop: Tenant, welcome: dict[str, Any], ann: Subscriber
) -> None:
    response = send(shop)
    assert response.status_code == 202, response.content
    kept = Notification.objects.get(id=response.json()["id"])
    assert kept.template_version == TemplateVersion.objects.get()
    assert kept.variables == {"order": 7}
    assert kept.content == {"title": "Hello …", "body": "Order 7 is on its way"}
    shop.server.put("templates/welcome", {"content": {"title": "New", "body": ""}})
    later = Notification.objects.get(id=send(shop).json()["id"])
    assert later.template_version and later.template_version.number == 2


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"content": {"title": "a", "body": "b"}}, "/template"),
        ({"template": "nope"}, "/template"),
        ({"template": "not a slug"}, "/template"),
        ({"variables": {}}, "/variables/order"),
        ({"variables": {"order": None}}, "/variables/order"),
        ({"variables": {"order": 2**70}}, "/variables"),
        ({"variables": {"order": "x" * 40_000}}, "/variables"),
        ({"variables": {"order": "x" * 5000}}, "/template/body"),
        ({"variables": ["order"]}, "/variables"),
        ({"to": {"subscribers": ["unknown", "bob", "ann"]}}, "/to/subscribers/1"),
    ],
)
def test_a_call_that_cannot_be_rendered_is_refused_where_it_is_wrong(
    shop: Tenant,
    welcome: dict[str, Any],
    ann: Subscriber,
    make_device: Callable[..., Device],
    fields: dict[str, Any],
    pointer: str,
) -> None:
    make_device(shop, "bob")
    found, detail = error(send(shop, **fields))
    assert found.startswith(pointer.removesuffix("/body")), detail
    assert not Notification.objects.exists()


def test_neither_content_nor_template_is_nothing_to_send(shop: Tenant) -> None:
    assert error(shop.server.post("notifications", {"to": {"all": True}}))[0] == "/content"
    plain = {"to": {"all": True}, "content": {"title": "a", "body": "b"}, "variables": {"a": 1}}
    assert error(shop.server.post("notifications", plain)) == ("/variables", "only go with a template")


@pytest.mark.parametrize("missing", ["default", "skip"])
def test_only_the_strict_policy_refuses_a_call_for_what_a_person_lacks(
    shop: Tenant, ann: Subscriber, make_device: Callable[..., Device], missing: str
) -> None:
    shop.server.post("templates", {**WELCOME, "missing": missing})
    make_device(shop, "bob")
    assert send(shop, to={"subscribers": ["ann", "bob"]}).status_code == 202


def test_a_listed_device_is_checked_through_its_person(
    shop: Tenant, welcome: dict[str, Any], ann: Subscriber, make_device: Callable[..., Device]
) -> None:
    known, unknown = ann.devices.get(), make_device(shop)
    assert send(shop, to={"devices": [str(known.public_id)]}).status_code == 202
    found, detail = error(send(shop, to={"devices": [str(known.public_id), str(unknown.public_id)]}))
    assert (found, "subscriber.attributes.name" in detail) == ("/to/devices/1", True)


def test_a_mass_call_is_checked_for_its_own_variables_only(shop: Tenant, welcome: dict[str, Any]) -> None:
    assert send(shop, to={"all": True}).status_code == 202
    assert error(send(shop, to={"all": True}, variables={}))[0] == "/variables/order"


def test_the_longest_locale_decides_whether_a_call_fits(shop: Tenant, ann: Subscriber) -> None:
    long = {"de": {"body": "{{ variables.order }}" * 3}}
    shop.server.post("templates", {**WELCOME, "locales": long})
    assert send(shop, variables={"order": "x" * 1200}).status_code == 202
    found, detail = error(send(shop, variables={"order": "x" * 1400}))
    assert (found, "payload is" in detail) == ("/template/locales/de", True)


def test_content_may_be_said_in_several_locales(shop: Tenant, ann: Subscriber) -> None:
    def say(locales: dict[str, Any]) -> Any:
        content = {"title": "{{ Hi }}", "body": "there", "locales": locales}
        return shop.server.post("notifications", {"to": {"subscribers": ["ann"]}, "content": content})

    accepted = say({"de": {"title": "Hallo"}})
    assert accepted.status_code == 202
    assert Notification.objects.get().content["locales"] == {"de": {"title": "Hallo"}}
    assert error(say({"de": {"body": "x" * 4090}}))[0] == "/content/locales/de"
    assert error(say({"de": {"titel": "x"}}))[0].startswith("/content/locales")
    assert error(say({"pt-BR": {}, "pt_br": {}}))[0] == "/content/locales/pt_br"
    assert error(say({"de": {"url": "javascript:x"}}))[0].startswith("/content/locales")


def test_the_same_key_and_call_is_one_notification_and_a_dry_run_is_none(
    shop: Tenant, welcome: dict[str, Any], ann: Subscriber
) -> None:
    body = {"to": {"subscribers": ["ann"]}, "template": "welcome", "variables": {"order": 7}}
    assert shop.server.post("notifications", {**body, "dry_run": True}).json()["reachable"] == 1
    first = shop.server.post("notifications", body, Idempotency_Key="k")
    again = shop.server.post("notifications", body, Idempotency_Key="k")
    other = shop.server.post("notifications", {**body, "variables": {"order": 8}}, Idempotency_Key="k")
    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 409)


def test_a_call_that_is_repeated_is_known_even_if_the_template_says_something_else_by_now(
    shop: Tenant, welcome: dict[str, Any], ann: Subscriber
) -> None:
    body = {"to": {"subscribers": ["ann"]}, "template": "welcome", "variables": {"order": 7}}
    first = shop.server.post("notifications", body, Idempotency_Key="k")
    new = {"content": {"title": "{{ variables.something_else }}", "body": ""}}
    shop.server.put("templates/welcome", new)
    again = shop.server.post("notifications", body, Idempotency_Key="k")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert shop.server.post("notifications", body, Idempotency_Key="l").status_code == 422
    assert Notification.objects.count() == 1


def test_a_batch_mixes_templates_and_content(shop: Tenant, welcome: dict[str, Any], ann: Subscriber) -> None:
    to = {"subscribers": ["ann"]}
    items = [
        {"to": to, "template": "welcome", "variables": {"order": 1}},
        {"to": to, "template": "welcome"},
        {"to": to, "content": {"title": "a", "body": "b"}},
    ]
    results = shop.server.post("notifications/batch", {"notifications": items}).json()["results"]
    assert [result["status"] for result in results] == ["accepted", "error", "accepted"]
    assert results[1]["problem"]["errors"][0]["pointer"] == "/variables/order"
