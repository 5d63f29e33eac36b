"""Roles over deeds: what each may do in its own application, and that it sees nothing of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client
from unfold.admin import ModelAdmin

from campaigns import board, selectors, services
from campaigns.models import Campaign, Stage
from devices.models import Segment
from notifications.models import Incident, Replay, Template, TemplateVersion
from tenants import access, roles
from tenants import services as tenants
from tenants.console import ConsoleAdmin
from tenants.models import Membership
from tenants.roles import Role
from tests.campaigns.conftest import anna, empty_cache, make_campaign
from tests.conftest import Tenant

__all__ = ["anna", "empty_cache", "make_campaign"]

MARK = "Unmistakable"
# Pages with a rule of their own besides their permission: their tests are elsewhere.
OWN_RULES = {"send_test", "test", "recipients", "export"}
OF_A_RUN = {"live", "live_status", "live_details", "resend"}

# What people would say each role is for; the walk below follows the permissions.
SAID: dict[str, tuple[str, str]] = {
    # deed: (permission, the roles that may)
    "look at campaigns": ("campaigns.view_campaign", "viewer marketer approver operator developer admin"),
    "look at people": ("devices.view_subscriber", "viewer marketer approver operator developer admin"),
    "compose": ("campaigns.change_campaign", "marketer admin"),
    "launch": ("campaigns.launch_campaign", "marketer admin"),
    "approve": ("campaigns.approve_campaign", "approver admin"),
    "export recipients": ("campaigns.export_campaign", "marketer admin"),
    "pause": ("campaigns.stop_campaign", "marketer operator admin"),
    "write segments": ("devices.change_segment", "marketer admin"),
    "write templates": ("notifications.change_template", "marketer developer admin"),
    "end incidents": ("notifications.change_incident", "operator admin"),
    "replay dead letters": ("notifications.add_replay", "operator admin"),
    "see credentials": ("tenants.view_credential", "operator developer admin"),
    "have credentials checked": ("tenants.check_credential", "operator developer admin"),
    "replace credentials": ("tenants.change_credential", "developer admin"),
    "make keys": ("tenants.add_apikey", "developer admin"),
    "retire devices": ("devices.change_device", "developer admin"),
    "change settings": ("tenants.change_application", "admin"),
    "give roles": ("tenants.add_membership", "admin"),
    "make applications": ("tenants.add_application", ""),
    "make accounts": ("auth.add_user", ""),
}


@pytest.fixture
def make_member(db: None) -> Callable[..., User]:
    def make(tenant: Tenant, *given: str, name: str = "") -> User:
        name = name or "-".join(given) or "nobody"
        user = User.objects.create_user(name, f"{name}@example.com", "pw", is_staff=True)
        for role in given:
            Membership.objects.create(user=user, application=tenant.application, role=role)
        return user

    return make


@pytest.fixture
def rows(
    make_campaign: Callable[..., Campaign], make_device: Any, anna: User
) -> Callable[[Tenant], list[Any]]:
    """One row of each model the console shows, told apart by the tenant's name."""

    def make(tenant: Tenant) -> list[Any]:
        application, name = tenant.application, f"{MARK} {tenant.application.name}"
        device = make_device(tenant, name.replace(" ", "-"), model=name)
        launched = services.launch(make_campaign(tenant=tenant, name=name), by="staff:anna", user=anna)
        notification = Stage.objects.get(run=launched.latest_run).notification
        assert notification
        template = Template.objects.create(application=application, slug="greeting", name=name)
        template.current = TemplateVersion.objects.create(
            template=template, number=1, content={"title": name, "body": ""}, created_by="anna"
        )
        template.save()
        credential = tenants.store_credential(
            application, provider="console", public={}, secret="", name=name
        )
        key, _ = tenants.create_key(application, kind="server", name=name)
        return [
            application,
            credential,
            key,
            Membership.objects.create(user=anna, application=application, role=Role.VIEWER),
            device,
            device.subscriber,
            application.categories.first(),
            Segment.objects.create(application=application, slug="s", name=name, kind="list"),
            make_campaign(tenant=tenant, name=name),
            launched,
            application.testers.create(subscriber=device.subscriber, name=name),
            notification,
            template,
            Replay.objects.create(
                application=application,
                notification=notification,
                number=1,
                requested_by="a",
                recipient_count=1,
            ),
            Incident.objects.create(application=application, provider="console", cause="circuit", words=name),
        ]

    return make


