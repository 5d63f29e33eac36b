"""Incidents in the admin: the banner on every page, the list, the page with its deeds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns.models import Campaign
from devices.models import Device
from notifications.ids import uuid7
from notifications.models import Batch, Incident, SuspendedRetirement
from tenants import services as tenants
from tenants.models import Credential
from tests.conftest import Tenant

Open = Callable[..., Incident]
PAGE = "/admin/notifications/incident/"


@pytest.fixture
def open_incident(shop: Tenant) -> Open:
    def make(cause: str = "credential", **fields: Any) -> Incident:
        said = {"application": shop.application, "provider": "apns", "words": "bad_topic: BadTopic"}
        return Incident.objects.create(cause=cause, **{**said, **fields})

    return make


@pytest.fixture
def blocked(shop: Tenant) -> Credential:
    credential = tenants.store_credential(shop.application, provider="console", public={}, secret="")
    Credential.objects.filter(id=credential.id).update(
        blocked_at=timezone.now(), blocked_reason="bad_topic: BadTopic"
    )
    return credential


@pytest.fixture
def suspended(shop: Tenant, make_device: Any) -> list[Device]:
    devices = [make_device(shop, f"user-{number}", last_seen_at=None) for number in range(3)]
    for device in devices:
        SuspendedRetirement.objects.create(
            device_id=device.pk,
            application_id=shop.id,
            provider="apns",
            reason="unregistered",
            before=timezone.now(),
        )
    return devices


def banner(client: Client, page: str = "/admin/") -> str:
    said = client.get(page, follow=True).content.decode()
    found = re.search(r'<section class="c-alarm .*?</section>', said, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split()) if found else ""


class TestBanner:
    def test_stands_on_every_page_while_something_needs_people(
        self, admin: Client, open_incident: Open, make_campaign: Callable[..., Campaign]
    ) -> None:
        pages = (
            "/admin/",
            "/admin/campaigns/campaign/",
            "/admin/tenants/credential/add/",
            f"/admin/campaigns/campaign/{make_campaign().pk}/change/",
            f"/admin/campaigns/campaign/{make_campaign().pk}/review/",
            "/admin/password_change/",
        )
        assert {page: banner(admin, page) for page in pages} == dict.fromkeys(pages, "")
        open_incident()
        for page in pages:
            assert "Apple refuses the credential of Shop" in banner(admin, page), page

    def test_says_what_since_when_in_whose_words_and_what_is_spared(
        self, admin: Client, open_incident: Open, shop: Tenant
    ) -> None:
        incident = open_incident()
        Batch.objects.create(
            application_id=shop.id,
            notification_id=uuid7(),
            lane="apns.campaign",
            status="ready",
            device_ids=list(range(1_234)),
            due_at=timezone.now(),
            turn_at=timezone.now(),
        )
        said = banner(admin)
        for words in (
            f"since {incident.opened_at:%H:%M} UTC",
            "bad_topic: BadTopic",
            "Nothing is lost and no device is switched off: 1,234 messages wait",
            "Mend it",
        ):
            assert words in said

    def test_is_patient_with_what_mostly_ends_by_itself(self, admin: Client, open_incident: Open) -> None:
        open_incident("circuit", opened_at=timezone.now() - timedelta(seconds=50))
        assert banner(admin) == ""
        Incident.objects.update(opened_at=timezone.now() - timedelta(seconds=61))
        assert "Apple does not take the messages of Shop" in banner(admin)

    def test_names_three_and_counts_the_others(
        self, admin: Client, open_incident: Open, rival: Tenant
    ) -> None:
        long_ago = timezone.now() - timedelta(days=1)
        for provider in ("apns", "fcm", "webpush"):
            open_incident("circuit", provider=provider, opened_at=long_ago)
        open_incident("retirements", application=rival.application)
        open_incident("quota", opened_at=timezone.now())
        said = banner(admin)
        # What only people can end comes first.
        assert said.index("many devices of Rival are gone") < said.index("Apple does not take")
        assert "Web Push does not take" not in said
        assert "And 1 more" in said

    def test_leads_to_where_something_is_done(
        self, admin: Client, open_incident: Open, blocked: Credential
    ) -> None:
        refused = open_incident(provider="console")
        long_ago = timezone.now() - timedelta(hours=1)
        quota = open_incident("quota", provider="console", opened_at=long_ago)
        said = admin.get("/admin/").content.decode()
        assert f'href="/admin/tenants/credential/{blocked.pk}/change/">Mend it' in said
        assert f'href="{PAGE}{quota.pk}/change/">Look at it' in said
        # And is not repeated there.
        assert "refuses" not in banner(admin, f"/admin/tenants/credential/{blocked.pk}/change/")
        assert "quota" not in banner(admin, f"{PAGE}{quota.pk}/change/")
        assert "refuses" not in banner(admin, f"{PAGE}{refused.pk}/change/")
        assert banner(admin, PAGE) == ""

    def test_is_for_marketers_too_but_leads_them_nowhere(
        self, client: Client, open_incident: Open, db: None
    ) -> None:
        mark = User.objects.create_user("mark", is_staff=True)
        client.force_login(mark)
        open_incident()
        assert banner(client) == ""
        mark.user_permissions.add(Permission.objects.get(codename="view_campaign"))
        said = banner(client)
        assert "Apple refuses the credential of Shop" in said
        assert "Whoever runs this installation has to mend it." in said
        assert "Mend it" not in said
        assert PAGE not in client.get("/admin/").content.decode()

    def test_is_not_for_those_outside(self, client: Client, open_incident: Open) -> None:
        open_incident()
        answer = client.get("/admin/", follow=True)
        assert answer.request["PATH_INFO"] == "/admin/login/"
        assert "refuses" not in answer.content.decode()

    def test_and_the_badge_cost_one_query_where_nothing_is_wrong(self, admin: Client, shop: Tenant) -> None:
        admin.get("/admin/")
        with CaptureQueriesContext(connection) as captured:
            admin.get("/admin/tenants/application/")
        assert len([q for q in captured if "notifications_incident" in q["sql"]]) == 1

    def test_escapes_what_a_provider_says(self, admin: Client, open_incident: Open) -> None:
        open_incident(words="<script>alert(1)</script>")
        assert "<script>alert" not in admin.get("/admin/").content.decode()


def test_the_sidebar_counts_what_is_open(admin: Client, open_incident: Open) -> None:
    def badge() -> str | None:
        said = admin.get("/admin/").content.decode()
        found = re.search(r"<span>Incidents</span>(.*?)</a>", said, re.DOTALL)
        assert found
        return re.sub(r"<[^>]+>|\s", "", found[1]) or None

    assert badge() is None
    first = open_incident()
    open_incident("circuit")
    assert badge() == "2"
    Incident.objects.filter(id=first.id).update(closed_at=timezone.now())
    assert badge() == "1"


class TestList:
    def test_shows_open_ones_first(self, admin: Client, open_incident: Open) -> None:
        old, over = open_incident("circuit"), open_incident("quota", closed_at=timezone.now())
        said = admin.get(PAGE).content.decode()
        assert said.index(f"{PAGE}{old.pk}/change/") < said.index(f"{PAGE}{over.pk}/change/")
        assert "Over by itself" in said
        assert f"{PAGE}{over.pk}/change/" not in admin.get(f"{PAGE}?state=open").content.decode()

    def test_costs_the_same_for_ten_as_for_one(self, admin: Client, open_incident: Open) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                assert admin.get(PAGE).status_code == 200
            return len(captured)

        closed_at = timezone.now()
        open_incident("quota", closed_at=closed_at)
        queries()
        few = queries()
        for _ in range(9):
            open_incident("quota", closed_at=closed_at)
        assert queries() == few

    def test_of_none_says_that_all_is_well(self, admin: Client, db: None) -> None:
        assert "Nothing has gone wrong so far" in admin.get(PAGE).content.decode()


class TestPage:
    def test_is_seen_by_viewers_without_its_deeds(self, viewer: Client, open_incident: Open) -> None:
        for cause in Incident.Cause.values:
            incident = open_incident(cause)
            said = viewer.get(f"{PAGE}{incident.pk}/change/").content.decode()
            assert "c-dialog" not in said, cause
            assert viewer.get(f"{PAGE}{incident.pk}/history/").status_code == 200

    def test_explains_the_providers_words(self, admin: Client, open_incident: Open) -> None:
        said = admin.get(f"{PAGE}{open_incident().pk}/change/").content.decode()
        assert "Apple does not let this key send to the bundle id." in said

    def test_knows_a_try_from_a_word(self, admin: Client, open_incident: Open) -> None:
        incident = open_incident(told_at=timezone.now() - timedelta(days=36_525))
        assert "nobody by mail or webhook" in admin.get(f"{PAGE}{incident.pk}/change/").content.decode()

    def test_of_one_that_is_over_offers_nothing(self, admin: Client, open_incident: Open) -> None:
        incident = open_incident("retirements", closed_at=timezone.now(), closed_by="anna")
        said = admin.get(f"{PAGE}{incident.pk}/change/").content.decode()
        assert "c-dialog" not in said
        assert "Ended by anna" in said

    def test_of_none_is_no_error(self, admin: Client, db: None) -> None:
        assert admin.get(f"{PAGE}99999/change/").status_code == 404


class TestDeeds:
    @pytest.fixture
    def urls(self, open_incident: Open, suspended: list[Device]) -> dict[str, Incident]:
        """Each deed's URL → the incident it ends."""
        rows = (
            ("resume", open_incident("credential")),
            ("resume", open_incident("circuit")),
            ("resume", open_incident("quota")),
            ("really-gone", open_incident("retirements")),
            ("our-mistake", open_incident("retirements", provider="fcm")),
        )
        return {f"{PAGE}{incident.pk}/{deed}/": incident for deed, incident in rows}

    def test_end_the_incident_and_are_written_down(self, admin: Client, urls: dict[str, Incident]) -> None:
        for url, incident in urls.items():
            before = LogEntry.objects.count()
            assert admin.post(url, follow=True).status_code == 200
            incident.refresh_from_db()
            assert incident.closed_by == "anna", url
            assert LogEntry.objects.count() == before + 1, url

    def test_done_twice_say_so_and_change_nothing(self, admin: Client, urls: dict[str, Incident]) -> None:
        for url in urls:
            admin.post(url)
            before = LogEntry.objects.count()
            said = admin.post(url, follow=True).content.decode()
            assert "already." in said, url
            assert LogEntry.objects.count() == before, url

    def test_are_done_by_post_with_a_token_and_the_permission_only(
        self, admin: Client, viewer: Client, anna: User, client: Client, urls: dict[str, Incident]
    ) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(anna)
        for url in urls:
            assert admin.get(url).status_code == 405
            assert strict.post(url).status_code == 403
            assert viewer.post(url).status_code == 403
            assert client.post(url).status_code == 302
        assert not Incident.objects.filter(closed_at__isnull=False).exists()

    def test_on_devices_do_what_their_button_says(
        self, admin: Client, open_incident: Open, suspended: list[Device]
    ) -> None:
        incident = open_incident("retirements")
        page = f"{PAGE}{incident.pk}/"
        assert "switch 3 devices off" in admin.get(f"{page}change/").content.decode()
        said = admin.post(f"{page}really-gone/", follow=True).content.decode()
        assert "Switched off: 3 devices." in said
        assert Device.objects.filter(retired_at__isnull=False).count() == 3
        assert "Switched off: 3 devices." in admin.get(f"{page}history/").content.decode()

    def test_on_devices_kept_by_mistake_switch_nothing_off(
        self, admin: Client, open_incident: Open, suspended: list[Device]
    ) -> None:
        incident = open_incident("retirements")
        admin.post(f"{PAGE}{incident.pk}/our-mistake/")
        assert not Device.objects.filter(retired_at__isnull=False).exists()
        assert not SuspendedRetirement.objects.exists()


