"""The language of templates: what it reads, what it refuses, what it may cost; locales; names."""

from __future__ import annotations

import time
from typing import Any

import pytest

from config.problems import InvalidField
from notifications import content, templating
from notifications import template_wording as wordings
from notifications.templating import Fault, Missing, NotRenderable

VALUES = {
    "subscriber": {"country": "DE", "attributes": {"first_name": "Ann", "tags": ["a", "b"]}},
    "variables": {
        "order": 7,
        "at": "2026-07-15T18:30:00Z",
        "total": "1234.5",
        "items": [{"name": "tea"}, {"name": "cups"}],
        "long": "x" * 4000,
    },
}


def rendered(source: str, *, is_strict: bool = True, **values: Any) -> str:
    return templating.parse(source, is_strict=is_strict).render({**VALUES, **values})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Hello {{ subscriber.attributes.first_name }}!", "Hello Ann!"),
        ("<b>{{ subscriber.attributes.first_name | append: ' & co' }}</b>", "<b>Ann & co</b>"),
        ("{{ subscriber.attributes.zip | default: 'you' }}", "you"),
        ("{% if subscriber.attributes.vip %}Dear{% else %}Hi{% endif %}", "Hi"),
        ("{% if subscriber.attributes.plan == 'gold' %}Gold{% else %}Hi{% endif %}", "Hi"),
        ("{% case subscriber.country %}{% when 'DE' %}Moin{% else %}Hi{% endcase %}", "Moin"),
        ("{% for item in variables.items %}{{ item.name }} {% endfor %}", "tea cups "),
        ("{{ variables.items | map: 'name' | join: ', ' }}", "tea, cups"),
        ("{{ variables.items.size }} {{ variables.items.first.name }}", "2 tea"),
        ("{% assign n = variables.order | plus: 1 %}{{ n }}", "8"),
        ("{{ variables.at | date: '%d.%m.%Y %H:%M', 'Europe/Berlin' }}", "15.07.2026 20:30"),
        ("{{ variables.at | date: 'long' }} {{ variables.at | time }}", "July 15, 2026 6:30\u202fPM"),
        ("{{ variables.total | money: 'EUR' }} {{ variables.total | number }}", "€1,234.50 1,234.5"),
        ("{% raw %}{{ literal }}{% endraw %}", "{{ literal }}"),
    ],
)
def test_a_text_says_what_it_was_given(source: str, expected: str) -> None:
    assert rendered(source) == expected


def test_dates_and_money_are_written_as_the_locale_does() -> None:
    source = "{{ variables.at | date: 'long' }}, {{ variables.total | money: 'EUR' }}"
    wording = wordings.read({"title": source, "body": ""}, {"de-AT": {}}, {}, "fail")
    values = wording.values(VALUES["variables"])
    assert wording.rendered(wording.fitting("de_AT"), values)["title"] == "15. Juli 2026, € 1.234,50".replace(
        "€ ", "€\xa0"
    )
    assert wording.rendered(wording.fitting("ja"), values, locale="de")["title"].startswith("15. Juli")


@pytest.mark.parametrize(
    "source",
    [
        "{{ subscriber.attributes.zip }}",
        "{{ subscriber.attributes.zip | upcase }}",
        "{{ variables.items.append }}",
        "{{ variables.order.real }}",
        "{{ variables.long.__class__ }}",
        "{{ variables['__class__'] }}",
        "{{ subscriber.attributes.tags[7] }}",
        "{% for x in variables.nothing %}{% endfor %}",
    ],
)
def test_what_is_not_in_the_data_is_missing_and_nothing_else_is_seen(source: str) -> None:
    with pytest.raises(Missing):
        rendered(source)
    assert rendered(source, is_strict=False) == ""


