"""What will go out, to how many, what was looked at before, and the button that sends it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.timesince import timeuntil

from campaigns import (
    approving,
    audiences,
    changes,
    contents,
    preflight,
    schedules,
    selectors,
    services,
    steps,
    timetable,
    words,
)
from campaigns.models import Campaign
from campaigns.preflight.check import listed
from config.problems import InvalidField
from devices import clocks
from devices import selectors as devices
from notifications import reasons, sample, zones
from notifications.pipeline.timing import LIFETIME as DEFAULT_TTL
from notifications.reach import Reach
from tenants.console import ConsoleAdmin, staff

# Any one of them may send a test: who writes it, who approves it, who sends it.
MAY_TEST = ("campaigns.change_campaign", "campaigns.approve_campaign", "campaigns.launch_campaign")
# Above this many devices the number has to be typed before a launch.
TYPED_ABOVE = 100_000
# The reach of an app with more devices takes up to seconds.
COUNTED_AT_ONCE = 20_000
TITLE = "Review and send"

Status = Campaign.Status

# Before a launch; afterwards there is the live page.
REVIEWED = (Status.DRAFT, Status.WAITING, Status.APPROVED)


class LaunchForm(forms.Form):
    """version: what was looked at; devices: how many it said it would reach; typed: the number once more; warnings:
    keys of those that were shown; reason: why it is sent all the same."""

    version = forms.IntegerField(widget=forms.HiddenInput)
    devices = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    typed = forms.CharField(required=False)
    warnings = forms.CharField(required=False)
    reason = forms.CharField(required=False, max_length=preflight.LONGEST_REASON)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        asked = cleaned.get("devices") or 0
        typed = "".join(letter for letter in cleaned.get("typed", "") if letter.isdigit())
        if (asked > TYPED_ABOVE or typed) and typed != str(asked):
            self.add_error("typed", f"Type {asked:,} to confirm. Nothing was sent.")
        return {**cleaned, "typed": typed}


# --- the page -----------------------------------------------------------------------------------


def page(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """?counted: with all that has to be counted; of a large app it is fetched after the first paint."""
    if campaign.status not in REVIEWED:
        return HttpResponseRedirect(admin.url("live", campaign))
    if "counted" not in request.GET and sample.has_more_than(COUNTED_AT_ONCE, campaign.application_id):
        counted = {**request.GET.dict(), "counted": "1"}
        context = {"title": TITLE, "campaign": campaign, "counted_url": f"?{urlencode(counted)}"}
        return admin.render(request, "campaigns/review_shell.html", campaign, context)
    return shown(admin, request, campaign)


def shown(
    admin: ConsoleAdmin,
    request: HttpRequest,
    campaign: Campaign,
    *,
    error: str = "",
    status: int = 200,
    form: LaunchForm | None = None,
) -> HttpResponse:
    """The page, with what went wrong above it: then of those that were counted when it went wrong."""
    reach = reach_of(campaign, is_fresh=not error)
    context = {
        **_context(admin, request, campaign, reach, may_ask=False),
        **reach_context(campaign, reach),
        **when_context(campaign),
        **time_taken(campaign, reach),
        **look_context(admin, request, campaign),
        "title": TITLE,
        "error": error,
        "form": form or LaunchForm(),
        "audience": words.audience(campaign),
        "pace": words.pace(campaign),
        "steps": steps.of(campaign.document, reach.devices, is_estimate=reach.is_estimate),
        "stop_percent": campaign.document.safety.stop_percent,
        "changes": changes.since_last_look(campaign),
        "state": selectors.state(campaign),
    }
    response = admin.render(request, "campaigns/review.html", campaign, context)
    response.status_code = status
    return response


def reach_of(campaign: Campaign, *, is_fresh: bool = False) -> Reach:
    """To be shown: of many devices an estimate."""
    try:
        return selectors.reach(campaign, is_fresh=is_fresh)
    except InvalidField:  # a segment is gone; the checklist says so
        return Reach()


def counted(campaign: Campaign) -> Reach:
    """To be launched, or approved."""
    try:
        return selectors.counted(campaign)
    except InvalidField:
        return Reach()


def checked(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Fragment: the checklist anew, links asked; with it the dialog and the buttons that depend on it."""
    is_again = "again" in request.GET
    if is_again:
        preflight.forget_links(campaign)
    reach = reach_of(campaign, is_fresh=is_again)
    context = _context(admin, request, campaign, reach, may_ask=True) | {"is_again": True}
    return admin.render(request, "campaigns/_preflight_again.html", campaign, context)


