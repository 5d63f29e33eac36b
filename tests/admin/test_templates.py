"""Templates, as somebody writes them who has never seen Liquid: help beside the text, versions to go back to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from devices.models import Device, Subscriber
from notifications.models import Notification, Template
from tests.conftest import Tenant

ADD = "/admin/notifications/template/add/"


def management(prefix: str, forms: int) -> dict[str, Any]:
    return {f"{prefix}-TOTAL_FORMS": forms, f"{prefix}-INITIAL_FORMS": 0}


@pytest.fixture
def said(shop: Tenant) -> dict[str, Any]:
    """The page as filled in."""
    return {
        "application": shop.id,
        "name": "Order shipped",
        "slug": "order-shipped",
        "missing": "default",
        "own-title": "Hello {{ subscriber.attributes.name }}",
        "own-body": "Order {{ variables.order }} is on its way",
        "own-url": "https://example.com/{{ variables.order }}",
        "own-image": "",
        "default:subscriber.attributes.name": "friend",
        "default:variables.order": "",
        **management("languages", 1),
        "languages-0-code": "de",
        "languages-0-title": "Hallo {{ subscriber.attributes.name }}",
        "languages-0-body": "",
        **management("data", 2),
        "data-0-key": "screen",
        "data-0-value": "orders",
        **management("buttons", 1),
        "buttons-0-id": "track",
        "buttons-0-title": "Track it",
        "buttons-0-url": "https://example.com/{{ variables.order }}",
    }


@pytest.fixture
def template(admin: Client, said: dict[str, Any]) -> Template:
    assert admin.post(ADD, said).status_code == 302
    return Template.objects.get()


def change(template: Template) -> str:
    return f"/admin/notifications/template/{template.pk}/change/"


def errors(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200
    editor = answer.context["editor"]
    forms = (editor.about, editor.own, *editor.languages, *editor.data, *editor.buttons)
    return {form.add_prefix(name): words for form in forms for name, words in form.errors.items()}


def test_what_is_written_is_stored_as_the_api_would(template: Template) -> None:
    version = template.current
    assert version
    assert (template.slug, template.name, version.number, version.created_by) == (
        "order-shipped",
        "Order shipped",
        1,
        "anna",
    )
    assert version.content == {
        "title": "Hello {{ subscriber.attributes.name }}",
        "body": "Order {{ variables.order }} is on its way",
        "url": "https://example.com/{{ variables.order }}",
        "data": {"screen": "orders"},
        "actions": [{"id": "track", "title": "Track it", "url": "https://example.com/{{ variables.order }}"}],
    }
    assert version.locales == {"de": {"title": "Hallo {{ subscriber.attributes.name }}"}}
    assert (version.defaults, version.missing) == ({"subscriber.attributes.name": "friend"}, "default")


def test_saving_makes_a_version_and_saving_the_same_none(
    admin: Client, template: Template, said: dict[str, Any]
) -> None:
    admin.post(change(template), said)
    assert template.versions.count() == 1
    admin.post(change(template), {**said, "own-title": "Hi", "languages-0-DELETE": "on"})
    template.refresh_from_db()
    assert template.current
    assert (template.current.number, template.current.locales) == (2, {})
    assert LogEntry.objects.filter(change_message__contains="Version 2.").exists()


@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ({"own-title": "a {{ b"}, "own-title", "Line 1"),
        ({"own-body": "a\n{{ user.name }}"}, "own-body", "Line 2: there is no “user”"),
        ({"own-title": "", "own-body": ""}, "own-title", "Write a title"),
        ({"own-url": "javascript:alert(1)"}, "own-url", "web address"),
        ({"languages-0-title": "{% include 'x' %}"}, "languages-0-title", "no tag “include”"),
        ({"languages-0-code": "deutsch!"}, "languages-0-code", "de-AT"),
        ({"data-0-value": "{{"}, "data-0-value", "Line 1"),
        ({"buttons-0-title": "{{"}, "buttons-0-title", "Line 1"),
        ({"name": ""}, "name", "required"),
        ({"data-1-key": "screen", "data-1-value": "x"}, "data-1-key", "one of this name"),
    ],
)
def test_a_fault_is_told_at_its_field_and_nothing_is_saved(
    admin: Client, said: dict[str, Any], typed: dict[str, str], field: str, words: str
) -> None:
    found = errors(admin.post(ADD, {**said, **typed}))
    assert words in found[field][0]
    assert not Template.objects.exists()


def test_a_short_name_is_taken_once(admin: Client, template: Template, said: dict[str, Any]) -> None:
    assert "slug" in errors(admin.post(ADD, said))
    assert Template.objects.count() == 1


def test_another_language_is_added_without_losing_what_was_written(
    admin: Client, said: dict[str, Any]
) -> None:
    answer = admin.post(ADD, {**said, "own-title": "Unsaved", "_add_languages": "1"})
    editor = answer.context["editor"]
    assert len(editor.languages.forms) == 2
    assert "Unsaved" in answer.content.decode()
    assert not Template.objects.exists()


def test_the_places_of_the_texts_are_listed_while_writing(admin: Client, said: dict[str, Any]) -> None:
    url = "/admin/notifications/template/variables/"
    words = admin.post(url, said).content.decode()
    assert 'name="default:subscriber.attributes.name" value="friend"' in words
    assert 'name="sample:variables.order"' in words
    broken = admin.post(url, {**said, "own-title": "{{ shout | shout }}"}).content.decode()
    assert "Title: line 1: there is no filter “shout”" in broken
    assert 'name="default:subscriber.attributes.name" value="friend"' in broken


def test_the_preview_is_what_the_person_would_get(
    admin: Client, shop: Tenant, said: dict[str, Any], make_device: Callable[..., Device]
) -> None:
    make_device(shop, "ann")
    Subscriber.objects.update(attributes={"name": "<Ann>"}, locale="de-AT")
    url = "/admin/notifications/template/preview/"
    words = admin.post(url, {**said, "person": "ann", "sample:variables.order": "77"}).content.decode()
    assert "Hallo &lt;Ann&gt;" in words
    assert "Order 77 is on its way" in words
    assert "https://example.com/77" in words
    assert "of 4,096 bytes" in words
    stranger = admin.post(url, said).content.decode()
    assert "Hello friend" in stranger
    assert "Missing: variables.order" in stranger
    assert "no person “bob”" in admin.post(url, {**said, "person": "bob"}).content.decode()
    long = admin.post(url, {**said, "sample:variables.order": "x" * 1500}).content.decode()
    assert "Too long" in long


def test_a_preview_knows_only_people_of_its_own_app(
    admin: Client, rival: Tenant, said: dict[str, Any], make_device: Callable[..., Device]
) -> None:
    make_device(rival, "of-rival")
    words = admin.post(
        "/admin/notifications/template/preview/", {**said, "person": "of-rival"}
    ).content.decode()
    assert "no person “of-rival”" in words


def test_versions_show_what_changed_and_an_old_one_can_be_said_again(
    admin: Client, template: Template, said: dict[str, Any]
) -> None:
    admin.post(change(template), {**said, "own-body": "Parcel {{ variables.order }} is on its way"})
    url = f"/admin/notifications/template/{template.pk}/"
    words = admin.get(f"{url}versions/").content.decode()
    assert "<del>Order</del><ins>Parcel</ins>" in words
    assert admin.post(f"{url}restore/", {"number": 1}).status_code == 302
    template.refresh_from_db()
    assert template.current
    assert (template.current.number, template.current.content["body"][:5]) == (3, "Order")
    admin.post(f"{url}restore/", {"number": 99})
    assert template.versions.count() == 3


def test_a_template_in_use_is_not_deleted(admin: Client, shop: Tenant, template: Template) -> None:
    shop.server.post(
        "notifications",
        {"to": {"subscribers": ["nobody"]}, "template": template.slug, "send_at": "2027-01-01T00:00:00Z"},
    )
    url = f"/admin/notifications/template/{template.pk}/remove/"
    Notification.objects.update(status="scheduled")
    assert "still to be sent" in admin.post(url, follow=True).content.decode()
    assert Template.objects.exists()
    Notification.objects.update(status="done")
    admin.post(url)
    assert not Template.objects.exists()


def test_whoever_may_only_look_changes_nothing(
    viewer: Client, template: Template, said: dict[str, Any]
) -> None:
    page = viewer.get(change(template)).content.decode()
    assert "Save as new version" not in page
    assert viewer.post(change(template), {**said, "own-title": "x"}).status_code == 403
    assert viewer.get(ADD).status_code == 403
    assert viewer.post(f"/admin/notifications/template/{template.pk}/remove/").status_code == 403
    assert (
        viewer.post(f"/admin/notifications/template/{template.pk}/restore/", {"number": 1}).status_code == 403
    )
    preview = viewer.post(
        "/admin/notifications/template/preview/", {"template": template.pk}
    ).content.decode()
    assert "Hello friend" in preview
    assert template.versions.count() == 1


def test_the_list_and_the_pages_answer(admin: Client, template: Template) -> None:
    listed = admin.get("/admin/notifications/template/").content.decode()
    assert "Order shipped" in listed and "de" in listed
    for page in (ADD, change(template)):
        assert admin.get(page).status_code == 200
    assert admin.get("/admin/notifications/template/?q=shipped").status_code == 200