def signed_in(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def console(row: Any) -> ConsoleAdmin:
    found = django_admin.site.get_model_admin(type(row))
    assert isinstance(found, ConsoleAdmin)
    return found


def addresses(row: Any) -> Iterator[tuple[str, str, str]]:
    """(method, url, permission) of an object's pages and deeds."""
    model = console(row)
    is_launched = isinstance(row, Campaign) and row.latest_run_id is not None
    for method, named in (("GET", model.pages), ("POST", model.deeds)):
        for name, permission in named.items():
            if name not in OWN_RULES and (name in OF_A_RUN) is is_launched:
                yield method, model.url(name, row), _full(model, permission)
    yield "GET", model.url("change", row), model.permission("view")
    yield "GET", model.url("history", row), model.permission("view")


def _full(model: ConsoleAdmin, permission: str) -> str:
    return permission if "." in permission else model.permission(permission)


def answer(client: Client, method: str, url: str) -> int:
    """The status; whatever was done is undone."""
    with transaction.atomic():
        status: int = client.generic(method, url).status_code
        transaction.set_rollback(True)
    return status


def test_every_permission_of_the_table_exists(db: None) -> None:
    known = {
        f"{one.content_type.app_label}.{one.codename}"
        for one in Permission.objects.select_related("content_type")
    }
    assert set().union(*roles.PERMISSIONS.values()) | {*roles.FORMERLY, *roles.FORMERLY.values()} <= known


def test_all_models_of_the_console_say_whose_they_are() -> None:
    for model, found in django_admin.site._registry.items():
        if isinstance(found, ConsoleAdmin):
            assert model.objects.filter(**{f"{found.application_path}__in": [1]}).query, model  # type: ignore[attr-defined]


@pytest.mark.parametrize("role", Role)
def test_a_role_does_what_it_is_for_in_its_own_application_only(
    role: str, shop: Tenant, rival: Tenant, make_member: Callable[..., User]
) -> None:
    user = make_member(shop, role)
    for deed, (permission, who) in SAID.items():
        may = role in who.split()
        assert user.has_perm(permission, shop.application) is may, deed
        assert user.has_perm(permission) is may, deed
        assert not user.has_perm(permission, rival.application), deed


@pytest.mark.parametrize("role", Role)
def test_every_address_asks_for_the_right_in_the_objects_application(
    role: str,
    shop: Tenant,
    rival: Tenant,
    rows: Callable[[Tenant], list[Any]],
    make_member: Callable[..., User],
) -> None:
    client = signed_in(make_member(shop, role))
    may = roles.PERMISSIONS[role]
    for row in rows(shop):
        sees = console(row).permission("view") in may
        for method, url, permission in addresses(row):
            is_in = answer(client, method, url) not in (403, 404)
            assert is_in is (sees and permission in may), (method, url)
        # Pages of our own in its place change nothing, whatever the method.
        is_form = type(console(row)).change_view is ModelAdmin.change_view
        if is_form and console(row).permission("change") not in may:
            assert answer(client, "POST", console(row).url("change", row)) == 403, row
    for row in rows(rival):
        refused = 404 if console(row).permission("view") in may else 403
        for method, url, _ in addresses(row):
            assert answer(client, method, url) == refused, (method, url)
        assert answer(client, "POST", console(row).url("delete", row)) == refused, row


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
def test_lists_and_their_filters_show_nothing_of_others(
    role: str,
    shop: Tenant,
    rival: Tenant,
    rows: Callable[[Tenant], list[Any]],
    make_member: Callable[..., User],
) -> None:
    own = rows(shop)
    rows(rival)
    client = signed_in(make_member(shop, role))
    lists = {
        console(row).url("changelist")
        for row in own
        if console(row).permission("view") in roles.PERMISSIONS[role]
    }
    pages = (
        *lists,
        *(f"{url}?q=" for url in lists),
        *(f"{url}?application__id__exact={rival.id}" for url in lists if "tenants/application" not in url),
        *(f"/admin/campaigns/campaign/{name}/" for name in (*board.FRAGMENTS, "calendar")),
        "/admin/explain/",
        "/admin/explain/?person=Unmistakable-Rival",
        "/admin/credentials/health/",
        "/admin/",
        "/admin/notifications/delivery/",
        f"/admin/notifications/replay/dead-letters/?application={rival.id}",
    )
    for page in pages:
        found = client.get(page, follow=True)
        if "credentials/health" in page and role == Role.VIEWER:
            assert found.status_code == 403
            continue
        assert found.status_code == 200, page
        assert (
            MARK not in (seen := found.content.decode().replace('Unmistakable-Rival"', "")) or "Shop" in seen
        ), page
        assert "Rival" not in seen.replace("Unmistakable-Rival", ""), page


def test_forms_offer_and_take_only_ones_own_applications(
    shop: Tenant, rival: Tenant, rows: Callable[[Tenant], list[Any]], make_member: Callable[..., User]
) -> None:
    rows(shop), rows(rival)
    client = signed_in(make_member(shop, Role.ADMIN))
    forms = (
        "tenants/apikey",
        "tenants/credential",
        "tenants/membership",
        "devices/category",
        "devices/segment",
        "notifications/template",
        "campaigns/tester",
    )
    for form in forms:
        query = "?provider=console" if "credential" in form else ""
        shown = client.get(f"/admin/{form}/add/{query}")
        assert shown.status_code == 200, form
        assert "Rival" not in shown.content.decode(), form
    before = rival.application.api_keys.count()
    said = {"application": rival.id, "kind": "server", "name": "Mine now"}
    assert client.post("/admin/tenants/apikey/add/", said).status_code == 200  # shown again, with its fault
    assert rival.application.api_keys.count() == before
    draft = {"application": rival.application.slug, "name": "Mine now"}
    answered = client.post("/admin/campaigns/campaign/create/", draft, content_type="application/json")
    assert answered.status_code == 422
    assert not rival.application.campaigns.filter(name="Mine now").exists()


def test_different_roles_in_two_applications_do_not_add_up(
    shop: Tenant, rival: Tenant, make_campaign: Callable[..., Campaign], make_member: Callable[..., User]
) -> None:
    user = make_member(shop, Role.MARKETER, Role.OPERATOR)
    Membership.objects.create(user=user, application=rival.application, role=Role.VIEWER)
    client = signed_in(user)
    own, other = make_campaign(), make_campaign(tenant=rival)
    assert answer(client, "POST", f"/admin/campaigns/campaign/{own.pk}/duplicate/") == 302
    assert answer(client, "POST", f"/admin/campaigns/campaign/{other.pk}/duplicate/") == 403
    assert answer(client, "POST", f"/admin/campaigns/campaign/{other.pk}/launch/") == 403
    assert {one.name for one in access.applications(user, "campaigns.view_campaign")} == {"Shop", "Rival"}
    assert {one.name for one in access.applications(user, "campaigns.add_campaign")} == {"Shop"}


def test_permissions_of_django_hold_in_every_application(
    shop: Tenant, rival: Tenant, make_campaign: Callable[..., Campaign], make_member: Callable[..., User]
) -> None:
    user = make_member(shop)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=("view_campaign", "launch_campaign", "view_credential"))
    )
    user = User.objects.get(pk=user.pk)
    for tenant in (shop, rival):
        assert user.has_perm("campaigns.launch_campaign", tenant.application)
        assert user.has_perm("notifications.add_replay", tenant.application)  # as it was before roles
        assert not user.has_perm("campaigns.add_campaign", tenant.application)
    assert access.ids(user, "campaigns.view_campaign") is None
    assert (
        answer(signed_in(user), "GET", f"/admin/campaigns/campaign/{make_campaign(tenant=rival).pk}/history/")
        == 200
    )