@pytest.mark.parametrize(
    ("source", "line", "what"),
    [
        ("Hi\n{{ name ", 2, "}}"),
        ("Hi\n\n{% if x %}", 3, "endif"),
        ("{{ a b }}", 1, "expected"),
        ("one\n{{ x | shout }}", 2, "no filter “shout”"),
        ("{% include 'secrets' %}", 1, "no tag “include”"),
        ("{% render 'secrets' %}", 1, "no tag “render”"),
        ("x\n{% tablerow i in x %}{% endtablerow %}", 2, "no tag “tablerow”"),
        ("{% for i in (1..1000000000) reversed %}{% endfor %}", 1, "ranges"),
        ("{{ (1..1000000000) | join: 'x' }}", 1, "ranges"),
        ("{{ [variables.k] }}", 1, "begins with its name"),
        ("{" * 4000, 1, "more than"),
        ("{{ a" + "[a" * 900 + "]" * 900 + " }}", 1, "more than"),
        ("{% if true %}" * 50, 1, "nesting"),
    ],
)
def test_a_fault_names_its_line_and_what_it_is(source: str, line: int, what: str) -> None:
    began = time.monotonic()
    with pytest.raises(Fault, match="line") as fault:
        templating.parse(source)
    assert (fault.value.line, what in fault.value.what) == (line, True), fault.value.what
    assert time.monotonic() - began < 1


