"""A template's version as it is sent: its texts per locale, the names they read, and what follows from a missing one.

What a version is, is stored (models.TemplateVersion) and never changes; read once per process. The names there are:
`variables.*`, the call's own, and of the person `subscriber.external_id`, `.locale`, `.country`, `.attributes.*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from config.problems import InvalidField
from notifications import content as contents
from notifications import templating
from notifications.template_filters import LOCALE
from notifications.templating import Fault, NotRenderable, Text

PERSON_FIELDS = ("external_id", "locale", "country")
ATTRIBUTES, CALL = "subscriber.attributes", "variables"
WHOLE = frozenset({ATTRIBUTES, CALL})  # read by a name made up while rendering, or looped over
LENIENT = "default"
REMEMBERED = 500


@dataclass(frozen=True, slots=True)
class Variant:
    """The whole content in one locale. names: what it reads; needed: those without which it cannot be rendered;
    personal: those that differ between people."""

    locale: str
    texts: Mapping[str, Any]
    names: frozenset[str]
    needed: frozenset[str]

    personal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wording:
    """missing: a TemplateVersion.Missing. defaults: name → value."""

    variants: Mapping[str, Variant]
    defaults: Mapping[str, Any]
    missing: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(variant.names for variant in self.variants.values()))

    @property
    def needed(self) -> frozenset[str]:
        """In any locale, and without a default."""
        return frozenset().union(*(variant.needed for variant in self.variants.values())) - set(self.defaults)

    def fitting(self, locale: str) -> Variant:
        return self.variants[contents.fitting(self.variants, locale)]

    def values(self, variables: Mapping[str, Any], person: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the texts can read: the call's, the person's (`person`), the defaults."""
        known = dict(person or {})
        attributes = _present(known.pop("attributes", None) or {})
        values = {
            "subscriber": {**_present(known), "attributes": attributes},
            "variables": _present(variables),
        }
        for name, value in self.defaults.items():
            place, key = _place(values, name)
            place.setdefault(key, value)
        return values

    def rendered(self, variant: Variant, values: Mapping[str, Any], *, locale: str = "") -> dict[str, Any]:
        """The content for these values. locale: in which numbers and dates are written where the variant has none.
        Raises Missing, NotRenderable."""
        given = {**values, LOCALE: variant.locale or locale}

        def of(pointer: str, text: Any) -> str:
            if isinstance(text, str):
                return text
            value: str = text.render(given)
            if fault := contents.fault(pointer, value):
                raise NotRenderable(f"{pointer}: {fault}")
            return value

        content = contents.mapped(variant.texts, of)
        return {name: value for name, value in content.items() if value or name not in contents.CHECKED}


def is_personal(name: str) -> bool:
    return name.startswith("subscriber.")


def person(
    external_id: str | None, locale: str | None, country: str | None, attributes: Mapping[str, Any] | None
) -> dict[str, Any]:
    """As texts may know somebody; what is empty is not known."""
    return {
        "external_id": external_id or None,
        "locale": locale or None,
        "country": country or None,
        "attributes": attributes or {},
    }


def missing(needed: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Which of the names have no value."""
    absent = []
    for name in needed:
        place, key = _place(values, name)
        if key not in place:
            absent.append(name)
    return sorted(absent)


def value(name: str, values: Mapping[str, Any]) -> Any:
    """None: it has none."""
    if name == ATTRIBUTES:
        return values["subscriber"]["attributes"]
    place, key = _place(values, name)
    return place.get(key)


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _place(values: Mapping[str, Any], name: str) -> tuple[dict[str, Any], str]:
    if name.startswith(f"{ATTRIBUTES}."):
        return values["subscriber"]["attributes"], name.removeprefix(f"{ATTRIBUTES}.")
    root, _, key = name.partition(".")
    return values[root], key


# --- reading a version ------------------------------------------------------------------------

_known: dict[int, Wording] = {}


def known(id: int) -> Wording | None:
    """Of a stored version that was read before."""
    return _known.get(id)


def of_version(
    id: int,
    content: Mapping[str, Any],
    locales: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
    missing: str,
) -> Wording:
    """Of a stored version, read once."""
    if found := _known.get(id):
        return found
    if len(_known) >= REMEMBERED:
        _known.clear()
    _known[id] = wording = read(content, locales, defaults, missing)
    return wording


def read(
    content: Mapping[str, Any],
    locales: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
    missing: str,
) -> Wording:
    """Raises InvalidField, naming the field, the line and what is wrong."""
    for place, texts in (
        ("/content", content),
        *((f"/locales/{name}", own) for name, own in locales.items()),
    ):
        contents.mapped(texts, lambda pointer, text, place=place: _parsed(place, pointer, text))  # type: ignore[misc]
    for name in defaults:
        try:
            is_known = name_of(name.split(".", 2)) == name and name not in WHOLE
        except ValueError:
            is_known = False
        if not is_known:
            raise InvalidField(f"/defaults/{name}", "there is no such variable")
    is_strict = missing != LENIENT
    whole = contents.variants(content, locales)
    return Wording(
        {locale: _variant(locale, texts, is_strict) for locale, texts in whole.items()}, defaults, missing
    )


def literal(content: Mapping[str, Any]) -> Wording:
    """A content that says all itself, in one or more locales."""
    whole = contents.variants(content, content.get("locales", {}))
    nothing: frozenset[str] = frozenset()
    return Wording(
        {locale: Variant(locale, texts, nothing, nothing) for locale, texts in whole.items()}, {}, ""
    )


def _variant(locale: str, content: Mapping[str, Any], is_strict: bool) -> Variant:
    found: list[Text] = []

    def of(pointer: str, source: str) -> Any:
        if templating.is_literal(source):
            return source
        found.append(templating.parse(source, is_strict=is_strict))
        return found[-1]

    texts = contents.mapped(content, of)
    names = {name_of(variable.path) for text in found for variable in text.variables}
    needed = {
        name_of(variable.path)
        for text in found
        for variable in text.variables
        if not any(variable.path[: len(path)] == path[: len(variable.path)] for path in text.cared_for)
    }
    personal = tuple(sorted(filter(is_personal, names)))
    return Variant(locale, texts, frozenset(names), frozenset(needed - WHOLE), personal)


def _parsed(place: str, pointer: str, source: str) -> str:
    if templating.is_literal(source):
        if fault := contents.fault(pointer, source):
            raise InvalidField(place + pointer, fault)
        return source
    try:
        for variable in templating.parse(source).variables:
            try:
                name_of(variable.path)
            except ValueError as error:
                raise Fault(variable.line, str(error)) from None
    except Fault as error:
        raise InvalidField(place + pointer, str(error)) from None
    return source


def name_of(path: Iterable[str]) -> str:
    """What is looked for when variables are checked: `variables.order` of variables.order.id. Raises ValueError."""
    root, *rest = path
    if root == CALL:
        return ".".join((CALL, *rest[:1]))
    if root == "subscriber" and rest:
        if rest[0] == "attributes":
            return ".".join((ATTRIBUTES, *rest[1:2]))
        if rest[0] in PERSON_FIELDS:
            return f"subscriber.{rest[0]}"
        raise ValueError(
            f"there is no subscriber.{rest[0]}: there are {', '.join(PERSON_FIELDS)} and attributes"
        )
    raise ValueError(f"there is no “{root}”: write variables.{root}, or subscriber.attributes.{root}")
