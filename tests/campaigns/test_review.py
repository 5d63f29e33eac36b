"""The review page: what it shows, what it refuses, and that a launch happens once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client

from campaigns import review, services
from campaigns.models import Campaign, Run
from notifications.models import Notification
from tenants.models import Credential
from tests.conftest import Tenant

Make = Callable[..., Campaign]


@pytest.fixture
def audience(shop: Tenant, make_device: Any, opt_in: Any, console_credential: None) -> None:
    make_device(shop, "ada")
    make_device(shop, "bob")
    opt_in(shop, "ada")


def url(campaign: Campaign, name: str) -> str:
    return f"/admin/campaigns/campaign/{campaign.pk}/{name}/"


def launch(client: Client, campaign: Campaign, **said: Any) -> Any:
    form = {"version": campaign.version, "devices": 1, "warnings": "test", "reason": "Urgent", **said}
    return client.post(url(campaign, "launch"), form)


def test_it_says_what_goes_to_whom_and_when(admin: Client, audience: None, make_campaign: Make) -> None:
    campaign = make_campaign(
        content={"url": "shop://sale", "title": "<b>Sale</b>"},
        schedule={"kind": "at", "starts": "2027-03-22T09:00", "time_zone": "Europe/Berlin"},
        safety={"canary": None, "stop_percent": 5},
    )
    page = admin.get(url(campaign, "review")).content.decode()
    assert "&lt;b&gt;Sale&lt;/b&gt;" in page
    assert "<b>Sale" not in page
    assert "shop://sale" in page
    assert "Not opted in" in page
    assert "Schedule for 1 device" in page
    assert "22 Mar 2027, 08:00" in page
    assert "09:00</span> Europe/Berlin" in page
    assert "more than 5 % fail" in page
    assert "1 warning · 0 blocking" in page


def test_each_variant_is_seen_as_a_person_gets_it(admin: Client, audience: None, make_campaign: Make) -> None:
    hello = {"title": "Hi {{ subscriber.external_id }}"}
    german = {**hello, "locales": {"de": {"title": "Hallo {{ subscriber.external_id }}"}}}
    campaign = make_campaign(variants=[{"key": "A", "content": hello}, {"key": "B", "content": german}])
    asked = {"variant": "B", "locale": "de", "person": "ada"}
    assert "Hallo ada" in admin.get(url(campaign, "look"), asked).content.decode()
    assert "Hi ada" in admin.get(url(campaign, "look"), {"person": "ada"}).content.decode()
    unknown = admin.get(url(campaign, "look"), {"person": "zoe", "variant": "Z", "locale": "xx"})
    assert "Nobody of this app has this id" in unknown.content.decode()


def test_a_warning_is_launched_over_with_a_reason_that_is_kept(
    admin: Client, audience: None, make_campaign: Make
) -> None:
    campaign = make_campaign()
    assert "say why" in launch(admin, campaign, reason="").content.decode()
    assert not Notification.objects.exists()
    assert launch(admin, campaign)["Location"] == url(campaign, "live")
    assert Run.objects.get().overridden == {"test": "Urgent"}
    history = admin.get(f"/admin/campaigns/campaign/{campaign.pk}/history/").content.decode()
    assert "“Urgent”" in history


def test_a_refused_credential_blocks_the_launch(admin: Client, audience: None, make_campaign: Make) -> None:
    campaign = make_campaign()
    Credential.objects.update(blocked_at="2026-01-01T00:00Z", blocked_reason="invalid_credentials")
    page = admin.get(url(campaign, "review")).content.decode()
    assert "1 thing to mend first" in page
    assert 'id="launch-dialog"' not in page
    assert "Nothing was sent" in launch(admin, campaign).content.decode()
    assert not Notification.objects.exists()


def test_a_large_launch_needs_the_number_typed(
    admin: Client, audience: None, make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "TYPED_ABOVE", 0)
    campaign = make_campaign()
    assert 'data-must-equal="1"' in admin.get(url(campaign, "review")).content.decode()
    for typed in ("", "2", "one"):
        assert "Type 1 to confirm" in launch(admin, campaign, typed=typed).content.decode()
    # Nor does it help to say that it is for fewer.
    assert "Nothing was sent" in launch(admin, campaign, devices=0).content.decode()
    assert not Notification.objects.exists()
    assert launch(admin, campaign, typed="1").status_code == 302


def test_a_page_older_than_the_campaign_launches_nothing(
    admin: Client, audience: None, make_campaign: Make
) -> None:
    seen = make_campaign()
    services.save(Campaign.objects.get(), {"name": "Else"}, version=1, by=None)
    answer = launch(admin, seen)
    assert answer.status_code == 409
    assert "changed after you opened this page" in answer.content.decode()
    assert not Notification.objects.exists()


def test_a_reach_that_changed_is_looked_at_again(admin: Client, audience: None, make_campaign: Make) -> None:
    answer = launch(admin, make_campaign(), devices=1_000)
    assert "It reaches 1 devices by now" in answer.content.decode()
    assert not Notification.objects.exists()


def test_the_second_to_launch_is_told(admin: Client, audience: None, make_campaign: Make) -> None:
    campaign = make_campaign()
    launch(admin, campaign)
    answer = admin.post(url(campaign, "launch"), {"version": 1, "devices": 1}, follow=True)
    assert "already been launched" in answer.content.decode()
    assert admin.get(url(campaign, "review"))["Location"] == url(campaign, "live")
    assert Run.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_launches_at_once_are_one_run(
    admin: Client, audience: None, make_campaign: Make, anna: User
) -> None:
    campaign, answers, start = make_campaign(), [], threading.Barrier(2)

    def press() -> None:
        client = Client()
        client.force_login(anna)
        start.wait()
        try:
            answers.append(launch(client, campaign)["Location"])
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [url(campaign, "live")] * 2
    assert Run.objects.count() == Notification.objects.count() == 1


def test_undo_is_said_before_and_after(admin: Client, audience: None, make_campaign: Make) -> None:
    campaign = make_campaign(schedule={"undo": True})
    assert "60 seconds to take it back" in admin.get(url(campaign, "review")).content.decode()
    launch(admin, campaign)
    assert "Undo send <span" in admin.get(url(campaign, "live")).content.decode()
    admin.post(url(campaign, "unschedule"))
    assert Campaign.objects.get().status == "draft"
    assert "Changes since it was launched" not in admin.get(url(campaign, "review")).content.decode()


def test_who_may_only_look_cannot_launch(audience: None, make_campaign: Make) -> None:
    vera = User.objects.create_user("vera", is_staff=True)
    vera.user_permissions.set(Permission.objects.filter(codename="view_campaign"))
    client, campaign = Client(), make_campaign()
    assert client.get(url(campaign, "review")).status_code == 302  # to the login
    client.force_login(vera)
    page = client.get(url(campaign, "review")).content.decode()
    assert "Launching needs a colleague" in page
    assert "open-test" not in page
    for deed in ("launch", "ask", "approve", "send-test"):
        assert client.get(url(campaign, deed)).status_code == 405
        assert client.post(url(campaign, deed)).status_code == 403


def test_running_it_again_brings_the_button_along(admin: Client, audience: None, make_campaign: Make) -> None:
    campaign = make_campaign()
    answer = admin.get(url(campaign, "preflight"), {"again": 1}).content.decode()
    assert answer.count('hx-swap-oob="true"') == 2
    assert "Send to 1 device" in answer