LETTERS = "{% assign l = variables.long | split: '' %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% assign a = 'aaaaaaaaaa' %}" + "{% assign a = a | append: a %}" * 60,
        "{{ 'aaaaaaaaaa'" + " | replace: 'a', 'aaaaaaaaaa'" * 20 + " }}",
        "{{ variables.long | split: '' | join: variables.long }}",
        LETTERS + "{% for i in l %}{% for j in l %}{% for k in l %}{% endfor %}{% endfor %}{% endfor %}",
        LETTERS + "{% for i in l %}" + "{% if true %}{% endif %}" * 90 + "{% endfor %}",
        LETTERS + "{% for i in l %}{{ variables.long | upcase | downcase | size }}{% endfor %}",
        LETTERS + "{% for i in l %}{{ variables.long }}{% endfor %}",
        "{% capture c %}" + "{{ variables.long }}" * 5 + "{% endcapture %}",
        "{% assign x = 99999999999 %}" + "{% assign x = x | times: x %}" * 30 + "{{ x }}",
        "{% assign l = variables.items %}" + "{% assign l = l | concat: l %}" * 60,
        "{{ variables.at | date: '%99999999Y' }}",
        "{{ variables.long | date: 'long' }}",
        "{{ variables.long | money: 'EUR' }}",
        "{{ variables.total | money: 'BITS' }}",
        "{{ variables.at | date: 'long', '../../etc/passwd' }}",
        "{{ variables.order | divided_by: 0 }}",
        LETTERS + "{{ l | uniq }}",
    ],
)
def test_what_grows_without_end_or_makes_no_sense_is_refused_at_once(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(NotRenderable):
        rendered(source)
    assert time.monotonic() - began < 1


def test_there_is_no_clock_so_that_the_same_values_give_the_same_text() -> None:
    with pytest.raises(InvalidField, match="no “now”"):
        wordings.read({"title": "{{ now }}", "body": ""}, {}, {}, "fail")
    with pytest.raises(NotRenderable):
        rendered("{{ 'now' | date: '%Y' }}")


# --- locales ----------------------------------------------------------------------------------


def test_a_locale_falls_back_to_its_language_and_then_to_the_default() -> None:
    whole = content.variants(
        {"title": "Hello", "body": "Sale", "url": "https://example.com"},
        {
            "de-AT": {"title": "Servus"},
            "de": {"title": "Hallo", "body": "Rabatt"},
            "zh_Hant": {"title": "你好"},
        },
    )
    assert whole["de-at"] == {"title": "Servus", "body": "Rabatt", "url": "https://example.com"}
    assert whole["zh-hant"]["body"] == "Sale"
    for locale, expected in {
        "de-AT": "de-at",
        "de_at": "de-at",
        "de-CH": "de",
        "zh-Hant-TW": "zh-hant",
        "zh": "",
        "fr": "",
        "": "",
    }.items():
        assert content.fitting(whole, locale) == expected, locale


def test_one_locale_under_two_names_is_refused() -> None:
    with pytest.raises(InvalidField, match="/locales/pt_br: is there twice"):
        content.variants({"title": "", "body": ""}, {"pt-BR": {}, "pt_br": {}})


# --- names ------------------------------------------------------------------------------------


def test_what_a_template_needs_is_what_it_reads_without_caring_for_its_absence() -> None:
    wording = wordings.read(
        {
            "title": "{{ variables.order.id }} {{ subscriber.attributes['first name'] }} {{ subscriber.country }}",
            "body": "{% if variables.gift %}{{ variables.gift }}{% endif %}{{ subscriber.attributes.x | default: 1 }}"
            "{% for item in variables.items %}{{ item.name }}{% endfor %}{{ subscriber.attributes[variables.key] }}",
        },
        {"de": {"title": "{{ variables.only_here }}"}},
        {"subscriber.country": "DE"},
        "fail",
    )
    assert wording.names == {
        "variables.order",
        "variables.gift",
        "variables.items",
        "variables.key",
        "variables.only_here",
        "subscriber.attributes",
        "subscriber.attributes.first name",
        "subscriber.attributes.x",
        "subscriber.country",
    }
    assert wording.needed == {
        "variables.order",
        "variables.items",
        "variables.key",
        "variables.only_here",
        "subscriber.attributes.first name",
    }


@pytest.mark.parametrize(
    ("said", "pointer", "what"),
    [
        ({"title": "ok\n{{ user.name }}", "body": ""}, "/content/title", "line 2: there is no “user”"),
        ({"title": "", "body": "{{ subscriber.email }}"}, "/content/body", "there is no subscriber.email"),
        ({"title": "", "body": "", "data": {"a/b": "{{"}}, "/content/data/a~1b", "line 1"),
        ({"title": "", "body": "", "url": "javascript:x"}, "/content/url", "web address"),
        ({"title": "", "body": "", "image": "http://x/y.png"}, "/content/image", "https"),
        (
            {"title": "", "body": "", "actions": [{"id": "a", "title": "{% x %}"}]},
            "/content/actions/0/title",
            "no tag “x”",
        ),
    ],
)
def test_a_template_that_cannot_work_is_refused_by_field_and_line(
    said: dict[str, Any], pointer: str, what: str
) -> None:
    with pytest.raises(InvalidField) as error:
        wordings.read(said, {}, {}, "fail")
    assert error.value.pointer == pointer
    assert what in error.value.detail
    with pytest.raises(InvalidField) as error:
        wordings.read({"title": "x", "body": "y"}, {"de": said}, {}, "fail")
    assert error.value.pointer == pointer.replace("/content", "/locales/de")


@pytest.mark.parametrize(
    "name", ["first_name", "subscriber", "subscriber.attributes", "variables.a.b", "event.x"]
)
def test_a_default_for_what_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(InvalidField) as error:
        wordings.read({"title": "x", "body": "y"}, {}, {name: "z"}, "fail")
    assert error.value.pointer == f"/defaults/{name}"


def test_a_link_made_of_variables_is_checked_when_it_is_known() -> None:
    wording = wordings.read({"title": "x", "body": "y", "url": "{{ variables.link }}"}, {}, {}, "default")
    of = wording.variants[""]
    assert wording.rendered(of, wording.values({"link": "shop://x"}))["url"] == "shop://x"
    assert "url" not in wording.rendered(of, wording.values({}))
    for bad in ("javascript:alert(1)", "not a link", "x" * 3000):
        with pytest.raises(NotRenderable, match="/url"):
            wording.rendered(of, wording.values({"link": bad}))
