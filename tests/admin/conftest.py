"""Staff: anna may do everything, vera may only look."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.browser import chromium, context, faults, page
from tests.campaigns.conftest import anna, console_credential, empty_cache, make_campaign, opt_in

__all__ = [
    "anna",
    "chromium",
    "console_credential",
    "context",
    "empty_cache",
    "faults",
    "make_campaign",
    "opt_in",
    "page",
]


@pytest.fixture
def admin(anna: User) -> Client:
    return _signed_in(anna)


@pytest.fixture
def vera(db: None) -> User:
    user = User.objects.create_user("vera", "vera@example.com", "pw", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return user


@pytest.fixture
def viewer(vera: User) -> Client:
    return _signed_in(vera)


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