class TestCredentials:
    def test_say_why_what_goes_through_them_waits(
        self, admin: Client, open_incident: Open, shop: Tenant
    ) -> None:
        credential = tenants.store_credential(shop.application, provider="console", public={}, secret="")
        page = f"/admin/tenants/credential/{credential.pk}/change/"
        assert "Active" in admin.get("/admin/tenants/credential/").content.decode()
        incident = open_incident("circuit", provider="console")
        assert "Provider in trouble" in admin.get("/admin/tenants/credential/").content.decode()
        said = admin.get(page).content.decode()
        assert "Not for the credential" in said
        assert f"{PAGE}{incident.pk}/change/" in said

    def test_that_are_refused_are_resumed_by_their_button(
        self, admin: Client, open_incident: Open, blocked: Credential
    ) -> None:
        page = f"/admin/tenants/credential/{blocked.pk}/"
        assert "Refused" in admin.get("/admin/tenants/credential/").content.decode()
        assert "bad_topic: BadTopic" in admin.get(f"{page}change/").content.decode()
        admin.post(f"{page}resume/")
        blocked.refresh_from_db()
        assert blocked.blocked_at is None

    def test_of_others_are_not_spoken_of(
        self, admin: Client, open_incident: Open, shop: Tenant, rival: Tenant
    ) -> None:
        tenants.store_credential(shop.application, provider="console", public={}, secret="")
        open_incident("circuit", provider="console", application=rival.application)
        assert "Provider in trouble" not in admin.get("/admin/tenants/credential/").content.decode()