def _context(
    admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, reach: Reach, *, may_ask: bool
) -> dict[str, Any]:
    report = preflight.report(campaign, timezone.now(), reach=reach, may_ask=may_ask)
    return {
        "campaign": campaign,
        "reach": reach,
        "report": report,
        "checked_at": timezone.now(),
        "deed": deed(admin, request, campaign, reach, report),
        "when": words.when(campaign),
        "approval": campaign.approvals.select_related("requested_by", "decided_by").first(),
        "headline": _headline(campaign),
        "version": campaign.version,
        "may_test": any(admin.may(request, one, campaign) for one in MAY_TEST),
        "reached": words.reached(reach),
        "must_type": reach.reachable + reach.margin > TYPED_ABOVE,
        "warning_keys": ",".join(check.key for check in report.warnings),
        "is_now": campaign.plan["schedule"]["kind"] == "now",
        "has_undo": campaign.document.schedule.undo,
        "undo_seconds": int(timetable.UNDO.total_seconds()),
        **{
            f"{name}_url": admin.url(name, campaign)
            for name in ("launch", "ask", "withdraw", "approve", "refuse", "preflight", "test", "review")
        },
        "may_withdraw": campaign.status in (Status.WAITING, Status.APPROVED)
        and admin.may(request, "campaigns.change_campaign", campaign),
    }


def _headline(campaign: Campaign) -> str:
    """The first words, as somebody gets them of whom nothing is known."""
    plan = campaign.document
    try:
        seen = contents.preview(
            plan, plan.variants[0], application=campaign.application, subscriber=None, locale=None
        )
    except (InvalidField, ValueError):  # the checklist says so
        return words.title(campaign)
    return str(seen.content.get("title") or seen.content.get("body") or "").strip()


class Deed(NamedTuple):
    """The page's one primary button. kind: launch, ask or decide; "": there is none, and words say why."""

    kind: str
    words: str


def deed(
    admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, reach: Reach, report: preflight.Report
) -> Deed:
    user = staff(request)
    if campaign.status == Status.WAITING:
        if admin.may(request, "campaigns.approve_campaign", campaign) and approving.may_decide(
            campaign, user
        ):
            return Deed("decide", "Approve")
        return Deed("", f"Waiting for {_approvers(campaign)}")
    if report.blocks:
        count = len(report.blocks)
        return Deed("", f"{count} thing{'s' if count > 1 else ''} to mend first")
    if approving.is_needed(campaign, reach.reachable, reach.margin):
        if admin.may(request, "campaigns.change_campaign", campaign):
            return Deed("ask", "Ask for approval")
        return Deed("", "Its author has to ask for approval.")
    if not admin.may(request, "campaigns.launch_campaign", campaign):
        return Deed("", "You may look at it. Launching needs a colleague with permission.")
    verb = "Send to" if campaign.plan["schedule"]["kind"] == "now" else "Schedule for"
    return Deed("launch", f"{verb} {words.reached(reach)}")


def _approvers(campaign: Campaign) -> str:
    people = [_name(person) for person in selectors.approvers(campaign)]
    if not people:
        return "an approver: nobody may approve it yet"
    return listed(people, last="or") if len(people) <= 3 else f"one of {len(people)} approvers"


def _name(person: User) -> str:
    return person.get_short_name() or person.get_username()


# --- parts of it --------------------------------------------------------------------------------


def reach_context(campaign: Campaign, reach: Reach) -> dict[str, Any]:
    """Matched = reachable + those left out, each with its reason and its part of the bar."""
    whole = reach.devices or 1
    return {
        "held_back": [
            (reasons.words(reason), count, f"{count * 100 / whole:.2f}")
            for reason, count in reach.held_back.items()
        ],
        # At each person's local time nearly everybody is later; the zones say when.
        "quiet": 0 if campaign.document.is_local else reach.later,
        "reachable_width": f"{reach.reachable * 100 / whole:.2f}",
        "platforms": [(words.PLATFORMS.get(name, name), count) for name, count in reach.platforms.items()],
    }


def when_context(campaign: Campaign) -> dict[str, Any]:
    """What its schedule means: the next runs, and for local times the moment in each zone of the audience."""
    plan, now = campaign.document, timezone.now()
    context: dict[str, Any] = {"when": words.when(campaign), "window": timetable.window(campaign)}
    try:
        if plan.schedule.kind != "now" and not plan.is_local:
            begins = timetable.due_at(campaign, now)
            zone = clocks.zone(timetable.zone_name(campaign))
            context |= {
                "begins": begins,
                "begins_local": begins.astimezone(zone).replace(tzinfo=None) if zone else None,
                "zone_name": timetable.zone_name(campaign),
                "begins_in": timeuntil(begins, now),
            }
        if plan.is_recurring:
            context["runs"] = timetable.coming(campaign, now, most=5)
        elif plan.is_local:
            where = zones.counts(
                audiences.of(plan),
                application_id=campaign.application_id,
                category_id=campaign.category_id,
                default_zone=campaign.application.default_time_zone,
            )
            context["zones"] = zones.at(schedules.parsed_local(plan.schedule.starts), where.devices)
            context["are_zones_sampled"] = where.is_estimate
    except ValueError:  # the schedule is not finished; the checklist says so
        pass
    return context


