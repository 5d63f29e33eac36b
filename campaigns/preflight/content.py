"""What is said: whether it is complete, whether it fits, whether its links and pictures are there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from campaigns import checking, contents
from campaigns.preflight import links as asking
from campaigns.preflight.check import Check, Situation, listed
from config.problems import InvalidField
from notifications import templating
from notifications.sizes import LABELS

NEAR = 0.9  # of the limit
NOT_ASKED = "Asking…"
SHOWN_TITLE = 35  # characters of a title that an iPhone's lock screen shows in its one line

VARIABLE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")


def faults(at: Situation) -> Iterator[Check]:
    found = checking.faults(at.campaign, at.now)
    for fault in found:
        yield Check(
            "plan",
            "block",
            f"{fault.detail[:1].upper()}{fault.detail[1:]}.",
            "Mend it in the composer.",
            at.place(fault.pointer),
        )
    if not found:
        yield Check("plan", "ok", "Nothing is missing from the text, the audience and the schedule.")


def payload(at: Situation) -> Iterator[Check]:
    """The largest there is, for the people with the longest values."""
    people = at.seen.longest if at.seen else ()
    try:
        worst = contents.worst_sizes(at.plan, list(people))
    except InvalidField:  # `faults` says so
        return
    if not worst:
        return
    name, (size, limit, of) = max(worst.items(), key=lambda item: item[1][0] / item[1][1])
    among = at.sampled if people else ""
    words = f"Largest message{among}: {size:,} of {limit:,} bytes ({LABELS[name]}, variant {of})."
    place = at.place("/variants/0/content/body")
    if size > limit:
        yield Check(
            "payload", "block", f"{words} {LABELS[name]} refuses it.", "Shorten the text or the data.", place
        )
    elif size > NEAR * limit:
        yield Check("payload", "warn", f"{words} That is close.", "Shorten the text or the data.", place)
    else:
        yield Check("payload", "ok", words)


def titles(at: Situation) -> Iterator[Check]:
    """As they are written: what stands in for a variable is not counted."""
    longest, pointer = max(_titles(at), key=lambda item: len(item[0]))
    if len(longest) > SHOWN_TITLE:
        yield Check(
            "title",
            "warn",
            f"A title is cut on a locked iPhone: {len(longest)} characters, about {SHOWN_TITLE} are shown.",
            "Say what matters first, or shorten it.",
            at.place(pointer),
        )
    elif longest:
        yield Check("title", "ok", f"Titles are shown as a whole (longest: {len(longest)} characters).")


def _titles(at: Situation) -> Iterator[tuple[str, str]]:
    for number, variant in enumerate(at.plan.variants):
        place = f"/variants/{number}/content"
        yield VARIABLE.sub("", variant.content.title).strip(), f"{place}/title"
        for locale, texts in variant.content.locales.items():
            if isinstance(texts.title, str):
                yield VARIABLE.sub("", texts.title).strip(), f"{place}/locales/{locale}/title"


# --- links and pictures -----------------------------------------------------------------------


def links(at: Situation) -> Iterator[Check]:
    """Web links are asked whether they answer; an app's own are the app's business."""
    named = _linked(at)
    if not named:
        yield Check("links", "ok", "A tap opens the app.")
        return
    web = {
        url: pointer for url, pointer in named.items() if asking.is_web(url) and templating.is_literal(url)
    }
    if own := [url for url in named if not asking.is_web(url)]:
        yield Check(
            "deep_links",
            "note",
            f"{listed(dict.fromkeys(own))}: opened by the app. Only a phone can tell whether it does.",
            "Tap it in a test message.",
        )
    if any(asking.is_web(url) and url not in web for url in named):
        yield Check("links_personal", "note", "A link differs from person to person: it was not asked.")
    yield from _answers(at, "links", web, is_image=False)


def images(at: Situation) -> Iterator[Check]:
    named = {
        url: f"/variants/{number}{pointer}"
        for number, variant in enumerate(at.plan.variants)
        for pointer, url in asking.images(variant.content)
        if templating.is_literal(url)
    }
    yield from _answers(at, "images", named, is_image=True)


def _linked(at: Situation) -> dict[str, str]:
    """URL → its place."""
    return {
        url: f"/variants/{number}{pointer}"
        for number, variant in enumerate(at.plan.variants)
        for pointer, url in asking.links(variant)
    }


def _answers(at: Situation, key: str, named: dict[str, str], *, is_image: bool) -> Iterator[Check]:
    if not named:
        return
    answers = (
        asking.ask(list(named), is_image=is_image) if at.may_ask else asking.known(list(named), is_image)
    )
    what = "picture" if is_image else "link"
    if missing := [url for url in named if url not in answers]:
        yield Check(key, "note", f"Whether {_number(len(missing), what)}.", NOT_ASKED)
        return
    bad = {url: answer for url, answer in answers.items() if answer.fault}
    for number, (url, answer) in enumerate(bad.items(), 1):
        yield Check(
            f"{key}_{number}",
            "warn",
            f"{asking.shown(url)}: {answer.fault}.",
            "Look at it in a browser, and mend it." if not is_image else "Choose another picture.",
            at.place(named[url]),
        )
    if not bad:
        words = "; ".join(dict.fromkeys(answer.words for answer in answers.values()))
        name = "The picture" if is_image else "The link"
        yield Check(key, "ok", f"{name}{'s are' if len(named) > 1 else ' is'} there: {words}.")


def _number(count: int, what: str) -> str:
    return f"the {what} answers" if count == 1 else f"{count} {what}s answer"
