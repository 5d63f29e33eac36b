"""What a campaign says differently from the version that was approved or launched last, word by word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from campaigns import contents, words
from campaigns.document import Plan, Variant
from campaigns.models import Campaign, Version
from notifications.template_diff import LABELS, Change, pieces

# As the composer names them.
OWN_LINKS = {"apns": "Link on iPhone", "fcm": "Link on Android", "webpush": "Link in browsers"}


class Changes(NamedTuple):
    """since: "approved", "sent back" or "launched"; "": nobody has looked at any version before."""

    since: str
    version: int
    found: list[Change]


def since_last_look(campaign: Campaign) -> Changes:
    base, since = _base(campaign)
    if base is None:
        return Changes("", 0, [])
    before, after = _all_said([_as(campaign, base), campaign])
    return Changes(since, base.number, _changes(before, after))


def of_each(campaign: Campaign, versions: Sequence[Version]) -> list[list[Change]]:
    """What each of these says differently from the one after it in the list; the last: from nothing."""
    said = _all_said([_as(campaign, version) for version in versions])
    return [_changes(before, after) for after, before in zip(said, [*said[1:], {}], strict=True)]


def between(campaign: Campaign, old: Version, new: Version) -> list[Change]:
    return of_each(campaign, [new, old])[0]


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    return [
        Change(label, list(pieces(before.get(label, ""), after.get(label, ""))))
        for label in dict.fromkeys([*after, *before])
        if before.get(label, "") != after.get(label, "")
    ]


def _base(campaign: Campaign) -> tuple[Version | None, str]:
    """The newest version before this one that somebody has decided about, and what they decided."""
    decided = campaign.approvals.filter(version__lt=campaign.version, is_granted__isnull=False).first()
    launched = campaign.versions.filter(number__lt=campaign.version, kept_for="launch").first()
    if decided and (launched is None or decided.version > launched.number):
        version = campaign.versions.filter(number=decided.version).first()
        return version, "approved" if decided.is_granted else "sent back"
    return launched, "launched"


def _as(campaign: Campaign, version: Version) -> Campaign:
    """The campaign as it was, unsaved."""
    return Campaign(
        application=campaign.application, category=version.category, name=version.name, plan=version.plan
    )


def _all_said(campaigns: Sequence[Campaign]) -> list[dict[str, str]]:
    return [_said(*one) for one in zip(campaigns, words.audiences(campaigns), strict=True)]


def _said(campaign: Campaign, audience: str) -> dict[str, str]:
    plan = campaign.document
    return {
        "Name": campaign.name,
        "Category": str(campaign.category),
        **{label: text for variant in plan.variants for label, text in _variant(plan, variant)},
        **{f"In place of {name}": str(value) for name, value in plan.defaults.items()},
        "If something is missing": "skip the person" if plan.missing == "skip" else "leave the place empty",
        "Audience": audience,
        "When": words.when(campaign),
        "Repeats": plan.schedule.rule,
        "Send window": f"{plan.schedule.window.start}–{plan.schedule.window.end}"
        if plan.schedule.window
        else "",
        "Lifetime": f"{plan.schedule.lifetime_hours} hours" if plan.schedule.lifetime_hours else "",
        "Pace": words.pace(campaign),
        "Experiment": _experiment(plan),
        "Safety": _safety(plan),
    }


def _variant(plan: Plan, variant: Variant) -> Iterator[tuple[str, str]]:
    mark = f" {variant.key}" if plan.is_experiment else ""
    content: dict[str, Any] = msgspec.to_builtins(variant.content)
    locales = content.pop("locales", {})
    for locale, texts in {"": content, **locales}.items():
        where = f"{mark}{f' ({locale})' if locale else ''}"
        for label, text in _texts(texts):
            yield f"{label}{where}", text
    for label, text in _options(variant):
        yield f"{label}{mark}", text
    if plan.is_experiment:
        yield f"Share{mark}", str(variant.share)


def _options(variant: Variant) -> Iterator[tuple[str, str]]:
    """What one platform gets differently: its link by name, the rest as it is stored."""
    rest: dict[str, dict[str, Any]] = {}
    for provider, options in variant.overrides.items():
        link = contents.OWN_LINKS.get(provider, "")
        if link in options:
            yield OWN_LINKS[provider], str(options[link])
        if others := {name: value for name, value in options.items() if name != link}:
            rest[provider] = others
    if rest:
        yield "For one platform only", msgspec.json.encode(rest).decode()


def _texts(texts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, label in LABELS.items():
        if texts.get(name):
            yield label, texts[name]
    for key, value in texts.get("data", {}).items():
        yield f"Data {key}", value
    for number, action in enumerate(texts.get("actions", ()), 1):
        yield f"Button {number}", " → ".join(filter(None, (action.get("title"), action.get("url"))))


def _experiment(plan: Plan) -> str:
    one = plan.experiment
    said = [f"{one.holdout} % held out"] if one.holdout else []
    if plan.is_experiment:
        said += [
            f"compared among {one.test} % by who {one.metric}, for {one.hours} hours",
            f"decided by {one.decide}",
        ]
    return ", ".join(said)


def _safety(plan: Plan) -> str:
    first = f"the first {plan.safety.canary:,} devices first" if plan.safety.canary else "nobody first"
    stop = plan.safety.stop_percent
    return f"{first}, {f'stops when {stop} % fail' if stop else 'never stops by itself'}"
