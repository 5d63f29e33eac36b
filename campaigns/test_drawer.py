"""The drawer that sends a test and shows what becomes of it: a fragment for the review and the composer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from campaigns import services, testing
from campaigns.live import STOP_POLLING
from campaigns.models import Campaign, TestSend
from campaigns.review import MAY_TEST
from devices.models import Subscriber
from tenants.console import ConsoleAdmin, staff


def drawer(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """GET, fragment: whom to send it to; without any device, how to register one."""
    _check(admin, request, campaign)
    return _drawer(admin, request, campaign)


def _check(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> None:
    if not any(admin.allowed(request, permission, campaign) for permission in MAY_TEST):
        raise PermissionDenied


def _drawer(
    admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, *, error: str = ""
) -> HttpResponse:
    user = staff(request)
    found = testing.testers(campaign.application_id)
    if not any(tester.user_id == user.pk for tester in found) and testing.adopt(campaign.application, user):
        found = testing.testers(campaign.application_id)
    has_device = any(tester.device_count for tester in found)  # type: ignore[attr-defined]
    chosen = request.POST.getlist("tester")
    context = {
        "campaign": campaign,
        "error": error,
        "testers": [
            (tester, str(tester.pk) in chosen if chosen else tester.user_id == user.pk) for tester in found
        ],
        "has_device": has_device,
        "may_keep": _may_keep(request, campaign),
        "variants": [variant["key"] for variant in campaign.plan["variants"]],
        "locales": sorted({name for one in campaign.document.variants for name in one.content.locales}),
        "default_locale": campaign.application.default_locale,
        "said": request.POST,
        "test_url": admin.url("test", campaign),
        "send_test_url": admin.url("send_test", campaign),
        "testers_url": reverse("admin:campaigns_tester_changelist")
        if admin.allowed(request, "campaigns.view_tester", campaign)
        else "",
        "registration": None
        if has_device
        else testing.registration(campaign.application, user, url=request.build_absolute_uri("/v1/devices")),
    }
    return admin.render(request, "campaigns/_test.html", campaign, context)


def send(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: send the saved version to those chosen."""
    _check(admin, request, campaign)
    if request.POST.get("version", "") != str(campaign.version):
        error = "The campaign was changed meanwhile. Nothing was sent: this sends what is saved now."
        return _drawer(admin, request, campaign, error=error)
    try:
        people = _people(request, campaign)
        test = testing.send(
            campaign,
            people,
            by=staff(request),
            variant=request.POST.get("variant", "A"),
            is_marked="is_marked" in request.POST,
            seen_as=_seen_as(request, campaign),
            locale=request.POST.get("locale", ""),
        )
    except testing.NobodyToTest as error:
        return _drawer(admin, request, campaign, error=str(error))
    except services.NotReady as error:
        said = "; ".join(fault.detail for fault in error.faults)
        return _drawer(admin, request, campaign, error=f"It cannot be sent yet: {said}. Nothing was sent.")
    admin.audit(request, campaign, f"Test of variant {test.variant} sent to {_named(people)}.")
    if request.headers.get("HX-Request") != "true":
        return HttpResponseRedirect(f"{admin.url('review', campaign)}#test")
    return _result(admin, request, campaign, test)


def _people(request: HttpRequest, campaign: Campaign) -> list[Subscriber]:
    """Raises NobodyToTest."""
    ids = [int(id) for id in request.POST.getlist("tester") if id.isdecimal()]
    people = testing.subscribers(ids, campaign.application_id)
    if who := request.POST.get("person", "").strip():
        found = testing.person(campaign.application_id, who)
        people.append(found)
        if "remember" in request.POST and _may_keep(request, campaign):
            testing.add(found, user=staff(request) if "is_mine" in request.POST else None)
    return people


def _may_keep(request: HttpRequest, campaign: Campaign) -> bool:
    """Whose phones the next tests go to."""
    return bool(request.user.has_perm("campaigns.add_tester", campaign))


def _seen_as(request: HttpRequest, campaign: Campaign) -> Subscriber | None:
    """Raises NobodyToTest."""
    who = request.POST.get("as", "").strip()
    return testing.person(campaign.application_id, who) if who else None


def _named(people: Sequence[Subscriber]) -> str:
    return ", ".join(person.external_id for person in people)[:200]


def status(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Fragment, asked for every 1.5 s until 286 says that nothing will change. ?test=: which; none: the last."""
    tests = campaign.tests.select_related("notification")
    wanted = request.GET.get("test", "")
    test = tests.filter(id=int(wanted)).first() if wanted.isdecimal() else tests.first()
    if test is None:
        return HttpResponse(status=STOP_POLLING)
    return _result(admin, request, campaign, test)


def _result(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, test: TestSend) -> HttpResponse:
    found = testing.result(test)
    age = (timezone.now() - test.created_at).total_seconds()
    is_live = testing.is_worth_watching(test, found, age_seconds=age)
    context: dict[str, Any] = {
        "campaign": campaign,
        "test": test,
        "found": found,
        "is_live": is_live,
        "age": age,
        "is_slow": found.is_open and age > 20,
        "status_url": admin.url("test_status", campaign),
        "test_url": admin.url("test", campaign),
    }
    response = admin.render(request, "campaigns/_test_result.html", campaign, context)
    if not is_live and request.method == "GET":
        response.status_code = STOP_POLLING
    return response
