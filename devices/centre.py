"""The preference centre: a page of a person's own, reached by a signed link, without a login and without JavaScript.

Nothing changes by GET: what scans links in mails may look. No cookie is read or set; the link is all the right
there is, so there is nothing that another site could borrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation.trans_real import parse_accept_lang_header
from django.views.decorators.csrf import csrf_exempt

from devices import consent, links, selectors, services
from devices.consent import Origin, Source
from devices.models import Category, Subscriber
from devices.selectors import Choice

LANGUAGES = {"en": "English", "de": "Deutsch", "fr": "Français"}  # each has its catalogue in locale/

METHODS = ["GET", "HEAD", "POST"]
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address is the right to change
    "X-Robots-Tag": "noindex, nofollow",
}

View = Callable[[HttpRequest, Subscriber, str], HttpResponse]


def centre(view: View) -> Callable[[HttpRequest, str], HttpResponse]:
    """A view of the person whose link it is, in their language."""

    @csrf_exempt
    @wraps(view)
    def answered(request: HttpRequest, token: str) -> HttpResponse:
        request.path = "/p/…"  # Django logs it beside errors, and it is a secret
        if request.method not in METHODS:
            return HttpResponseNotAllowed(METHODS)
        language = _language(request, None)
        try:
            person = links.subscriber(token)
            language = _language(request, person)
            with translation.override(language):
                response = view(request, person, token) if person else _message("gone", 404)
        except (OperationalError, InterfaceError):
            with translation.override(language):
                response = _message("away", 503)
            response.headers["Retry-After"] = "5"
        for name, value in {**HEADERS, "Content-Language": language}.items():
            response.headers[name] = value
        return response

    return answered


@centre
def preferences(request: HttpRequest, person: Subscriber, token: str) -> HttpResponse:
    if request.method != "POST":
        return _page(request, person, token)
    services.set_preferences(person, _wishes(request, person), origin=_origin(request, Source.CENTRE))
    return _done(request, token, "saved")


@centre
def unsubscribe(request: HttpRequest, person: Subscriber, token: str) -> HttpResponse:
    """POST: from all marketing; the page's button, or a mail program on its own (RFC 8058)."""
    if request.method != "POST":
        return _page(request, person, token)
    is_one_click = request.POST.get("List-Unsubscribe") == "One-Click"
    origin = _origin(request, Source.ONE_CLICK if is_one_click else Source.CENTRE)
    services.set_preferences(person, {consent.UNSUBSCRIBED: True}, origin=origin)
    if is_one_click:  # a machine: it follows no redirects
        return HttpResponse(gettext("You are unsubscribed."), content_type="text/plain; charset=utf-8")
    return _done(request, token, "unsubscribed")


@centre
def subscribe(request: HttpRequest, person: Subscriber, token: str) -> HttpResponse:
    """POST: unsubscribed no longer."""
    if request.method != "POST":
        return _page(request, person, token)
    services.set_preferences(person, {consent.UNSUBSCRIBED: False}, origin=_origin(request, Source.CENTRE))
    return _done(request, token, "subscribed")


def _wishes(request: HttpRequest, person: Subscriber) -> dict[str, consent.Wish]:
    """What differs, among the switches that were shown. Those of marketing rest while it is off altogether."""
    shown, on = set(request.POST.getlist("shown")), set(request.POST.getlist("on"))
    wishes: dict[str, dict[str, bool]] = {}
    for choice in selectors.choices(person):
        name = _name(choice)
        if name in shown and not _is_resting(choice, person) and choice.is_allowed != (name in on):
            wishes.setdefault(choice.category.slug, {})[choice.channel] = name in on
    return dict(wishes)


def _origin(request: HttpRequest, source: str) -> Origin:
    return consent.origin(request, source, consent.SUBSCRIBER)


# --- The page ---------------------------------------------------------------------------------


def _page(request: HttpRequest, person: Subscriber, token: str) -> HttpResponse:
    choices = selectors.choices(person)
    by_category: dict[int, list[Choice]] = {}
    for choice in choices:
        by_category.setdefault(choice.category.pk, []).append(choice)
    page = {
        "application": person.application,
        "is_unsubscribed": person.unsubscribed_at is not None,
        "has_marketing": any(choice.category.kind == Category.Kind.MARKETING for choice in choices),
        "categories": [_shown(each, person) for each in sorted(by_category.values(), key=_order)],
        "done": request.GET.get("done", ""),
        "here": f"/p/{token}",
        "asked": _asked(request),
        "languages": LANGUAGES.items(),
    }
    return _rendered("centre/page.html", page)


def _order(choices: list[Choice]) -> tuple[bool, str]:
    """What cannot be changed comes last."""
    return choices[0].is_forced, choices[0].category.name.casefold()


def _shown(choices: list[Choice], person: Subscriber) -> dict[str, object]:
    category = choices[0].category
    switches = [
        {
            "name": _name(choice),
            "label": _channel(choice.channel),
            "is_on": choice.is_allowed and not _is_resting(choice, person),
        }
        for choice in choices
    ]
    return {
        "name": category.name,
        "is_forced": choices[0].is_forced,
        "is_resting": _is_resting(choices[0], person),
        "switches": switches,
    }


def _is_resting(choice: Choice, person: Subscriber) -> bool:
    return person.unsubscribed_at is not None and choice.category.kind == Category.Kind.MARKETING


def _name(choice: Choice) -> str:
    return f"{choice.category.slug}/{choice.channel}"


def _channel(channel: str) -> str:
    return {"push": gettext("Push notifications")}.get(channel, channel)


def _message(name: str, status: int) -> HttpResponse:
    return _rendered("centre/message.html", {"message": name}, status)


def _rendered(template: str, page: dict[str, object], status: int = 200) -> HttpResponse:
    language = translation.get_language() or "en"
    return HttpResponse(render_to_string(template, {**page, "language": language}), status=status)


def _done(request: HttpRequest, token: str, what: str) -> HttpResponse:
    """Back to the page by GET, which says so: loading it again repeats nothing."""
    asked = _asked(request)
    response = HttpResponseRedirect(f"/p/{token}{asked or '?'}{'&' if asked else ''}done={what}")
    response.status_code = 303
    return response


# --- Language ---------------------------------------------------------------------------------


def _asked(request: HttpRequest) -> str:
    """The query in which a language was chosen on the page."""
    return f"?lang={request.GET['lang']}" if request.GET.get("lang") in LANGUAGES else ""


def _language(request: HttpRequest, person: Subscriber | None) -> str:
    """The page's own switch, the browser's wishes, the person's locale, the application's: the first we speak."""
    wanted = [request.GET.get("lang", "")]
    wanted += [code for code, _ in parse_accept_lang_header(request.headers.get("Accept-Language", ""))]
    if person:
        wanted += [person.locale, person.application.default_locale]
    bases = (re.split("[-_]", code.lower())[0] for code in wanted)
    return next((base for base in bases if base in LANGUAGES), "en")