def test_nobody_without_a_role_or_no_longer_active_does_anything(
    shop: Tenant, make_member: Callable[..., User]
) -> None:
    assert answer(signed_in(make_member(shop)), "GET", "/admin/campaigns/campaign/") == 403
    gone = make_member(shop, Role.ADMIN, name="gone")
    User.objects.filter(pk=gone.pk).update(is_active=False)
    assert not User.objects.get(pk=gone.pk).has_perm("campaigns.view_campaign", shop.application)


def test_approvers_are_those_of_the_application_who_did_not_write_it(
    shop: Tenant,
    rival: Tenant,
    make_campaign: Callable[..., Campaign],
    make_member: Callable[..., User],
    anna: User,
) -> None:
    author = make_member(shop, Role.APPROVER, Role.MARKETER, name="author")
    second = make_member(shop, Role.APPROVER, name="second")
    make_member(shop, Role.MARKETER, name="writer")
    make_member(rival, Role.APPROVER, name="elsewhere")
    assert selectors.approvers(make_campaign(by=author)) == [anna, second]


def test_the_sidebar_shows_what_one_may_open(shop: Tenant, make_member: Callable[..., User]) -> None:
    shown = signed_in(make_member(shop, Role.MARKETER)).get("/admin/notifications/template/").content.decode()
    assert "/admin/campaigns/campaign/" in shown
    for hidden in (
        "tenants/credential/",
        "tenants/apikey/",
        "auth/user/",
        "tenants/membership/",
        "credentials/health",
    ):
        assert f'href="/admin/{hidden}' not in shown