def time_taken(campaign: Campaign, reach: Reach) -> dict[str, Any]:
    """How long it takes at the pace that holds it back most, and whether messages expire before their turn."""
    pace, now = steps.pace(campaign, reach), timezone.now()
    lasts = timedelta(seconds=min(pace.seconds, 3650 * 86_400))
    hours = campaign.document.schedule.lifetime_hours
    lifetime = timedelta(hours=hours) if hours else DEFAULT_TTL
    is_long = lasts >= timedelta(minutes=1)
    return {
        "takes": timeuntil(now + lasts, now, depth=1) if is_long else "",
        "because": pace.because,
        "ends": now + lasts if is_long and campaign.plan["schedule"]["kind"] == "now" else None,
        "expires_after": timeuntil(now + lifetime, now) if lasts > lifetime else "",
    }


def look(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Fragment: one variant in one language, as one person gets it."""
    return admin.render(request, "campaigns/_look.html", campaign, look_context(admin, request, campaign))


def look_context(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> dict[str, Any]:
    """Of ?variant=, ?locale= and ?person=, where they are; rendered by the code that sends."""
    plan = campaign.document
    keys = [variant.key for variant in plan.variants]
    key = request.GET.get("variant", "A")
    variant = plan.variant(key if key in keys else keys[0])
    locales = ["", *variant.content.locales]
    locale = request.GET.get("locale", "")
    locale = locale if locale in locales else ""
    person = devices.subscriber(campaign.application_id, request.GET.get("person", "").strip())
    context = {
        "campaign": campaign,
        "look_url": admin.url("look", campaign),
        "review_url": admin.url("review", campaign),
        "variants": keys,
        "variant": variant.key,
        "locales": locales,
        "locale": locale,
        "person": request.GET.get("person", ""),
        "is_person_unknown": bool(request.GET.get("person")) and person is None,
        "missing": [],
        "default_locale": campaign.application.default_locale,
    }
    try:
        found = contents.preview(
            plan, variant, application=campaign.application, subscriber=person, locale=locale or None
        )
    except (InvalidField, ValueError):  # the checklist says so
        return {**context, "look": campaign.plan["variants"][keys.index(variant.key)]["content"]}
    return {**context, "look": found.content, "missing": found.missing}


# --- launching it -------------------------------------------------------------------------------


def launch(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """POST: send it. Whoever comes second is shown what the first one started."""
    form = LaunchForm(request.POST)
    if campaign.status not in REVIEWED:
        messages.info(request, "This campaign has already been launched. Nothing was sent a second time.")
        return HttpResponseRedirect(admin.url("live", campaign))
    if not form.is_valid():
        said = " ".join(str(word) for errors in form.errors.values() for word in errors)
        return shown(admin, request, campaign, form=form, error=said)
    if form.cleaned_data["version"] != campaign.version:
        return changed(admin, request, campaign)
    try:
        reach = _launch(request, campaign, form)
    except services.NotAllowed as error:
        if campaign.status not in REVIEWED:
            messages.info(request, "A colleague was faster: this campaign is on its way already, once.")
            return HttpResponseRedirect(admin.url("live", campaign))
        return shown(admin, request, campaign, form=form, error=f"{error} Nothing was sent.")
    except services.ReachChanged as error:
        said = f"{error} Nothing was sent: look again, then send."
        return shown(admin, request, campaign, form=form, error=said)
    except (services.NotReady, preflight.NotCleared) as error:
        return shown(admin, request, campaign, form=form, error=str(error))
    _said(admin, request, campaign, reach.reachable)
    return HttpResponseRedirect(admin.url("live", campaign))


def _launch(request: HttpRequest, campaign: Campaign, form: LaunchForm) -> Reach:
    """Counts, once, and launches. Raises NotAllowed, NotReady, ReachChanged, NotCleared; then nothing is sent."""
    said, user = form.cleaned_data, staff(request)
    margin = reach_of(campaign).margin  # of what the page said
    reach = counted(campaign)
    if reach.reachable > TYPED_ABOVE and not said["typed"]:  # nor did the page ask to type it
        raise services.ReachChanged(reach.reachable)
    report = preflight.report(campaign, timezone.now(), reach=reach)
    services.launch(
        campaign,
        by=f"staff:{user.get_username()}",
        user=user,
        reach=reach,
        expected=said["devices"],
        margin=margin,
        overridden=preflight.overridden(report, reason=said["reason"], seen=said["warnings"].split(",")),
    )
    return reach


def _said(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign, count: int) -> None:
    run = campaign.latest_run
    overridden = run.overridden if run else {}
    why = f" Over {', '.join(overridden)}: “{next(iter(overridden.values()))}”." if overridden else ""
    admin.audit(request, campaign, f"Launched, with {count:,} reachable devices.{why}")
    if run and campaign.plan["schedule"]["kind"] == "now" and run.due_at > timezone.now():
        messages.success(
            request,
            f"Launched. Nothing leaves before {run.due_at:%H:%M:%S} UTC: until then “Undo send” takes it back.",
        )
    else:
        messages.success(request, "Launched." if campaign.status == Status.SENDING else "Scheduled.")


def changed(admin: ConsoleAdmin, request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """The answer to a page that is older than the campaign."""
    said = "This campaign was changed after you opened this page. Nothing was done: look at it again."
    return shown(admin, request, campaign, error=said, status=409)
