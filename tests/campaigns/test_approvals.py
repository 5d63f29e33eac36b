"""A second person's yes: asked for, given or refused, and gone with an edit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client

from campaigns import approving, mails, selectors, services
from campaigns.models import Approval, Campaign
from tests.conftest import Tenant

Make = Callable[..., Campaign]


@pytest.fixture
def ben(db: None) -> User:
    return User.objects.create_superuser("ben", "ben@example.com", "pw")


@pytest.fixture
def campaign(
    shop: Tenant, make_device: Any, opt_in: Any, console_credential: None, anna: User, make_campaign: Make
) -> Campaign:
    """Anna's, to two devices where one is allowed without asking."""
    for name in ("ada", "bob"):
        make_device(shop, name)
        opt_in(shop, name)
    shop.application.approval_above = 1
    shop.application.save()
    return make_campaign(by=anna)


class Person:
    def __init__(self, user: User, campaign: Campaign) -> None:
        self.client = Client()
        self.client.force_login(user)
        self.base = f"/admin/campaigns/campaign/{campaign.pk}"

    def page(self) -> str:
        return str(self.client.get(f"{self.base}/review/").content.decode())

    def does(self, deed: str, version: int = 1, **said: Any) -> Any:
        return self.client.post(f"{self.base}/{deed}/", {"version": version, **said}, follow=True)


def launched(person: Person, version: int = 1) -> str:
    answer = person.does("launch", version, devices=2, warnings="test", reason="Urgent")
    return str(answer.content.decode())


def test_it_is_asked_for_approved_and_launched(
    campaign: Campaign, anna: User, ben: User, django_capture_on_commit_callbacks: Any
) -> None:
    author, second = Person(anna, campaign), Person(ben, campaign)
    assert "Ask for approval" in author.page()
    assert "approval" in launched(author)
    assert Campaign.objects.get().status == "draft"

    assert selectors.waiting_count() == 0
    with django_capture_on_commit_callbacks(execute=True):
        author.does("ask", note="Please <b>look</b>.")
    assert selectors.waiting_count() == 1
    groups = second.client.get("/admin/").context["sidebar_navigation"]
    badges = {item["title"]: item.get("badge") for group in groups for item in group["items"]}
    assert badges["Campaigns"] == "1"
    assert "Waiting for ben" in author.page()
    assert "Please &lt;b&gt;look&lt;/b&gt;." in second.page()
    assert 'formaction="' in second.page()
    assert "formaction" not in author.page()

    with django_capture_on_commit_callbacks(execute=True):
        second.does("approve", note="Fine.")
    assert selectors.waiting_count() == 0
    approval = Approval.objects.get()
    assert (approval.is_granted, approval.decided_by, approval.answer) == (True, ben, "Fine.")
    assert "Approved by ben" in author.page()
    launched(author)
    assert Campaign.objects.get().status == "sending"


def test_nobody_approves_their_own(campaign: Campaign, anna: User, ben: User) -> None:
    services.save(campaign, {"name": "Winter"}, version=1, by=ben)
    author, editor = Person(anna, campaign), Person(ben, campaign)
    author.does("ask", 2)
    for own in (author, editor):
        assert own.does("approve", 2).status_code == 403
        assert own.does("refuse", 2).status_code == 403
    assert Campaign.objects.get().status == "waiting"
    assert "nobody may approve it yet" in author.page()


def test_refused_it_goes_back_with_words(campaign: Campaign, anna: User, ben: User) -> None:
    author = Person(anna, campaign)
    author.does("ask")
    Person(ben, campaign).does("refuse", note="Too long.")
    assert Campaign.objects.get().status == "draft"
    assert "Sent back by ben" in author.page()
    assert "Too long." in author.page()


def test_an_edit_takes_the_approval_back_and_the_next_one_sees_what_changed(
    campaign: Campaign, anna: User, ben: User
) -> None:
    author, second = Person(anna, campaign), Person(ben, campaign)
    author.does("ask")
    second.does("approve")
    with pytest.raises(services.NotAllowed):
        services.save(Campaign.objects.get(), {"name": "Winter"}, version=1, by=anna)
    author.does("withdraw")
    said = {"variants": [{"content": {"title": "The sale is over", "body": "Until Sunday."}}]}
    services.save(Campaign.objects.get(), said, version=1, by=anna)
    assert "Ask for approval" in author.page()
    assert "approval" in launched(author, 2)
    assert Campaign.objects.get().status == "draft"
    author.does("ask", 2)
    page = second.page()
    assert "Changes since it was approved (version 1)" in page
    assert "<ins>over</ins>" in page


def test_a_page_that_is_old_decides_nothing(campaign: Campaign, anna: User, ben: User) -> None:
    Person(anna, campaign).does("ask")
    assert Person(ben, campaign).does("approve", 7).status_code == 409
    assert Campaign.objects.get().status == "waiting"


def test_people_are_told_by_mail(campaign: Campaign, anna: User, ben: User) -> None:
    approval = approving.ask(campaign, by=anna, devices=2, note="Soon, please.")
    mails.tell(approval.id)
    (asked,) = mail.outbox
    assert asked.to == ["ben@example.com"]
    assert "waits for your approval" in asked.subject
    assert "Soon, please." in asked.body
    assert f"/admin/campaigns/campaign/{campaign.pk}/review/" in asked.body
    approving.decide(campaign, by=ben, is_granted=False, answer="Too long.")
    mails.tell(approval.id)
    assert mail.outbox[1].to == ["anna@example.com"]
    assert "Too long." in mail.outbox[1].body
    approving.ask(campaign, by=anna, devices=2)
    approving.withdraw(campaign)
    mails.tell(approval.id + 1)  # nobody is told of what was taken back
    assert len(mail.outbox) == 2