class TestMemberships:
    def test_an_admin_gives_and_takes_roles_in_their_own_application(
        self, shop: Tenant, rival: Tenant, make_member: Callable[..., User]
    ) -> None:
        client = signed_in(make_member(shop, Role.ADMIN))
        make_member(rival, name="vera")
        said = {"application": shop.id, "person": "VERA@example.com", "role": "viewer"}
        assert client.post("/admin/tenants/membership/add/", said).status_code == 302
        made = Membership.objects.get(user__username="vera")
        assert made.application == shop.application
        again = client.post("/admin/tenants/membership/add/", said).content.decode()
        assert "They have this role already" in again
        elsewhere = client.post("/admin/tenants/membership/add/", {**said, "application": rival.id})
        assert elsewhere.status_code == 200
        gone = client.post(f"/admin/tenants/membership/{made.pk}/delete/", {"post": "yes"})
        assert gone.status_code == 302
        assert not Membership.objects.filter(user__username="vera").exists()

    def test_roles_are_given_on_the_applications_page(
        self, shop: Tenant, make_member: Callable[..., User], anna: User
    ) -> None:
        make_member(shop, name="vera")
        client = signed_in(anna)
        page = f"/admin/tenants/application/{shop.id}/change/"
        said = {
            "name": "Shop",
            "default_locale": "en",
            "default_time_zone": "UTC",
            "approval_above": "5",
            "retirement_percent": "10",
            "holdout_percent": "0",
            "quiet_hours-TOTAL": "0",
            "caps-TOTAL_FORMS": "0",
            "caps-INITIAL_FORMS": "0",
            "memberships-TOTAL_FORMS": "2",
            "memberships-INITIAL_FORMS": "0",
            "memberships-0-person": "vera",
            "memberships-0-role": "viewer",
            "memberships-1-person": "vera",
            "memberships-1-role": "viewer",
        }
        assert "twice" in client.post(page, said).content.decode()
        client.post(page, {**said, "memberships-1-role": "approver"})
        assert set(Membership.objects.values_list("role", flat=True)) == {"viewer", "approver"}
        assert "vera" in client.get(page).content.decode()
        assert (
            client.get(f"/admin/auth/user/{User.objects.get(username='vera').pk}/change/").status_code == 200
        )


def test_the_composer_writes_in_ones_own_applications_only(
    shop: Tenant, rival: Tenant, make_campaign: Callable[..., Campaign], make_member: Callable[..., User]
) -> None:
    """Its questions name an application; other applications' are unknown to it, and looking is not writing."""
    writer, looker = make_member(shop, Role.MARKETER), make_member(shop, Role.VIEWER)

    def ask(user: User, tenant: Tenant) -> int:
        said = {"application": tenant.application.slug, "category": "marketing", "plan": {}}
        address = "/admin/campaigns/campaign/compose/preview/"
        return signed_in(user).post(address, said, content_type="application/json").status_code

    assert (ask(writer, shop), ask(writer, rival), ask(looker, shop)) == (200, 404, 403)
    page = signed_in(writer).get("/admin/campaigns/campaign/add/")
    assert page.status_code == 200
    assert "Rival" not in page.content.decode()
