"""A call that names a template: which version it gets, whether all it needs is there, and whether it fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from config.problems import InvalidField
from devices.models import Device, Subscriber
from notifications import content as contents
from notifications import selectors, services, template_versions
from notifications import template_wording as wordings
from notifications.models import TemplateVersion
from notifications.pipeline.accept import Draft
from notifications.template_wording import Variant, Wording
from notifications.templating import Missing, NotRenderable

VARIABLES_BYTES = 32_768
PERSON = "…"  # stands for what is known of each person only


def check_variables(variables: Mapping[str, Any]) -> None:
    """Raises InvalidField."""
    try:
        size = len(orjson.dumps(variables))
    except (TypeError, RecursionError) as error:
        raise InvalidField(
            "/variables", "numbers have to fit into 64 bits, nesting into 250 levels"
        ) from error
    if size > VARIABLES_BYTES:
        raise InvalidField("/variables", f"{size} bytes, the limit is {VARIABLES_BYTES}")


def drafted(draft: Draft, slug: str, *, application_id: int) -> Draft:
    """The draft, of the template's current version; draft.variables are the call's own. Raises InvalidField."""
    try:
        return _drafted(draft, slug, application_id)
    except InvalidField:
        key = draft.idempotency_key
        if key and selectors.fingerprints(application_id, [key]):
            return draft  # accepted before, whatever the template says by now: acceptance answers with that
        raise


def _drafted(draft: Draft, slug: str, application_id: int) -> Draft:
    found = template_versions.current(application_id, slug)
    if found is None:
        raise InvalidField("/template", "there is no such template")
    version_id, wording = found
    variables = draft.variables or {}
    if wording.missing == TemplateVersion.Missing.FAIL:
        _refuse_missing(wording, variables, draft.audience, application_id)
    shown = {name: _checked(draft, wording, name) for name in wording.variants}
    return dataclasses.replace(
        draft, content=shown[""], template_version_id=version_id, variables=dict(variables)
    )


def check_locales(draft: Draft) -> None:
    """That a literal content fits in each of its locales; its own texts are checked by whoever accepts it.
    Raises InvalidField."""
    try:
        whole = contents.variants(draft.content, draft.content["locales"])
    except InvalidField as error:
        raise InvalidField(f"/content{error.pointer}", error.detail) from error
    for name, content in whole.items():
        if name:
            _check_size(draft, content, f"/content/locales/{name}")


# --- what is missing --------------------------------------------------------------------------


def _refuse_missing(
    wording: Wording, variables: Mapping[str, Any], audience: Mapping[str, Any], application_id: int
) -> None:
    needed = wording.needed
    for name in wordings.missing(needed, wording.values(variables)):
        if not wordings.is_personal(name):
            raise InvalidField(f"/{name.replace('.', '/', 1)}", "the template needs it, and has no default")
    personal = [name for name in needed if wordings.is_personal(name)]
    if not personal:
        return
    for pointer, person in _people(audience, application_id):
        if absent := wordings.missing(personal, wording.values({}, person)):
            raise InvalidField(pointer, f"{', '.join(absent)}: the template needs it, and has no default")


def _people(audience: Mapping[str, Any], application_id: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those listed who are known, and what is known of them; of a mass audience, whoever lacks something is skipped."""
    fields = (*wordings.PERSON_FIELDS, "attributes")
    rows: Iterable[tuple[Any, ...]]
    if ids := audience.get("subscribers", []):
        subscribers = Subscriber.objects.filter(application_id=application_id, external_id__in=ids)
        rows = subscribers.values_list("external_id", *fields)
    elif ids := audience.get("devices", []):
        devices = Device.objects.filter(application_id=application_id, public_id__in=ids)
        rows = devices.values_list("public_id", *(f"subscriber__{field}" for field in fields))
    else:
        return
    kind, found = next(iter(audience)), {str(id): known for id, *known in rows}
    for number, id in enumerate(ids):
        if id in found:
            yield f"/to/{kind}/{number}", wordings.person(*found[id])


# --- what it comes to -------------------------------------------------------------------------


def _checked(draft: Draft, wording: Wording, name: str) -> dict[str, Any]:
    """The content of this variant as far as the call knows it."""
    variant = wording.variants[name]
    pointer = f"/template/locales/{name}" if name else "/template"
    try:
        content = wording.rendered(variant, sample(wording, variant, draft.variables or {}))
    except Missing as error:
        if wording.missing == TemplateVersion.Missing.FAIL and error.name.startswith("variables."):
            raise InvalidField(f"/{error.name.replace('.', '/')}", "the template needs it") from error
        return as_written(variant)
    except NotRenderable as error:
        # A stand-in is no date and no number; of whom it is true is seen when they are sent to.
        if not variant.personal:
            raise InvalidField("/variables", f"the template cannot be rendered with them: {error}") from error
        return as_written(variant)
    _check_size(draft, content, pointer)
    return content


def sample(wording: Wording, variant: Variant, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Values with stand-ins for what depends on the person."""
    values = wording.values(variables)
    for name in variant.personal:
        if name.startswith(f"{wordings.ATTRIBUTES}."):
            values["subscriber"]["attributes"].setdefault(
                name.removeprefix(f"{wordings.ATTRIBUTES}."), PERSON
            )
        elif name != wordings.ATTRIBUTES:
            values["subscriber"].setdefault(name.removeprefix("subscriber."), PERSON)
    return values


def as_written(variant: Variant) -> dict[str, Any]:
    return contents.mapped(
        variant.texts, lambda pointer, text: text if isinstance(text, str) else text.source
    )


def _check_size(draft: Draft, content: dict[str, Any], pointer: str) -> None:
    try:
        services.check_draft(dataclasses.replace(draft, content=content))
    except InvalidField as error:
        place = error.pointer.replace("/content", pointer, 1)
        raise InvalidField(place, error.detail) from error
